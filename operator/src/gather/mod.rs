//! What is there: the objects on the API server, as watches bring them, and which Proxy each belongs to.
//!
//! ```text
//! watches -> tables -> Gathered of one Proxy
//!               \----> the Proxies that have to look again
//! ```
//! - Nothing is gathered before every table has finished its first list.
//! - What belongs to a Proxy is found by index; a change costs what belongs to its Proxy, not what there is.
//! - An object of a user that can no longer be read keeps what it last held; where this process never read it, what the
//!   document of the pods has of it.
//! - Secrets are neither listed nor watched.

mod kept;
mod rows;
mod table;
mod watch;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use bytefreezer_crds::{Proxy, ProxyDataset, proxy::ExposureType};
use k8s_openapi::api::core::v1::Pod;
use kube::runtime::watcher::Event;
use parking_lot::RwLock;

pub use kept::{Kept, recall};
pub use rows::{Authored, Claim, Detail, Kind, Labels, Owned, ours, ready_since};
pub use table::{Row, Table};
pub use watch::{Feeder, Scope, Watches};

use crate::key::ObjectKey;
use rows::PodRow;

/// All tables.
#[derive(Debug, Default)]
pub struct Tables {
    pub(crate) proxies: Table<Authored<Proxy>>,
    pub(crate) datasets: Table<Authored<ProxyDataset>>,
    pub(crate) owned: BTreeMap<Kind, Table<Owned>>,
    pods: Table<PodRow>,
    claims: Table<Claim>,
    namespaces: Table<Labels>,
}

/// What is there.
#[derive(Debug, Default)]
pub struct World(RwLock<Tables>);

/// A dataset under its name.
pub type Dataset = (ObjectKey, Arc<Authored<ProxyDataset>>);

/// A Proxy with the datasets that name it.
#[derive(Clone, Debug)]
pub struct Member {
    /// Its name.
    pub key: ObjectKey,
    /// The Proxy; `None` when there is none of this name.
    pub proxy: Option<Arc<Authored<Proxy>>>,
    /// Datasets that name it.
    pub datasets: Vec<Dataset>,
}

impl Member {
    /// UID of the Proxy.
    pub fn uid(&self) -> Option<&str> {
        self.proxy.as_ref()?.metadata()?.uid.as_deref()
    }
}

/// What belongs to a Proxy.
#[derive(Clone, Debug)]
pub struct Gathered {
    /// The Proxy and its datasets.
    pub own: Member,
    /// On the host network: the other Proxies there.
    pub neighbours: Vec<Member>,
    /// Labels of the datasets' namespaces.
    pub namespaces: BTreeMap<String, Arc<Labels>>,
    /// What was built for it, by kind and name.
    pub owned: BTreeMap<(Kind, String), Arc<Owned>>,
    /// Its pods.
    pub pods: Vec<Arc<Pod>>,
    /// Its volume claims, by name.
    pub claims: BTreeMap<String, Arc<Claim>>,
}

impl World {
    /// What belongs to the Proxy with this name, whether there is one or not.
    pub fn gather(&self, key: &ObjectKey) -> Gathered {
        let tables = self.0.read();
        let own = tables.member(key);
        let neighbours: Vec<Member> = if tables.is_host(key) {
            let others = tables.hosts().into_iter().filter(|other| other != key);
            others.map(|other| tables.member(&other)).collect()
        } else {
            Vec::new()
        };
        let datasets = neighbours.iter().chain([&own]).flat_map(|member| &member.datasets);
        let namespaces: BTreeSet<&String> = datasets.map(|(dataset, _)| &dataset.namespace).collect();
        let namespaces = namespaces
            .into_iter()
            .filter_map(|name| {
                Some((name.clone(), Arc::clone(tables.namespaces.get(&ObjectKey::new("", name))?)))
            })
            .collect();
        let owned = tables.owned.iter().flat_map(|(kind, table)| {
            table.of(key).map(|(object, row)| ((*kind, object.name.clone()), Arc::clone(row)))
        });
        Gathered {
            namespaces,
            owned: owned.collect(),
            pods: tables.pods.of(key).map(|(_, row)| Arc::clone(&row.0)).collect(),
            claims: tables.claims.of(key).map(|(claim, row)| (claim.name.clone(), Arc::clone(row))).collect(),
            own,
            neighbours,
        }
    }

