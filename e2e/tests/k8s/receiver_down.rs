//! 5: what is spooled outlives pods and nodes, and a rolling update is not noticed.

use std::{
    io::Write as _,
    net::{IpAddr, TcpStream},
    time::Duration,
};

use bytefreezer_crds::{Proxy, labels};
use e2e::k8s::{
    Namespace, Operator, Stream, cluster::kubectl, conditions::Conditions as _, namespace::LIMIT,
};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::ResourceExt as _;
use serde_json::json;

use crate::common::{account, dataset, pods, proxy, reachable, ready, ready_pods};

#[test]
fn t05_a_spool_outlives_its_pod_and_a_drained_node() {
    let namespace = Namespace::new("spool").unwrap();
    let receiver = namespace.receiver().unwrap();
    let _operator = Operator::install(&namespace, &json!({})).unwrap();
    namespace.apply(&proxy(&receiver, &json!({}))).unwrap();
    namespace.apply(&dataset("lines", &json!({"tcp": {"port": 6514}}), &json!({}))).unwrap();
    ready(&namespace, "lines");
    let target = reachable(&namespace, "edge", 6514);

    receiver.down();
    let first = Stream::tcp(target, 1);
    namespace
        .until(Duration::from_secs(30), "3000 events", || Ok((first.sent() >= 3000).then_some(())))
        .unwrap();
    let first = first.stop().unwrap();
    let before = ready_pods(&namespace, "edge", 1);
    namespace.delete::<Pod>(&before[0].name_any()).unwrap();
    replaced(&namespace, &before[0]);

    let second = Stream::tcp(reachable(&namespace, "edge", 6514), 2);
    namespace
        .until(Duration::from_secs(30), "2000 events", || Ok((second.sent() >= 2000).then_some(())))
        .unwrap();
    let second = second.stop().unwrap();
    let before = ready_pods(&namespace, "edge", 1);
    let node = before[0].spec.as_ref().unwrap().node_name.clone().unwrap();
    let drained = kubectl(&[
        "drain",
        &node,
        "--ignore-daemonsets",
        "--delete-emptydir-data",
        "--pod-selector",
        labels::PROXY,
        "--timeout",
        "90s",
    ]);
    // Before anything else: whatever happened, the node must take pods again.
    kubectl(&["uncordon", &node]).unwrap();
    drained.unwrap();
    replaced(&namespace, &before[0]);

    receiver.up().unwrap();
    for sent in [&first, &second] {
        let account = account(&receiver, sent, Duration::from_mins(1));
        assert_eq!(account.lost, 0, "{account:?}");
    }
}

/// Waits until a pod is another one, and ready.
fn replaced(namespace: &Namespace, before: &Pod) {
    namespace
        .until(Duration::from_mins(2), "another pod", || {
            Ok(pods(namespace, "edge").iter().any(|pod| pod.uid() != before.uid()).then_some(()))
        })
        .unwrap();
    ready_pods(namespace, "edge", 1);
}

#[test]
fn t05_a_rolling_update_of_two_replicas_loses_nothing_of_a_udp_stream() {
    let namespace = Namespace::new("update").unwrap();
    let receiver = namespace.receiver().unwrap();
    let _operator = Operator::install(&namespace, &json!({})).unwrap();
    // Both on the node to which the load balancer's address leads.
    let node = json!({"kubernetes.io/hostname": namespace.cluster().nodes().unwrap()[0]});
    let mut workload = json!({"replicas": 2, "shutdownDelay": "5s", "nodeSelector": node});
    namespace.apply(&proxy(&receiver, &json!({"workload": workload}))).unwrap();
    let source = json!({"syslog": {"port": 5514, "protocols": ["UDP", "TCP"]}});
    namespace.apply(&dataset("datagrams", &source, &json!({}))).unwrap();
    ready(&namespace, "datagrams");
    let before = ready_pods(&namespace, "edge", 2);

    let stream = Stream::udp(reachable(&namespace, "edge", 5514), 1);
    workload["podTemplate"] = json!({"metadata": {"annotations": {"example.com/round": "2"}}});
    namespace.apply(&proxy(&receiver, &json!({"workload": workload}))).unwrap();
    namespace
        .until(Duration::from_mins(3), "two other pods", || {
            let old = |pod: &Pod| before.iter().any(|before| before.uid() == pod.uid());
            Ok((!pods(&namespace, "edge").iter().any(old)).then_some(()))
        })
        .unwrap();
    ready_pods(&namespace, "edge", 2);
    let sent = stream.stop().unwrap();
    let account = account(&receiver, &sent, Duration::from_mins(1));
    println!("rolling update of two replicas: {} of {} datagrams lost", account.lost, account.sent);
    assert_eq!(account.lost, 0, "{account:?}");
}

#[test]
fn t05_what_a_pod_that_is_no_longer_wanted_left_is_named_until_it_is_delivered() {
    let namespace = Namespace::new("stranded").unwrap();
    let receiver = namespace.receiver().unwrap();
    let _operator = Operator::install(&namespace, &json!({})).unwrap();
    let scale = |replicas: usize| {
        namespace.apply(&proxy(&receiver, &json!({"workload": {"replicas": replicas}}))).unwrap();
        ready_pods(&namespace, "edge", replicas)
    };
    namespace.apply(&dataset("lines", &json!({"tcp": {"port": 6514}}), &json!({}))).unwrap();
    let pods = scale(2);
    ready(&namespace, "lines");
    receiver.down();
    let second = pods.iter().find(|pod| pod.name_any() == "edge-1").unwrap();
    let ip: IpAddr = second.status.as_ref().unwrap().pod_ip.as_ref().unwrap().parse().unwrap();
    TcpStream::connect((ip, 6514)).unwrap().write_all(b"a line of the second pod\n").unwrap();

    scale(1);
    let stranded = namespace.condition::<Proxy>("edge", "SpoolStranded", "True", LIMIT).unwrap();
    assert!(stranded.message.contains("spool-edge-1 ("), "{}", stranded.message);

    receiver.up().unwrap();
    scale(2);
    receiver.wait_text("acme", "lines", 1, LIMIT).unwrap();
    scale(1);
    let says_nothing_is_left = |claim: &PersistentVolumeClaim| {
        (claim.annotations().get(labels::UNDELIVERED).map(String::as_str) == Some("0")).then_some(())
    };
    namespace.wait("spool-edge-1", LIMIT, "an empty spool", says_nothing_is_left).unwrap();
    let ended = |proxy: &Proxy| {
        (proxy.condition("Ready").is_some() && proxy.condition("SpoolStranded").is_none()).then_some(())
    };
    namespace.wait("edge", LIMIT, "the end of SpoolStranded", ended).unwrap();
}
