//! 7: whatever dies, and whenever, the same objects are there in the end.

use std::{collections::BTreeSet, time::Duration, time::Instant};

use bytefreezer_crds::ProxyDataset;
use bytefreezer_operator::failpoint;
use e2e::k8s::{Namespace, Operator, Outside, namespace::LIMIT};
use k8s_openapi::api::{coordination::v1::Lease, core::v1::Pod};
use kube::{Api, api::DeleteParams};
use serde_json::{Value, json};

use crate::common::{dataset, lives, proxy, ready, ready_pods};

/// Everything that was made for the Proxy: kind and name, without what belongs to the pods.
fn owned(namespace: &Namespace) -> BTreeSet<String> {
    let kinds = "configmaps,secrets,services,serviceaccounts,statefulsets,networkpolicies,poddisruptionbudgets,persistentvolumeclaims";
    let selector = format!("{}=edge", bytefreezer_crds::labels::PROXY);
    let names = namespace.kubectl(&["get", kinds, "--selector", &selector, "--output", "name"]).unwrap();
    names.lines().map(str::to_owned).collect()
}

#[test]
fn t07_an_operator_killed_at_every_step_converges_without_orphans() {
    let namespace = Namespace::new("deaths").unwrap();
    let receiver = namespace.receiver().unwrap();
    let first = Outside::start(Some(namespace.name()), &[]).unwrap();
    // With a token, so that there is a Secret to apply.
    namespace
        .apply(&json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "receiver"}, "stringData": {"token": "of-all"}}))
        .unwrap();
    let token = json!({"tokenSecretRef": {"name": "receiver", "key": "token"}});
    namespace.apply(&proxy(&receiver, &json!({"receiver": token, "workload": {"replicas": 2}}))).unwrap();
    let source = |port: u16| json!({"udp": {"port": port}});
    namespace.apply(&dataset("changing", &source(5000), &json!({}))).unwrap();
    ready(&namespace, "changing");
    let expected = owned(&namespace);
    let pods = lives(&ready_pods(&namespace, "edge", 2));
    drop(first);

    let mut port = 5000;
    for name in failpoint::NAMES {
        // Nothing of this Proxy passes there.
        if ["applied.DaemonSet", "removed.orphan"].contains(name) {
            continue;
        }
        port += 1;
        let mut dying = Outside::start(Some(namespace.name()), &[("BYTEFREEZER_FAILPOINT", name)]).unwrap();
        namespace.apply(&dataset("changing", &source(port), &json!({}))).unwrap();
        let ended =
            dying.wait(LIMIT).unwrap_or_else(|error| panic!("{name}: nothing passed there: {error:#}"));
        assert!(!ended.success(), "{name}");
        let mut next = Outside::start(Some(namespace.name()), &[]).unwrap();
        ready(&namespace, "changing");
        assert_eq!(owned(&namespace), expected, "{name}");
        next.terminate().unwrap();
    }
    assert_eq!(lives(&ready_pods(&namespace, "edge", 2)), pods);
}

#[test]
fn t07_api_server_and_etcd_restarts_are_survived() {
    let namespace = Namespace::new("restarts").unwrap();
    let receiver = namespace.receiver().unwrap();
    let _operator = Operator::install(&namespace, &json!({})).unwrap();
    namespace.apply(&proxy(&receiver, &json!({}))).unwrap();
    namespace.apply(&dataset("changing", &json!({"udp": {"port": 5000}}), &json!({}))).unwrap();
    ready(&namespace, "changing");
    let (expected, pods) = (owned(&namespace), lives(&ready_pods(&namespace, "edge", 1)));
    for (port, daemon) in (5001..).zip(["kube-apiserver", "etcd"]) {
        namespace.cluster().restart(daemon).unwrap();
        let change = dataset("changing", &json!({"udp": {"port": port}}), &json!({}));
        namespace
            .until(LIMIT, "the API server to take a change", || Ok(namespace.apply(&change).ok()))
            .unwrap();
        ready(&namespace, "changing");
        assert_eq!(owned(&namespace), expected, "{daemon}");
    }
    assert_eq!(lives(&ready_pods(&namespace, "edge", 1)), pods);
}

#[test]
fn t07_of_two_replicas_one_writes_and_the_other_takes_over_within_20_s() {
    let namespace = Namespace::new("leader").unwrap();
    let receiver = namespace.receiver().unwrap();
    let operator = Operator::install(&namespace, &json!({"operator": {"replicas": 2}})).unwrap();
    namespace.apply(&proxy(&receiver, &json!({}))).unwrap();
    namespace.apply(&dataset("changing", &json!({"udp": {"port": 5000}}), &json!({}))).unwrap();
    ready(&namespace, "changing");
    let holder = || {
        let lease = namespace.get::<Lease>("bytefreezer-operator").ok().flatten()?;
        lease.spec?.holder_identity.filter(|holder| !holder.is_empty())
    };
    let leader = holder().unwrap();
    assert!(leader.starts_with(&operator.deployment()), "{leader}");
    let writers = writers(&namespace);
    assert_eq!(writers, BTreeSet::from([leader.clone()]));

    // As sudden as a node that burns: nobody gives the lease back.
    let started = Instant::now();
    let now = DeleteParams::default().grace_period(0);
    let pods: Api<Pod> = namespace.api();
    namespace.cluster().wait(pods.delete(&leader, &now)).unwrap();
    namespace.apply(&dataset("changing", &json!({"udp": {"port": 5001}}), &json!({}))).unwrap();
    namespace.condition::<ProxyDataset>("changing", "Ready", "True", Duration::from_secs(30)).unwrap();
    let took = started.elapsed();
    println!("the leader killed, a change acknowledged by the next one after {took:?}");
    assert!(took < Duration::from_secs(20), "{took:?}");
    assert_ne!(holder().unwrap(), leader);
}

/// Pods of the operator that have written something.
fn writers(namespace: &Namespace) -> BTreeSet<String> {
    let pods = namespace.list::<Pod>().unwrap();
    let of_operator = pods.into_iter().filter(|pod| {
        pod.metadata.labels.as_ref().is_some_and(|labels| {
            labels.get("app.kubernetes.io/name").map(String::as_str) == Some("bytefreezer-operator")
        })
    });
    let wrote = of_operator.filter(|pod| {
        let status = serde_json::to_value(&pod.status).unwrap_or(Value::Null);
        let ip: std::net::IpAddr = status["podIP"].as_str().unwrap().parse().unwrap();
        let metrics = e2e::k8s::outside::metrics((ip, 8081).into()).unwrap();
        e2e::k8s::outside::sum(&metrics, "bytefreezer_operator_writes_total") > 0.0
    });
    wrote.filter_map(|pod| pod.metadata.name).collect()
}
