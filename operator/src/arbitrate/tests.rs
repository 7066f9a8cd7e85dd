//! Pairs of datasets, and what becomes of them.

// Literals read better without `&`.
#![allow(clippy::needless_pass_by_value)]

use std::collections::BTreeMap;

use bytefreezer_crds::{Proxy, ProxyDataset, conditions::Reason};
use serde_json::{Value as Json, json};

use super::*;
use crate::validate::{Defaults, ValidatedProxy};

/// A Proxy from the rest of its spec, made at `created`.
pub(crate) fn proxy(name: &str, created: i64, spec: Json) -> Pool {
    let mut object = json!({
        "apiVersion": "bytefreezer.com/v1alpha1", "kind": "Proxy",
        "metadata": {"name": name, "namespace": "net", "uid": name},
        "spec": {"receiver": {"url": "https://receiver.example"}},
    });
    object["spec"].as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    let object: Proxy = serde_json::from_value(object).unwrap();
    let defaults = Defaults { image: "proxy:1".to_owned(), namespace: None };
    ValidatedProxy::read(&object, &defaults).unwrap().pool(Some(created))
}

/// A dataset `namespace/name` of the tenant acme, made at `created`, with the rest of its spec.
pub(crate) fn dataset(key: &str, created: i64, spec: Json) -> Claimant {
    let (namespace, name) = key.split_once('/').unwrap();
    let mut object = json!({
        "apiVersion": "bytefreezer.com/v1alpha1", "kind": "ProxyDataset",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"tenantId": "acme"},
    });
    object["spec"].as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    let object: ProxyDataset = serde_json::from_value(object).unwrap();
    let labels = BTreeMap::from([("team".to_owned(), namespace.to_owned())]);
    Claimant { created: Some(created), ..Claimant::of(&object, labels).unwrap() }
}

fn open() -> Json {
    json!({"allowedDatasets": [{"namespaces": {"from": "All"}}]})
}

fn pool(spec: Json, claimants: Vec<Claimant>) -> Pool {
    Pool { claimants, ..proxy("edge", 0, spec) }
}

/// What became of `net/b`, with `net/a` admitted before it.
fn second(a: Json, b: Json) -> Verdict {
    let pools = [pool(open(), vec![dataset("net/b", 2, b), dataset("net/a", 1, a)])];
    let verdicts = arbitrate(&pools).datasets;
    assert_eq!(verdicts[&ObjectKey::new("net", "a")], Verdict::Admitted);
    verdicts[&ObjectKey::new("net", "b")].clone()
}

fn refusal(verdict: &Verdict) -> &Refusal {
    match verdict {
        Verdict::Refused(refusal) => refusal,
        Verdict::Admitted => panic!("was admitted"),
    }
}

