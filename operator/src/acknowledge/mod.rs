//! What the pods of every Proxy have applied, by asking them.
//!
//! ```text
//! pods (Kubernetes) --follow--> one task per pod --ask--> pod's API
//!                                     |
//!            controller <--reports--- what it last said --changed--> "this Proxy has news"
//! ```
//! - [`Followers`] owns every task; dropping it, or a pod's leaving, ends them.
//! - Pods that are not ready are asked too: why they are not is what people want to know.
//! - A pod that does not answer delays nobody else.

mod ask;
mod follower;
mod refresh;
mod report;
mod wire;

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use k8s_openapi::api::core::v1::{ContainerPort, Pod};
use kube::{Api, Client, ResourceExt as _};
use parking_lot::Mutex;
use tokio::{
    sync::{mpsc, watch},
    time::Instant,
};
use tokio_util::task::AbortOnDropHandle;

pub use report::{
    ErrorKind, InputError, InputReport, InputState, PodReport, ReceiveBuffer, Said, Silence, Why,
};

use crate::{
    api_secret::Access,
    build::{API_PORT, CONTAINER},
    key::ObjectKey,
};
use ask::Limits;
use follower::{Follower, Heard, Target};
use refresh::{Debtor, refresh};

/// Characters of a document's hash in an annotation.
const SHORT_HASH: usize = 16;
/// Within this every pod counts as one that needs a new access brought to it.
const RENEWAL: Duration = Duration::from_secs(1);

/// The owner of one task per (Proxy, pod UID).
pub struct Followers {
    client: Client,
    changed: mpsc::Sender<ObjectKey>,
    limits: Limits,
    proxies: Mutex<BTreeMap<ObjectKey, Followed>>,
}

/// The pods of one Proxy.
struct Followed {
    access: Access,
    /// By UID.
    pods: BTreeMap<String, One>,
    /// The last document that pods were touched for.
    document: Option<(String, AbortOnDropHandle<()>)>,
    /// Touches pods after the Secret of the API was made anew.
    renewed: Option<AbortOnDropHandle<()>>,
}

/// One pod.
struct One {
    pod: String,
    node: Option<String>,
    leaving: bool,
    target: watch::Sender<Target>,
    heard: watch::Receiver<Heard>,
    _task: AbortOnDropHandle<()>,
}

impl Followers {
    /// Nobody is followed yet. `changed` is told which Proxy has news; it may be shared with others who tell the same.
    pub fn new(client: Client, changed: mpsc::Sender<ObjectKey>) -> Self {
        Self { client, changed, limits: Limits::default(), proxies: Mutex::default() }
    }

    /// Follows these pods of a Proxy and no others. Those that ended are passed over. Needs a runtime around it.
    pub fn follow(&self, proxy: &ObjectKey, access: &Access, pods: &[Arc<Pod>]) {
        let mut proxies = self.proxies.lock();
        let followed = proxies.entry(proxy.clone()).or_insert_with(|| Followed {
            access: access.clone(),
            pods: BTreeMap::new(),
            document: None,
            renewed: None,
        });
        let mut old = std::mem::take(&mut followed.pods);
        for pod in pods.iter().filter(|pod| !has_ended(pod)) {
            let (Some(uid), name) = (pod.uid(), pod.name_any()) else { continue };
            let leaving = pod.metadata.deletion_timestamp.is_some();
            let target =
                Target { address: address(pod), access: access.clone(), ready: !leaving && is_ready(pod) };
            let node = pod.spec.as_ref().and_then(|spec| spec.node_name.clone());
            let mut one = old.remove(&uid).unwrap_or_else(|| self.start(proxy, name, target.clone()));
            (one.node, one.leaving) = (node, leaving);
            one.target.send_if_modified(|known| {
                let differs = *known != target;
                *known = target;
                differs
            });
            followed.pods.insert(uid, one);
        }
        if followed.access != *access {
            followed.access = access.clone();
            let debtors = followed.debtors();
            let api = Api::namespaced(self.client.clone(), &proxy.namespace);
            let why = format!("api-{}", jiff::Timestamp::now().as_millisecond());
            // At first nobody knows yet that pods do not take the new one.
            let start = Instant::now();
            let owes = move |heard: &Heard| heard.silence.is_some() || start.elapsed() < RENEWAL;
            let task = refresh(api, why, debtors, owes);
            followed.renewed = Some(AbortOnDropHandle::new(tokio::spawn(task)));
        }
    }

