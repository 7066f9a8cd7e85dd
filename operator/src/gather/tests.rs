//! What changes touch, and what is gathered.

use bytefreezer_crds::labels;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::{DeserializeGuard, error_boundary::InvalidObject};
use serde_json::{Value as Json, json};

use super::*;

pub(crate) fn key(text: &str) -> ObjectKey {
    let (namespace, name) = text.split_once('/').unwrap();
    ObjectKey::new(namespace, name)
}

fn metadata(name: &str) -> Json {
    let key = key(name);
    json!({"name": key.name, "namespace": key.namespace, "uid": name, "generation": 1, "creationTimestamp": "2026-01-01T00:00:00Z"})
}

fn proxy(world: &World, name: &str, exposure: &str) -> Vec<String> {
    let object = json!({
        "apiVersion": "bytefreezer.com/v1alpha1", "kind": "Proxy", "metadata": metadata(name),
        "spec": {"receiver": {"url": "https://receiver.example"}, "exposure": {"type": exposure}},
    });
    let object: DeserializeGuard<Proxy> = serde_json::from_value(object).unwrap();
    touched(world.apply(|tables| &mut tables.proxies, Event::Apply((key(name), Authored::from(object)))))
}

fn dataset(world: &World, name: &str, proxy: &str, generation: i64, spec: &Json) -> Vec<String> {
    let to = key(proxy);
    let mut object = json!({
        "apiVersion": "bytefreezer.com/v1alpha1", "kind": "ProxyDataset", "metadata": metadata(name),
        "spec": {"proxyRef": {"name": to.name, "namespace": to.namespace}, "tenantId": "acme", "source": {"udp": {"port": 514}}},
    });
    object["metadata"]["generation"] = json!(generation);
    object["spec"].as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    let object: DeserializeGuard<ProxyDataset> = serde_json::from_value(object).unwrap();
    touched(world.apply(|tables| &mut tables.datasets, Event::Apply((key(name), Authored::from(object)))))
}

fn touched(keys: BTreeSet<ObjectKey>) -> Vec<String> {
    keys.into_iter().map(|key| key.to_string()).collect()
}

#[test]
fn a_dataset_touches_its_proxy_alone_and_a_status_nobody() {
    let world = World::default();
    proxy(&world, "net/edge", "LoadBalancer");
    proxy(&world, "net/core", "LoadBalancer");
    assert_eq!(dataset(&world, "apps/web", "net/edge", 1, &json!({})), ["net/edge"]);
    assert!(dataset(&world, "apps/web", "net/edge", 1, &json!({})).is_empty(), "the same again");
    assert_eq!(dataset(&world, "apps/web", "net/core", 2, &json!({})), ["net/core", "net/edge"]);
    assert_eq!(world.gather(&key("net/edge")).own.datasets.len(), 0);
    assert_eq!(world.gather(&key("net/core")).own.datasets.len(), 1);
    assert_eq!(dataset(&world, "apps/lost", "net/nobody", 1, &json!({})), ["net/nobody"]);
    assert!(world.knows(&key("net/nobody")) && world.gather(&key("net/nobody")).own.proxy.is_none());
}

#[test]
fn on_the_host_network_all_proxies_look_and_see_each_other() {
    let world = World::default();
    proxy(&world, "net/plain", "LoadBalancer");
    proxy(&world, "net/a", "HostNetwork");
    assert_eq!(proxy(&world, "net/b", "HostNetwork"), ["net/a", "net/b"]);
    assert_eq!(dataset(&world, "net/web", "net/a", 1, &json!({})), ["net/a", "net/b"]);
    let neighbours = world.gather(&key("net/b")).neighbours;
    assert_eq!((neighbours.len(), neighbours[0].datasets.len()), (1, 1));
    assert!(world.gather(&key("net/plain")).neighbours.is_empty());
    assert_eq!(dataset(&world, "net/web", "net/plain", 2, &json!({})), ["net/a", "net/b", "net/plain"]);
}