#[test]
fn pairs_on_one_proxy() {
    let udp = |port: u16| json!({"source": {"udp": {"port": port}}});
    let sources = |source: Json, list: Json| json!({"source": source, "allowedSources": list});
    let (syslog, tcp) = (json!({"syslog": {"port": 514}}), json!({"tcp": {"port": 514}}));
    let http = |path: &str| json!({"source": {"http": {"port": 80, "path": path}}});
    let both = json!({"syslog": {"port": 514, "protocols": ["UDP", "TCP"]}});
    let table: Vec<(Json, Json, Option<&str>)> = vec![
        (udp(514), udp(515), None),
        (udp(514), json!({"source": tcp}), None),
        (udp(514), udp(514), Some("0.0.0.0/0 on UDP 514 belongs to net/a already")),
        (udp(514), json!({"source": syslog}), Some("UDP 514 is taken for udp by net/a")),
        (json!({"source": both}), json!({"source": tcp}), Some("TCP 514 is taken for syslog by net/a")),
        (
            sources(syslog.clone(), json!(["10.1.0.0/16"])),
            sources(syslog.clone(), json!(["10.2.0.0/16"])),
            None,
        ),
        (
            sources(syslog.clone(), json!(["10.0.0.0/8"])),
            sources(syslog.clone(), json!(["10.2.0.0/16"])),
            None,
        ),
        (json!({"source": syslog}), sources(syslog.clone(), json!(["10.2.0.0/16"])), None),
        (
            sources(syslog.clone(), json!(["10.1.0.0/16", "10.3.0.0/16"])),
            sources(syslog.clone(), json!(["10.3.0.0/16", "10.4.0.0/16"])),
            Some("10.3.0.0/16 on UDP 514"),
        ),
        (
            sources(syslog.clone(), json!(["10.0.0.0/8"])),
            sources(syslog.clone(), json!(["::ffff:10.0.0.0/104"])),
            Some("10.0.0.0/8 on UDP 514 belongs"),
        ),
        (http("/a"), http("/b"), None),
        (http("/a"), http("/a"), Some("on TCP 80 belongs to net/a already")),
        (
            json!({"source": {"tcp": {"port": 1514, "tls": {"secretRef": {"name": "one"}}}}, "allowedSources": ["10.1.0.0/16"]}),
            json!({"source": {"tcp": {"port": 1514, "tls": {"secretRef": {"name": "two"}}}}, "allowedSources": ["10.2.0.0/16"]}),
            Some("whose tls differs"),
        ),
        (
            json!({"source": tcp, "allowedSources": ["10.1.0.0/16"], "proxyProtocol": {"from": ["172.16.0.0/12"]}}),
            json!({"source": tcp, "allowedSources": ["10.2.0.0/16"]}),
            Some("whose proxyProtocol differs"),
        ),
        (
            json!({"source": {"tcp": {"port": 1, "delimiter": ";"}}, "allowedSources": ["10.1.0.0/16"]}),
            json!({"source": {"tcp": {"port": 1}}, "allowedSources": ["10.2.0.0/16"]}),
            Some("whose delimiter and oversize differs"),
        ),
        (
            json!({"source": {"udp": {"port": 1}}, "datasetId": "same"}),
            json!({"source": {"udp": {"port": 2}}, "datasetId": "same"}),
            Some("delivers to dataset same of tenant acme already"),
        ),
        (
            udp(514),
            json!({"source": {"tcp": {"port": 8008}}}),
            Some("TCP 8008 is the API port of Proxy net/edge"),
        ),
        (udp(514), udp(8008), None),
        (
            sources(syslog.clone(), json!(["10.0.0.0/8"])),
            json!({"source": syslog, "allowedSources": ["10.2.0.0/16"], "tenantId": "globex"}),
            Some("which is another tenant's or namespace's"),
        ),
        (
            sources(syslog.clone(), json!(["10.2.0.0/16"])),
            json!({"source": syslog, "allowedSources": ["10.0.0.0/8"], "tenantId": "globex"}),
            Some("overlaps 10.2.0.0/16 of net/a"),
        ),
    ];
    judged(&table);
}

#[test]
fn pairs_of_flows_on_one_proxy() {
    let sources = |source: Json, list: Json| json!({"source": source, "allowedSources": list});
    judged(&[
        (json!({"source": {"netflow": {}}}), json!({"source": {"ipfix": {}}}), None),
        (json!({"source": {"sflow": {}}}), json!({"source": {"ebpf": {}}}), None),
        (
            json!({"source": {"netflow": {}}}),
            json!({"source": {"ipfix": {"port": 2055}}}),
            Some("UDP 2055 is taken for netflow by net/a"),
        ),
        (
            json!({"source": {"netflow": {"port": 4739}}}),
            json!({"source": {"ipfix": {"protocols": ["TCP"]}}}),
            None,
        ),
        (
            sources(json!({"ipfix": {}}), json!(["10.1.0.0/16"])),
            sources(json!({"ipfix": {"protocols": ["UDP", "TCP"]}}), json!(["10.2.0.0/16"])),
            None,
        ),
        (
            json!({"source": {"ipfix": {"protocols": ["TCP"], "tls": {"secretRef": {"name": "one"}}}}, "allowedSources": ["10.1.0.0/16"]}),
            json!({"source": {"ipfix": {"protocols": ["TCP"]}}, "allowedSources": ["10.2.0.0/16"]}),
            Some("whose tls differs"),
        ),
    ]);
}

