//! A `Proxy` with every text read. What cannot be read is reported all at once, on the Proxy.

use std::collections::BTreeMap;

use bytefreezer_crds::{
    Proxy, ProxySpec,
    proxy::{AllowedDatasets, ConfigMode, ExposureType, HostNetwork, NamespaceFrom, WorkloadKind},
    values::{Size, ValueError},
};
use k8s_openapi::{
    api::core::v1::{PodSpec, PodTemplateSpec},
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference},
};
use kube::ResourceExt as _;

use crate::{
    arbitrate::{Host, Pool, Rule},
    key::ObjectKey,
};

/// Folder of the nodes below which Proxies spool, unless said otherwise.
const HOST_PATH: &str = "/var/lib/bytefreezer";
/// Beside delay and grace, until the kill: 7 in which senders are led elsewhere, 10 at most to close batches, and a rest.
const LEAVE_SECONDS: u64 = 22;
/// `workload.minReady` unless said otherwise: templates are repeated within it where somebody made the interval short.
const MIN_READY: i32 = 30;

/// What is the same for every Proxy of this operator.
#[derive(Clone, Debug)]
pub struct Defaults {
    /// Image of the proxy.
    pub image: String,
    /// The one namespace that the operator serves; `None` is all.
    pub namespace: Option<String>,
}

/// A Proxy that can be built.
#[derive(Clone, Debug)]
pub struct ValidatedProxy {
    /// Namespace and name.
    pub key: ObjectKey,
    /// Makes this Proxy the owner of what is built.
    pub owner: OwnerReference,
    /// The spec as it was written.
    pub spec: ProxySpec,
    /// Image of the pods.
    pub image: String,
    /// TCP port of the API.
    pub api_port: u16,
    /// TCP port of health and metrics.
    pub health_port: u16,
    /// What the spool may take.
    pub limits: SpoolLimits,
    /// Seconds after SIGTERM in which everything stays as it is.
    pub shutdown_delay: u64,
    /// Seconds of delivery after that.
    pub shutdown_grace: u64,
    /// Seconds for which a new pod must have been ready before the next one is replaced, if it must.
    pub min_ready: Option<i32>,
    /// `allowedDatasets`.
    pub rules: Vec<Rule>,
    /// Overrides of the pod template.
    pub pod_template: Option<PodTemplateSpec>,
}

/// What the spool may take, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpoolLimits {
    /// The volume.
    pub size: u64,
    /// Log and batches.
    pub queue: u64,
    /// Dead letters.
    pub dlq: u64,
}

/// What is wrong with a Proxy, all of it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.join("; "))]
pub struct Invalid(pub Vec<String>);

/// Collects what cannot be read.
#[derive(Default)]
struct Reader(Vec<String>);

impl Reader {
    fn read<T: Default>(&mut self, at: &str, value: Result<T, impl std::fmt::Display>) -> T {
        value.unwrap_or_else(|error| {
            self.0.push(format!("{at}: {error}"));
            T::default()
        })
    }
}

impl ValidatedProxy {
    /// Reads a Proxy.
    pub fn read(proxy: &Proxy, defaults: &Defaults) -> Result<Self, Invalid> {
        let mut reader = Reader::default();
        let spec = proxy.spec.clone();
        if spec.config_mode != ConfigMode::LocalOnly {
            reader.0.push(
                "spec.configMode: ControlOnly and Hybrid are not in this version yet; write LocalOnly"
                    .to_owned(),
            );
        }
        let host = spec.exposure.host_network.clone().unwrap_or_default();
        let ports =
            if spec.exposure.kind == ExposureType::HostNetwork { host } else { HostNetwork::default() };
        let rules = spec.allowed_datasets.clone().unwrap_or_else(|| vec![AllowedDatasets::default()]);
        let mut read = Vec::new();
        for (index, rule) in rules.iter().enumerate() {
            let at = format!("spec.allowedDatasets[{index}]");
            read.push(reader.read(&at, Rule::read(rule)));
            if let Some(namespace) = &defaults.namespace
                && rule.namespaces.from != NamespaceFrom::Same
            {
                reader.0.push(format!(
                    "{at}.namespaces.from: {:?} needs an operator of the whole cluster, and this one serves {namespace} \
                     alone: write Same, or install the operator with scope: Cluster",
                    rule.namespaces.from
                ));
            }
        }
        let limits = reader.read("spec.spool", spool_limits(&spec));
        let pod_template = reader.read("spec.workload.podTemplate.spec", pod_template(&spec));
        let validated = Self {
            key: ObjectKey::new(proxy.namespace().unwrap_or_default(), proxy.name_any()),
            owner: owner(proxy),
            image: spec.workload.image.clone().unwrap_or_else(|| defaults.image.clone()),
            api_port: ports.api_port,
            health_port: ports.health_port,
            limits: limits.unwrap_or(SpoolLimits { size: 0, queue: 0, dlq: 0 }),
            shutdown_delay: reader.read("spec.workload.shutdownDelay", spec.workload.shutdown_delay.units()),
            shutdown_grace: reader.read("spec.workload.shutdownGrace", spec.workload.shutdown_grace.units()),
            min_ready: reader.read("spec.workload.minReady", min_ready(&spec)),
            rules: read,
            pod_template,
            spec,
        };
        if reader.0.is_empty() { Ok(validated) } else { Err(Invalid(reader.0)) }
    }

    /// Whether the pods are on the host network.
    pub fn on_host_network(&self) -> bool {
        self.spec.exposure.kind == ExposureType::HostNetwork
    }

