//! `Proxy`: the pods that receive, keep and deliver.

// Each column of the derive names its own type and place.
#![allow(clippy::duplicated_attributes)]

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

mod admission;
mod batching;
mod exposure;
mod limits;
mod receiver;
mod spool;
mod status;
mod workload;

pub use admission::{AllowedDatasets, NamespaceFrom, Namespaces};
pub use batching::Batching;
pub use exposure::{
    Exposure, ExposureType, HostNetwork, ListenAddress, LoadBalancer, LoadBalancerProtocols, TrafficPolicy,
};
pub use limits::{Limits, LogEncoding, LogLevel, Logging};
pub use receiver::{Receiver, TenantToken};
pub use spool::Spool;
pub use status::{DatasetCounts, FailedListener, PodStatus, ProxyStatus};
pub use workload::{PodTemplate, PodTemplateMetadata, Workload, WorkloadKind};

use crate::values::rules;

/// Longest name of a Proxy: what the operator makes is called `<name>-...` and must fit into a label.
pub const LONGEST_NAME: usize = 40;

fn root_rules() -> serde_json::Value {
    rules(&[(
        format!(
            "size(self.metadata.name) <= {LONGEST_NAME} && self.metadata.name.matches('^[a-z]([a-z0-9-]*[a-z0-9])?$')"
        ),
        format!(
            "the name of a Proxy has at most {LONGEST_NAME} small letters, digits and -, the first a letter: \
             Services and pods are named after it"
        ),
    )])
}

fn spec_rules() -> serde_json::Value {
    rules(&[
        (
            "self.configMode == 'LocalOnly'",
            "configMode ControlOnly and Hybrid are not in this version yet: write LocalOnly and describe streams as ProxyDatasets",
        ),
        (
            "self.workload.kind == oldSelf.workload.kind",
            "workload.kind cannot be changed: make a second Proxy of the other kind, move the datasets and delete this one",
        ),
        (
            "self.workload.kind == 'StatefulSet' || !has(self.spool.storageClassName)",
            "spool.storageClassName needs a volume claim: leave it out for a DaemonSet, whose spool lies below spool.hostPath",
        ),
        (
            "self.workload.kind == 'DaemonSet' || !has(self.spool.hostPath)",
            "spool.hostPath is for DaemonSets: leave it out for a StatefulSet, whose spool is a volume claim",
        ),
        (
            "self.workload.kind == 'DaemonSet' || quantity(self.spool.size).compareTo(quantity(oldSelf.spool.size)) >= 0",
            "spool.size cannot shrink, since volume claims cannot: write the old size or a larger one, and lower spool.maxSize instead",
        ),
        (
            "(has(self.spool.storageClassName) ? self.spool.storageClassName : '') == \
             (has(oldSelf.spool.storageClassName) ? oldSelf.spool.storageClassName : '')",
            "spool.storageClassName cannot be changed: make a second Proxy with the other class and move the datasets",
        ),
        (
            "(has(self.spool.hostPath) ? self.spool.hostPath : '') == (has(oldSelf.spool.hostPath) ? oldSelf.spool.hostPath : '')",
            "spool.hostPath cannot be changed, or the data below the old one would be left behind: make a second Proxy",
        ),
        (
            "quantity(self.batching.maxBytes).compareTo(quantity(self.receiver.maxPayloadSize)) <= 0",
            "batching.maxBytes is above receiver.maxPayloadSize, so the Receiver would refuse every full batch: lower it",
        ),
    ])
}

/// A Proxy is a set of pods that listen for the datasets attached to it, keep what arrives on a volume each, and deliver
/// it to a ByteFreezer Receiver. Streams are described by ProxyDatasets that name it in proxyRef.
#[derive(CustomResource, Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[kube(
    group = "bytefreezer.com",
    version = "v1alpha1",
    kind = "Proxy",
    plural = "proxies",
    shortname = "bfp",
    category = "bytefreezer",
    namespaced,
    status = "ProxyStatus",
    doc = "Pods that receive the streams of the ProxyDatasets attached to them, keep what arrives on a volume each, and deliver it to a ByteFreezer Receiver.",
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status",
        description = "Whether the pods run and every attached dataset is programmed"
    ),
    printcolumn(
        name = "Exposure",
        type_ = "string",
        json_path = ".spec.exposure.type",
        description = "How senders reach the pods"
    ),
    printcolumn(
        name = "Address",
        type_ = "string",
        json_path = ".status.addresses[0]",
        description = "First address that senders can use"
    ),
    printcolumn(
        name = "Pods",
        type_ = "integer",
        json_path = ".status.readyReplicas",
        description = "Ready pods"
    ),
    printcolumn(
        name = "Datasets",
        type_ = "integer",
        json_path = ".status.datasets.attached",
        description = "Datasets attached"
    ),
    printcolumn(
        name = "Programmed",
        type_ = "integer",
        json_path = ".status.datasets.programmed",
        description = "Datasets that every ready pod listens for"
    ),
    printcolumn(
        name = "Conflicted",
        type_ = "integer",
        json_path = ".status.datasets.conflicted",
        priority = 1,
        description = "Datasets that lost their listener to another"
    ),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].reason",
        priority = 1,
        description = "Why it is not ready"
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = spec_rules()))]
pub struct ProxySpec {
    /// Where batches go, and with which tokens.
    pub receiver: Receiver,
    /// Where streams come from. LocalOnly: from ProxyDatasets alone. ControlOnly and Hybrid, which add streams that are
    /// kept at ByteFreezer Control, are refused until a later version.
    #[serde(default)]
    pub config_mode: ConfigMode,
    /// How senders reach the pods.
    #[serde(default)]
    pub exposure: Exposure,
    /// The pods.
    #[serde(default)]
    pub workload: Workload,
    /// The volume that keeps what is not delivered yet, and how delivery is tried again.
    #[serde(default)]
    pub spool: Spool,
    /// How lines become batches. A dataset may say otherwise for itself.
    #[serde(default)]
    pub batching: Batching,
    /// What bounds memory and threads of a pod. Changes restart the pods one by one.
    #[serde(default)]
    pub limits: Limits,
    /// What the pods log.
    #[serde(default)]
    pub logging: Logging,
    /// Which datasets may attach: one that any of these rules allows. Left out: every dataset of the Proxy's own
    /// namespace. An empty list: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub allowed_datasets: Option<Vec<AllowedDatasets>>,
}

/// Where streams come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum ConfigMode {
    /// From ProxyDatasets alone.
    #[default]
    LocalOnly,
    /// From Control alone. Not in this version yet.
    ControlOnly,
    /// From both; ProxyDatasets win. Not in this version yet.
    Hybrid,
}

/// Rules that need the object's name.
pub(crate) fn add_root_rules(schema: &mut serde_json::Map<String, serde_json::Value>) {
    schema.insert(crate::schema::RULES.to_owned(), root_rules());
}

#[cfg(test)]
mod tests;
