//! What the tables hold of each kind: as little as the pipeline looks at.

use std::{
    collections::BTreeMap,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    sync::Arc,
};

use bytefreezer_crds::{
    Proxy, ProxyDataset, labels,
    values::{NO_LIMIT, Size},
};
use jiff::Timestamp;
use k8s_openapi::{
    api::{
        apps::v1::{DaemonSet, StatefulSet},
        core::v1::{PersistentVolumeClaim, Pod, Service},
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::core::{DeserializeGuard, error_boundary::InvalidObject};

use super::{Kept, table::Row};
use crate::{apply::MANAGER, convert::Content, key::ObjectKey};

/// An object that users write. One that can no longer be read keeps what it last held.
#[derive(Clone, Debug)]
pub struct Authored<K> {
    /// What it holds, or held when it could last be read.
    pub object: Option<Arc<K>>,
    /// Why it cannot be read now, and its metadata.
    pub broken: Option<InvalidObject>,
    /// What stands in for a dataset that this process was never able to read.
    pub kept: Option<Arc<Kept>>,
}

impl<K> From<DeserializeGuard<K>> for Authored<K> {
    fn from(DeserializeGuard(read): DeserializeGuard<K>) -> Self {
        match read {
            Ok(object) => Self { object: Some(Arc::new(object)), broken: None, kept: None },
            Err(broken) => Self { object: None, broken: Some(broken), kept: None },
        }
    }
}

impl<K: kube::Resource> Authored<K> {
    /// Its metadata as it is now.
    pub fn metadata(&self) -> Option<&ObjectMeta> {
        let broken = self.broken.as_ref().map(|broken| &broken.metadata);
        broken.or_else(|| self.object.as_ref().map(|object| object.meta()))
    }

    /// Whether nothing is known of what it holds.
    pub fn is_unread(&self) -> bool {
        self.object.is_none() && self.kept.is_none()
    }

    /// Whether it goes as soon as others let it.
    pub fn is_leaving(&self) -> bool {
        self.metadata().is_some_and(|metadata| metadata.deletion_timestamp.is_some())
    }

    /// The status is not looked at: the operator writes it.
    fn looks_same(&self, other: &Self) -> bool {
        let errors = [self, other].map(|one| one.broken.as_ref().map(|broken| &broken.error));
        errors[0] == errors[1]
            && self.is_leaving() == other.is_leaving()
            && self.metadata().zip(other.metadata()).is_some_and(|(own, theirs)| {
                own.uid == theirs.uid && own.generation == theirs.generation && own.labels == theirs.labels
            })
    }

    fn keeping(&self, next: Self) -> Self {
        Self {
            object: next.object.or_else(|| self.object.clone()),
            broken: next.broken,
            kept: next.kept.or_else(|| self.kept.clone()),
        }
    }
}

impl Row for Authored<Proxy> {
    const SPREADS: bool = true;

    fn proxy(&self, key: &ObjectKey) -> Option<ObjectKey> {
        Some(key.clone())
    }

    fn is_same(&self, other: &Self) -> bool {
        self.looks_same(other)
    }

    fn then(&self, next: Self) -> Self {
        self.keeping(next)
    }
}

impl Authored<ProxyDataset> {
    /// What it holds, as far as that is known.
    pub fn content(&self) -> Option<Content<'_>> {
        let spec = self.object.as_ref().map(|object| Content::Spec(&object.spec));
        spec.or_else(|| self.kept.as_ref().map(|kept| Content::Entry(&kept.entry)))
    }
}

impl Row for Authored<ProxyDataset> {
    const SPREADS: bool = true;

    /// One of which nothing is known belongs to the Proxy without a name of its namespace, where its error is reported.
    fn proxy(&self, key: &ObjectKey) -> Option<ObjectKey> {
        Some(match (&self.object, &self.kept) {
            (Some(object), _) => {
                let wanted = &object.spec.proxy_ref;
                let namespace =
                    wanted.namespace.as_ref().map_or(key.namespace.as_str(), |name| name.as_str());
                ObjectKey::new(namespace, wanted.name.as_str())
            }
            (None, Some(kept)) => kept.proxy.clone(),
            (None, None) => ObjectKey::new(key.namespace.clone(), ""),
        })
    }

    fn is_same(&self, other: &Self) -> bool {
        self.looks_same(other)
    }

    fn then(&self, next: Self) -> Self {
        self.keeping(next)
    }
}

/// Kinds that the operator builds and may watch. Secrets are not among them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// The pods' account.
    ServiceAccount,
    /// The document.
    ConfigMap,
    /// Who may reach the pods.
    NetworkPolicy,
    /// How many pods may be gone.
    PodDisruptionBudget,
    /// Addresses.
    Service,
    /// Pods with claims.
    StatefulSet,
    /// Pods on nodes.
    DaemonSet,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::ServiceAccount,
        Self::ConfigMap,
        Self::NetworkPolicy,
        Self::PodDisruptionBudget,
        Self::Service,
        Self::StatefulSet,
        Self::DaemonSet,
    ];

    /// The kind with this name.
    pub fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| format!("{kind:?}") == name)
    }
}

