use std::{collections::BTreeMap, sync::Arc, time::Duration};

use http::Method;
use serde_json::{Value as Json, json};

use super::*;
use crate::{
    build::{
        Living,
        tests::{built, proxy},
    },
    mock::{self, kept, server, status},
};

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

fn nothing(method: &Method, _: &str) -> Option<(u16, Json)> {
    (*method == Method::GET).then(|| status(404, "NotFound"))
}

/// The same for a server that keeps what is written.
fn nothing_of(method: &Method, _: &str, _: &Json) -> Option<(u16, Json)> {
    (*method == Method::GET).then(|| status(404, "NotFound"))
}

/// What watches have brought, by kind.
type There = BTreeMap<(Kind, String), Arc<Owned>>;

fn there(objects: &[(Kind, Json)]) -> There {
    let one = |(kind, object): &(Kind, Json)| {
        let metadata: ObjectMeta = serde_json::from_value(object["metadata"].clone()).unwrap();
        ((*kind, metadata.name.clone().unwrap()), Arc::new(Owned::of(&metadata)))
    };
    objects.iter().map(one).collect()
}

async fn run(client: &Client, there: &There, applied: &mut Applied) -> Result<(), ApplyError> {
    let spec = json!({"workload": {"replicas": 2}});
    let (proxy, objects) = (proxy(&spec), built(&spec, &[("udp", 514)], &Living::default()));
    let pass = apply(client, &proxy, &objects, there, applied);
    tokio::time::timeout(Duration::from_secs(30), pass).await.expect("the pass ends")
}

async fn first(client: &Client, there: &There) -> Result<(), ApplyError> {
    run(client, there, &mut Applied::default()).await
}

#[tokio::test]
async fn everything_is_applied_under_one_name_with_the_workload_last() {
    let (client, asked) = server(nothing);
    first(&client, &There::new()).await.unwrap();
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
        Method::DELETE => Some((200, json!({"kind": "Status", "apiVersion": "v1", "status": "Success"}))),
        _ => nothing(method, uri),
    });
    let mut bare = orphan("bare", OWN);
    bare["metadata"]["labels"] = json!({});
    let there = there(&[
        (Kind::DaemonSet, orphan("edge", OWN)),
        (Kind::DaemonSet, orphan("theirs", "another")),
        (Kind::Service, orphan("edge", OWN)),
        (Kind::Service, orphan("edge-pods", OWN)),
        (Kind::Service, orphan("edge-udp", OWN)),
        (Kind::Service, orphan("edge-flow-udp", OWN)),
        (Kind::Service, bare),
    ]);
    first(&client, &there).await.unwrap();
    let asked = asked.lock();
    let deleted: Vec<_> = asked.iter().filter(|(line, _)| line.starts_with("DELETE")).collect();
    let names: Vec<_> = deleted
        .iter()
        .map(|(line, _)| line.split(['/', '?']).rfind(|part| part.starts_with("edge")).unwrap())
        .collect();
    assert_eq!(names, ["edge-assets-3", "edge-flow-udp", "edge-udp", "edge"]);
    assert!(deleted[3].0.contains("/daemonsets/"), "{deleted:?}");
    for (line, body) in &deleted {
        assert!(body["preconditions"]["uid"].as_str().unwrap().starts_with("uid-edge"), "{line}: {body}");
    }
}

#[tokio::test(start_paused = true)]
async fn at_rest_nothing_is_written_and_what_others_change_is_restored() {
    let (client, asked) = mock::stateful(nothing_of);
    let mut applied = Applied::default();
    run(&client, &There::new(), &mut applied).await.unwrap();
    let writes = || async {
        let mut asked = asked.lock();
        let lines: Vec<String> = asked.drain(..).map(|(line, _)| line).collect();
        lines.into_iter().filter(|line| !line.starts_with("GET")).collect::<Vec<_>>()
    };
    assert_eq!(writes().await.len(), 8);
    let kinds = [
        (Kind::ServiceAccount, "edge-pods"),
        (Kind::ConfigMap, "edge-config"),
        (Kind::NetworkPolicy, "edge"),
        (Kind::PodDisruptionBudget, "edge"),
        (Kind::Service, "edge"),
        (Kind::Service, "edge-pods"),
        (Kind::StatefulSet, "edge"),
    ];
    let object = |name: &str, version: &str| kept(&orphan(name, OWN), version);
    let mut world = there(&kinds.map(|(kind, name)| (kind, object(name, "9"))));
    run(&client, &world, &mut applied).await.unwrap();
    assert_eq!(writes().await, [""; 0], "others write to it, and none of ours");

    let mut taken = object("edge-config", "10");
    taken["metadata"]["managedFields"][0]["fieldsV1"] = json!({"f:less": {}});
    world.extend(there(&[(Kind::ConfigMap, taken)]));
    world.remove(&(Kind::Service, "edge".to_owned()));
    run(&client, &world, &mut applied).await.unwrap();
    let restored = writes().await;
    assert_eq!(restored.len(), 2, "{restored:?}");
    assert!(restored[0].contains("/configmaps/edge-config?") && restored[1].contains("/services/edge?"));

    run(&client, &world, &mut applied).await.unwrap();
    let again = writes().await;
    assert!(
        again.len() == 1 && again[0].contains("/services/edge?"),
        "the watch has not brought it: {again:?}"
    );

    tokio::time::advance(SECRETS_HOLD).await;
    run(&client, &world, &mut applied).await.unwrap();
    assert!(
        writes().await.iter().any(|line| line.contains("/secrets/")),
        "a Secret that is gone is made again"
    );
}

#[tokio::test]
async fn a_refusal_ends_the_pass_and_names_the_object() {
    let (client, asked) = server(|method, uri| match *method {
        Method::PATCH if uri.contains("/networkpolicies/") => Some(status(403, "Forbidden")),
        _ => nothing(method, uri),
    });
    let error = first(&client, &There::new()).await.unwrap_err();
    assert!(error.is_refusal());
    let error = error.to_string();
    assert!(error.starts_with("NetworkPolicy edge cannot be applied:"), "{error}");
    let asked = asked.lock();
    assert!(!asked.iter().any(|(line, _)| line.contains("/statefulsets") || line.starts_with("DELETE")));
}

#[tokio::test]
async fn what_is_somebody_elses_is_not_taken_over() {
    let of = |owner: &'static str| {
        server(move |method, uri| match *method {
            Method::GET if uri.ends_with("/services/edge-pods") => Some((200, orphan("edge-pods", owner))),
            _ => nothing(method, uri),
        })
    };
    let (client, asked) = of("another");
    let error = first(&client, &There::new()).await.unwrap_err();
    assert!(error.is_refusal());
    assert!(error.to_string().starts_with("Service edge-pods is there already and is not this Proxy's:"));
    assert!(!asked.lock().iter().any(|(line, _)| line.starts_with("PATCH") && line.contains("/services/")));

    let (client, _asked) = of(OWN);
    first(&client, &There::new()).await.unwrap();
}
