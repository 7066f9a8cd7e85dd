//! Brings what was built to the API server, and takes away what is no longer built.
//!
//! - Server-side apply under one name: what others set on the same object stays, what we no longer say goes.
//! - Nothing of somebody else is taken over because it has the name that one of ours would have: what this Proxy does not
//!   control is refused. It is looked up where no watch has brought it as ours and it was not applied yet.
//! - The order is that of [`Objects`], the workload last: pods never start before what they mount.
//! - An orphan has the label that `build` gives ([`labels::BUILT`]), is controlled by this very Proxy (by UID), and is
//!   of a kind that `build` makes. Claims, pods and `<proxy>-api` never have that label. Secrets are looked up by their
//!   eight names, since the operator may not list Secrets.
//! - What is there as it was applied last is not applied again ([`Applied`]), so at rest nothing is written.
//! - The first failure ends a pass; the next pass starts over, and whatever is there already stays as it is.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fmt::Debug,
    hash::{DefaultHasher, Hasher as _},
    sync::Arc,
    time::Duration,
};

use bytefreezer_crds::labels;
use k8s_openapi::{
    NamespaceResourceScope,
    api::{
        apps::v1::{DaemonSet, StatefulSet},
        core::v1::{ConfigMap, Secret, Service, ServiceAccount},
        networking::v1::NetworkPolicy,
        policy::v1::PodDisruptionBudget,
    },
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference},
};
use kube::{
    Api, Client, Resource, ResourceExt,
    api::{DeleteParams, Patch, PatchParams, Preconditions},
};
use serde::{Serialize, de::DeserializeOwned};
use tokio::time::Instant;

use crate::{
    assets::SECRETS,
    build::{Objects, Workload},
    failpoint,
    gather::{Kind, Owned, ours},
    validate::ValidatedProxy,
};

/// The one field manager.
pub const MANAGER: &str = "bytefreezer-operator";

/// What could not be done to which object.
#[derive(Debug, thiserror::Error)]
#[error("{kind} {name} {problem}")]
pub struct ApplyError {
    kind: String,
    name: String,
    problem: Problem,
}

/// Why it could not be done.
#[derive(Debug, thiserror::Error)]
enum Problem {
    #[error("cannot be {0}: {1}")]
    Api(&'static str, Box<kube::Error>),
    #[error(
        "is there already and is not this Proxy's: rename or delete it, or choose another name for the Proxy"
    )]
    Foreign,
}

impl ApplyError {
    /// Whether the API server refuses the object, so that somebody has to do something; else it may well take it the
    /// next time.
    pub fn is_refusal(&self) -> bool {
        const PASSING: [u16; 4] = [404, 408, 409, 429];
        match &self.problem {
            Problem::Api(_, error) => matches!(&**error, kube::Error::Api(status)
                if (400..500).contains(&status.code) && !PASSING.contains(&status.code)),
            Problem::Foreign => true,
        }
    }

    /// What the client says.
    pub fn cause(&self) -> Option<&kube::Error> {
        match &self.problem {
            Problem::Api(_, error) => Some(error),
            Problem::Foreign => None,
        }
    }
}

/// How long Secrets, which are not watched, are believed to be as they were applied.
pub const SECRETS_HOLD: Duration = Duration::from_mins(1);

/// What was applied last, and what became of it.
#[derive(Debug, Default)]
pub struct Applied {
    marks: HashMap<(String, String), Mark>,
    /// The Secrets that were to be there when the others were last looked for.
    swept: Option<BTreeSet<String>>,
}

/// One object that was applied.
#[derive(Debug)]
struct Mark {
    /// Hash of what was applied.
    wanted: u64,
    uid: Option<String>,
    /// The version that the watch had brought before: as long as it has brought no other, ours is not back yet.
    before: Option<String>,
    /// Hash of the fields that were ours afterwards.
    ours: u64,
    at: Instant,
}

impl Mark {
    /// Whether what the watch brought is what was left there.
    fn holds(&self, there: &Owned) -> bool {
        let metadata = &there.metadata;
        metadata.deletion_timestamp.is_none()
            && metadata.uid == self.uid
            && (there.ours == self.ours || metadata.resource_version == self.before)
    }
}

/// Kinds that `build` makes.
trait Built:
    Resource<DynamicType = (), Scope = NamespaceResourceScope> + Serialize + DeserializeOwned + Clone + Debug
{
}