/// An object that the operator built.
#[derive(Clone, Debug)]
pub struct Owned {
    /// Its metadata, less what only others write.
    pub metadata: ObjectMeta,
    /// Which fields are ours, as a hash: it changes when somebody else writes one of them, and at nothing else.
    pub ours: u64,
    /// What is read of it besides.
    pub detail: Detail,
}

/// What is read of an object that the operator built.
#[derive(Clone, Debug, PartialEq)]
pub enum Detail {
    /// Nothing.
    None,
    /// The claim templates of a StatefulSet, which cannot be changed.
    Claims(Vec<PersistentVolumeClaim>),
    /// How many pods a DaemonSet shall have.
    Nodes(i32),
    /// Ports and addresses of a Service.
    Service(Box<Service>),
}

impl Owned {
    /// An object of which the metadata is all that counts.
    pub fn of(metadata: &ObjectMeta) -> Self {
        Self::with(metadata, Detail::None)
    }

    /// A StatefulSet.
    pub fn stateful_set(set: &StatefulSet) -> Self {
        let claims = set.spec.as_ref().and_then(|spec| spec.volume_claim_templates.clone());
        Self::with(&set.metadata, Detail::Claims(claims.unwrap_or_default()))
    }

    /// A DaemonSet.
    pub fn daemon_set(set: &DaemonSet) -> Self {
        let nodes = set.status.as_ref().map_or(0, |status| status.desired_number_scheduled);
        Self::with(&set.metadata, Detail::Nodes(nodes))
    }

    /// A Service.
    pub fn service(service: &Service) -> Self {
        let kept = Service { metadata: ObjectMeta::default(), ..service.clone() };
        Self::with(&service.metadata, Detail::Service(Box::new(kept)))
    }

    fn with(metadata: &ObjectMeta, detail: Detail) -> Self {
        let kept = ObjectMeta {
            name: metadata.name.clone(),
            namespace: metadata.namespace.clone(),
            uid: metadata.uid.clone(),
            resource_version: metadata.resource_version.clone(),
            labels: metadata.labels.clone(),
            owner_references: metadata.owner_references.clone(),
            deletion_timestamp: metadata.deletion_timestamp.clone(),
            ..ObjectMeta::default()
        };
        Self { metadata: kept, ours: ours(metadata), detail }
    }
}

/// A hash of the fields that are ours by server-side apply.
pub fn ours(metadata: &ObjectMeta) -> u64 {
    let mut hasher = DefaultHasher::new();
    for entry in metadata.managed_fields.iter().flatten() {
        let is_ours = entry.manager.as_deref() == Some(MANAGER)
            && entry.operation.as_deref() == Some("Apply")
            && entry.subresource.is_none();
        if is_ours && let Some(fields) = &entry.fields_v1 {
            fields.0.to_string().hash(&mut hasher);
        }
    }
    hasher.finish()
}

fn proxy_by_label(metadata: &ObjectMeta, key: &ObjectKey) -> Option<ObjectKey> {
    let name = metadata.labels.as_ref()?.get(labels::PROXY)?;
    Some(ObjectKey::new(key.namespace.clone(), name.clone()))
}

