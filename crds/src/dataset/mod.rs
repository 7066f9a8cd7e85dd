//! `ProxyDataset`: one stream.

// Each column of the derive names its own type and place.
#![allow(clippy::duplicated_attributes)]

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

mod batching;
mod source;
mod status;

pub use batching::DatasetBatching;
pub use source::{
    Auth, DataFormat, Ebpf, ExporterId, Exporting, FlowOutput, Flows, Http, Ipfix, KeepRaw, MacFormat,
    Netflow, Oversize, Protocol, Sflow, Source, SourceRef, SourceZone, Syslog, SyslogMode, Tcp, Tls, Udp,
};
pub use status::ProxyDatasetStatus;

use crate::values::{Cidr, Id, ObjectName, id_rules, rules};

/// Where the dataset's id is not given, the object's name stands for it.
fn root_rules() -> serde_json::Value {
    let named = id_rules(
        "self.metadata.name",
        "the object's name stands for the dataset's id, which ",
        "set spec.datasetId or choose another name",
    );
    let same = (
        "self.spec.tenantId.lowerAscii() != (has(self.spec.datasetId) ? self.spec.datasetId : self.metadata.name).lowerAscii()"
            .to_owned(),
        "dataset and tenant have the same id: set spec.datasetId to another one".to_owned(),
    );
    let named =
        named.into_iter().map(|(rule, message)| (format!("has(self.spec.datasetId) || {rule}"), message));
    rules(&named.chain([same]).collect::<Vec<_>>())
}

fn spec_rules() -> serde_json::Value {
    rules(&[(
        "!has(self.proxyProtocol) || has(self.source.tcp) || has(self.source.http) || \
         has(self.source.syslog) && 'TCP' in self.source.syslog.protocols || \
         has(self.source.ipfix) && 'TCP' in self.source.ipfix.protocols",
        "proxyProtocol needs a TCP-based source: leave it out, or add TCP to the protocols of syslog or ipfix",
    )])
}

/// A ProxyDataset is one stream: who sends it, on which port of which Proxy it arrives, and which tenant's dataset it
/// becomes.
#[derive(CustomResource, Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[kube(
    group = "bytefreezer.com",
    version = "v1alpha1",
    kind = "ProxyDataset",
    plural = "proxydatasets",
    shortname = "pds",
    category = "bytefreezer",
    namespaced,
    status = "ProxyDatasetStatus",
    doc = "One stream: who sends it, on which port of which Proxy it arrives, and which tenant's dataset it becomes.",
    printcolumn(
        name = "Proxy",
        type_ = "string",
        json_path = ".spec.proxyRef.name",
        description = "The Proxy it attaches to"
    ),
    printcolumn(
        name = "Tenant",
        type_ = "string",
        json_path = ".spec.tenantId",
        description = "Tenant that owns the data"
    ),
    printcolumn(
        name = "Address",
        type_ = "string",
        json_path = ".status.addresses[0]",
        description = "First address that senders can use"
    ),
    printcolumn(
        name = "Accepted",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Accepted\")].status",
        description = "Whether the Proxy takes it"
    ),
    printcolumn(
        name = "Programmed",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Programmed\")].status",
        description = "Whether every ready pod listens for it"
    ),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].reason",
        description = "Why it is not ready"
    ),
    printcolumn(
        name = "Paused",
        type_ = "boolean",
        json_path = ".spec.paused",
        priority = 1,
        description = "Whether what arrives is dropped"
    ),
    printcolumn(
        name = "Sources",
        type_ = "string",
        json_path = ".spec.allowedSources",
        priority = 1,
        description = "Who may send"
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = spec_rules()))]
pub struct ProxyDatasetSpec {
    /// The Proxy that receives the stream. It must allow this dataset (allowedDatasets).
    #[serde(default)]
    pub proxy_ref: ProxyRef,
    /// Tenant that owns the data.
    pub tenant_id: Id,
    /// Dataset of the tenant. Default: the object's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dataset_id: Option<Id>,
    /// true keeps port and sources but drops what arrives, and counts it; it goes to no other dataset.
    #[serde(default)]
    pub paused: bool,
    /// How the data arrives: exactly one member.
    pub source: Source,
    /// Senders that belong to this dataset, as addresses or CIDRs. Several datasets may share a port when these tell
    /// them apart; the longest prefix wins. Left out or empty: everybody.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256), extend("x-kubernetes-list-type" = "set"))]
    pub allowed_sources: Vec<Cidr>,
    /// Expect a PROXY protocol header (v1 or v2) on TCP connections, and take the sender's address from it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proxy_protocol: Option<ProxyProtocol>,
    /// Limits of this dataset's batches. What is left out is taken from the Proxy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batching: Option<DatasetBatching>,
}

/// Names a Proxy.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ProxyRef {
    /// Name of the Proxy.
    pub name: ObjectName,
    /// Its namespace. Default: the dataset's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<ObjectName>,
}

impl Default for ProxyRef {
    fn default() -> Self {
        Self { name: "default".into(), namespace: None }
    }
}

/// Who may speak for senders.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProxyProtocol {
    /// Load balancers whose header is believed, as addresses or CIDRs; others are refused.
    #[schemars(length(min = 1, max = 64), extend("x-kubernetes-list-type" = "set"))]
    pub from: Vec<Cidr>,
}

/// Rules that need the object's name.
pub(crate) fn add_root_rules(schema: &mut serde_json::Map<String, serde_json::Value>) {
    schema.insert(crate::schema::RULES.to_owned(), root_rules());
}

#[cfg(test)]
mod tests;
