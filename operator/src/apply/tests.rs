use std::time::Duration;

use http::Method;
use serde_json::{Value as Json, json};

use super::*;
use crate::{
    build::{
        Living,
        tests::{built, proxy},
    },
    mock::{server, status},
};

fn list(items: &[Json]) -> (u16, Json) {
    let list = json!({"kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1", "metadata": {}, "items": items});
    (200, list)
}

/// An object that `build` made for the Proxy with this UID.
fn orphan(name: &str, uid: &str) -> Json {
    json!({
        "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1",
        "metadata": {
            "name": name, "namespace": "net", "uid": format!("uid-{name}"),
            "labels": {"bytefreezer.com/built": "true", "bytefreezer.com/proxy": "edge"},
            "ownerReferences": [{"apiVersion": "bytefreezer.com/v1alpha1", "kind": "Proxy", "name": "edge", "uid": uid, "controller": true}],
        },
    })
}

const OWN: &str = "0b5e9d0e-0000-4000-8000-000000000001";

fn nothing(method: &Method, uri: &str) -> Option<(u16, Json)> {
    match *method {
        Method::GET if uri.contains("/secrets/") => Some(status(404, "NotFound")),
        Method::GET => Some(list(&[])),
        _ => None,
    }
}

async fn run(client: &Client) -> Result<(), ApplyError> {
    let spec = json!({"workload": {"replicas": 2}});
    let (proxy, objects) = (proxy(&spec), built(&spec, &[("udp", 514)], &Living::default()));
    let pass = apply(client, &proxy, &objects);
    tokio::time::timeout(Duration::from_secs(30), pass).await.expect("the pass ends")
}

#[tokio::test]
async fn everything_is_applied_under_one_name_with_the_workload_last() {
    let (client, asked) = server(nothing);
    run(&client).await.unwrap();
    let asked = asked.lock();
    let patches: Vec<_> = asked.iter().filter(|(line, _)| line.starts_with("PATCH")).collect();
    let kinds: Vec<_> = patches.iter().map(|(_, body)| body["kind"].as_str().unwrap()).collect();
    assert_eq!(
        kinds,
        [
            "ServiceAccount",
            "Secret",
            "ConfigMap",
            "NetworkPolicy",
            "PodDisruptionBudget",
            "Service",
            "Service",
            "StatefulSet"
        ]
    );
    for (line, _) in patches {
        assert!(line.contains("force=true") && line.contains("fieldManager=bytefreezer-operator"), "{line}");
    }
    assert!(!asked.iter().any(|(line, _)| line.starts_with("DELETE")));
    assert!(
        !asked.iter().any(|(line, _)| line.contains("/secrets?") && line.starts_with("GET")),
        "never listed"
    );
}

#[tokio::test]
async fn only_what_this_proxy_built_is_removed() {
    let (client, asked) = server(|method, uri| match *method {
        Method::GET if uri.ends_with("/secrets/edge-assets-3") => Some((200, orphan("edge-assets-3", OWN))),
        Method::GET if uri.contains("/daemonsets?") => {
            Some(list(&[orphan("edge", OWN), orphan("theirs", "another")]))
        }
        Method::GET if uri.contains("/services?") => {
            let mut bare = orphan("bare", OWN);
            bare["metadata"]["labels"] = json!({});
            Some(list(&[orphan("edge", OWN), orphan("edge-pods", OWN), orphan("edge-udp", OWN), bare]))
        }
        Method::DELETE => Some((200, json!({"kind": "Status", "apiVersion": "v1", "status": "Success"}))),
        _ => nothing(method, uri),
    });
    run(&client).await.unwrap();
    let asked = asked.lock();
    let deleted: Vec<_> = asked.iter().filter(|(line, _)| line.starts_with("DELETE")).collect();
    let names: Vec<_> = deleted
        .iter()
        .map(|(line, _)| line.split(['/', '?']).rfind(|part| part.starts_with("edge")).unwrap())
        .collect();
    assert_eq!(names, ["edge-assets-3", "edge-udp", "edge"]);
    assert!(deleted[2].0.contains("/daemonsets/"), "{deleted:?}");
    for (line, body) in &deleted {
        assert!(body["preconditions"]["uid"].as_str().unwrap().starts_with("uid-edge"), "{line}: {body}");
    }
}

#[tokio::test]
async fn a_refusal_ends_the_pass_and_names_the_object() {
    let (client, asked) = server(|method, uri| match *method {
        Method::PATCH if uri.contains("/networkpolicies/") => Some(status(403, "Forbidden")),
        _ => nothing(method, uri),
    });
    let error = run(&client).await.unwrap_err().to_string();
    assert!(error.starts_with("NetworkPolicy edge cannot be applied:"), "{error}");
    let asked = asked.lock();
    assert!(!asked.iter().any(|(line, _)| line.contains("/statefulsets") || line.starts_with("DELETE")));
}
