//! 1: from nothing to delivered events by one `helm install`, an upgrade that changes the definitions, and what an uninstall leaves.

use std::{process::Command, time::Duration};

use bytefreezer_crds::ProxyDataset;
use e2e::{
    k8s::{Namespace, Operator, cluster::kubectl, namespace::LIMIT},
    peers,
};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Service};
use serde_json::{Value, json};

use crate::common::{proxy_spec, reachable, ready, ready_pods, service_ports};

const DEFINITIONS: [&str; 2] = ["proxies.bytefreezer.com", "proxydatasets.bytefreezer.com"];

fn definition(name: &str) -> Value {
    serde_json::from_str(&kubectl(&["get", "crd", name, "--output", "json"]).unwrap()).unwrap()
}

/// One message with the system's `logger`, from one of the clients' addresses.
fn logger(target: std::net::SocketAddr, arguments: &[&str], message: &str) {
    let sent = Command::new(peers::program("logger").unwrap())
        .args(["--server", &target.ip().to_string(), "--port", &target.port().to_string()])
        .args(arguments)
        .arg(message)
        .status()
        .unwrap();
    assert!(sent.success());
}

#[test]
fn t01_one_helm_install_brings_everything_and_an_uninstall_keeps_definitions_and_data() {
    let inhabited = kubectl(&["get", "proxies", "--all-namespaces", "--output", "name"]).unwrap_or_default();
    assert_eq!(inhabited, "", "this test removes the definitions, but there are Proxies in the cluster");
    kubectl(&[&["delete", "crd", "--ignore-not-found"][..], &DEFINITIONS].concat()).unwrap();

    let labels = json!({"pod-security.kubernetes.io/enforce": "restricted"});
    let namespace = Namespace::labelled("install", &labels).unwrap();
    let receiver = namespace.receiver().unwrap();
    let values = json!({
        "proxy": {"spec": proxy_spec(&receiver, &json!({}))},
        "datasets": {"fw-logs": {"tenantId": "acme", "source": {"syslog": {"port": 514, "protocols": ["UDP", "TCP"]}}}},
    });
    let mut operator = Operator::install(&namespace, &values).unwrap();
    ready(&namespace, "fw-logs");
    ready_pods(&namespace, "default", 1);
    let service = namespace.get::<Service>("default").unwrap().unwrap();
    assert_eq!(service_ports(&service), ["514/TCP", "514/UDP"]);
    let bound =
        |claim: &PersistentVolumeClaim| claim.status.as_ref()?.phase.clone().filter(|phase| phase == "Bound");
    namespace.wait("spool-default-0", LIMIT, "a bound claim", bound).unwrap();

    let target = reachable(&namespace, "default", 514);
    let own = namespace.cluster().address().to_string();
    logger(target, &["--udp"], "over udp");
    logger(target, &["--tcp", "--octet-count"], "over tcp");
    let lines = receiver.wait_text("acme", "fw-logs", 2, LIMIT).unwrap();
    for (line, message) in lines.iter().zip(["over udp", "over tcp"]) {
        let event: Value = serde_json::from_str(line).unwrap();
        assert_eq!(event["source_ip"], own.as_str(), "{line}");
        assert!(lines.iter().any(|line| line.contains(message)), "{lines:?}");
    }
    let table = namespace.kubectl(&["get", "pds"]).unwrap();
    let row: Vec<&str> = table.lines().nth(1).unwrap().split_whitespace().collect();
    assert_eq!(row[..5], ["fw-logs", "default", "acme", &format!("{target}/UDP"), "True"], "{table}");
    assert_eq!(row[5], "True", "{table}");
    println!("{}", operator.test().unwrap());

    // An older definition is brought up to the chart's by an upgrade.
    let current = definition(DEFINITIONS[1])["spec"]["versions"].clone();
    let older = json!([{"op": "remove", "path": "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/paused"}]);
    kubectl(&["patch", "crd", DEFINITIONS[1], "--type", "json", "--patch", &older.to_string()]).unwrap();
    assert_ne!(definition(DEFINITIONS[1])["spec"]["versions"], current);
    operator.upgrade(&values).unwrap();
    assert_eq!(definition(DEFINITIONS[1])["spec"]["versions"], current);
    ready(&namespace, "fw-logs");

    operator.uninstall().unwrap();
    for name in DEFINITIONS {
        assert_eq!(definition(name)["metadata"]["name"], name);
    }
    namespace
        .until(LIMIT, "the end of the datasets", || {
            Ok(namespace.list::<ProxyDataset>()?.is_empty().then_some(()))
        })
        .unwrap();
    namespace
        .until(Duration::from_mins(1), "the end of the pods", || {
            Ok(crate::common::pods(&namespace, "default").is_empty().then_some(()))
        })
        .unwrap();
    namespace.wait("spool-default-0", LIMIT, "the claim that stays", bound).unwrap();
}
