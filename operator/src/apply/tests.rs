//! An API server of which the test is the other end.

use std::{sync::Arc, time::Duration};

use http::{Method, Request, Response};
use kube::client::Body;
use serde_json::{Value as Json, json};
use tokio::sync::Mutex;

use super::*;
use crate::build::{
    Living,
    tests::{built, proxy},
};

/// What was asked, as `METHOD path`, with the bodies.
type Asked = Arc<Mutex<Vec<(String, Json)>>>;

/// Answers every request with `answer`, or what a patch brought.
fn server(answer: impl Fn(&Method, &str) -> Option<(u16, Json)> + Send + 'static) -> (Client, Asked) {
    let (service, mut handle) = tower_test::mock::pair::<Request<Body>, Response<Body>>();
    let asked = Asked::default();
    let seen = Arc::clone(&asked);
    tokio::spawn(async move {
        while let Some((request, reply)) = handle.next_request().await {
            let (parts, body) = request.into_parts();
            let body = body.collect_bytes().await.unwrap();
            let body: Json = serde_json::from_slice(&body).unwrap_or_default();
            let (code, json) = answer(&parts.method, &parts.uri.to_string()).unwrap_or((200, body.clone()));
            seen.lock().await.push((format!("{} {}", parts.method, parts.uri), body));
            let body = Body::from(serde_json::to_vec(&json).unwrap());
            reply.send_response(Response::builder().status(code).body(body).unwrap());
        }
    });
    (Client::new(service, "net"), asked)
}

fn status(code: u16, reason: &str) -> (u16, Json) {
    let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": "no", "reason": reason, "code": code});
    (code, status)
}

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
    let asked = asked.lock().await;
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
    let asked = asked.lock().await;
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
    let asked = asked.lock().await;
    assert!(!asked.iter().any(|(line, _)| line.contains("/statefulsets") || line.starts_with("DELETE")));
}