impl<K> Built for K where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Serialize
        + DeserializeOwned
        + Clone
        + Debug
{
}

fn failed<K: Built>(name: &str, what: &'static str) -> impl FnOnce(kube::Error) -> ApplyError {
    let name = name.to_owned();
    move |error| ApplyError {
        kind: K::kind(&()).into_owned(),
        name,
        problem: Problem::Api(what, Box::new(error)),
    }
}

/// One Proxy's objects on the API server.
struct Owner<'a> {
    client: &'a Client,
    proxy: &'a ValidatedProxy,
    there: &'a BTreeMap<(Kind, String), Arc<Owned>>,
    applied: &'a mut Applied,
}

/// Applies what is not there, then removes orphans. `there` is what watches have brought.
pub async fn apply(
    client: &Client,
    proxy: &ValidatedProxy,
    objects: &Objects,
    there: &BTreeMap<(Kind, String), Arc<Owned>>,
    applied: &mut Applied,
) -> Result<(), ApplyError> {
    let mut owner = Owner { client, proxy, there, applied };
    let Objects {
        service_account,
        secrets,
        config_map,
        network_policy,
        disruption_budget,
        headless_service,
        services,
        workload,
    } = objects;
    owner.apply(std::slice::from_ref(service_account)).await?;
    owner.apply(secrets).await?;
    owner.apply(std::slice::from_ref(config_map)).await?;
    owner.apply(network_policy.as_slice()).await?;
    owner.apply(disruption_budget.as_slice()).await?;
    owner.apply(std::slice::from_ref(headless_service)).await?;
    owner.apply(services).await?;
    let (stateful_set, daemon_set) = match workload {
        Some(Workload::StatefulSet(set)) => (Some(&**set), None),
        Some(Workload::DaemonSet(set)) => (None, Some(&**set)),
        None => (None, None),
    };
    owner.apply(stateful_set.map_or(&[][..], std::slice::from_ref)).await?;
    owner.apply(daemon_set.map_or(&[][..], std::slice::from_ref)).await?;

    owner.remove_secrets(secrets).await?;
    owner.remove_others::<NetworkPolicy>(network_policy.iter()).await?;
    owner.remove_others::<PodDisruptionBudget>(disruption_budget.iter()).await?;
    owner.remove_others::<Service>(services.iter().chain([headless_service])).await?;
    owner.remove_others::<ConfigMap>([config_map]).await?;
    owner.remove_others::<ServiceAccount>([service_account]).await?;
    owner.remove_others::<StatefulSet>(stateful_set).await?;
    owner.remove_others::<DaemonSet>(daemon_set).await
}

/// Names an object among all kinds.
fn mark_key<K: Built>(name: &str) -> (String, String) {
    (K::kind(&()).into_owned(), name.to_owned())
}

