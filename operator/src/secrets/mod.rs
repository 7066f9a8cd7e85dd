//! What admitted datasets and Proxies refer to, read from their Secrets.
//!
//! - Secrets are never listed or watched: the operator gets those that are referred to, and no others. One is read when
//!   somebody begins to refer to it (or to another key of it), and then every 30 s, jittered; one that cannot be used after
//!   2, 4, 8 and 16 s first, since Secret and dataset are often made in one go.
//! - A change of what was read is told for each Proxy that refers to it; nothing else is.
//! - A Secret of another namespace than the Proxy's is used only when it is labelled so ([`labels::PROXY_ASSET`]): who may
//!   write a dataset must not thereby read Secrets.
//! - Of a Secret only the keys that are referred to are kept, and only what is good. When new content is not (a key without
//!   its certificate, in the middle of a change by hand), the whole content before it goes on and the problem is told.
//!   A Secret that is deleted, or no longer shared, is not used any longer.
//! - While the API server does not answer, what was read last goes on; of what was never read, nothing is known and the
//!   pass must not go on.

mod judge;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
    time::Duration,
};

use bytefreezer_crds::labels;
use futures_util::{StreamExt as _, stream};
use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client};
use parking_lot::Mutex;
use tokio::{
    sync::mpsc,
    time::{Instant, sleep},
};
use tokio_util::task::AbortOnDropHandle;
use tracing::debug;

pub use judge::Problem;

use crate::{
    assets::{AssetKind, AssetRef, AssetUse, Assets, Plan},
    jitter::Backoff,
    key::ObjectKey,
};
use judge::{Data, judge};

/// Key of a serving certificate.
const CERTIFICATE: &str = "tls.crt";
/// Pauses between two looks, while something is wrong and at last.
const LOOKS: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(30));
/// How exactly they are kept.
const TICK: Duration = Duration::from_millis(500);
/// Requests at a time.
const AT_A_TIME: usize = 8;

/// A Secret could not be read and nothing is known of it.
#[derive(Debug, thiserror::Error)]
#[error("Secret {0} cannot be read: {1}")]
pub struct Unknown(ObjectKey, Box<kube::Error>);

/// What was found for one Proxy.
#[derive(Clone, Debug, Default)]
pub struct Resolved {
    /// What can be used.
    pub assets: Assets,
    /// What cannot, or not in the version that is there now.
    pub problems: BTreeMap<AssetRef, Problem>,
}

impl Resolved {
    /// The first thing that is wrong with what somebody refers to.
    pub fn problem(&self, uses: &[AssetUse]) -> Option<(&AssetRef, &Problem)> {
        uses.iter().find_map(|used| self.problems.get_key_value(&used.asset))
    }

    /// What found no room is a problem too.
    pub fn leave_out(&mut self, plan: &Plan) {
        self.problems.extend(plan.left_out.iter().map(|asset| (asset.clone(), Problem::Full)));
    }
}

/// Reads Secrets and looks again. Dropping it ends that.
pub struct Cache {
    shared: Arc<Shared>,
    _task: AbortOnDropHandle<()>,
}

struct Shared {
    client: Client,
    changed: mpsc::Sender<ObjectKey>,
    entries: Mutex<BTreeMap<ObjectKey, Entry>>,
}

/// One Secret that somebody refers to.
struct Entry {
    /// What is referred to, by Proxy.
    users: BTreeMap<ObjectKey, BTreeSet<(String, AssetKind)>>,
    /// What is known; `None` until it was read.
    looked: Option<Looked>,
    /// Somebody refers to more of it than was kept.
    unread: bool,
    backoff: Backoff,
    next: Instant,
}

/// What was read.
#[derive(Clone, PartialEq, Eq)]
struct Looked {
    state: State,
    /// The last content of which all was good, else what of the last one is.
    good: Data,
    problems: BTreeMap<String, Problem>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Missing,
    Forbidden,
    There { shared: bool },
}

impl fmt::Debug for Cache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Cache of {} Secrets", self.shared.entries.lock().len())
    }
}

