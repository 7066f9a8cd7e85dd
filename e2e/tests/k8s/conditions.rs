//! 12: what pods, load balancer and Secrets cannot do is a condition, with what to do about it.

use std::{
    net::{SocketAddr, UdpSocket},
    time::Duration,
};

use bytefreezer_crds::{Proxy, ProxyDataset};
use e2e::{
    http::Client,
    k8s::{Cluster, Namespace, Operator, conditions::Conditions as _, namespace::LIMIT},
};
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::ResourceExt as _;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::{Value, json};

use crate::common::{dataset, process, proxy, reachable, ready, ready_pods};

/// Port of a pod's API.
const API: u16 = 8008;

fn udp(port: u16, more: &Value) -> Value {
    let mut source = json!({"port": port});
    e2e::process::merge(&mut source, more);
    json!({"udp": source})
}

/// A dataset of another Proxy than `edge`.
fn at(proxy: &str, name: &str, source: &Value) -> Value {
    dataset(name, source, &json!({"proxyRef": {"name": proxy}}))
}

fn named(name: &str, mut proxy: Value) -> Value {
    proxy["metadata"]["name"] = name.into();
    proxy
}

/// A program that stands still.
struct Stopped(Pid);

impl Stopped {
    fn of(pod: &Pod) -> Self {
        let folder = process(pod).unwrap();
        let number = folder.file_name().and_then(|name| name.to_str()).unwrap();
        let pid = Pid::from_raw(number.parse().unwrap());
        kill(pid, Signal::SIGSTOP).unwrap();
        Self(pid)
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        let _ = kill(self.0, Signal::SIGCONT);
    }
}

/// Takes the way between a pod's API and everybody on the first node and elsewhere; the node's own probes go on.
struct Wall<'a>(&'a Cluster);

impl<'a> Wall<'a> {
    fn around(cluster: &'a Cluster, pod: &Pod) -> Self {
        let ip = pod.status.as_ref().unwrap().pod_ip.clone().unwrap();
        let wall = Self(cluster);
        let rules = format!(
            "add table inet e2e; add chain inet e2e wall {{ type filter hook forward priority -300; }}; \
             add rule inet e2e wall ip daddr {ip} tcp dport {API} drop; \
             add rule inet e2e wall ip saddr {ip} tcp sport {API} drop"
        );
        assert!(wall.nft(&rules));
        wall
    }

    fn nft(&self, command: &str) -> bool {
        self.0.on_first_node(&["nft", command]).is_ok_and(|mut nft| nft.wait().is_ok_and(|end| end.success()))
    }
}

impl Drop for Wall<'_> {
    fn drop(&mut self) {
        self.nft("delete table inet e2e");
    }
}

#[test]
fn t12_what_pods_and_load_balancers_cannot_do_is_a_condition() {
    let namespace = Namespace::new("conditions").unwrap();
    let cluster = namespace.cluster();
    let receiver = namespace.receiver().unwrap();
    let _operator = Operator::install(&namespace, &json!({})).unwrap();
    let small = json!({
        "spool": {"maxSize": "8Mi"},
        "batching": {"compressionEnabled": false},
        "workload": {"nodeSelector": {"kubernetes.io/hostname": cluster.nodes().unwrap()[0]}},
    });
    namespace.apply(&proxy(&receiver, &small)).unwrap();
    namespace.apply(&dataset("tiny", &udp(5514, &json!({"readBufferSize": "1Ki"})), &json!({}))).unwrap();
    namespace.apply(&dataset("huge", &udp(5515, &json!({"readBufferSize": "1Gi"})), &json!({}))).unwrap();
    namespace.apply(&dataset("posts", &json!({"http": {"port": 8080}}), &json!({}))).unwrap();
    apply_future(&namespace, &named("future", proxy(&receiver, &json!({}))));
    for name in ["tiny", "huge", "posts"] {
        ready(&namespace, name);
    }
    let said = |kind: &str| namespace.condition::<Proxy>("edge", kind, "True", LIMIT).unwrap().message;
    assert!(said("ReceiveBufferTooSmall").contains("sysctl -w net.core.rmem_max=1073741824"));

    // The program stands still while datagrams come, and then the Receiver is away.
    let pod = ready_pods(&namespace, "edge", 1).remove(0);
    let posts = reachable(&namespace, "edge", 8080);
    let sender = UdpSocket::bind("0.0.0.0:0").unwrap();
    let send = |count: usize| {
        let target = SocketAddr::new(posts.ip(), 5514);
        for _ in 0..count {
            sender.send_to(&[b'x'; 512], target).unwrap();
        }
    };
    let stopped = Stopped::of(&pod);
    send(200);
    drop(stopped);
    receiver.down();
    fill(posts);
    // The kernel's count comes with the next datagram.
    send(1);
    // What only counts is no news; another dataset is.
    namespace.apply(&dataset("news", &udp(5516, &json!({})), &json!({}))).unwrap();
    ready(&namespace, "news");
    assert!(said("PacketLoss").contains(&format!("{}/tiny in pod edge-0", namespace.name())));
    assert!(said("SpoolNearlyFull").contains("edge-0"));
    receiver.up().unwrap();

    // Nobody gets through to the pod: what it was told before stays as it is.
    let wall = Wall::around(cluster, &pod);
    namespace.apply(&dataset("unheard", &udp(5517, &json!({})), &json!({}))).unwrap();
    refuses_what_does_not_fit(&namespace, &named("crowd", proxy(&receiver, &json!({}))));
    let supported = namespace.reason::<ProxyDataset>("later", "Programmed", "NotSupportedByPod", LIMIT);
    let supported = supported.unwrap();
    assert!(supported.status == "False" && supported.message.contains("from_the_future"), "{supported:?}");
    let limit = Duration::from_mins(2);
    let unheard =
        namespace.reason::<ProxyDataset>("unheard", "Programmed", "ProxyUnreachable", limit).unwrap();
    let ip = pod.status.as_ref().unwrap().pod_ip.clone().unwrap();
    assert_eq!(unheard.status, "Unknown");
    assert!(unheard.message.contains(&format!("{ip}:{API}")), "{}", unheard.message);
    ready(&namespace, "tiny");
    drop(wall);
    ready(&namespace, "unheard");
    let ended = |proxy: &Proxy| {
        (proxy.condition("Ready").is_some() && proxy.condition("SpoolNearlyFull").is_none()).then_some(())
    };
    namespace.wait("edge", limit, "the end of SpoolNearlyFull", ended).unwrap();
    assert_eq!(ready_pods(&namespace, "edge", 1)[0].uid(), pod.uid());
}

