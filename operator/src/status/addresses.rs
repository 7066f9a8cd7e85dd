//! Where senders reach the datasets.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
};

use bytefreezer_crds::proxy::{ExposureType, TrafficPolicy};
use k8s_openapi::api::core::v1::{Pod, Service};

use crate::{
    arbitrate::{Listener, Transport},
    build::STICKY,
    gather::{Detail, Kind, Owned},
    validate::ValidatedProxy,
};

/// Most addresses in a status.
pub const MOST: usize = 64;

/// Where a port can be reached.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Addresses {
    /// Addresses without ports, for the Proxy.
    pub hosts: BTreeSet<String>,
    /// Addresses by the listener's protocol, port and whether its senders stay with one pod, with the port to send to. So a
    /// port that a Service keeps, though it is another's now, is no address of anybody.
    by_port: BTreeMap<(Transport, u16, bool), BTreeSet<String>>,
    /// On the host network every port is the node's.
    is_host: bool,
}

impl Addresses {
    /// The addresses of a Proxy. `before` are those in its status: while pods are missing, the nodes they ran on stay.
    pub fn of(
        proxy: &ValidatedProxy,
        owned: &BTreeMap<(Kind, String), Arc<Owned>>,
        pods: &[Arc<Pod>],
        wanted: usize,
        before: &[String],
    ) -> Self {
        let exposure = proxy.spec.exposure.kind;
        let mut nodes: BTreeSet<String> = pods.iter().flat_map(|pod| node_addresses(pod)).collect();
        let on_nodes = matches!(exposure, ExposureType::HostNetwork | ExposureType::NodePort);
        if on_nodes && pods.len() < wanted {
            nodes.extend(before.iter().filter(|address| address.parse::<IpAddr>().is_ok()).cloned());
        }
        if exposure == ExposureType::HostNetwork {
            return Self { hosts: nodes, by_port: BTreeMap::new(), is_host: true };
        }
        let mut addresses = Self::default();
        for service in services(owned) {
            let spec = service.spec.clone().unwrap_or_default();
            let hosts: BTreeSet<String> = match exposure {
                ExposureType::LoadBalancer => ingress(service),
                ExposureType::NodePort => nodes.clone(),
                ExposureType::ClusterIP | ExposureType::HostNetwork => {
                    let ips = spec.cluster_ips.clone().unwrap_or_default();
                    ips.into_iter().filter(|ip| ip != "None").collect()
                }
            };
            let sticky = spec.session_affinity.as_deref() == Some(STICKY);
            for port in spec.ports.iter().flatten() {
                let outside =
                    if exposure == ExposureType::NodePort { port.node_port } else { Some(port.port) };
                let (Some(outside), Ok(inside)) = (outside, u16::try_from(port.port)) else { continue };
                let transport = match port.protocol.as_deref() {
                    Some("UDP") => Transport::Udp,
                    _ => Transport::Tcp,
                };
                let there = hosts.iter().map(|host| with_port(host, outside));
                addresses.by_port.entry((transport, inside, sticky)).or_default().extend(there);
            }
            addresses.hosts.extend(hosts);
        }
        addresses
    }

    /// Where a dataset with these listeners is reached, such as `203.0.113.7:514/UDP`.
    pub fn of_listeners(&self, listeners: &[Listener]) -> Vec<String> {
        let mut all: Vec<String> = Vec::new();
        for listener in listeners {
            let there = if self.is_host {
                self.hosts.iter().map(|host| with_port(host, i32::from(listener.port))).collect()
            } else {
                let key = (listener.transport, listener.port, listener.sticky);
                self.by_port.get(&key).cloned().unwrap_or_default()
            };
            all.extend(there.into_iter().map(|address| format!("{address}/{}", listener.transport)));
        }
        all.truncate(MOST);
        all
    }
}

