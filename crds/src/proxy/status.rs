//! What the operator says about a Proxy.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What the operator observed.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ProxyStatus {
    /// Generation of the spec that this status speaks of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Accepted, ResolvedRefs, Programmed and Ready always; ReceiveBufferTooSmall, PacketLoss, SourceIPNotPreserved,
    /// PortsExceedLoadBalancer, SpoolStranded, SpoolNearlyFull and SpoolNotGrown while they are true.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 16),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"])
    )]
    pub conditions: Vec<Condition>,
    /// Pods that there should be.
    pub replicas: i32,
    /// Pods that are ready.
    pub ready_replicas: i32,
    /// Addresses that senders can use.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub addresses: Vec<String>,
    /// At most 50 pods, those that deviate first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 50),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"])
    )]
    pub pods: Vec<PodStatus>,
    /// How the datasets fare.
    pub datasets: DatasetCounts,
}

/// One pod.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct PodStatus {
    /// Name of the pod.
    pub name: String,
    /// Node it runs on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// Generation of the Proxy whose configuration it has applied.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub generation: Option<i64>,
    /// Listeners that it could not open.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 20))]
    pub failed_listeners: Vec<FailedListener>,
}

/// A listener that a pod could not open.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct FailedListener {
    /// Port and protocol, such as `514/UDP`.
    pub listener: String,
    /// What the kernel said, and what to do.
    pub error: String,
}

/// How the datasets fare.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct DatasetCounts {
    /// Datasets that name this Proxy and were accepted.
    pub attached: i32,
    /// Those that every ready pod listens for.
    pub programmed: i32,
    /// Datasets that lost their listener, prefix, path or id to another.
    pub conflicted: i32,
}
