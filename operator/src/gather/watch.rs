//! One watch per kind, each a task that feeds its table and says which Proxies have to look.
//!
//! A watch that fails is begun again, at most [`LONGEST_PAUSE`] later; meanwhile its table stays as it is.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Debug,
    sync::Arc,
    time::Duration,
};

use bytefreezer_crds::{Proxy, ProxyDataset, labels};
use futures_util::{Stream, StreamExt as _, pin_mut};
use k8s_openapi::{
    NamespaceResourceScope,
    api::{
        apps::v1::{DaemonSet, StatefulSet},
        core::v1::{ConfigMap, Namespace, PersistentVolumeClaim, Pod, Service, ServiceAccount},
        networking::v1::NetworkPolicy,
        policy::v1::PodDisruptionBudget,
    },
};
use kube::{
    Api, Client, Resource, ResourceExt,
    core::{DeserializeGuard, PartialObjectMeta},
    runtime::{
        WatchStreamExt as _,
        utils::Backoff,
        watcher::{self, Config, Event, watcher},
    },
};
use parking_lot::Mutex;
use serde::de::DeserializeOwned;
use tokio::{sync::Notify, task::JoinSet};
use tracing::{debug, warn};

use super::{Authored, Claim, Kind, Labels, Owned, PodRow, Row, Table, Tables, World};
use crate::{
    claims::Keeper, controller::Queue, jitter::jitter, key::ObjectKey, leader::Standing, metrics::Metrics,
};

/// First pause between two attempts of a watch.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
/// Longest pause between two attempts of a watch.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Which namespaces the operator looks after.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// All of them.
    All,
    /// One.
    Namespace(String),
}

impl Scope {
    fn api<K>(&self, client: &Client) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        match self {
            Self::All => Api::all(client.clone()),
            Self::Namespace(name) => Api::namespaced(client.clone(), name),
        }
    }
}

/// How a watch fares.
#[derive(Clone, Debug, Default)]
struct Fare {
    /// Whether it has had a complete list once.
    is_listed: bool,
    /// The API server knows no such kind.
    is_missing: bool,
    /// Why it fails now.
    error: Option<String>,
}

/// The watches and how they fare.
#[derive(Debug, Default)]
pub struct Watches {
    fares: Mutex<BTreeMap<&'static str, Fare>>,
    changed: Notify,
}

impl Watches {
    /// Why it is not known what there is; `None` when it is. A watch that fails after its first list is no reason: what
    /// is known stays, and it is begun again.
    pub fn problem(&self) -> Option<String> {
        let fares = self.fares.lock();
        if fares.is_empty() {
            return Some("nothing is watched yet".to_owned());
        }
        fares.iter().find_map(|(kind, fare)| match fare {
            Fare { is_missing: true, .. } => Some(format!(
                "the cluster has no resource {kind}: run `bytefreezer-operator crds apply` with rights for \
                 customresourcedefinitions"
            )),
            Fare { is_listed: true, .. } => None,
            Fare { error: Some(error), .. } => Some(format!("{kind} cannot be listed: {error}")),
            Fare { error: None, .. } => Some(format!("{kind} is not listed yet")),
        })
    }

    /// Waits until every kind has had its first list.
    pub async fn listed(&self) {
        loop {
            let changed = self.changed.notified();
            let is_listed = {
                let fares = self.fares.lock();
                !fares.is_empty() && fares.values().all(|fare| fare.is_listed)
            };
            if is_listed {
                return;
            }
            changed.await;
        }
    }

    /// All of them, so that none that has not begun is passed over.
    fn expect(&self, namespaces: bool) {
        let kinds = KINDS.iter().copied().chain(namespaces.then_some("namespaces"));
        *self.fares.lock() = kinds.map(|kind| (kind, Fare::default())).collect();
    }

    fn brings(&self, kind: &'static str, is_listed: bool) {
        let mut fares = self.fares.lock();
        let fare = fares.entry(kind).or_default();
        if is_listed && !fare.is_listed {
            debug!(kind, "first list complete");
        }
        *fare = Fare { is_listed: fare.is_listed || is_listed, ..Fare::default() };
        drop(fares);
        self.changed.notify_waiters();
    }

