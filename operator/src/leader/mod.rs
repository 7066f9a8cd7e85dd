//! One replica leads: it alone writes. Who that is stands in a Lease.
//!
//! - Every change of the Lease carries the version that was read, so of two replicas that want it one fails.
//! - Nobody trusts another's clock: a Lease has run out when this replica has seen it unchanged for its duration.
//! - Whoever leads may write until [`MARGIN`] before its Lease runs out for others ([`Standing`]); the [`fence`] holds
//!   back every write after that, wherever in the program it comes from.
//! - A replica that ends releases the Lease, so the next one leads at once.

pub mod fence;

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::MicroTime,
};
use kube::{
    Api, Client,
    api::{ObjectMeta, PostParams},
};
use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

/// How long a Lease holds that nobody renews.
const DURATION: Duration = Duration::from_secs(12);
/// How long before that its holder stops to write.
const MARGIN: Duration = Duration::from_secs(3);
/// How often the holder renews, and others look.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// How long a request for the Lease may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// Whether this replica leads, for everybody who needs to know.
#[derive(Clone, Debug)]
pub struct Standing(Arc<watch::Sender<Option<Until>>>);

/// Until when a replica leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Until {
    Time(Instant),
    Ever,
}

impl Default for Standing {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(None)))
    }
}

impl Standing {
    /// The standing of a replica that has no others.
    pub fn alone() -> Self {
        Self(Arc::new(watch::Sender::new(Some(Until::Ever))))
    }

    /// How long this replica may still write.
    pub fn left(&self) -> Duration {
        match *self.0.borrow() {
            None => Duration::ZERO,
            Some(Until::Ever) => Duration::MAX,
            Some(Until::Time(until)) => until.saturating_duration_since(Instant::now()),
        }
    }

    /// Whether this replica may write.
    pub fn leads(&self) -> bool {
        !self.left().is_zero()
    }

    /// Waits until this replica leads.
    pub async fn gained(&self) {
        let mut changes = self.0.subscribe();
        while !self.leads() {
            // The sender is in `self`.
            let _ = changes.changed().await;
        }
    }

    /// Waits until this replica no longer leads.
    pub async fn lost(&self) {
        let mut changes = self.0.subscribe();
        while self.leads() {
            let left = self.left().min(Duration::from_hours(1));
            tokio::select! {
                () = sleep(left) => (),
                _ = changes.changed() => (),
            }
        }
    }

    fn set(&self, until: Option<Until>) {
        self.0.send_replace(until);
    }
}

/// Why a turn failed.
#[derive(Debug, thiserror::Error)]
enum TurnError {
    #[error("the API server: {0}")]
    Kube(#[from] kube::Error),
    #[error("no answer in {PATIENCE:?}")]
    Late,
}

/// One replica's part in the election.
pub struct Candidate {
    api: Api<Lease>,
    name: String,
    identity: String,
    standing: Standing,
    /// Version of the Lease of another holder, and when it was seen first.
    seen: Option<(String, Instant)>,
}

impl Candidate {
    /// Stands for election under `identity`, which no other replica that lives has.
    pub fn new(client: Client, namespace: &str, name: &str, identity: String, standing: Standing) -> Self {
        Self {
            api: Api::namespaced(client, namespace),
            name: name.to_owned(),
            identity,
            standing,
            seen: None,
        }
    }

    /// Takes part until `end`, then releases the Lease.
    pub async fn run(mut self, end: CancellationToken) {
        while !end.is_cancelled() {
            let led = self.standing.leads();
            let start = Instant::now();
            let turn = timeout(PATIENCE, self.turn()).await.map_err(|_| TurnError::Late);
            match turn.and_then(|result| result) {
                Ok(true) => {
                    self.standing.set(Some(Until::Time(start + DURATION - MARGIN)));
                    if !led {
                        info!(identity = self.identity, "this replica leads");
                    }
                }
                Ok(false) => {
                    self.standing.set(None);
                    if led {
                        warn!(
                            identity = self.identity,
                            "another replica leads; nothing is written from here"
                        );
                    }
                }
                Err(error) => warn!(%error, "the lease cannot be read or renewed; it is tried again"),
            }
            tokio::select! {
                () = sleep(LOOK_EVERY) => (),
                () = end.cancelled() => (),
            }
        }
        self.release().await;
    }