#[test]
fn what_can_no_longer_be_read_keeps_what_it_last_held() {
    let world = World::default();
    dataset(&world, "net/web", "net/edge", 1, &json!({}));
    let broken = |name: &str| {
        let metadata = ObjectMeta { generation: Some(2), ..ObjectMeta::default() };
        let guard = DeserializeGuard::<ProxyDataset>(Err(InvalidObject { error: "no".to_owned(), metadata }));
        touched(world.apply(|tables| &mut tables.datasets, Event::Apply((key(name), Authored::from(guard)))))
    };
    assert_eq!(broken("net/web"), ["net/edge"]);
    let (_, row) = &world.gather(&key("net/edge")).own.datasets[0];
    assert_eq!(row.object.as_ref().unwrap().spec.tenant_id.as_str(), "acme");
    assert_eq!(row.broken.as_ref().unwrap().error, "no");
    assert_eq!(row.metadata().unwrap().generation, Some(2));
    assert_eq!(broken("net/never"), ["net/"], "reported where nobody else is");
    assert_eq!(dataset(&world, "net/web", "net/edge", 3, &json!({})), ["net/edge"]);
    assert!(world.gather(&key("net/edge")).own.datasets[0].1.broken.is_none());
}

#[test]
fn labels_of_a_namespace_touch_the_proxies_of_its_datasets() {
    let world = World::default();
    dataset(&world, "apps/web", "net/edge", 1, &json!({}));
    dataset(&world, "other/web", "net/core", 1, &json!({}));
    let label = |value: &str| {
        let labels = Labels(BTreeMap::from([("team".to_owned(), value.to_owned())]));
        touched(world.apply_namespace(Event::Apply((ObjectKey::new("", "apps"), labels))))
    };
    assert_eq!(label("a"), ["net/edge"]);
    assert!(label("a").is_empty());
    assert_eq!(label("b"), ["net/edge"]);
    let gathered = world.gather(&key("net/edge"));
    assert_eq!(gathered.namespaces["apps"].0["team"], "b");
}

/// What the API server returns of an object that was applied, with `fields` as ours.
fn applied(fields: &Json, version: &str) -> ObjectMeta {
    serde_json::from_value(json!({
        "name": "edge", "namespace": "net", "uid": "1", "resourceVersion": version,
        "labels": {labels::PROXY: "edge", labels::BUILT: "true"},
        "managedFields": [
            {"manager": "bytefreezer-operator", "operation": "Apply", "apiVersion": "v1", "fieldsType": "FieldsV1",
             "fieldsV1": fields, "time": "2026-01-01T00:00:00Z"},
            {"manager": "controller", "operation": "Update", "apiVersion": "v1", "fieldsType": "FieldsV1",
             "fieldsV1": {"f:status": {"f:replicas": {}}, "v": version}, "subresource": "status"},
        ],
    }))
    .unwrap()
}

#[test]
fn an_object_of_ours_touches_only_when_somebody_takes_a_field_of_ours() {
    let world = World::default();
    let put = |metadata: &ObjectMeta| {
        touched(world.apply(
            |tables| tables.owned.entry(Kind::ConfigMap).or_default(),
            Event::Apply((key("net/edge"), Owned::of(metadata))),
        ))
    };
    let ours = json!({"f:data": {"f:config.yaml": {}}});
    assert_eq!(put(&applied(&ours, "1")), ["net/edge"]);
    assert!(put(&applied(&ours, "2")).is_empty(), "others' fields");
    assert_eq!(put(&applied(&json!({"f:data": {}}), "3")), ["net/edge"]);
    let gathered = world.gather(&key("net/edge"));
    assert_eq!(
        gathered.owned[&(Kind::ConfigMap, "edge".to_owned())].metadata.resource_version.as_deref(),
        Some("3")
    );
}
