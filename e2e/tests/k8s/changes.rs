//! 2: fifty changes beside a stream that none of them may disturb.

use std::{
    fs,
    time::{Duration, Instant},
};

use bytefreezer_crds::{Proxy, ProxyDataset};
use e2e::k8s::{Namespace, Operator, Stream, conditions::Conditions as _};
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use serde_json::{Value, json};

use crate::common::{account, dataset, lives, process, proxy, proxy_ready, reachable, ready, ready_pods};

/// How long a change may take from `apply` until every pod has acknowledged it.
const MOST: Duration = Duration::from_secs(3);

/// Kernel's number of the UDP socket that is bound to a port in the pod.
fn socket(pod: &Pod, port: u16) -> String {
    let process = process(pod).expect("a process of the pod on this machine");
    let bound = format!(":{port:04X}");
    let tables =
        ["net/udp", "net/udp6"].map(|table| fs::read_to_string(process.join(table)).unwrap_or_default());
    let mut rows = tables.iter().flat_map(|table| table.lines().skip(1));
    let row = rows.find(|row| row.split_whitespace().nth(1).is_some_and(|local| local.ends_with(&bound)));
    row.expect("a bound socket").split_whitespace().nth(9).unwrap().to_owned()
}

/// Applies a dataset, and how long it takes until every pod listens for it.
fn change(namespace: &Namespace, object: &Value) -> Duration {
    let name = object["metadata"]["name"].as_str().unwrap();
    let started = Instant::now();
    let applied = namespace.apply(object).unwrap();
    let programmed = namespace.until(Duration::from_secs(30), &format!("{name} to be programmed"), || {
        let found = namespace.get::<ProxyDataset>(name)?;
        let same = found.filter(|found| found.metadata.generation == applied.metadata.generation);
        Ok(same.filter(|found| found.condition("Programmed").is_some_and(|c| c.status == "True")))
    });
    programmed.unwrap();
    started.elapsed()
}

/// Deletes a dataset, and how long it takes until no pod listens for it.
fn remove(namespace: &Namespace, name: &str, left: i32) -> Duration {
    let started = Instant::now();
    namespace.delete::<ProxyDataset>(name).unwrap();
    let programmed =
        namespace.wait::<Proxy, _>("edge", Duration::from_secs(30), "its end in the Proxy", |proxy| {
            (proxy.status.as_ref()?.datasets.programmed == left).then_some(())
        });
    programmed.unwrap();
    started.elapsed()
}

#[test]
fn t02_fifty_changes_lose_nothing_of_an_untouched_stream() {
    let namespace = Namespace::new("changes").unwrap();
    let other = Namespace::new("changes-other").unwrap();
    let receiver = namespace.receiver().unwrap();
    let _operator = Operator::install(&namespace, &json!({})).unwrap();
    namespace
        .apply(&proxy(&receiver, &json!({"allowedDatasets": [{"namespaces": {"from": "All"}}]})))
        .unwrap();
    let steady = json!({"syslog": {"port": 5514, "protocols": ["UDP", "TCP"]}});
    namespace.apply(&dataset("steady", &steady, &json!({}))).unwrap();
    ready(&namespace, "steady");
    let before = ready_pods(&namespace, "edge", 1);
    let (life, inode) = (lives(&before), socket(&before[0], 5514));
    let stream = Stream::udp(reachable(&namespace, "edge", 5514), 1);

    let mut took = Vec::new();
    let names: Vec<String> = (0..12).map(|n| format!("change-{n}")).collect();
    for (n, name) in (0..).zip(&names) {
        let port = if n == 0 { 514 } else { 6000 + n };
        took.push(change(&namespace, &dataset(name, &json!({"syslog": {"port": port}}), &json!({}))));
        took.push(change(
            &namespace,
            &dataset(name, &json!({"syslog": {"port": port, "mode": "Rfc5424"}}), &json!({})),
        ));
        took.push(change(
            &namespace,
            &dataset(name, &json!({"syslog": {"port": port}}), &json!({"paused": true})),
        ));
    }
    for (left, name) in (1..12).rev().zip(&names) {
        took.push(remove(&namespace, name, left + 1));
    }

    // TLS with a certificate of another namespace.
    let key = rcgen::generate_simple_self_signed(vec!["edge".to_owned()]).unwrap();
    other
        .apply(&json!({
            "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls",
            "metadata": {"name": "tls", "labels": {"bytefreezer.com/proxy-asset": "true"}},
            "stringData": {"tls.crt": key.cert.pem(), "tls.key": key.signing_key.serialize_pem()},
        }))
        .unwrap();
    let tls = json!({"syslog": {"port": 6514, "protocols": ["TCP"], "tls": {"secretRef": {"name": "tls"}}}});
    let attached = json!({"proxyRef": {"name": "edge", "namespace": namespace.name()}});
    took.push(change(&other, &dataset("secure", &tls, &attached)));

    // More than a ConfigMap holds as text.
    let sources: Vec<String> = (0..256).map(|n| format!("10.{n}.{n}.0/24")).collect();
    for n in 0..200_u16 {
        let source = json!({"udp": {"port": 7000 + n}});
        namespace
            .apply(&dataset(&format!("large-{n}"), &source, &json!({"allowedSources": sources})))
            .unwrap();
    }
    namespace
        .until(Duration::from_mins(1), "200 large datasets", || {
            Ok(namespace.not_ready()?.is_empty().then_some(()))
        })
        .unwrap();
    let document = namespace.get::<ConfigMap>("edge-config").unwrap().unwrap();
    assert!(document.binary_data.is_some_and(|data| data.contains_key("config.yaml.gz")));
    for port in [6999, 6998] {
        took.push(change(&namespace, &dataset("last", &json!({"udp": {"port": port}}), &json!({}))));
    }

    let sent = stream.stop().unwrap();
    took.sort_unstable();
    let (p50, p99) = (took[took.len() / 2], took[took.len() - 1 - took.len() / 100]);
    println!(
        "{} changes: from apply to acknowledged p50 {p50:?}, p99 {p99:?}; {} events beside",
        took.len(),
        sent.attempted
    );
    assert!(took.len() >= 50);
    let account = account(&receiver, &sent, Duration::from_secs(30));
    assert_eq!(account.lost, 0, "{account:?}");
    let after = ready_pods(&namespace, "edge", 1);
    assert_eq!((lives(&after), socket(&after[0], 5514)), (life, inode));
    assert!(p99 <= MOST, "a change took {p99:?}");
    proxy_ready(&namespace, "edge");
}