/// The Services for senders.
pub fn services(owned: &BTreeMap<(Kind, String), Arc<Owned>>) -> impl Iterator<Item = &Service> {
    owned.values().filter_map(|object| match &object.detail {
        Detail::Service(service) => {
            let is_headless =
                service.spec.as_ref().and_then(|spec| spec.cluster_ip.as_deref()) == Some("None");
            (!is_headless).then_some(&**service)
        }
        _ => None,
    })
}

fn ingress(service: &Service) -> BTreeSet<String> {
    let balancer = service.status.as_ref().and_then(|status| status.load_balancer.as_ref());
    let ingress = balancer.and_then(|balancer| balancer.ingress.as_ref());
    ingress.into_iter().flatten().filter_map(|one| one.ip.clone().or_else(|| one.hostname.clone())).collect()
}

fn node_addresses(pod: &Pod) -> Vec<String> {
    let Some(status) = &pod.status else { return Vec::new() };
    let all = status.host_ips.iter().flatten().map(|host| host.ip.clone()).collect::<Vec<_>>();
    if all.is_empty() { status.host_ip.clone().into_iter().collect() } else { all }
}

fn with_port(host: &str, port: i32) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// Why senders' addresses do not survive the way to the pods; `None` when they do.
pub fn source_is_lost(
    proxy: &ValidatedProxy,
    owned: &BTreeMap<(Kind, String), Arc<Owned>>,
) -> Option<String> {
    let exposure = &proxy.spec.exposure;
    if exposure.kind != ExposureType::LoadBalancer {
        return None;
    }
    let policy = exposure.load_balancer.as_ref().map(|balancer| balancer.external_traffic_policy);
    if policy == Some(TrafficPolicy::Cluster) {
        return Some(
            "externalTrafficPolicy: Cluster replaces senders' addresses by a node's: write Local in exposure.loadBalancer"
                .to_owned(),
        );
    }
    let is_proxied = services(owned).any(|service| {
        let balancer = service.status.as_ref().and_then(|status| status.load_balancer.as_ref());
        let ingress = balancer.and_then(|balancer| balancer.ingress.as_ref());
        ingress.into_iter().flatten().any(|one| one.ip_mode.as_deref() == Some("Proxy"))
    });
    is_proxied.then(|| {
        "the load balancer is a proxy (ipMode: Proxy), so the pods see its address: use a class that forwards, or \
         proxyProtocol for datasets over TCP"
            .to_owned()
    })
}

/// Classes with a limit of ports, and the limit.
const PORT_LIMITS: &[(&str, usize)] = &[("service.k8s.aws/nlb", 50)];

/// Why the load balancer does not take all ports; `None` when it does.
pub fn ports_exceed(proxy: &ValidatedProxy, owned: &BTreeMap<(Kind, String), Arc<Owned>>) -> Option<String> {
    let exposure = &proxy.spec.exposure;
    if exposure.kind != ExposureType::LoadBalancer {
        return None;
    }
    let class = exposure.load_balancer.as_ref().and_then(|balancer| balancer.class.as_deref());
    let limit = PORT_LIMITS.iter().find(|(name, _)| Some(*name) == class);
    let remedy = "let datasets share ports by allowedSources, or spread them over several Proxies";
    services(owned).find_map(|service| {
        let ports = service.spec.as_ref().and_then(|spec| spec.ports.as_ref()).map_or(0, Vec::len);
        if let Some((class, limit)) = limit.filter(|(_, limit)| ports > *limit) {
            return Some(format!(
                "{ports} ports are wanted of a load balancer of class {class}, which takes {limit}: {remedy}"
            ));
        }
        let balancer = service.status.as_ref().and_then(|status| status.load_balancer.as_ref());
        let ingress = balancer.and_then(|balancer| balancer.ingress.as_ref());
        let mut refused = ingress.into_iter().flatten().flat_map(|one| one.ports.iter().flatten());
        refused.find_map(|port| {
            let error = port.error.as_ref()?;
            Some(format!(
                "the load balancer does not take {} {}: {error}: {remedy}",
                port.protocol, port.port
            ))
        })
    })
}
