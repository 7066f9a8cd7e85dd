//! What several tests use.

use std::{
    fs,
    net::{IpAddr, SocketAddr, TcpStream},
    path::PathBuf,
    time::Duration,
};

use bytefreezer_crds::{Proxy, ProxyDataset};
use e2e::{
    k8s::{Namespace, conditions::Conditions as _, namespace::LIMIT},
    receiver::Receiver,
    sequence::{self, Account, Sent},
};
use k8s_openapi::api::core::v1::{Pod, Service};
use kube::ResourceExt as _;
use serde_json::{Value, json};

/// Spec of a Proxy that delivers to this Receiver, soon.
pub fn proxy_spec(receiver: &Receiver, more: &Value) -> Value {
    let mut spec = json!({
        "receiver": {"url": receiver.url()},
        "spool": {"size": "512Mi", "retryInterval": "1s"},
        "batching": {"timeout": "1s"},
        "workload": {"shutdownDelay": "2s", "shutdownGrace": "2s", "minReady": "0s"},
    });
    e2e::process::merge(&mut spec, more);
    spec
}

/// The Proxy `edge`.
pub fn proxy(receiver: &Receiver, more: &Value) -> Value {
    json!({
        "apiVersion": "bytefreezer.com/v1alpha1", "kind": "Proxy", "metadata": {"name": "edge"},
        "spec": proxy_spec(receiver, more),
    })
}

/// A dataset of the tenant `acme` at the Proxy `edge`.
pub fn dataset(name: &str, source: &Value, more: &Value) -> Value {
    let mut spec = json!({"proxyRef": {"name": "edge"}, "tenantId": "acme", "source": source});
    e2e::process::merge(&mut spec, more);
    json!({
        "apiVersion": "bytefreezer.com/v1alpha1", "kind": "ProxyDataset", "metadata": {"name": name}, "spec": spec,
    })
}

/// Waits until a dataset is ready.
pub fn ready(namespace: &Namespace, name: &str) {
    namespace.condition::<ProxyDataset>(name, "Ready", "True", LIMIT).unwrap();
}

/// Pods of a Proxy that are ready, once there are so many.
pub fn ready_pods(namespace: &Namespace, proxy: &str, count: usize) -> Vec<Pod> {
    let found = namespace.until(Duration::from_mins(2), &format!("{count} ready pods of {proxy}"), || {
        let pods = pods(namespace, proxy);
        let ready = pods.iter().filter(|pod| is_ready(pod)).count();
        Ok((ready == count && pods.len() == count).then_some(pods))
    });
    found.unwrap()
}

/// Pods of a Proxy.
pub fn pods(namespace: &Namespace, proxy: &str) -> Vec<Pod> {
    let all = namespace.list::<Pod>().unwrap_or_default();
    let own = |pod: &Pod| pod.labels().get(bytefreezer_crds::labels::PROXY).is_some_and(|name| name == proxy);
    all.into_iter().filter(own).collect()
}

fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.into_iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

/// UIDs and restart counts.
pub fn lives(pods: &[Pod]) -> Vec<(String, i32)> {
    let life = |pod: &Pod| {
        let containers = pod.status.iter().flat_map(|status| status.container_statuses.iter().flatten());
        (pod.uid().unwrap_or_default(), containers.map(|container| container.restart_count).sum())
    };
    pods.iter().map(life).collect()
}

/// `/proc` of the program in a pod, which is a process of this machine; `None` when it has ended.
pub fn process(pod: &Pod) -> Option<PathBuf> {
    let uid = pod.uid().unwrap();
    let in_pod = |path: &PathBuf| {
        let groups = fs::read_to_string(path.join("cgroup")).unwrap_or_default();
        let program = fs::read_to_string(path.join("comm")).unwrap_or_default();
        groups.replace('_', "-").contains(&uid) && program.starts_with("bytefreezer")
    };
    let mut processes = fs::read_dir("/proc").unwrap().filter_map(Result::ok).map(|entry| entry.path());
    processes.find(in_pod)
}

