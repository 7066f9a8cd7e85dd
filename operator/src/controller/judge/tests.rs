//! Who takes part, from what was gathered.

use std::sync::Arc;

use bytefreezer_crds::{Proxy, ProxyDataset};
use kube::core::{DeserializeGuard, error_boundary::InvalidObject};
use serde_json::{Value as Json, json};

use super::*;

fn metadata(name: &str) -> Json {
    json!({"name": name, "namespace": "net", "uid": name, "creationTimestamp": "2026-01-01T00:00:00Z"})
}

fn proxy(name: &str, spec: &Json) -> Arc<Authored<Proxy>> {
    let mut object = json!({
        "apiVersion": "bytefreezer.com/v1alpha1", "kind": "Proxy", "metadata": metadata(name),
        "spec": {"receiver": {"url": "https://receiver.example"}},
    });
    object["spec"].as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    let object: DeserializeGuard<Proxy> = serde_json::from_value(object).unwrap();
    Arc::new(Authored::from(object))
}

fn dataset(name: &str, spec: &Json) -> (ObjectKey, Arc<Authored<ProxyDataset>>) {
    let mut object = json!({
        "apiVersion": "bytefreezer.com/v1alpha1", "kind": "ProxyDataset", "metadata": metadata(name),
        "spec": {"tenantId": "acme", "source": {"udp": {"port": 5140}}},
    });
    object["spec"].as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    let object: DeserializeGuard<ProxyDataset> = serde_json::from_value(object).unwrap();
    (ObjectKey::new("net", name), Arc::new(Authored::from(object)))
}

fn gathered(proxy: Option<Arc<Authored<Proxy>>>, datasets: Vec<crate::gather::Dataset>) -> Gathered {
    Gathered {
        own: Member { key: ObjectKey::new("net", "edge"), proxy, datasets },
        neighbours: Vec::new(),
        namespaces: BTreeMap::new(),
        owned: BTreeMap::new(),
        pods: Vec::new(),
        claims: BTreeMap::new(),
    }
}

fn judged(gathered: &Gathered) -> Judged {
    judge(gathered, &Defaults { image: "proxy:1".to_owned(), namespace: None })
}

fn reasons(judged: &Judged) -> Vec<(String, Reason)> {
    judged.rejected.iter().map(|(key, (reason, _))| (key.name.clone(), *reason)).collect()
}

#[test]
fn without_a_proxy_every_dataset_says_so() {
    let judged = judged(&gathered(None, vec![dataset("a", &json!({})), dataset("b", &json!({}))]));
    assert_eq!(
        reasons(&judged),
        [("a".to_owned(), Reason::ProxyNotFound), ("b".to_owned(), Reason::ProxyNotFound)]
    );
    assert!(judged.proxy.is_none() && judged.refused.is_none());
}

#[test]
fn the_loser_of_a_port_names_the_winner() {
    let judged = judged(&gathered(
        Some(proxy("edge", &json!({}))),
        vec![dataset("b", &json!({})), dataset("a", &json!({}))],
    ));
    assert_eq!(judged.admitted.keys().map(|key| key.name.as_str()).collect::<Vec<_>>(), ["a"]);
    let (reason, message) = &judged.rejected[&ObjectKey::new("net", "b")];
    assert!(*reason == Reason::Conflicted && message.contains("net/a"), "{message}");
    assert!(judged.runs);
}

#[test]
fn a_proxy_that_is_not_accepted_leaves_its_datasets_pending() {
    for (spec, reason) in [
        (json!({"configMode": "Hybrid"}), Reason::ConfigModeNotSupported),
        (json!({"workload": {"shutdownDelay": "soon"}}), Reason::Invalid),
    ] {
        let judged = judged(&gathered(Some(proxy("edge", &spec)), vec![dataset("a", &json!({}))]));
        assert_eq!(judged.refused.as_ref().unwrap().0, reason);
        assert_eq!(reasons(&judged), [("a".to_owned(), Reason::Pending)]);
        assert!(!judged.runs && judged.proxy.is_none());
    }
}

#[test]
fn an_invalid_dataset_is_alone_with_it() {
    let bad = dataset("bad", &json!({"source": {"udp": {"port": 1}}, "allowedSources": ["10.0.0"]}));
    let judged = judged(&gathered(Some(proxy("edge", &json!({}))), vec![bad, dataset("good", &json!({}))]));
    assert_eq!(reasons(&judged), [("bad".to_owned(), Reason::Invalid)]);
    assert!(judged.rejected[&ObjectKey::new("net", "bad")].1.contains("10.0.0"));
    assert_eq!(judged.admitted.len(), 1);
}

#[test]
fn what_cannot_be_read_goes_on_as_it_was_if_it_ever_was() {
    let broken = |row: &Arc<Authored<ProxyDataset>>, object| {
        let metadata = row.metadata().unwrap().clone();
        let broken = Some(InvalidObject { error: "no".to_owned(), metadata });
        Arc::new(Authored { object, broken, kept: None })
    };
    let (a, b) = (dataset("a", &json!({})), dataset("b", &json!({})));
    let datasets = vec![(a.0, broken(&a.1, a.1.object.clone())), (b.0, broken(&b.1, None))];
    let judged = judged(&gathered(Some(proxy("edge", &json!({}))), datasets));
    assert_eq!(judged.admitted.len(), 1);
    assert_eq!(reasons(&judged), [("b".to_owned(), Reason::Undecodable)]);
}

#[test]
fn of_two_proxies_with_one_port_on_the_nodes_the_younger_has_no_pods() {
    let host = json!({"exposure": {"type": "HostNetwork"}});
    let mut gathered = gathered(Some(proxy("edge", &host)), vec![dataset("a", &json!({}))]);
    gathered.neighbours = vec![Member {
        key: ObjectKey::new("net", "core"),
        proxy: Some(proxy("core", &host)),
        datasets: vec![],
    }];
    let judged = judged(&gathered);
    let (reason, message) = judged.refused.as_ref().unwrap();
    assert!(*reason == Reason::HostPortConflict && message.contains("net/core"), "{message}");
    assert!(!judged.runs && judged.proxy.is_some());
    assert_eq!(judged.admitted.len(), 1, "its datasets wait for the pods");
}

#[test]
fn what_leaves_takes_no_part() {
    let leaving = |name: &str| {
        let (key, row) = dataset(name, &json!({}));
        let mut object = (**row.object.as_ref().unwrap()).clone();
        object.metadata.deletion_timestamp = object.metadata.creation_timestamp.clone();
        (key, Arc::new(Authored { object: Some(Arc::new(object)), broken: None, kept: None }))
    };
    let judged =
        judged(&gathered(Some(proxy("edge", &json!({}))), vec![leaving("a"), dataset("b", &json!({}))]));
    assert_eq!(judged.admitted.keys().map(|key| key.name.as_str()).collect::<Vec<_>>(), ["b"]);
    assert!(judged.rejected.is_empty());
}