/// What is first, what comes second, and a part of the message when it is refused.
fn judged(table: &[(Json, Json, Option<&str>)]) {
    for (a, b, expected) in table {
        let verdict = second(a.clone(), b.clone());
        match expected {
            None => assert_eq!(verdict, Verdict::Admitted, "{a} and {b}"),
            Some(part) => {
                let refusal = refusal(&verdict);
                assert!(refusal.message.contains(part), "{a} and {b}: {}", refusal.message);
                let own = refusal.reason == Reason::PortNotPermitted;
                assert!(own || refusal.reason == Reason::Conflicted, "{refusal:?}");
                assert_eq!(refusal.winner, (!own).then(|| ObjectKey::new("net", "a")));
            }
        }
    }
}

#[test]
fn a_loser_holds_nothing_and_takes_over_when_the_winner_goes() {
    let wants = |name: &str, created, ports: [u16; 2]| {
        let mut one = dataset(name, created, json!({"source": {"udp": {"port": ports[0]}}}));
        one.listeners
            .extend(dataset(name, created, json!({"source": {"udp": {"port": ports[1]}}})).listeners);
        one
    };
    let all = vec![wants("net/a", 1, [1, 2]), wants("net/b", 2, [2, 3]), wants("net/c", 3, [3, 4])];
    let verdicts = arbitrate(&[pool(open(), all.clone())]).datasets;
    assert!(matches!(verdicts[&ObjectKey::new("net", "b")], Verdict::Refused(_)), "as a whole");
    assert_eq!(verdicts[&ObjectKey::new("net", "c")], Verdict::Admitted, "port 3 is free");
    let without = arbitrate(&[pool(open(), all[1..].to_vec())]).datasets;
    assert_eq!(without[&ObjectKey::new("net", "b")], Verdict::Admitted);
    assert_eq!(refusal(&without[&ObjectKey::new("net", "c")]).winner, Some(ObjectKey::new("net", "b")));
}

#[test]
fn rank_is_origin_then_age_then_name() {
    let udp = json!({"source": {"udp": {"port": 514}}});
    let winner = |claimants: Vec<Claimant>| {
        let verdicts = arbitrate(&[pool(open(), claimants)]).datasets;
        let mut admitted = verdicts.into_iter().filter(|(_, verdict)| *verdict == Verdict::Admitted);
        let (key, _) = admitted.next().unwrap();
        assert_eq!(admitted.next(), None, "exactly one");
        key.to_string()
    };
    let old = |key: &str| dataset(key, 1, udp.clone());
    let new = |key: &str| dataset(key, 2, udp.clone());
    let synced = |key: &str| Claimant { synced: true, ..old(key) };
    let unknown = |key: &str| Claimant { created: None, ..old(key) };
    assert_eq!(winner(vec![synced("net/a"), new("net/b")]), "net/b");
    assert_eq!(winner(vec![new("net/a"), old("net/b")]), "net/b");
    assert_eq!(winner(vec![unknown("net/a"), new("net/b")]), "net/b");
    assert_eq!(winner(vec![old("net/b"), old("net/a"), old("a/z")]), "a/z");
}

