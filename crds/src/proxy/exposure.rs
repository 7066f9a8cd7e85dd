//! How senders reach the pods.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::values::{Cidr, rules};

fn exposure_rules() -> serde_json::Value {
    rules(&[
        (
            "self.type == 'HostNetwork' || !has(self.hostNetwork)",
            "hostNetwork has no effect with this type: leave it out, or write type: HostNetwork",
        ),
        (
            "self.type == 'LoadBalancer' || !has(self.loadBalancer)",
            "loadBalancer has no effect with this type: leave it out, or write type: LoadBalancer",
        ),
    ])
}

fn host_network_rules() -> serde_json::Value {
    rules(&[
        ("self.apiPort != self.healthPort", "apiPort and healthPort are the same: write two different ports"),
        (
            "self.privilegedPorts || self.apiPort >= 1024 && self.healthPort >= 1024",
            "apiPort and healthPort below 1024 need privileges: write 1024 or higher, or privilegedPorts: true",
        ),
    ])
}

/// How senders reach the pods.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-validations" = exposure_rules()))]
pub struct Exposure {
    /// LoadBalancer: an address of its own from the cluster's load balancer. HostNetwork: the ports of the nodes, on
    /// which the pods run. NodePort: a high port on every node. ClusterIP: from inside the cluster only. Once made, a
    /// Service keeps its address until the Proxy is deleted. Datasets of netflow and ipfix have a Service and an address of
    /// their own, `<proxy>-flow`, which holds each exporter to the pod that has its templates.
    #[serde(rename = "type")]
    pub kind: ExposureType,
    /// Address family of the pods' sockets. `::` takes IPv6 and IPv4; `0.0.0.0` is for nodes without IPv6.
    pub listen_address: ListenAddress,
    /// Settings of the load balancer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub load_balancer: Option<LoadBalancer>,
    /// Settings of the host network.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host_network: Option<HostNetwork>,
}

/// Kind of exposure.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum ExposureType {
    /// An address of its own from the cluster's load balancer.
    #[default]
    LoadBalancer,
    /// The ports of the nodes themselves.
    HostNetwork,
    /// A high port on every node.
    NodePort,
    /// From inside the cluster only.
    ClusterIP,
}

/// What the pods' sockets are bound to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum ListenAddress {
    /// IPv6 and IPv4.
    #[default]
    #[serde(rename = "::")]
    Any,
    /// IPv4 alone.
    #[serde(rename = "0.0.0.0")]
    AnyV4,
}

impl ListenAddress {
    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Any => "::",
            Self::AnyV4 => "0.0.0.0",
        }
    }
}

/// The load balancer.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct LoadBalancer {
    /// Class of the load balancer, where the cluster has several. Cannot be changed on a Service that exists.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub class: Option<String>,
    /// Annotations of the Services, with which most load balancers are set up.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 64))]
    pub annotations: BTreeMap<String, String>,
    /// Local keeps the sender's address and sends to ready pods of the node that was reached. Cluster spreads over all
    /// pods and replaces the sender's address by a node's, so datasets can no longer be told apart by their senders.
    pub external_traffic_policy: TrafficPolicy,
    /// Senders that the load balancer lets through, where it can filter. Left out: everybody; datasets filter by
    /// allowedSources in any case.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256))]
    pub source_ranges: Vec<Cidr>,
    /// Auto: one Service for UDP and TCP together where that works. Separate: one per protocol, for load balancers that
    /// cannot mix them; each has an address of its own unless annotations say otherwise.
    pub protocols: LoadBalancerProtocols,
}

/// Which pods a load balancer sends to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum TrafficPolicy {
    /// Those of the node that was reached; the sender's address stays.
    #[default]
    Local,
    /// All of them; the sender's address is replaced.
    Cluster,
}

/// How protocols share Services.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum LoadBalancerProtocols {
    /// Together where that works.
    #[default]
    Auto,
    /// One Service for all.
    Mixed,
    /// One Service per protocol.
    Separate,
}

/// The host network.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-validations" = host_network_rules()))]
pub struct HostNetwork {
    /// Whether datasets may have ports below 1024. The pods then run a copy of the program that carries the capability
    /// NET_BIND_SERVICE, which admission must allow.
    pub privileged_ports: bool,
    /// TCP port of the pods' API on their nodes. Two Proxies that may share a node need different ones.
    #[schemars(range(min = 1, max = 65535))]
    pub api_port: u16,
    /// TCP port of health and metrics on the nodes. Two Proxies that may share a node need different ones.
    #[schemars(range(min = 1, max = 65535))]
    pub health_port: u16,
}

impl Default for HostNetwork {
    fn default() -> Self {
        Self { privileged_ports: false, api_port: 8008, health_port: 8009 }
    }
}