/// Posts until the spool takes no more.
fn fill(posts: SocketAddr) {
    let body = format!("{}\n", "y".repeat(999)).repeat(100);
    let mut client = Client::new(posts);
    let refused = (0..400).find(|_| client.post("/webhook", body.as_bytes()).unwrap().status != 200);
    assert!(refused.is_some(), "40 MB went into a spool of 8 MiB");
}

/// A Proxy of which the pods have a document with an option that they do not know, as if a newer operator had written it.
fn apply_future(namespace: &Namespace, future: &Value) {
    let volumes = json!([{"name": "config", "projected": {"sources": [{"configMap": {"name": "later"}}]}}]);
    let mut future = future.clone();
    future["spec"]["workload"]["podTemplate"] = json!({"spec": {"volumes": volumes}});
    namespace.apply(&future).unwrap();
    namespace.apply(&at("future", "later", &udp(5514, &json!({})))).unwrap();
    let document = namespace.wait::<ConfigMap, _>("future-config", LIMIT, "its dataset", |there| {
        there.data.as_ref()?.get("config.yaml").filter(|text| text.contains("/later")).cloned()
    });
    let later = document.unwrap().replace("  config:\n", "  config:\n    from_the_future: true\n");
    namespace
        .apply(&json!({
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "later"}, "data": {"config.yaml": later},
        }))
        .unwrap();
}

/// More ports than a load balancer takes, and more Secrets than the Proxy's own hold. It needs no pods.
fn refuses_what_does_not_fit(namespace: &Namespace, crowd: &Value) {
    let mut crowd = crowd.clone();
    let balancer = json!({"class": "service.k8s.aws/nlb", "externalTrafficPolicy": "Cluster"});
    crowd["spec"]["exposure"] = json!({"type": "LoadBalancer", "loadBalancer": balancer});
    crowd["spec"]["workload"]["replicas"] = json!(0);
    namespace.apply(&crowd).unwrap();
    for port in 6000..6051 {
        namespace.apply(&at("crowd", &format!("port-{port}"), &udp(port, &json!({})))).unwrap();
    }
    let post = |index: u16| {
        let (name, token) = (format!("token-{index}"), format!("{index}").repeat(650 << 10));
        namespace
            .apply(&json!({
                "apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": {"token": token},
            }))
            .unwrap();
        let source = json!({"http": {
            "port": 7000 + index, "auth": {"tokenSecretRef": {"name": name, "key": "token"}},
        }});
        namespace.apply(&at("crowd", &name, &source)).unwrap();
    };
    (1..=8).for_each(post);
    for index in 1..=8 {
        let name = format!("token-{index}");
        namespace.condition::<ProxyDataset>(&name, "ResolvedRefs", "True", LIMIT).unwrap();
    }
    post(9);
    let full = namespace.reason::<ProxyDataset>("token-9", "ResolvedRefs", "AssetsFull", LIMIT).unwrap();
    assert!(full.status == "False" && full.message.contains("token-9"), "{}", full.message);
    let said = |kind: &str| namespace.condition::<Proxy>("crowd", kind, "True", LIMIT).unwrap().message;
    let exceeds = said("PortsExceedLoadBalancer");
    assert!(exceeds.contains("51 ports") && exceeds.contains("takes 50"), "{exceeds}");
    assert!(said("SourceIPNotPreserved").contains("write Local"));
}