#[test]
fn reasons_of_admission() {
    let rules = json!({"allowedDatasets": [
        {"namespaces": {"from": "Same"}, "max": 1},
        {"namespaces": {"from": "Selector", "selector": {"matchLabels": {"team": "apps"}}},
         "tenantIds": ["acme"], "ports": ["514", "5000-5999"], "sources": ["10.1.0.0/16"]},
    ]});
    let judged = |key: &str, spec: Json| {
        let pools = [pool(rules.clone(), vec![dataset(key, 1, spec)])];
        arbitrate(&pools).datasets.into_values().next().unwrap()
    };
    let wants = |tenant: &str, port: u16, source: &str| json!({"tenantId": tenant, "source": {"udp": {"port": port}}, "allowedSources": [source]});
    assert_eq!(judged("apps/a", wants("acme", 514, "10.1.2.0/24")), Verdict::Admitted);
    assert_eq!(judged("apps/a", wants("acme", 5999, "10.1.2.3")), Verdict::Admitted);
    assert_eq!(
        judged("net/a", wants("globex", 99, "0.0.0.0/0")),
        Verdict::Admitted,
        "its own namespace may all"
    );
    for (key, spec, reason) in [
        ("other/a", wants("acme", 514, "10.1.0.0/16"), Reason::NamespaceNotPermitted),
        ("apps/a", wants("globex", 514, "10.1.0.0/16"), Reason::TenantNotPermitted),
        ("apps/a", wants("acme", 6000, "10.1.0.0/16"), Reason::PortNotPermitted),
        ("apps/a", wants("acme", 514, "10.2.0.0/16"), Reason::SourceNotPermitted),
        ("apps/a", wants("acme", 514, "10.0.0.0/8"), Reason::SourceNotPermitted),
        ("apps/a", json!({"source": {"udp": {"port": 514}}}), Reason::SourceNotPermitted),
    ] {
        let verdict = judged(key, spec);
        assert_eq!(refusal(&verdict).reason, reason, "{key}: {verdict:?}");
        assert!(refusal(&verdict).message.contains("allowedDatasets"), "{verdict:?}");
    }
}

#[test]
fn a_rule_takes_so_many_and_losers_do_not_count() {
    let rules = json!({"allowedDatasets": [{"max": 2}]});
    let wants =
        |name: &str, created, port: u16| dataset(name, created, json!({"source": {"udp": {"port": port}}}));
    let all = vec![wants("net/a", 1, 1), wants("net/b", 2, 1), wants("net/c", 3, 3), wants("net/d", 4, 4)];
    let verdicts = arbitrate(&[pool(rules, all)]).datasets;
    let reason = |name: &str| match &verdicts[&ObjectKey::new("net", name)] {
        Verdict::Admitted => None,
        Verdict::Refused(refusal) => Some(refusal.reason),
    };
    let expected = [None, Some(Reason::Conflicted), None, Some(Reason::TooManyDatasets)];
    assert_eq!(["a", "b", "c", "d"].map(reason), expected);
}

#[test]
fn a_proxy_without_rules_takes_its_own_namespace_and_an_empty_list_nobody() {
    let one = |key: &str| vec![dataset(key, 1, json!({"source": {"udp": {"port": 514}}}))];
    let verdict =
        |spec: Json, key: &str| arbitrate(&[pool(spec, one(key))]).datasets.into_values().next().unwrap();
    assert_eq!(verdict(json!({}), "net/a"), Verdict::Admitted);
    assert_eq!(refusal(&verdict(json!({}), "apps/a")).reason, Reason::NamespaceNotPermitted);
    assert_eq!(
        refusal(&verdict(json!({"allowedDatasets": []}), "net/a")).reason,
        Reason::NamespaceNotPermitted
    );
}