    fn fails(&self, kind: &'static str, error: &watcher::Error) {
        let (text, mut fares) = (error.to_string(), self.fares.lock());
        let fare = fares.entry(kind).or_default();
        if fare.error.as_ref() != Some(&text) {
            warn!(kind, error = text, "watch fails and is begun again");
        }
        fare.is_missing = is_missing(error);
        fare.error = Some(text);
    }
}

fn is_missing(error: &watcher::Error) -> bool {
    let (watcher::Error::InitialListFailed(error) | watcher::Error::WatchStartFailed(error)) = error else {
        return false;
    };
    matches!(error, kube::Error::Api(status) if status.code == 404)
}

/// What every watch needs.
#[derive(Clone)]
pub struct Feeder {
    /// A client.
    pub client: Client,
    /// Which namespaces.
    pub scope: Scope,
    /// What is fed.
    pub world: Arc<World>,
    /// Who has to look.
    pub queue: Arc<Queue>,
    /// How the watches fare.
    pub watches: Arc<Watches>,
    /// Notes what pods leave on their claims.
    pub keeper: Arc<Keeper>,
    /// Whether this replica may note anything.
    pub standing: Standing,
    /// Counts.
    pub metrics: Arc<Metrics>,
}

impl Feeder {
    /// Starts all watches in `tasks`. None of them ends by itself.
    pub fn start(&self, tasks: &mut JoinSet<()>) {
        self.watches.expect(self.scope == Scope::All);
        tasks.spawn(self.clone().authored::<Proxy>("proxies", |tables| &mut tables.proxies));
        tasks.spawn(self.clone().authored::<ProxyDataset>("proxydatasets", |tables| &mut tables.datasets));
        tasks.spawn(self.clone().metadata::<ServiceAccount>("serviceaccounts", Kind::ServiceAccount));
        tasks.spawn(self.clone().metadata::<ConfigMap>("configmaps", Kind::ConfigMap));
        tasks.spawn(self.clone().metadata::<NetworkPolicy>("networkpolicies", Kind::NetworkPolicy));
        let budget = Kind::PodDisruptionBudget;
        tasks.spawn(self.clone().metadata::<PodDisruptionBudget>("poddisruptionbudgets", budget));
        tasks.spawn(self.clone().owned::<Service>("services", Kind::Service, Owned::service));
        tasks.spawn(self.clone().owned::<StatefulSet>(
            "statefulsets",
            Kind::StatefulSet,
            Owned::stateful_set,
        ));
        tasks.spawn(self.clone().owned::<DaemonSet>("daemonsets", Kind::DaemonSet, Owned::daemon_set));
        tasks.spawn(self.clone().pods());
        tasks.spawn(self.clone().claims());
        if self.scope == Scope::All {
            tasks.spawn(self.clone().namespaces());
        }
    }
}

/// Kinds that are watched in namespaces.
trait Watched:
    Resource<DynamicType = (), Scope = NamespaceResourceScope>
    + Clone
    + Debug
    + DeserializeOwned
    + Send
    + Sync
    + 'static
{
}

impl<K> Watched for K where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + Debug
        + DeserializeOwned
        + Send
        + Sync
        + 'static
{
}

/// Every kind but namespaces, which only an operator for all of them watches.
const KINDS: &[&str] = &[
    "proxies",
    "proxydatasets",
    "serviceaccounts",
    "configmaps",
    "networkpolicies",
    "poddisruptionbudgets",
    "services",
    "statefulsets",
    "daemonsets",
    "pods",
    "persistentvolumeclaims",
];

fn key<K: Resource>(object: &K) -> ObjectKey {
    ObjectKey::new(object.meta().namespace.clone().unwrap_or_default(), object.name_any())
}

fn map<K, R>(event: Event<K>, row: impl Fn(K) -> R) -> Event<R> {
    match event {
        Event::Init => Event::Init,
        Event::InitDone => Event::InitDone,
        Event::InitApply(object) => Event::InitApply(row(object)),
        Event::Apply(object) => Event::Apply(row(object)),
        Event::Delete(object) => Event::Delete(row(object)),
    }
}

