//! 4: pods on the nodes' own ports, with and without leave to bind those below 1024; ports that somebody else has.

use std::{
    fs,
    io::Read as _,
    net::{IpAddr, SocketAddr, UdpSocket},
    process::Child,
    time::Duration,
};

use bytefreezer_crds::{Proxy, ProxyDataset};
use e2e::k8s::{Cluster, Namespace, Operator, conditions::Conditions as _, namespace::LIMIT};
use k8s_openapi::api::{
    apps::v1::DaemonSet,
    core::v1::{Node, Pod},
};
use kube::{Api, ResourceExt as _, api::ListParams};
use serde_json::{Value, json};

use crate::common::{dataset, lives, process, proxy, ready, ready_pods};

/// Where the nodes spool.
const FOLDER: &str = "/tmp/bytefreezer-e2e";
/// CAP_NET_BIND_SERVICE.
const BIND: u64 = 1 << 10;

fn on_host(api: u16, more: &Value) -> Value {
    let mut host = json!({"apiPort": api, "healthPort": api + 1});
    e2e::process::merge(&mut host, more);
    json!({
        "exposure": {"type": "HostNetwork", "listenAddress": "0.0.0.0", "hostNetwork": host},
        "workload": {"kind": "DaemonSet"},
        "spool": {"hostPath": FOLDER},
    })
}

/// Address of each node.
fn nodes(cluster: &Cluster) -> Vec<IpAddr> {
    let nodes = cluster.wait(Api::<Node>::all(cluster.client()).list(&ListParams::default())).unwrap();
    let internal = |node: Node| {
        let addresses = node.status?.addresses?;
        addresses.into_iter().find(|address| address.type_ == "InternalIP")?.address.parse().ok()
    };
    nodes.items.into_iter().filter_map(internal).collect()
}

/// Effective capabilities and user of the pod's program; `None` when it has ended.
fn rights(pod: &Pod) -> Option<(u64, String)> {
    let status = fs::read_to_string(process(pod)?.join("status")).ok()?;
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    let user = field("Uid:")?.split_whitespace().next()?.to_owned();
    Some((u64::from_str_radix(field("CapEff:")?, 16).ok()?, user))
}

/// Somebody else's process on the first node that has a UDP port.
struct Holder(Child);

impl Holder {
    fn start(cluster: &Cluster, port: u16) -> Self {
        let program = format!(
            "import socket, time\ns = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\ns.bind(('0.0.0.0', {port}))\nprint('!', flush=True)\ntime.sleep(600)"
        );
        let mut child = cluster.on_first_node(&["python3", "-c", &program]).unwrap();
        child.stdout.as_mut().unwrap().read_exact(&mut [0]).expect("the port");
        Self(child)
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn t04_host_network_with_and_without_privileged_ports() {
    let namespace = Namespace::new("host").unwrap();
    let cluster = namespace.cluster();
    cluster.at_least(2).unwrap();
    let receiver = namespace.receiver().unwrap();
    let _operator = Operator::install(&namespace, &json!({})).unwrap();
    let nodes = nodes(cluster);
    let send = |port: u16, text: &str| {
        let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
        for node in &nodes {
            socket.send_to(text.as_bytes(), SocketAddr::new(*node, port)).unwrap();
        }
    };

    namespace.apply(&proxy(&receiver, &on_host(18008, &json!({})))).unwrap();
    let low = json!({"syslog": {"port": 514}});
    namespace.apply(&dataset("low", &low, &json!({}))).unwrap();
    namespace.apply(&dataset("high", &json!({"syslog": {"port": 15514}}), &json!({}))).unwrap();
    ready(&namespace, "high");
    namespace.reason::<ProxyDataset>("low", "Accepted", "PrivilegedPortNotAllowed", LIMIT).unwrap();
    let pods = ready_pods(&namespace, "edge", nodes.len());
    for pod in &pods {
        assert_eq!(rights(pod), Some((0, "65532".to_owned())));
    }
    send(15514, "<13>high");
    let lines = receiver.wait_text("acme", "high", nodes.len(), LIMIT).unwrap();
    let own = format!("\"source_ip\":\"{}\"", cluster.address());
    assert!(lines.iter().all(|line| line.contains(&own)), "{lines:?}");

    // With leave for ports below 1024 other pods come, with that one right and no other.
    namespace.apply(&proxy(&receiver, &on_host(18008, &json!({"privilegedPorts": true})))).unwrap();
    namespace
        .until(Duration::from_mins(3), "pods with the right to bind", || {
            let pods = crate::common::pods(&namespace, "edge");
            let have = pods.iter().all(|pod| rights(pod) == Some((BIND, "65532".to_owned())));
            Ok((have && pods.len() == nodes.len()).then_some(()))
        })
        .unwrap();
    ready_pods(&namespace, "edge", nodes.len());
    ready(&namespace, "low");
    send(514, "<13>low");
    receiver.wait_text("acme", "low", nodes.len(), LIMIT).unwrap();

    // Somebody else has the port: said with pod, node and error; healed when he goes.
    let holder = Holder::start(cluster, 15999);
    namespace.apply(&dataset("held", &json!({"udp": {"port": 15999}}), &json!({}))).unwrap();
    let held = namespace.reason::<ProxyDataset>("held", "Programmed", "PortUnavailable", LIMIT).unwrap();
    let pods = ready_pods(&namespace, "edge", nodes.len());
    let named = pods.iter().any(|pod| {
        let node = pod.spec.as_ref().and_then(|spec| spec.node_name.clone()).unwrap();
        held.message.contains(&pod.name_any()) && held.message.contains(&node)
    });
    assert!(held.status == "False" && named && held.message.contains("EADDRINUSE"), "{}", held.message);
    ready(&namespace, "high");
    drop(holder);
    ready(&namespace, "held");

    // Two Proxies that want the same ports of a node: the younger gets no pods, or its dataset no listener.
    let mut twin = proxy(&receiver, &on_host(18008, &json!({})));
    twin["metadata"]["name"] = "twin".into();
    namespace.apply(&twin).unwrap();
    let refused = namespace.condition::<Proxy>("twin", "Accepted", "False", LIMIT).unwrap();
    assert_eq!(refused.reason, "HostPortConflict", "{}", refused.message);
    assert!(namespace.get::<DaemonSet>("twin").unwrap().is_none());
    let mut twin = proxy(&receiver, &on_host(18108, &json!({})));
    twin["metadata"]["name"] = "twin".into();
    namespace.apply(&twin).unwrap();
    let at_twin = json!({"proxyRef": {"name": "twin"}});
    namespace.apply(&dataset("same", &json!({"udp": {"port": 15514}}), &at_twin)).unwrap();
    namespace.apply(&dataset("own", &json!({"udp": {"port": 15515}}), &at_twin)).unwrap();
    ready(&namespace, "own");
    namespace.reason::<ProxyDataset>("same", "Accepted", "HostPortConflict", LIMIT).unwrap();
    for name in ["edge", "twin"] {
        let pods = ready_pods(&namespace, name, nodes.len());
        assert!(lives(&pods).iter().all(|(_, restarts)| *restarts == 0), "{name}");
    }
    let twin = namespace.get::<Proxy>("twin").unwrap().unwrap();
    assert_eq!(twin.condition("Accepted").map(|condition| condition.status.as_str()), Some("True"));
    let _ = fs::remove_dir_all(FOLDER);
}