#[test]
fn a_range_of_another_namespace_needs_a_grant() {
    let wants = |key: &str, created, source: &str| {
        dataset(key, created, json!({"source": {"syslog": {"port": 514}}, "allowedSources": [source]}))
    };
    let outcome = |rules: Json, all: Vec<Claimant>| {
        let verdicts = arbitrate(&[pool(rules, all)]).datasets;
        verdicts.values().filter(|verdict| **verdict == Verdict::Admitted).count()
    };
    let granted = json!({"allowedDatasets": [
        {"namespaces": {"from": "Same"}}, {"namespaces": {"from": "All"}, "sources": ["10.2.0.0/16"]},
    ]});
    let wide_first = vec![wants("net/a", 1, "10.0.0.0/8"), wants("apps/b", 2, "10.2.0.0/16")];
    let narrow_first = vec![wants("apps/b", 1, "10.2.0.0/16"), wants("net/a", 2, "10.0.0.0/8")];
    assert_eq!(outcome(open(), wide_first.clone()), 1);
    assert_eq!(outcome(granted.clone(), wide_first), 2);
    assert_eq!(outcome(open(), narrow_first.clone()), 1);
    assert_eq!(outcome(granted, narrow_first), 2);
}

#[test]
fn ports_of_nodes() {
    let host = |more: Json| {
        let mut spec = json!({"exposure": {"type": "HostNetwork", "hostNetwork": more}});
        spec["allowedDatasets"] = json!([{"namespaces": {"from": "All"}}]);
        spec
    };
    let on = |node: &str, more: Json| {
        let mut spec = host(more);
        spec["workload"] = json!({"kind": "DaemonSet", "nodeSelector": {"zone": node}});
        spec
    };
    let udp =
        |key: &str, created, port: u16| dataset(key, created, json!({"source": {"udp": {"port": port}}}));
    let own = json!({"apiPort": 9008, "healthPort": 9009});
    let two = |a: Json, b: Json, claims: [Vec<Claimant>; 2]| {
        let [first, second] = claims;
        arbitrate(&[
            Pool { claimants: first, ..proxy("one", 1, a) },
            Pool { claimants: second, ..proxy("two", 2, b) },
        ])
    };
    let (one, other) = (ObjectKey::new("net", "one"), ObjectKey::new("net", "two"));

    let fight = two(host(json!({})), host(json!({})), [vec![], vec![]]);
    assert_eq!(fight.proxies[&one], Verdict::Admitted);
    assert_eq!(refusal(&fight.proxies[&other]).reason, Reason::HostPortConflict);
    assert_eq!(refusal(&fight.proxies[&other]).winner, Some(one.clone()));
    let apart = two(
        on("a", json!({})),
        on("b", json!({})),
        [vec![udp("net/a", 1, 5000)], vec![udp("net/b", 2, 5000)]],
    );
    assert!(
        apart.proxies.values().chain(apart.datasets.values()).all(|verdict| *verdict == Verdict::Admitted)
    );
    let pods = two(open(), open(), [vec![udp("net/a", 1, 514)], vec![udp("net/b", 2, 514)]]);
    assert!(
        pods.datasets.values().all(|verdict| *verdict == Verdict::Admitted),
        "pods have ports of their own"
    );

    let claims = [vec![udp("net/a", 2, 5000)], vec![udp("net/b", 1, 5000)]];
    let shared = two(host(json!({})), host(own.clone()), claims);
    assert_eq!(shared.datasets[&ObjectKey::new("net", "b")], Verdict::Admitted, "the older dataset");
    let lost = refusal(&shared.datasets[&ObjectKey::new("net", "a")]);
    assert_eq!((lost.reason, &lost.winner), (Reason::HostPortConflict, &Some(ObjectKey::new("net", "b"))));

    let tcp = dataset("net/c", 1, json!({"source": {"tcp": {"port": 8008}}}));
    let api = two(host(json!({})), host(own), [vec![], vec![tcp]]);
    assert_eq!(refusal(&api.datasets[&ObjectKey::new("net", "c")]).winner, Some(one));

    let low = |privileged: bool| {
        let pools = [Pool {
            claimants: vec![udp("net/a", 1, 514)],
            ..proxy("one", 1, host(json!({"privilegedPorts": privileged})))
        }];
        arbitrate(&pools).datasets.into_values().next().unwrap()
    };
    assert_eq!(refusal(&low(false)).reason, Reason::PrivilegedPortNotAllowed);
    assert_eq!(low(true), Verdict::Admitted);
}