    /// Every Proxy that is there or that something belongs to.
    pub fn proxies(&self) -> BTreeSet<ObjectKey> {
        let tables = self.0.read();
        tables.proxies.proxies().chain(tables.datasets.proxies()).cloned().collect()
    }

    /// Proxies with their UIDs.
    pub fn uids(&self) -> Vec<(ObjectKey, String)> {
        let tables = self.0.read();
        let uid = |row: &Authored<Proxy>| row.metadata()?.uid.clone();
        tables.proxies.iter().filter_map(|(key, row)| Some((key.clone(), uid(row)?))).collect()
    }

    /// Whether there is a dataset of which nothing is known.
    pub fn has_unread(&self) -> bool {
        self.0.read().datasets.iter().any(|(_, row)| row.is_unread())
    }

    /// Gives datasets of which nothing is known what there is of them. Returns who they are.
    pub fn keep(&self, kept: Vec<(ObjectKey, Kept)>) -> Vec<ObjectKey> {
        let mut tables = self.0.write();
        let mut known = Vec::new();
        for (key, kept) in kept {
            let Some(row) = tables.datasets.get(&key).filter(|row| row.is_unread()) else { continue };
            let row = Authored { kept: Some(Arc::new(kept)), ..(**row).clone() };
            tables.datasets.replace(key.clone(), row);
            known.push(key);
        }
        known
    }

    /// How many Proxies and datasets there are.
    pub fn counts(&self) -> (usize, usize) {
        let tables = self.0.read();
        (tables.proxies.len(), tables.datasets.len())
    }

    /// Whether the Proxy is there, or something names it.
    pub fn knows(&self, key: &ObjectKey) -> bool {
        let tables = self.0.read();
        tables.proxies.get(key).is_some() || tables.datasets.of(key).next().is_some()
    }

    /// What a watch brings. Returns the Proxies that have to look.
    pub fn apply<R: Row>(
        &self,
        table: impl FnOnce(&mut Tables) -> &mut Table<R>,
        event: Event<(ObjectKey, R)>,
    ) -> BTreeSet<ObjectKey> {
        let mut tables = self.0.write();
        let before = if R::SPREADS { tables.hosts() } else { BTreeSet::new() };
        let touched = table(&mut tables).apply(event);
        if touched.is_disjoint(&before) && !(R::SPREADS && touched.iter().any(|key| tables.is_host(key))) {
            return touched;
        }
        touched.into_iter().chain(before).chain(tables.hosts()).collect()
    }

    /// What the watch of namespaces brings. Returns the Proxies that have to look.
    pub fn apply_namespace(&self, event: Event<(ObjectKey, Labels)>) -> BTreeSet<ObjectKey> {
        let name = match &event {
            Event::Apply((key, labels)) | Event::InitApply((key, labels)) => {
                let tables = self.0.read();
                let is_same = tables.namespaces.get(key).is_some_and(|before| **before == *labels);
                (!is_same).then(|| key.name.clone())
            }
            Event::Delete(_) | Event::Init | Event::InitDone => None,
        };
        self.apply(|tables| &mut tables.namespaces, event);
        let Some(name) = name else { return BTreeSet::new() };
        let tables = self.0.read();
        let mut touched = tables.datasets.proxies_of_namespace(&name);
        if touched.iter().any(|key| tables.is_host(key)) {
            touched.append(&mut tables.hosts());
        }
        touched
    }
}

impl Tables {
    fn member(&self, key: &ObjectKey) -> Member {
        let datasets = self.datasets.of(key).map(|(key, row)| (key.clone(), Arc::clone(row)));
        Member { key: key.clone(), proxy: self.proxies.get(key).cloned(), datasets: datasets.collect() }
    }

    fn is_host(&self, key: &ObjectKey) -> bool {
        self.proxies.get(key).is_some_and(|row| is_host(row))
    }

    fn hosts(&self) -> BTreeSet<ObjectKey> {
        self.proxies.iter().filter(|(_, row)| is_host(row)).map(|(key, _)| key.clone()).collect()
    }
}

fn is_host(row: &Authored<Proxy>) -> bool {
    row.object.as_ref().is_some_and(|proxy| proxy.spec.exposure.kind == ExposureType::HostNetwork)
}

#[cfg(test)]
mod tests;
