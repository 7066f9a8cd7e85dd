//! The Kubernetes objects of a Proxy, one file per kind.
//!
//! Pure: the same input gives the same objects, byte for byte, in the same order. [`Objects`] is what `apply` takes apart
//! without `..`, so a further kind does not compile until it is applied.
//!
//! - Workload and pod template take the [`ValidatedProxy`] and nothing else, so no dataset can restart a pod.
//! - Selectors hold one label that never changes ([`labels::PROXY`]); what can change stands beside it.
//! - One port model ([`Ports`]) feeds Services and NetworkPolicy.

mod config_map;
mod daemon_set;
mod disruption_budget;
mod headless_service;
mod network_policy;
mod pod_template;
mod ports;
mod secret;
mod service;
mod service_account;
mod stateful_set;

#[cfg(test)]
pub(crate) mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use bytefreezer_crds::labels;
use k8s_openapi::{
    api::{
        apps::v1::{DaemonSet, StatefulSet},
        core::v1::{ConfigMap, PersistentVolumeClaim, Secret, Service, ServiceAccount, ServicePort},
        networking::v1::NetworkPolicy,
        policy::v1::PodDisruptionBudget,
    },
    apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta},
};

pub use config_map::{TooLarge, config_name, document};
pub use pod_template::{API_PORT, CONTAINER, SPOOL};
pub use ports::Ports;
pub use service::STICKY;

use crate::{assets::SECRETS, convert::Rendered, validate::ValidatedProxy};

/// What the objects are built from.
#[derive(Clone, Copy)]
pub struct Input<'a> {
    /// The Proxy.
    pub proxy: &'a ValidatedProxy,
    /// Its document.
    pub rendered: &'a Rendered,
    /// What its datasets listen on.
    pub ports: &'a Ports,
    /// Contents of the assets by name.
    pub files: &'a BTreeMap<String, &'a [u8]>,
    /// Which asset is in which Secret.
    pub placement: &'a [BTreeSet<String>; SECRETS],
    /// What cannot be changed any more.
    pub living: &'a Living,
    /// Whether there are to be pods: not while another Proxy has a port that they need of their nodes.
    pub runs: bool,
}

/// What is there already and must stay as it is.
#[derive(Clone, Debug, Default)]
pub struct Living {
    /// Claim templates of the StatefulSet, which are immutable. Growth goes by claim.
    pub claim_templates: Option<Vec<PersistentVolumeClaim>>,
    /// Ports of the Services by name: a Service that would have none keeps its last ones, and with them its address.
    pub services: BTreeMap<String, Vec<ServicePort>>,
}

/// Everything of a Proxy, in the order in which it is applied: the workload last, or pods would start twice. It holds
/// tokens and keys, so it is not printed.
#[derive(Clone, PartialEq)]
pub struct Objects {
    /// The pods' account, which may do nothing.
    pub service_account: ServiceAccount,
    /// Tokens and certificates, before the document that names them.
    pub secrets: Vec<Secret>,
    /// The document.
    pub config_map: ConfigMap,
    /// Who may reach the pods.
    pub network_policy: Option<NetworkPolicy>,
    /// How many may be gone at a time.
    pub disruption_budget: Option<PodDisruptionBudget>,
    /// Names of the pods.
    pub headless_service: Service,
    /// Addresses for senders.
    pub services: Vec<Service>,
    /// The pods, unless there are to be none.
    pub workload: Option<Workload>,
}

impl fmt::Debug for Objects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Objects").field("services", &self.services).finish_non_exhaustive()
    }
}

/// The pods.
#[derive(Clone, Debug, PartialEq)]
pub enum Workload {
    /// With a volume claim each.
    StatefulSet(Box<StatefulSet>),
    /// One per node.
    DaemonSet(Box<DaemonSet>),
}

/// Builds everything.
pub fn build(input: Input<'_>) -> Result<Objects, TooLarge> {
    let proxy = input.proxy;
    Ok(Objects {
        service_account: service_account::build(proxy),
        secrets: secret::build(proxy, input.files, input.placement),
        config_map: config_map::build(proxy, input.rendered)?,
        network_policy: network_policy::build(proxy, input.ports),
        disruption_budget: disruption_budget::build(proxy),
        headless_service: headless_service::build(proxy),
        services: service::build(proxy, input.ports, &input.living.services),
        workload: input.runs.then(|| {
            if proxy.is_daemon_set() {
                Workload::DaemonSet(Box::new(daemon_set::build(proxy)))
            } else {
                let claims = input.living.claim_templates.clone();
                Workload::StatefulSet(Box::new(stateful_set::build(proxy, claims)))
            }
        }),
    })
}

/// Metadata of an object called `<proxy><suffix>`.
fn metadata(proxy: &ValidatedProxy, suffix: &str) -> ObjectMeta {
    let mut labels = common_labels(proxy);
    labels.insert(labels::BUILT.to_owned(), "true".to_owned());
    ObjectMeta {
        name: Some(format!("{}{suffix}", proxy.key.name)),
        namespace: Some(proxy.key.namespace.clone()),
        labels: Some(labels),
        owner_references: Some(vec![proxy.owner.clone()]),
        ..ObjectMeta::default()
    }
}

fn common_labels(proxy: &ValidatedProxy) -> BTreeMap<String, String> {
    [
        ("app.kubernetes.io/name", "bytefreezer-proxy"),
        ("app.kubernetes.io/instance", proxy.key.name.as_str()),
        ("app.kubernetes.io/managed-by", "bytefreezer-operator"),
        (labels::PROXY, proxy.key.name.as_str()),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into()
}

/// Selects the pods. Immutable in workloads, so it holds nothing that could change.
fn pod_labels(proxy: &ValidatedProxy) -> BTreeMap<String, String> {
    BTreeMap::from([(labels::PROXY.to_owned(), proxy.key.name.clone())])
}

fn pod_selector(proxy: &ValidatedProxy) -> LabelSelector {
    LabelSelector { match_labels: Some(pod_labels(proxy)), ..LabelSelector::default() }
}
