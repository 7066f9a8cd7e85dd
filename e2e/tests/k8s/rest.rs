//! 8: at rest nothing is written; what somebody else changes is restored; what must not be lost stays.

use std::{collections::BTreeMap, net::SocketAddr, thread, time::Duration};

use bytefreezer_crds::{Proxy, ProxyDataset};
use e2e::k8s::{Namespace, Operator, namespace::LIMIT, outside};
use k8s_openapi::api::{
    apps::v1::StatefulSet,
    core::v1::{ConfigMap, PersistentVolumeClaim, Pod, Secret, Service},
};
use kube::ResourceExt as _;
use serde_json::{Value, json};

use crate::common::{address, dataset, proxy, proxy_spec, ready, ready_pods};

const KINDS: &str = "proxies,proxydatasets,configmaps,secrets,services,serviceaccounts,statefulsets,networkpolicies,poddisruptionbudgets,persistentvolumeclaims,pods";

/// Version of every object by kind and name.
fn versions(namespace: &Namespace) -> BTreeMap<String, String> {
    let template =
        "jsonpath={range .items[*]}{.kind}/{.metadata.name} {.metadata.resourceVersion}{\"\\n\"}{end}";
    let listed = namespace.kubectl(&["get", KINDS, "--output", template]).unwrap();
    let pairs = listed.lines().filter_map(|line| line.split_once(' '));
    pairs.map(|(name, version)| (name.to_owned(), version.to_owned())).collect()
}

/// What the operator's pod has written so far, by kind and verb.
fn writes(namespace: &Namespace) -> BTreeMap<String, f64> {
    let pods = namespace.list::<Pod>().unwrap();
    let pod = pods.iter().find(|pod| {
        pod.labels().get("app.kubernetes.io/name").is_some_and(|name| name == "bytefreezer-operator")
    });
    let ip: std::net::IpAddr =
        pod.unwrap().status.as_ref().unwrap().pod_ip.as_ref().unwrap().parse().unwrap();
    let mut metrics = outside::metrics(SocketAddr::new(ip, 8081)).unwrap();
    metrics.retain(|series, _| series.starts_with("bytefreezer_operator_writes_total{"));
    metrics
}

/// Waits until nothing is written for a while.
fn rest(namespace: &Namespace) {
    namespace
        .until(LIMIT, "rest", || {
            let before = (versions(namespace), writes(namespace));
            thread::sleep(Duration::from_secs(3));
            Ok((before == (versions(namespace), writes(namespace))).then_some(()))
        })
        .unwrap();
}

#[test]
fn t08_at_rest_nothing_is_written_and_nothing_differs() {
    let namespace = Namespace::new("rest").unwrap();
    let receiver = namespace.receiver().unwrap();
    let values = json!({
        "proxy": {"name": "edge", "spec": proxy_spec(&receiver, &json!({}))},
        "datasets": {"fw-logs": {"tenantId": "acme", "source": {"syslog": {"port": 514, "protocols": ["UDP", "TCP"]}}}},
    });
    let operator = Operator::install(&namespace, &values).unwrap();
    ready(&namespace, "fw-logs");
    let applied = dataset("applied", &json!({"udp": {"port": 5514}}), &json!({})).to_string();
    namespace.apply_file(&applied).unwrap();
    ready(&namespace, "applied");
    rest(&namespace);

    let before = (versions(&namespace), writes(&namespace));
    thread::sleep(Duration::from_mins(1));
    assert_eq!((versions(&namespace), writes(&namespace)), before);

    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), &applied).unwrap();
    let path = file.path().display().to_string();
    assert_eq!(namespace.kubectl(&["diff", "--server-side", "--filename", &path]).unwrap(), "");
    namespace.apply_file(&applied).unwrap();
    operator.upgrade(&values).unwrap();
    rest(&namespace);
    let after = versions(&namespace);
    for (name, version) in before.0.iter().filter(|(name, _)| !name.starts_with("Secret/sh.helm")) {
        assert_eq!(after.get(name), Some(version), "{name}");
    }
}