impl Row for Owned {
    fn proxy(&self, key: &ObjectKey) -> Option<ObjectKey> {
        proxy_by_label(&self.metadata, key)
    }

    fn is_same(&self, other: &Self) -> bool {
        let leaves = |one: &Self| one.metadata.deletion_timestamp.is_some();
        self.metadata.uid == other.metadata.uid
            && leaves(self) == leaves(other)
            && self.ours == other.ours
            && self.detail == other.detail
    }
}

/// A pod of a Proxy.
#[derive(Clone, Debug)]
pub struct PodRow(pub Arc<Pod>);

impl PodRow {
    /// What is looked at of a pod.
    pub fn of(mut pod: Pod) -> Self {
        pod.metadata.managed_fields = None;
        Self(Arc::new(pod))
    }
}

/// Since when Kubernetes calls the pod ready; `None` when it does not.
pub fn ready_since(pod: &Pod) -> Option<Timestamp> {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
    let ready = conditions.into_iter().flatten().find(|one| one.type_ == "Ready" && one.status == "True")?;
    Some(ready.last_transition_time.as_ref().map_or(Timestamp::UNIX_EPOCH, |time| time.0))
}

impl Row for PodRow {
    fn proxy(&self, key: &ObjectKey) -> Option<ObjectKey> {
        proxy_by_label(&self.0.metadata, key)
    }

    fn is_same(&self, other: &Self) -> bool {
        fn texts(pod: &Pod) -> [Option<&String>; 5] {
            let status = pod.status.as_ref();
            [
                pod.metadata.uid.as_ref(),
                pod.spec.as_ref().and_then(|spec| spec.node_name.as_ref()),
                status.and_then(|status| status.phase.as_ref()),
                status.and_then(|status| status.pod_ip.as_ref()),
                status.and_then(|status| status.host_ip.as_ref()),
            ]
        }
        let (own, theirs) = (&self.0, &other.0);
        let leaves = |pod: &Pod| pod.metadata.deletion_timestamp.is_some();
        texts(own) == texts(theirs)
            && leaves(own) == leaves(theirs)
            && ready_since(own) == ready_since(theirs)
    }
}

/// A volume claim of a Proxy.
#[derive(Clone, Debug)]
pub struct Claim {
    /// Its annotations, in one of which stands what its pod left undelivered.
    pub annotations: BTreeMap<String, String>,
    /// Bytes that it asks for; `None` until it is bound, since it cannot ask for more before that.
    pub requested: Option<u64>,
    labels: Option<BTreeMap<String, String>>,
    uid: Option<String>,
}

impl Claim {
    /// What is looked at of a claim.
    pub fn of(claim: &PersistentVolumeClaim) -> Self {
        let is_bound = claim.status.as_ref().is_some_and(|status| status.phase.as_deref() == Some("Bound"));
        let resources = claim.spec.as_ref().and_then(|spec| spec.resources.as_ref());
        let storage = resources.and_then(|resources| resources.requests.as_ref()?.get("storage"));
        let bytes = storage.and_then(|size| Size::<0, NO_LIMIT>::from(size.0.as_str()).bytes().ok());
        Self {
            annotations: claim.metadata.annotations.clone().unwrap_or_default(),
            requested: bytes.filter(|_| is_bound),
            labels: claim.metadata.labels.clone(),
            uid: claim.metadata.uid.clone(),
        }
    }
}

impl Row for Claim {
    fn proxy(&self, key: &ObjectKey) -> Option<ObjectKey> {
        let name = self.labels.as_ref()?.get(labels::PROXY)?;
        Some(ObjectKey::new(key.namespace.clone(), name.clone()))
    }

    fn is_same(&self, other: &Self) -> bool {
        (&self.uid, &self.annotations, self.requested) == (&other.uid, &other.annotations, other.requested)
    }
}

/// Labels of a namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Labels(pub BTreeMap<String, String>);

impl Row for Labels {
    fn proxy(&self, _: &ObjectKey) -> Option<ObjectKey> {
        None
    }

    fn is_same(&self, other: &Self) -> bool {
        self == other
    }
}