impl Owner<'_> {
    fn api<K: Built>(&self) -> Api<K> {
        Api::namespaced(self.client.clone(), &self.proxy.key.namespace)
    }

    fn there<K: Built>(&self, name: &str) -> Option<&Arc<Owned>> {
        self.there.get(&(Kind::of(&K::kind(&()))?, name.to_owned()))
    }

    async fn apply<K: Built>(&mut self, objects: &[K]) -> Result<(), ApplyError> {
        for object in objects {
            let name = object.name_any();
            let wanted = hash(object);
            let there = self.there::<K>(&name).cloned();
            let before = there.as_ref().and_then(|there| there.metadata.resource_version.clone());
            let key = mark_key::<K>(&name);
            let is_watched = Kind::of(&K::kind(&())).is_some();
            let holds = match (self.applied.marks.get_mut(&key).filter(|mark| mark.wanted == wanted), there) {
                (None, _) => false,
                (Some(mark), Some(there)) => mark.holds(&there),
                (Some(_), None) if is_watched => false,
                (Some(mark), None) if mark.at.elapsed() < SECRETS_HOLD => true,
                (Some(mark), None) => {
                    let there = Api::<K>::namespaced(self.client.clone(), &self.proxy.key.namespace)
                        .get_metadata_opt(&name)
                        .await
                        .map_err(failed::<K>(&name, "read"))?;
                    mark.at = Instant::now();
                    there.is_some_and(|there| mark.holds(&Owned::of(&there.metadata)))
                }
            };
            if holds {
                continue;
            }
            if before.is_none() && !self.applied.marks.contains_key(&key) {
                self.look_before::<K>(&name).await?;
            }
            let params = PatchParams::apply(MANAGER).force();
            let patch = Patch::Apply(object);
            let made = self.api::<K>().patch(&name, &params, &patch).await;
            let made = made.map_err(failed::<K>(&name, "applied"))?;
            let metadata = made.meta();
            let mark =
                Mark { wanted, uid: metadata.uid.clone(), before, ours: ours(metadata), at: Instant::now() };
            self.applied.marks.insert(key, mark);
            failpoint::pass(&format!("applied.{}", K::kind(&())));
        }
        Ok(())
    }

    /// Refuses what is there and is somebody else's.
    async fn look_before<K: Built>(&self, name: &str) -> Result<(), ApplyError> {
        let there = self.api::<K>().get_metadata_opt(name).await.map_err(failed::<K>(name, "read"))?;
        if there.is_none_or(|there| self.controls(&there.metadata)) {
            return Ok(());
        }
        let kind = K::kind(&()).into_owned();
        Err(ApplyError { kind, name: name.to_owned(), problem: Problem::Foreign })
    }

    fn controls(&self, metadata: &ObjectMeta) -> bool {
        is_controlled(metadata, &self.proxy.owner.uid)
    }

    /// Removes what was built once and is not among `kept`.
    async fn remove_others<'a, K: Built + 'a>(
        &mut self,
        kept: impl IntoIterator<Item = &'a K>,
    ) -> Result<(), ApplyError> {
        let kept: BTreeSet<String> = kept.into_iter().map(K::name_any).collect();
        let Some(kind) = Kind::of(&K::kind(&())) else { return Ok(()) };
        for ((_, name), object) in self.there.iter().filter(|((other, _), _)| *other == kind) {
            if !kept.contains(name) && object.metadata.deletion_timestamp.is_none() {
                self.remove::<K>(&object.metadata).await?;
            }
        }
        Ok(())
    }

    async fn remove_secrets(&mut self, kept: &[Secret]) -> Result<(), ApplyError> {
        let kept: BTreeSet<String> = kept.iter().map(Secret::name_any).collect();
        if self.applied.swept.as_ref() == Some(&kept) {
            return Ok(());
        }
        for index in 0..SECRETS {
            let name = format!("{}-assets-{index}", self.proxy.key.name);
            if kept.contains(&name) {
                continue;
            }
            let there = self.api::<Secret>().get_metadata_opt(&name).await;
            if let Some(secret) = there.map_err(failed::<Secret>(&name, "read"))? {
                self.remove::<Secret>(&secret.metadata).await?;
            }
        }
        self.applied.swept = Some(kept);
        Ok(())
    }

    /// Removes an object of ours, and only in the version that was looked at.
    async fn remove<K: Built>(&mut self, metadata: &ObjectMeta) -> Result<(), ApplyError> {
        let name = metadata.name.clone().unwrap_or_default();
        let labels = metadata.labels.as_ref();
        let built = labels.is_some_and(|labels| labels.contains_key(labels::BUILT));
        if !built || !self.controls(metadata) {
            return Ok(());
        }
        let params = DeleteParams {
            preconditions: Some(Preconditions { uid: metadata.uid.clone(), ..Preconditions::default() }),
            ..DeleteParams::default()
        };
        match self.api::<K>().delete(&name, &params).await {
            Err(kube::Error::Api(status)) if status.code == 404 => (),
            Err(error) => return Err(failed::<K>(&name, "removed")(error)),
            Ok(_) => (),
        }
        self.applied.marks.remove(&mark_key::<K>(&name));
        failpoint::pass("removed.orphan");
        Ok(())
    }
}

/// Whether the object is that of the owner with this UID.
pub fn is_controlled(metadata: &ObjectMeta, uid: &str) -> bool {
    let is_owner = |owner: &OwnerReference| owner.controller == Some(true) && owner.uid == uid;
    metadata.owner_references.iter().flatten().any(is_owner)
}

/// A hash of an object as it is written.
fn hash(object: &impl Serialize) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(&serde_json::to_vec(object).unwrap_or_default());
    hasher.finish()
}

#[cfg(test)]
mod tests;