#[test]
fn t08_what_is_edited_or_deleted_is_restored_and_addresses_and_claims_stay() {
    let namespace = Namespace::new("restored").unwrap();
    let receiver = namespace.receiver().unwrap();
    let operator = Operator::install(&namespace, &json!({})).unwrap();
    namespace.apply(&proxy(&receiver, &json!({}))).unwrap();
    namespace.apply(&dataset("only", &json!({"udp": {"port": 5514}}), &json!({}))).unwrap();
    ready(&namespace, "only");
    let uid = |found: Option<String>| found.expect("a UID");
    let kept = || {
        (
            uid(namespace.get::<Secret>("edge-api").unwrap().unwrap().uid()),
            uid(namespace.get::<PersistentVolumeClaim>("spool-edge-0").unwrap().unwrap().uid()),
            address(&namespace, "edge", 5514),
        )
    };
    let before = kept();
    let document = namespace.get::<ConfigMap>("edge-config").unwrap().unwrap().data;

    let edit = json!({"data": {"config.yaml": "inputs: []\n"}}).to_string();
    namespace.kubectl(&["patch", "configmap", "edge-config", "--type", "merge", "--patch", &edit]).unwrap();
    namespace
        .wait::<ConfigMap, _>("edge-config", LIMIT, "the document again", |found| {
            (found.data == document).then_some(())
        })
        .unwrap();
    for kind in ["service/edge-pods", "statefulset/edge", "networkpolicy/edge", "serviceaccount/edge-pods"] {
        namespace.kubectl(&["delete", kind, "--wait=false"]).unwrap();
    }
    namespace
        .wait::<StatefulSet, _>("edge", LIMIT, "the workload again", |found| {
            found.metadata.deletion_timestamp.is_none().then_some(())
        })
        .unwrap();
    namespace.wait::<Service, _>("edge-pods", LIMIT, "the headless Service again", |_| Some(())).unwrap();
    ready_pods(&namespace, "edge", 1);
    ready(&namespace, "only");

    namespace.kubectl(&["rollout", "restart", &format!("deployment/{}", operator.deployment())]).unwrap();
    namespace.kubectl(&["rollout", "status", &format!("deployment/{}", operator.deployment())]).unwrap();
    namespace.delete::<ProxyDataset>("only").unwrap();
    namespace
        .wait::<ConfigMap, _>("edge-config", LIMIT, "a document without datasets", |found| {
            (found.data != document).then_some(())
        })
        .unwrap();
    assert_eq!(kept(), before);

    // Our cluster's volumes cannot grow, which is said; everything else goes on.
    if std::env::var_os("E2E_KUBECONFIG").is_none() {
        namespace.apply(&proxy(&receiver, &json!({"spool": {"size": "1Gi"}}))).unwrap();
        let refused = namespace.condition::<Proxy>("edge", "SpoolNotGrown", "True", LIMIT).unwrap();
        assert!(refused.message.contains("spool-edge-0"), "{}", refused.message);
        assert_eq!(kept(), before);
    }
}

#[test]
fn t08_one_pods_restart_under_200_datasets_writes_at_most_3_objects() {
    let namespace = Namespace::new("restart").unwrap();
    let receiver = namespace.receiver().unwrap();
    let _operator = Operator::install(&namespace, &json!({})).unwrap();
    namespace.apply(&proxy(&receiver, &json!({"workload": {"replicas": 2}}))).unwrap();
    for n in 0..200 {
        let source = json!({"udp": {"port": 5000 + n}});
        namespace.apply(&dataset(&format!("d{n}"), &source, &json!({}))).unwrap();
    }
    namespace
        .until(Duration::from_mins(2), "200 datasets", || Ok(namespace.not_ready()?.is_empty().then_some(())))
        .unwrap();
    let pods = ready_pods(&namespace, "edge", 2);
    rest(&namespace);
    let before = writes(&namespace);
    let datasets = || -> Vec<Value> {
        let listed = namespace.list::<ProxyDataset>().unwrap();
        listed.iter().map(|dataset| json!([dataset.name_any(), dataset.resource_version()])).collect()
    };
    let untouched = datasets();
    namespace.delete::<Pod>(&pods[0].name_any()).unwrap();
    namespace
        .until(LIMIT, "another pod", || {
            let now = crate::common::pods(&namespace, "edge");
            Ok(now.iter().all(|pod| pod.uid() != pods[0].uid()).then_some(()))
        })
        .unwrap();
    ready_pods(&namespace, "edge", 2);
    rest(&namespace);
    assert_eq!(datasets(), untouched);
    // A kind stands for one object here, the Proxy or the claim of the pod; each event is one.
    let mut objects = 0.0;
    for (series, count) in writes(&namespace) {
        let more = count - before.get(&series).copied().unwrap_or(0.0);
        if more > 0.0 {
            println!("a pod's restart under 200 datasets: {more} x {series}");
            objects += if series.contains("\"events\"") { more } else { 1.0 };
        }
    }
    assert!(objects <= 3.0, "{objects}");
}
