//! Brings what was built to the API server, and takes away what is no longer built.
//!
//! - Server-side apply under one name: what others set on the same object stays, what we no longer say goes.
//! - The order is that of [`Objects`], the workload last: pods never start before what they mount.
//! - An orphan has the label that `build` gives ([`labels::BUILT`]), is controlled by this very Proxy (by UID), and is
//!   of a kind that `build` makes. Claims, pods and `<proxy>-api` never have that label. Secrets are looked up by their
//!   eight names, since the operator may not list Secrets.
//! - The first failure ends a pass; the next pass starts over, and whatever is there already stays as it is.

use std::{collections::BTreeSet, fmt::Debug};

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
    api::{DeleteParams, ListParams, Patch, PatchParams, Preconditions},
};
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    assets::SECRETS,
    build::{Objects, Workload},
    validate::ValidatedProxy,
};

/// The one field manager.
pub const MANAGER: &str = "bytefreezer-operator";

/// What could not be done to which object.
#[derive(Debug, thiserror::Error)]
#[error("{kind} {name} cannot be {what}: {source}")]
pub struct ApplyError {
    kind: String,
    name: String,
    what: &'static str,
    source: Box<kube::Error>,
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
    move |source| ApplyError { kind: K::kind(&()).into_owned(), name, what, source: Box::new(source) }
}

/// One Proxy's objects on the API server.
struct Owner<'a> {
    client: &'a Client,
    proxy: &'a ValidatedProxy,
}

/// Applies everything, then removes orphans.
pub async fn apply(client: &Client, proxy: &ValidatedProxy, objects: &Objects) -> Result<(), ApplyError> {
    let owner = Owner { client, proxy };
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
    match workload {
        Workload::StatefulSet(set) => owner.apply(std::slice::from_ref(&**set)).await?,
        Workload::DaemonSet(set) => owner.apply(std::slice::from_ref(&**set)).await?,
    }

    owner.remove_secrets(secrets).await?;
    owner.remove_others::<NetworkPolicy>(network_policy.iter()).await?;
    owner.remove_others::<PodDisruptionBudget>(disruption_budget.iter()).await?;
    owner.remove_others::<Service>(services.iter().chain([headless_service])).await?;
    owner.remove_others::<ConfigMap>([config_map]).await?;
    owner.remove_others::<ServiceAccount>([service_account]).await?;
    let (stateful_set, daemon_set) = match workload {
        Workload::StatefulSet(set) => (Some(&**set), None),
        Workload::DaemonSet(set) => (None, Some(&**set)),
    };
    owner.remove_others::<StatefulSet>(stateful_set).await?;
    owner.remove_others::<DaemonSet>(daemon_set).await
}

impl Owner<'_> {
    fn api<K: Built>(&self) -> Api<K> {
        Api::namespaced(self.client.clone(), &self.proxy.key.namespace)
    }

    async fn apply<K: Built>(&self, objects: &[K]) -> Result<(), ApplyError> {
        for object in objects {
            let name = object.name_any();
            let params = PatchParams::apply(MANAGER).force();
            let patch = Patch::Apply(object);
            self.api::<K>().patch(&name, &params, &patch).await.map_err(failed::<K>(&name, "applied"))?;
        }
        Ok(())
    }

    /// Removes what was built once and is not among `kept`.
    async fn remove_others<'a, K: Built + 'a>(
        &self,
        kept: impl IntoIterator<Item = &'a K>,
    ) -> Result<(), ApplyError> {
        let kept: BTreeSet<String> = kept.into_iter().map(K::name_any).collect();
        let selector = format!("{}=true,{}={}", labels::BUILT, labels::PROXY, self.proxy.key.name);
        let params = ListParams::default().labels(&selector);
        let there = self.api::<K>().list_metadata(&params).await.map_err(failed::<K>("", "listed"))?;
        for object in there {
            if !kept.contains(&object.name_any()) {
                self.remove::<K>(&object.metadata).await?;
            }
        }
        Ok(())
    }

    async fn remove_secrets(&self, kept: &[Secret]) -> Result<(), ApplyError> {
        let kept: BTreeSet<String> = kept.iter().map(Secret::name_any).collect();
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
        Ok(())
    }

    /// Removes an object of ours, and only in the version that was looked at.
    async fn remove<K: Built>(&self, metadata: &ObjectMeta) -> Result<(), ApplyError> {
        let name = metadata.name.clone().unwrap_or_default();
        let labels = metadata.labels.as_ref();
        let built = labels.is_some_and(|labels| labels.contains_key(labels::BUILT));
        let is_owner =
            |owner: &OwnerReference| owner.controller == Some(true) && owner.uid == self.proxy.owner.uid;
        if !built || !metadata.owner_references.iter().flatten().any(is_owner) {
            return Ok(());
        }
        let params = DeleteParams {
            preconditions: Some(Preconditions { uid: metadata.uid.clone(), ..Preconditions::default() }),
            ..DeleteParams::default()
        };
        match self.api::<K>().delete(&name, &params).await {
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
            Err(error) => Err(failed::<K>(&name, "removed")(error)),
            Ok(_) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