impl Cache {
    /// Begins to look again at what is referred to, and to tell `changed`. Needs a runtime around it.
    pub fn start(client: Client, changed: mpsc::Sender<ObjectKey>) -> Self {
        let shared = Arc::new(Shared { client, changed, entries: Mutex::default() });
        let task = tokio::spawn(Arc::clone(&shared).look_again());
        Self { shared, _task: AbortOnDropHandle::new(task) }
    }

    /// What `uses` refer to, for a Proxy. Only what was not referred to before is read now. Other uses of this Proxy are
    /// forgotten.
    pub async fn resolve(&self, proxy: &ObjectKey, uses: &[AssetUse]) -> Result<Resolved, Unknown> {
        let unread = self.shared.register(proxy, uses);
        let looks = stream::iter(unread).map(|secret| async move {
            let outcome = self.shared.look(&secret).await;
            outcome.map_err(|error| Unknown(secret, Box::new(error)))
        });
        let outcomes: Vec<_> = looks.buffer_unordered(AT_A_TIME).collect().await;
        for outcome in outcomes {
            outcome?;
        }
        Ok(self.shared.resolved(proxy, uses))
    }

    /// Nothing is referred to by this Proxy any more.
    pub fn forget(&self, proxy: &ObjectKey) {
        self.shared.register(proxy, &[]);
    }
}

impl Shared {
    /// Notes who refers to what. Returns the Secrets that were not read for it yet.
    fn register(&self, proxy: &ObjectKey, uses: &[AssetUse]) -> Vec<ObjectKey> {
        let mut wanted: BTreeMap<ObjectKey, BTreeSet<(String, AssetKind)>> = BTreeMap::new();
        for AssetUse { asset, kind, .. } in uses {
            let secret = ObjectKey::new(&asset.namespace, &asset.secret);
            wanted.entry(secret).or_default().insert((asset.key.clone(), *kind));
        }
        let mut entries = self.entries.lock();
        for (secret, entry) in entries.iter_mut() {
            if !wanted.contains_key(secret) {
                entry.users.remove(proxy);
            }
        }
        entries.retain(|_, entry| !entry.users.is_empty());
        let mut unread = Vec::new();
        for (secret, keys) in wanted {
            let entry = entries.entry(secret.clone()).or_insert_with(Entry::new);
            if !keys.is_subset(&entry.keys()) {
                entry.unread = true;
                entry.backoff.reset();
            }
            entry.users.insert(proxy.clone(), keys);
            if entry.unread {
                unread.push(secret);
            }
        }
        unread
    }

    /// Reads a Secret. Returns whether it is another than before.
    async fn look(&self, secret: &ObjectKey) -> Result<bool, kube::Error> {
        let api: Api<Secret> = Api::namespaced(self.client.clone(), &secret.namespace);
        let found = match api.get_opt(&secret.name).await {
            Ok(found) => Ok(found),
            Err(kube::Error::Api(status)) if status.code == 403 => Err(State::Forbidden),
            Err(error) => return Err(error),
        };
        let mut entries = self.entries.lock();
        Ok(entries.get_mut(secret).is_some_and(|entry| entry.found(found)))
    }

    async fn look_again(self: Arc<Self>) {
        loop {
            sleep(TICK).await;
            let now = Instant::now();
            let due: Vec<_> = {
                let entries = self.entries.lock();
                let due = entries.iter().filter(|(_, entry)| entry.looked.is_some() && entry.next <= now);
                due.map(|(secret, _)| secret.clone()).collect()
            };
            let this = &self;
            let looks = stream::iter(due).map(|secret| async move { (this.look(&secret).await, secret) });
            let outcomes: Vec<_> = looks.buffer_unordered(AT_A_TIME).collect().await;
            for (outcome, secret) in outcomes {
                match outcome {
                    Ok(true) => self.tell(&secret).await,
                    Ok(false) => {}
                    Err(error) => self.failed(&secret, &error),
                }
            }
        }
    }

    fn failed(&self, secret: &ObjectKey, error: &kube::Error) {
        debug!(%secret, %error, "a Secret cannot be read; what was read last goes on");
        if let Some(entry) = self.entries.lock().get_mut(secret) {
            entry.next = Instant::now() + entry.backoff.pause();
        }
    }

