//! The pods.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Affinity, ResourceRequirements, Toleration, TopologySpreadConstraint};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::values::{Seconds, rules};

fn workload_rules() -> serde_json::Value {
    rules(&[(
        "self.kind == 'StatefulSet' || !has(self.replicas)",
        "replicas has no effect on a DaemonSet, which runs one pod on every node that nodeSelector and tolerations allow: leave it out",
    )])
}

/// The pods. Every change here restarts them one by one, but for replicas and minReady.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-validations" = workload_rules()))]
pub struct Workload {
    /// StatefulSet: a number of pods with a volume claim each. DaemonSet: one pod on every node, which spools to a folder
    /// of the node. Cannot be changed.
    pub kind: WorkloadKind,
    /// Pods of a StatefulSet. Default 1. Two or more keep receiving while one is restarted.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1000))]
    pub replicas: Option<u32>,
    /// Image of the proxy. Default: the one that belongs to this operator.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub image: Option<String>,
    /// CPU and memory of a pod. Memory must hold limits.memory and about 128Mi beside it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resources: Option<ResourceRequirements>,
    /// Labels that a node must have to run the pods.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 64))]
    pub node_selector: BTreeMap<String, String>,
    /// Taints of nodes that the pods put up with.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub tolerations: Vec<Toleration>,
    /// Which nodes and neighbours the pods want. Default: replicas prefer different nodes; on the host network they
    /// must have different ones.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub affinity: Option<Affinity>,
    /// How the pods spread over zones and nodes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub topology_spread_constraints: Vec<TopologySpreadConstraint>,
    /// How long a pod that is told to stop stays as it is, ready and receiving, so that load balancers notice first.
    pub shutdown_delay: Seconds<0, 3600>,
    /// How long it then goes on delivering what it holds. The rest stays on its volume.
    pub shutdown_grace: Seconds<0, 3600>,
    /// How long a new pod must have been ready before the next one is replaced. A pod that takes over an exporter of
    /// NetFlow 9 or IPFIX decodes what came meanwhile when the exporter repeats its templates, and must live until then:
    /// write the longest interval of your exporters. Default: 30s, on the host network, where none changes its pod, 0s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_ready: Option<Seconds<0, 86_400>>,
    /// Overrides of the pod template, for what has no field here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod_template: Option<PodTemplate>,
}

impl Default for Workload {
    fn default() -> Self {
        Self {
            kind: WorkloadKind::default(),
            replicas: None,
            image: None,
            resources: None,
            node_selector: BTreeMap::new(),
            tolerations: Vec::new(),
            affinity: None,
            topology_spread_constraints: Vec::new(),
            shutdown_delay: Seconds::new(10),
            shutdown_grace: Seconds::new(30),
            min_ready: None,
            pod_template: None,
        }
    }
}

/// Kind of workload.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum WorkloadKind {
    /// A number of pods with a volume claim each.
    #[default]
    StatefulSet,
    /// One pod on every node.
    DaemonSet,
}

/// Overrides of the pod template, merged strategically into what the operator builds: lists such as containers, volumes
/// and env are merged by name, everything else is replaced.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct PodTemplate {
    /// Labels and annotations of the pods.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metadata: Option<PodTemplateMetadata>,
    /// Any part of a PodSpec. The container is called `proxy`. This is the one place whose content is not checked when
    /// the object is written; what cannot be merged is reported as Accepted=False/Invalid.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "anything")]
    pub spec: Option<serde_json::Value>,
}

fn anything(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({ "type": "object", "x-kubernetes-preserve-unknown-fields": true })
}

/// Labels and annotations of the pods.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct PodTemplateMetadata {
    /// Labels beside the operator's own, which stay as they are.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 64))]
    pub labels: BTreeMap<String, String>,
    /// Annotations.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 64))]
    pub annotations: BTreeMap<String, String>,
}
