//! What arbitration admits, the proxy takes: its own rules for shared listeners find nothing to refuse.

use std::collections::BTreeMap;

use bytefreezer_crds::{Proxy, ProxyDataset};
use proptest::{prelude::*, sample::select};
use serde_json::{Value as Json, json};

use super::*;
use crate::{
    arbitrate::{Certificates, Claimant, Listener, Verdict, arbitrate},
    gather::Kept,
    validate::Defaults,
};

fn dataset() -> impl Strategy<Value = Json> {
    let source = select(vec![
        json!({"udp": {"port": 5000}}),
        json!({"tcp": {"port": 5000}}),
        json!({"tcp": {"port": 5000, "delimiter": ";"}}),
        json!({"tcp": {"port": 5000, "oversize": "Drop"}}),
        json!({"tcp": {"port": 5000, "tls": {"secretRef": {"name": "tls"}}}}),
        json!({"syslog": {"port": 5000, "protocols": ["UDP", "TCP"]}}),
        json!({"syslog": {"port": 5000}}),
        json!({"http": {"port": 5000, "path": "/a"}}),
        json!({"http": {"port": 5000, "path": "/b"}}),
        json!({"http": {"port": 8008}}),
        json!({"netflow": {"port": 5000}}),
        json!({"netflow": {"port": 5000, "exporterId": "AddressPort", "maxExporters": 5}}),
        json!({"ipfix": {"port": 5000, "output": "Legacy"}}),
        json!({"ipfix": {"port": 5000, "protocols": ["UDP", "TCP"]}}),
        json!({"ipfix": {"port": 5000, "protocols": ["TCP"], "tls": {"secretRef": {"name": "tls"}}}}),
        json!({"sflow": {"port": 5000, "counters": false}}),
        json!({"ebpf": {"port": 5000}}),
    ]);
    let sources = select(vec![
        json!([]),
        json!(["10.0.0.0/8"]),
        json!(["10.1.0.0/16"]),
        json!(["::ffff:10.1.0.0/112"]),
        json!(["192.0.2.7", "10.1.2.0/24"]),
        json!(["2001:db8::/32"]),
    ]);
    let proxied = select(vec![Json::Null, json!({"from": ["172.16.0.0/12"]})]);
    (source, sources, proxied, select(vec!["acme", "globex"]), select(vec!["one", "two"]), any::<bool>())
        .prop_map(|(source, sources, proxied, tenant, dataset, named)| {
            let mut spec = json!({"tenantId": tenant, "source": source, "allowedSources": sources});
            let takes_tcp = spec["source"]["tcp"].is_object() || spec["source"]["http"].is_object();
            if takes_tcp && !proxied.is_null() {
                spec["proxyProtocol"] = proxied;
            }
            if named {
                spec["datasetId"] = json!(dataset);
            }
            spec
        })
}

/// Without and with ranges that are granted inside those of other namespaces.
fn rules() -> impl Strategy<Value = Json> {
    select(vec![
        json!([{"namespaces": {"from": "All"}}]),
        json!([{"namespaces": {"from": "All"}}, {"namespaces": {"from": "All"}, "sources": ["10.1.0.0/16"]}]),
        json!([{"namespaces": {"from": "All"}}, {"namespaces": {"from": "Same"}, "sources": ["10.0.0.0/8", "2001:db8::/32"]}]),
    ])
}

proptest! {
    #[test]
    fn the_proxy_refuses_nothing_that_was_admitted(
        (specs, rules) in (proptest::collection::vec(dataset(), 1..10), rules())
    ) {
        let proxy: Proxy = serde_json::from_value(json!({
            "apiVersion": "bytefreezer.com/v1alpha1", "kind": "Proxy", "metadata": {"name": "edge", "namespace": "net"},
            "spec": {"receiver": {"url": "https://receiver.example"}, "allowedDatasets": rules},
        })).unwrap();
        let proxy = ValidatedProxy::read(&proxy, &Defaults { image: "proxy:1".to_owned(), namespace: None }).unwrap();
        let objects: Vec<ProxyDataset> = specs.iter().enumerate().map(|(index, spec)| {
            let namespace = ["net", "apps"][index % 2];
            serde_json::from_value(json!({
                "apiVersion": "bytefreezer.com/v1alpha1", "kind": "ProxyDataset",
                "metadata": {"name": format!("d{index}"), "namespace": namespace}, "spec": spec,
            })).unwrap()
        }).collect();
        let claimants = objects.iter().map(|object| Claimant::of(object, BTreeMap::new()).unwrap()).collect();
        let mut pool = proxy.pool(Some(0));
        pool.claimants = claimants;
        let verdicts = arbitrate(&[pool]).datasets;
        let admitted: Vec<Admitted<'_>> = objects.iter().filter_map(|object| {
            let key = ObjectKey::new(object.metadata.namespace.clone()?, object.metadata.name.clone()?);
            (verdicts[&key] == Verdict::Admitted).then_some(Admitted { key, content: Content::Spec(&object.spec) })
        }).collect();
        prop_assert!(!admitted.is_empty() || specs.iter().all(|spec| spec["source"]["http"]["port"] == 8008));
        let rendered = render(&proxy, &admitted, &Assets::default(), None).unwrap();
        prop_assert_eq!((&rendered.invalid, &rendered.problems), (&vec![], &vec![]), "{}", rendered.yaml);

        // Read back, each entry claims what its dataset did, and is written as it was.
        let kept = Kept::all(&proxy.key, &rendered.yaml);
        for (key, kept) in &kept {
            let object = objects.iter().find(|object| object.metadata.name.as_ref() == Some(&key.name)).unwrap();
            let read = Claimant::of(object, BTreeMap::new()).unwrap();
            let back = Claimant::of_entry(key.clone(), &object.metadata, &kept.input, BTreeMap::new());
            prop_assert_eq!(claims(&back), claims(&read));
        }
        let entries: Vec<Admitted<'_>> = kept.iter().map(|(key, kept)| {
            Admitted { key: key.clone(), content: Content::Entry(&kept.entry) }
        }).collect();
        let again = render(&proxy, &entries, &Assets::default(), None).unwrap();
        prop_assert_eq!(&again.yaml, &rendered.yaml);
    }
}

/// What a claimant claims, whosever certificates it serves.
fn claims(claimant: &Claimant) -> (Vec<Listener>, Vec<ipnet::IpNet>, [String; 2]) {
    let blind = |listener: &Listener| Listener {
        tls: listener.tls.as_ref().map(|_| Certificates::Kept),
        ..listener.clone()
    };
    let mut sources = claimant.sources.clone();
    sources.sort_unstable();
    let id = [claimant.tenant.clone(), claimant.dataset.clone()];
    (claimant.listeners.iter().map(blind).collect(), sources, id)
}