impl Feeder {
    async fn authored<K>(self, name: &'static str, table: fn(&mut Tables) -> &mut Table<Authored<K>>)
    where
        K: Watched,
        Authored<K>: Row,
    {
        let api: Api<DeserializeGuard<K>> = self.scope.api(&self.client);
        let events = watcher(api, Config::default());
        let row = |object: DeserializeGuard<K>| (key(&object), Authored::from(object));
        self.feed(name, events, |event| self.world.apply(table, map(event, row))).await;
    }

    /// Objects of which the metadata is all that counts.
    async fn metadata<K: Watched>(self, name: &'static str, kind: Kind) {
        let api: Api<PartialObjectMeta<K>> = self.scope.api(&self.client);
        let events = watcher(api, built());
        let row = |object: PartialObjectMeta<K>| (key(&object), Owned::of(&object.metadata));
        self.feed(name, events, |event| {
            self.world.apply(|tables| tables.owned.entry(kind).or_default(), map(event, row))
        })
        .await;
    }

    async fn owned<K: Watched>(self, name: &'static str, kind: Kind, of: fn(&K) -> Owned) {
        let events = watcher(self.scope.api::<K>(&self.client), built());
        let row = |object: K| (key(&object), of(&object));
        self.feed(name, events, |event| {
            self.world.apply(|tables| tables.owned.entry(kind).or_default(), map(event, row))
        })
        .await;
    }

    async fn pods(self) {
        let events = watcher(self.scope.api::<Pod>(&self.client), Config::default().labels(labels::PROXY));
        let row = |pod: Pod| (key(&pod), PodRow::of(pod));
        self.feed("pods", events, |event| {
            if let Event::Apply(pod) | Event::InitApply(pod) | Event::Delete(pod) = &event
                && self.standing.leads()
            {
                self.keeper.saw(pod);
            }
            self.world.apply(|tables| &mut tables.pods, map(event, row))
        })
        .await;
    }

    async fn claims(self) {
        let api: Api<PersistentVolumeClaim> = self.scope.api(&self.client);
        let events = watcher(api, Config::default().labels(labels::PROXY));
        let row = |claim: PersistentVolumeClaim| (key(&claim), Claim::of(&claim));
        let name = "persistentvolumeclaims";
        self.feed(name, events, |event| self.world.apply(|tables| &mut tables.claims, map(event, row))).await;
    }

    async fn namespaces(self) {
        let api: Api<PartialObjectMeta<Namespace>> = Api::all(self.client.clone());
        let events = watcher(api, Config::default());
        let row = |namespace: PartialObjectMeta<Namespace>| {
            let labels = Labels(namespace.metadata.labels.clone().unwrap_or_default());
            (ObjectKey::new("", namespace.name_any()), labels)
        };
        self.feed("namespaces", events, |event| self.world.apply_namespace(map(event, row))).await;
    }

    /// Hands every event to `apply`, and the Proxies that it returns to the queue. Never ends.
    async fn feed<K>(
        &self,
        name: &'static str,
        events: impl Stream<Item = watcher::Result<Event<K>>>,
        apply: impl Fn(Event<K>) -> BTreeSet<ObjectKey>,
    ) {
        let events = events.backoff(Pause::default());
        pin_mut!(events);
        while let Some(event) = events.next().await {
            match event {
                // Comes before every list, also before one that fails.
                Ok(Event::Init) => self.queue.add_all(apply(Event::Init)),
                Ok(event) => {
                    let is_listed = matches!(event, Event::InitDone);
                    self.queue.add_all(apply(event));
                    self.watches.brings(name, is_listed);
                }
                Err(error) => {
                    self.metrics.watch_failures.get_or_create(&[("kind", name)]).inc();
                    self.watches.fails(name, &error);
                }
            }
        }
    }
}

fn built() -> Config {
    Config::default().labels(labels::BUILT)
}

/// Pauses between attempts: short at first, since a restarted API server is back in seconds.
#[derive(Debug)]
struct Pause(Duration);

impl Default for Pause {
    fn default() -> Self {
        Self(FIRST_PAUSE)
    }
}

impl Iterator for Pause {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let pause = self.0;
        self.0 = (pause * 2).min(LONGEST_PAUSE);
        Some(jitter(pause))
    }
}

impl Backoff for Pause {
    fn reset(&mut self) {
        self.0 = FIRST_PAUSE;
    }
}