    /// Follows nobody of this Proxy any more.
    pub fn forget(&self, proxy: &ObjectKey) {
        self.proxies.lock().remove(proxy);
    }

    /// What the pods of a Proxy last said, by name.
    pub fn reports(&self, proxy: &ObjectKey) -> Vec<PodReport> {
        let proxies = self.proxies.lock();
        let pods = proxies.get(proxy).into_iter().flat_map(|followed| &followed.pods);
        let mut reports: Vec<_> = pods.map(|(uid, one)| one.report(uid)).collect();
        reports.sort_by(|a, b| a.pod.cmp(&b.pod));
        reports
    }

    /// After a pass that applied `document`: brings it to the pods that have another one. The same document again does
    /// nothing, so it may be called after every pass.
    pub fn refresh(&self, proxy: &ObjectKey, document: &str) {
        let mut proxies = self.proxies.lock();
        let Some(followed) = proxies.get_mut(proxy) else { return };
        if followed.document.as_ref().is_some_and(|(known, _)| known == document) {
            return;
        }
        let api = Api::namespaced(self.client.clone(), &proxy.namespace);
        let (short, wanted) = (document.chars().take(SHORT_HASH).collect(), document.to_owned());
        let owes = move |heard: &Heard| heard.said.as_ref().is_none_or(|said| said.document != wanted);
        let task = tokio::spawn(refresh(api, short, followed.debtors(), owes));
        followed.document = Some((document.to_owned(), AbortOnDropHandle::new(task)));
    }
}

impl Followers {
    fn start(&self, proxy: &ObjectKey, pod: String, target: Target) -> One {
        let (target, asked) = watch::channel(target);
        let (heard, known) = watch::channel(Heard::nothing());
        let follower = Follower {
            proxy: proxy.clone(),
            pod: pod.clone(),
            target: asked,
            heard,
            changed: self.changed.clone(),
            limits: self.limits,
        };
        let task = AbortOnDropHandle::new(tokio::spawn(follower.run()));
        One { pod, node: None, leaving: false, target, heard: known, _task: task }
    }
}

impl Followed {
    fn debtors(&self) -> Vec<Debtor> {
        let staying = self.pods.iter().filter(|(_, one)| !one.leaving);
        let debtor = |(uid, one): (&String, &One)| Debtor {
            pod: one.pod.clone(),
            uid: uid.clone(),
            heard: one.heard.clone(),
        };
        staying.map(debtor).collect()
    }
}

impl One {
    fn report(&self, uid: &str) -> PodReport {
        let Heard { said, silence } = self.heard.borrow().clone();
        PodReport {
            pod: self.pod.clone(),
            uid: uid.to_owned(),
            node: self.node.clone(),
            ready: self.target.borrow().ready,
            said,
            silence,
        }
    }
}

fn has_ended(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    matches!(phase, Some("Succeeded" | "Failed"))
}

fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions.into_iter().flatten().any(|one| one.type_ == "Ready" && one.status == "True")
}

/// Where its API is: the port that the pod itself was made with, which a change of the Proxy does not move.
fn address(pod: &Pod) -> Option<SocketAddr> {
    let ip: IpAddr = pod.status.as_ref()?.pod_ip.as_deref()?.parse().ok()?;
    let container = pod.spec.as_ref()?.containers.iter().find(|container| container.name == CONTAINER)?;
    let is_api = |port: &&ContainerPort| port.name.as_deref() == Some(API_PORT);
    let port = container.ports.iter().flatten().find(is_api)?.container_port;
    Some(SocketAddr::new(ip, u16::try_from(port).ok()?))
}

#[cfg(test)]
mod tests;