    async fn tell(&self, secret: &ObjectKey) {
        let users: Vec<_> = self
            .entries
            .lock()
            .get(secret)
            .map(|entry| entry.users.keys().cloned().collect())
            .unwrap_or_default();
        for proxy in users {
            // Whoever is told is gone only when everything ends.
            let _ = self.changed.send(proxy).await;
        }
    }

    fn resolved(&self, proxy: &ObjectKey, uses: &[AssetUse]) -> Resolved {
        let entries = self.entries.lock();
        let mut problems = BTreeMap::new();
        let mut found = Vec::new();
        for AssetUse { asset, .. } in uses {
            let entry = entries.get(&ObjectKey::new(&asset.namespace, &asset.secret));
            let Some(looked) = entry.and_then(|entry| entry.looked.as_ref()) else {
                problems.insert(asset.clone(), Problem::NoSecret);
                continue;
            };
            match looked.state {
                State::Missing => problems.insert(asset.clone(), Problem::NoSecret),
                State::Forbidden => problems.insert(asset.clone(), Problem::Forbidden),
                State::There { shared: false } if asset.namespace != proxy.namespace => {
                    problems.insert(asset.clone(), Problem::NotShared)
                }
                State::There { .. } => {
                    found.extend(looked.good.get(&asset.key).map(|content| (asset.clone(), content.clone())));
                    let problem = looked.problems.get(&asset.key);
                    problem.and_then(|problem| problems.insert(asset.clone(), problem.clone()))
                }
            };
        }
        Resolved { assets: found.into_iter().collect(), problems }
    }
}

impl Entry {
    fn new() -> Self {
        Self {
            users: BTreeMap::new(),
            looked: None,
            unread: true,
            backoff: Backoff::new(LOOKS.0, LOOKS.1),
            next: Instant::now(),
        }
    }

    /// What anybody refers to.
    fn keys(&self) -> BTreeSet<(String, AssetKind)> {
        self.users.values().flatten().cloned().collect()
    }

    /// Takes what was read. Returns whether it is another than before.
    fn found(&mut self, found: Result<Option<Secret>, State>) -> bool {
        let before = self.looked.as_ref().map(|looked| &looked.good);
        let looked = match found {
            Ok(Some(secret)) => Looked::at(secret, &self.keys(), before),
            Ok(None) => Looked::without(State::Missing),
            Err(state) => Looked::without(state),
        };
        let differs = self.looked.as_ref() != Some(&looked);
        let is_well = looked.problems.is_empty() && matches!(looked.state, State::There { .. });
        if differs {
            self.backoff.reset();
        }
        self.next =
            Instant::now() + if is_well { crate::jitter::jitter(LOOKS.1) } else { self.backoff.pause() };
        (self.looked, self.unread) = (Some(looked), false);
        differs
    }
}

impl Looked {
    fn without(state: State) -> Self {
        Self { state, good: Data::new(), problems: BTreeMap::new() }
    }

    fn at(secret: Secret, keys: &BTreeSet<(String, AssetKind)>, before: Option<&Data>) -> Self {
        let labels = secret.metadata.labels.unwrap_or_default();
        let shared = labels.get(labels::PROXY_ASSET).is_some_and(|value| value == "true");
        let data: Data =
            secret.data.unwrap_or_default().into_iter().map(|(key, value)| (key, value.0)).collect();
        let judged =
            keys.iter().filter_map(|(key, kind)| Some((key.clone(), judge(&data, key, *kind).err()?)));
        let problems: BTreeMap<_, _> = judged.collect();
        let is_wanted = |key: &str| keys.iter().any(|(one, _)| one == key);
        let mut good: Data =
            data.into_iter().filter(|(key, _)| is_wanted(key) && !problems.contains_key(key)).collect();
        if !problems.is_empty() {
            let before = before.into_iter().flatten().filter(|(key, _)| is_wanted(key));
            good.extend(before.map(|(key, value)| (key.clone(), value.clone())));
        }
        Self { state: State::There { shared }, good, problems }
    }
}

#[cfg(test)]
mod tests;