    /// Renews or takes the Lease where possible. Returns whether it is ours.
    async fn turn(&mut self) -> Result<bool, TurnError> {
        let Some(lease) = self.api.get_opt(&self.name).await? else {
            let lease = Lease {
                metadata: ObjectMeta { name: Some(self.name.clone()), ..ObjectMeta::default() },
                spec: Some(self.spec(None)),
            };
            return won(self.api.create(&PostParams::default(), &lease).await);
        };
        let spec = lease.spec.clone().unwrap_or_default();
        let is_ours = spec.holder_identity.as_ref() == Some(&self.identity);
        if !is_ours && !self.is_free(&lease) {
            return Ok(false);
        }
        let next = Lease { spec: Some(self.spec(Some(&spec))), ..lease };
        let won = won(self.api.replace(&self.name, &PostParams::default(), &next).await)?;
        self.seen = None;
        Ok(won)
    }

    /// Whether nobody holds the Lease, or its holder no longer renews it.
    fn is_free(&mut self, lease: &Lease) -> bool {
        let spec = lease.spec.clone().unwrap_or_default();
        if spec.holder_identity.is_none_or(|holder| holder.is_empty()) {
            return true;
        }
        let version = lease.metadata.resource_version.clone().unwrap_or_default();
        let holds = spec.lease_duration_seconds.and_then(|seconds| u64::try_from(seconds).ok());
        let holds = holds.map_or(DURATION, Duration::from_secs);
        match &self.seen {
            Some((seen, since)) if *seen == version => since.elapsed() >= holds,
            _ => {
                self.seen = Some((version, Instant::now()));
                false
            }
        }
    }

    /// The Lease in our hands, after `before`.
    fn spec(&self, before: Option<&LeaseSpec>) -> LeaseSpec {
        let now = Some(MicroTime(Timestamp::now()));
        let is_renewal = before.is_some_and(|before| before.holder_identity.as_ref() == Some(&self.identity));
        let transitions = before.and_then(|before| before.lease_transitions);
        LeaseSpec {
            holder_identity: Some(self.identity.clone()),
            lease_duration_seconds: Some(DURATION.as_secs() as i32),
            acquire_time: before
                .filter(|_| is_renewal)
                .map_or_else(|| now.clone(), |before| before.acquire_time.clone()),
            renew_time: now,
            lease_transitions: match (is_renewal, transitions) {
                (true, transitions) => transitions,
                (false, transitions) => Some(transitions.map_or(0, |count| count + 1)),
            },
            ..LeaseSpec::default()
        }
    }

    /// Lets the next replica lead at once.
    async fn release(&self) {
        let led = self.standing.leads();
        self.standing.set(None);
        if !led {
            return;
        }
        let release = async {
            let Some(lease) = self.api.get_opt(&self.name).await? else { return Ok(()) };
            let spec = lease.spec.clone().unwrap_or_default();
            if spec.holder_identity.as_ref() != Some(&self.identity) {
                return Ok(());
            }
            let free = LeaseSpec { holder_identity: None, renew_time: None, acquire_time: None, ..spec };
            let next = Lease { spec: Some(free), ..lease };
            self.api.replace(&self.name, &PostParams::default(), &next).await.map(drop)
        };
        let result: Result<Result<(), kube::Error>, _> = timeout(PATIENCE, release).await;
        match result {
            Ok(Ok(())) => info!(identity = self.identity, "the lease is released"),
            Ok(Err(error)) => {
                warn!(%error, "the lease cannot be released; the next replica waits until it runs out");
            }
            Err(_) => warn!("the lease is not released in time; the next replica waits until it runs out"),
        }
    }
}

/// Whether a write of the Lease came first.
fn won(result: kube::Result<Lease>) -> Result<bool, TurnError> {
    match result {
        Ok(_) => Ok(true),
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(false),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests;