    /// Whether the pods may bind ports below 1024 on the host network.
    pub fn has_privileged_ports(&self) -> bool {
        self.on_host_network()
            && self.spec.exposure.host_network.as_ref().is_some_and(|host| host.privileged_ports)
    }

    /// Whether there is one pod per node.
    pub fn is_daemon_set(&self) -> bool {
        self.spec.workload.kind == WorkloadKind::DaemonSet
    }

    /// Pods of a StatefulSet.
    pub fn replicas(&self) -> i32 {
        self.spec.workload.replicas.unwrap_or(1).try_into().unwrap_or(i32::MAX)
    }

    /// How long Kubernetes waits before it kills a pod.
    pub fn termination_seconds(&self) -> i64 {
        (self.shutdown_delay + self.shutdown_grace + LEAVE_SECONDS).try_into().unwrap_or(i64::MAX)
    }

    /// This Proxy's own folder on the nodes.
    pub fn host_folder(&self) -> String {
        let base = self.spec.spool.host_path.as_deref().unwrap_or(HOST_PATH).trim_end_matches('/');
        format!("{base}/{}/{}", self.key.namespace, self.key.name)
    }

    /// What arbitration looks at, still without claimants.
    pub fn pool(&self, created: Option<i64>) -> Pool {
        let host = self.on_host_network().then(|| Host {
            privileged: self.has_privileged_ports(),
            nodes: self.spec.workload.node_selector.clone(),
        });
        Pool {
            key: self.key.clone(),
            created,
            own_ports: [self.api_port, self.health_port],
            host,
            rules: self.rules.clone(),
            claimants: Vec::new(),
        }
    }
}

/// 60 % for the queue, 30 % for dead letters, the rest a reserve, unless said otherwise.
fn spool_limits(spec: &ProxySpec) -> Result<Option<SpoolLimits>, ValueError> {
    let size = spec.spool.size.bytes()?;
    let share = |percent: u64| size / 100 * percent;
    Ok(Some(SpoolLimits {
        size,
        queue: spec.spool.max_size.as_ref().map_or(Ok(share(60)), Size::bytes)?,
        dlq: spec.spool.dlq_max_size.as_ref().map_or(Ok(share(30)), Size::bytes)?,
    }))
}

fn min_ready(spec: &ProxySpec) -> Result<Option<i32>, ValueError> {
    let seconds = match &spec.workload.min_ready {
        Some(written) => written.units()?.try_into().unwrap_or(i32::MAX),
        None if spec.exposure.kind == ExposureType::HostNetwork => 0,
        None => MIN_READY,
    };
    Ok((seconds > 0).then_some(seconds))
}

fn pod_template(spec: &ProxySpec) -> Result<Option<PodTemplateSpec>, serde_json::Error> {
    let Some(template) = &spec.workload.pod_template else { return Ok(None) };
    let written = |map: &BTreeMap<String, String>| (!map.is_empty()).then(|| map.clone());
    let metadata = template.metadata.as_ref().map(|metadata| ObjectMeta {
        labels: written(&metadata.labels),
        annotations: written(&metadata.annotations),
        ..ObjectMeta::default()
    });
    // `containers` is required of a PodSpec, but not of an override.
    let spec = template.spec.clone().map(|mut spec| {
        if let Some(members) = spec.as_object_mut() {
            members.entry("containers").or_insert_with(|| serde_json::json!([]));
        }
        serde_json::from_value::<PodSpec>(spec)
    });
    Ok(Some(PodTemplateSpec { metadata, spec: spec.transpose()? }))
}

fn owner(proxy: &Proxy) -> OwnerReference {
    use kube::Resource as _;
    OwnerReference {
        api_version: Proxy::api_version(&()).into_owned(),
        kind: Proxy::kind(&()).into_owned(),
        name: proxy.name_any(),
        uid: proxy.uid().unwrap_or_default(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(from: &str, namespace: Option<&str>) -> Result<ValidatedProxy, Invalid> {
        let proxy = serde_json::from_value(json!({
            "apiVersion": "bytefreezer.com/v1alpha1", "kind": "Proxy", "metadata": {"name": "edge", "namespace": "net"},
            "spec": {
                "receiver": {"url": "https://receiver.example"},
                "allowedDatasets": [{"namespaces": {"from": from, "selector": {}}}],
            },
        }));
        let defaults = Defaults { image: "proxy:1".to_owned(), namespace: namespace.map(str::to_owned) };
        ValidatedProxy::read(&proxy.unwrap(), &defaults)
    }

    #[test]
    fn a_new_pod_is_left_alone_for_a_while_where_senders_change_pods() {
        let min_ready = |spec: serde_json::Value| crate::build::tests::proxy(&spec).min_ready;
        assert_eq!(min_ready(json!({})), Some(30));
        assert_eq!(min_ready(json!({"exposure": {"type": "HostNetwork"}})), None);
        assert_eq!(min_ready(json!({"workload": {"minReady": "0s"}})), None);
        assert_eq!(min_ready(json!({"workload": {"minReady": "10m"}})), Some(600));
    }

    #[test]
    fn an_operator_of_one_namespace_takes_no_datasets_of_others() {
        for from in ["Same", "All", "Selector"] {
            assert!(read(from, None).is_ok(), "{from}");
            let found = read(from, Some("net")).err().map(|error| error.to_string());
            assert_eq!(found.is_none(), from == "Same", "{found:?}");
            assert!(
                found.is_none_or(
                    |text| text.contains("write Same, or install the operator with scope: Cluster")
                )
            );
        }
    }
}