/// The load balancer's address for a port of a Proxy. It leads to a node with a ready pod, where there is one.
pub fn address(namespace: &Namespace, proxy: &str, port: u16) -> SocketAddr {
    of_service(namespace, proxy, proxy, port)
}

/// The same for sources that keep what exporters told.
pub fn flow_address(namespace: &Namespace, proxy: &str, port: u16) -> SocketAddr {
    of_service(namespace, &format!("{proxy}-flow"), proxy, port)
}

fn of_service(namespace: &Namespace, service: &str, proxy: &str, port: u16) -> SocketAddr {
    let given =
        namespace.wait::<Service, IpAddr>(service, LIMIT, "an address of the load balancer", |service| {
            let balancer = service.status.as_ref()?.load_balancer.as_ref()?;
            balancer.ingress.as_ref()?.first()?.ip.as_ref()?.parse().ok()
        });
    let ip = given.unwrap();
    let ready = pods(namespace, proxy).into_iter().find(is_ready);
    if let Some(node) = ready.and_then(|pod| pod.spec?.node_name) {
        namespace.cluster().lead(ip, &node).unwrap();
    }
    SocketAddr::new(ip, port)
}

/// The same, once what is sent there reaches a pod: nodes learn of ports and pods a second or two after everybody else. It is tried over
/// TCP, so the port needs a listener for that; all that a Service has at that time comes with it.
pub fn reachable(namespace: &Namespace, proxy: &str, port: u16) -> SocketAddr {
    connected(address(namespace, proxy, port))
}

/// Waits until somebody answers there.
pub fn connected(address: SocketAddr) -> SocketAddr {
    let connected = e2e::until(LIMIT, &format!("a way to {address}"), || {
        TcpStream::connect_timeout(&address, Duration::from_secs(1)).ok()
    });
    connected.unwrap();
    address
}

/// Sends again until a line of the dataset is stored, where there is no TCP to see whether the way is there; the lines.
pub fn stored(receiver: &Receiver, dataset: &str, send: impl Fn()) -> Vec<String> {
    let lines = || receiver.text("acme", dataset).ok().filter(|lines| !lines.is_empty());
    let found = e2e::until(LIMIT, &format!("a line of {dataset}"), || {
        send();
        e2e::until(Duration::from_secs(3), "it", lines).ok()
    });
    found.unwrap()
}

/// `port/protocol` of each port of a Service, in order.
pub fn service_ports(service: &Service) -> Vec<String> {
    let ports = service.spec.iter().flat_map(|spec| spec.ports.iter().flatten());
    let mut ports: Vec<_> =
        ports.map(|port| format!("{}/{}", port.port, port.protocol.as_deref().unwrap_or("TCP"))).collect();
    ports.sort();
    ports
}

/// Waits until every event is stored, and gives the account; nothing may have come under two names.
pub fn account(receiver: &Receiver, sent: &Sent, limit: Duration) -> Account {
    let take =
        || sequence::account(std::slice::from_ref(sent), &receiver.batches()).unwrap()[&sent.stream].clone();
    let _ = e2e::until(limit, "every event", || (take().lost == 0).then_some(()));
    assert_eq!(receiver.violations(), [""; 0]);
    let account = take();
    assert_eq!(account.duplicated, 0, "{account:?}");
    account
}

/// What the condition says, as `status reason: message`.
pub fn said(namespace: &Namespace, name: &str, kind: &str) -> String {
    let dataset = namespace.get::<ProxyDataset>(name).unwrap().unwrap();
    dataset.condition(kind).map_or(String::new(), |c| format!("{} {}: {}", c.status, c.reason, c.message))
}

/// Waits until the Proxy itself is ready.
pub fn proxy_ready(namespace: &Namespace, name: &str) {
    namespace.condition::<Proxy>(name, "Ready", "True", Duration::from_mins(2)).unwrap();
}
