//! Conditions of Proxies and ProxyDatasets.

use std::time::Duration;

use anyhow::Result;
use bytefreezer_crds::{Proxy, ProxyDataset};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::ResourceExt as _;

use super::{Namespace, namespace::Kind};

/// An object with conditions.
pub trait Conditions: Kind {
    /// Generation of which the status speaks, and its conditions.
    fn status(&self) -> Option<(Option<i64>, &[Condition])>;

    /// A condition of the object as it is now: `None` while the status is one of an older generation.
    fn condition(&self, kind: &str) -> Option<&Condition> {
        let (observed, conditions) = self.status()?;
        let current = observed == self.meta().generation;
        conditions.iter().find(|condition| current && condition.type_ == kind)
    }
}

impl Conditions for Proxy {
    fn status(&self) -> Option<(Option<i64>, &[Condition])> {
        self.status.as_ref().map(|status| (status.observed_generation, &status.conditions[..]))
    }
}

impl Conditions for ProxyDataset {
    fn status(&self) -> Option<(Option<i64>, &[Condition])> {
        self.status.as_ref().map(|status| (status.observed_generation, &status.conditions[..]))
    }
}

impl Namespace {
    /// Waits until a condition has a status such as `True`, for the object as it is now.
    pub fn condition<K: Conditions>(
        &self,
        name: &str,
        kind: &str,
        status: &str,
        limit: Duration,
    ) -> Result<Condition> {
        self.wait::<K, _>(name, limit, &format!("{kind}={status} on {name}"), |object| {
            object.condition(kind).filter(|condition| condition.status == status).cloned()
        })
    }

    /// Waits until a condition has a reason, for the object as it is now.
    pub fn reason<K: Conditions>(
        &self,
        name: &str,
        kind: &str,
        reason: &str,
        limit: Duration,
    ) -> Result<Condition> {
        self.wait::<K, _>(name, limit, &format!("{kind} with {reason} on {name}"), |object| {
            object.condition(kind).filter(|condition| condition.reason == reason).cloned()
        })
    }

    /// Every dataset that is not as it should be, in words.
    pub fn not_ready(&self) -> Result<Vec<String>> {
        let bad = self.list::<ProxyDataset>()?.into_iter().filter_map(|dataset| {
            let ready = dataset.condition("Ready");
            let said = ready
                .map_or("no condition".to_owned(), |c| format!("{} {}: {}", c.status, c.reason, c.message));
            ready
                .is_none_or(|ready| ready.status != "True")
                .then(|| format!("{}: {said}", dataset.name_any()))
        });
        Ok(bad.collect())
    }
}
