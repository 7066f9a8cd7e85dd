//! Circuits: what is known not to work now, for the Receiver, a tenant or a dataset.
//!
//! A circuit either **holds** (batches wait: the Receiver, or the way to it, is down) or **diverts** (batches follow
//! into the DLQ without an upload each: the Receiver does not accept this tenant or dataset). Which one is a matter of
//! the reason, see [`outcome::diverts`]. While it is open, probes go on at growing, jittered intervals.

use std::{
    collections::{BTreeSet, VecDeque},
    fmt,
    hash::{BuildHasher, RandomState},
    time::{Duration, Instant, SystemTime},
};

use jiff::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

use super::outcome;
use crate::{
    ids::{DatasetKey, TenantId},
    spool::Failure,
};

/// What a circuit covers.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scope {
    /// Everything.
    Receiver,
    /// One tenant.
    Tenant(TenantId),
    /// One dataset.
    Dataset(DatasetKey),
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Receiver => f.write_str("receiver"),
            Self::Tenant(tenant) => write!(f, "tenant {tenant}"),
            Self::Dataset(key) => write!(f, "dataset {key}"),
        }
    }
}

/// Times that are no setting.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// First and least distance of probes while batches wait.
    pub probe_min: Duration,
    /// Largest.
    pub probe_max: Duration,
    /// The same while batches go to the DLQ.
    pub divert_min: Duration,
    /// Largest.
    pub divert_max: Duration,
    /// A success of others counts for this long as proof that the Receiver works.
    pub evidence: Duration,
    /// An upload that takes longer no longer counts against the process's cap.
    pub stalled: Duration,
    /// A dataset with nothing but DLQ entries tries one after this time at the earliest.
    pub lonely_min: Duration,
    /// At the latest.
    pub lonely_max: Duration,
    /// Distance of the steps in which DLQ entries return.
    pub return_step: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            probe_min: Duration::from_millis(500),
            probe_max: Duration::from_secs(15),
            divert_min: Duration::from_secs(2),
            divert_max: Duration::from_mins(1),
            evidence: Duration::from_secs(2),
            stalled: Duration::from_secs(2),
            lonely_min: Duration::from_mins(5),
            lonely_max: Duration::from_mins(15),
            return_step: Duration::from_secs(1),
        }
    }
}

/// Random spread, so that many proxies do not knock together.
#[derive(Debug, Default)]
pub struct Jitter {
    seed: RandomState,
    count: u64,
}

impl Jitter {
    /// A time evenly spread over `from..=to`.
    pub fn between(&mut self, from: Duration, to: Duration) -> Duration {
        self.count += 1;
        let share = (self.seed.hash_one(self.count) >> 11) as f64 / (1_u64 << 53) as f64;
        from + to.saturating_sub(from).mul_f64(share)
    }

    /// A factor within a quarter of 1.
    pub fn spread(&mut self) -> f64 {
        self.between(Duration::from_millis(750), Duration::from_millis(1250)).as_secs_f64()
    }
}

/// An open circuit.
#[derive(Debug)]
pub struct Circuit {
    /// Since when, for people.
    pub since: SystemTime,
    /// The last failure it has seen.
    pub failure: Failure,
    /// Who failed since it opened.
    pub failed: BTreeSet<DatasetKey>,
    /// Their tenants.
    pub failed_tenants: BTreeSet<TenantId>,
    /// Datasets with batches, that wait and did not fail since it opened: they may probe after the least distance.
    pub untried: VecDeque<DatasetKey>,
    /// Datasets with batches, that wait.
    pub parked: VecDeque<DatasetKey>,
    /// A diverting circuit found nothing in the DLQ to probe with: the next batch is the probe.
    pub take_next: bool,
    /// When the next regular probe is due.
    pub next_probe: Instant,
    /// `Retry-After`: nothing of those who were told so before this time.
    pub not_before: Instant,
    last_probe: Instant,
    delay: Duration,
}

impl Circuit {
    /// Opens; the first probe is due after the least distance, times `spread`.
    pub fn open(failure: Failure, now: Instant, wall: SystemTime, pace: &Pace, spread: f64) -> Self {
        let delay = if outcome::diverts(failure.reason) { pace.divert_min } else { pace.probe_min };
        Self {
            since: wall,
            failure,
            failed: BTreeSet::new(),
            failed_tenants: BTreeSet::new(),
            untried: VecDeque::new(),
            parked: VecDeque::new(),
            take_next: false,
            next_probe: now + delay.mul_f64(spread),
            not_before: now,
            last_probe: now,
            delay,
        }
    }

    /// Whether batches go to the DLQ.
    pub fn diverts(&self) -> bool {
        outcome::diverts(self.failure.reason)
    }

    /// Whether a regular probe is due.
    pub fn due(&self, now: Instant) -> bool {
        now >= self.next_probe
    }

    /// Whether one that did not fail yet may probe.
    pub fn untried_due(&self, now: Instant, pace: &Pace) -> bool {
        now >= self.last_probe + pace.probe_min
    }

    /// This dataset failed since it opened.
    pub fn mark_failed(&mut self, key: &DatasetKey) {
        self.failed_tenants.insert(key.tenant.clone());
        self.failed.insert(key.clone());
    }

    /// A probe leaves: the next one is due after a longer time, times `spread`.
    pub fn probe_started(&mut self, now: Instant, pace: &Pace, spread: f64) {
        self.last_probe = now;
        if self.due(now) {
            let most = if self.diverts() { pace.divert_max } else { pace.probe_max };
            self.delay = (self.delay * 2).min(most);
            self.next_probe = now + self.delay.mul_f64(spread);
        }
    }

    /// Another failure while open.
    pub fn failed_again(&mut self, failure: Failure, retry_after: Option<Duration>, now: Instant) {
        self.failure = failure;
        if let Some(wait) = retry_after {
            self.not_before = self.not_before.max(now + wait);
            self.next_probe = self.next_probe.max(self.not_before);
        }
    }

    /// When somebody who waits may go, `None` when nobody waits.
    pub fn wakes_at(&self, pace: &Pace) -> Option<Instant> {
        let regular = (self.diverts() || !self.parked.is_empty()).then_some(self.next_probe);
        let untried =
            (!self.untried.is_empty()).then(|| self.next_probe.min(self.last_probe + pace.probe_min));
        regular.into_iter().chain(untried).min()
    }

    /// As the API shows it.
    pub fn status(&self, scope: &Scope, now: Instant, wall: SystemTime) -> CircuitStatus {
        let (name, tenant, dataset) = match scope {
            Scope::Receiver => ("receiver", None, None),
            Scope::Tenant(tenant) => ("tenant", Some(tenant), None),
            Scope::Dataset(key) => ("dataset", Some(&key.tenant), Some(&key.dataset)),
        };
        CircuitStatus {
            scope: name.to_owned(),
            tenant_id: tenant.map(ToString::to_string),
            dataset_id: dataset.map(ToString::to_string),
            since: rfc3339(self.since),
            reason: outcome::label(self.failure.reason).to_owned(),
            status: self.failure.status,
            message: self.failure.message.to_string(),
            diverts: self.diverts(),
            next_probe: rfc3339(wall + self.next_probe.saturating_duration_since(now)),
        }
    }
}

/// An open circuit, for people and machines.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct CircuitStatus {
    /// `receiver`, `tenant` or `dataset`.
    pub scope: String,
    /// Whose.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenant_id: Option<String>,
    /// Which.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dataset_id: Option<String>,
    /// Since when.
    pub since: String,
    /// Why, as in the DLQ.
    pub reason: String,
    /// HTTP status of the last failure, when there was an answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Its text.
    pub message: String,
    /// True: batches go to the DLQ meanwhile. False: they wait.
    pub diverts: bool,
    /// When the next probe is due.
    pub next_probe: String,
}

fn rfc3339(at: SystemTime) -> String {
    Timestamp::try_from(at).map(|at| at.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()).unwrap_or_default()
}

/// The last success, and the last one of somebody else.
#[derive(Debug)]
pub struct Recent<K> {
    last: Option<(K, Instant)>,
    other: Option<(K, Instant)>,
}

impl<K> Default for Recent<K> {
    fn default() -> Self {
        Self { last: None, other: None }
    }
}

impl<K: PartialEq> Recent<K> {
    /// `key` had a success.
    pub fn record(&mut self, key: K, now: Instant) {
        match &mut self.last {
            Some((last, at)) if *last == key => *at = now,
            _ => self.other = self.last.replace((key, now)),
        }
    }

    /// Whether somebody other than `key` had one since then.
    pub fn others_since(&self, key: &K, since: Instant) -> bool {
        [&self.last, &self.other].into_iter().flatten().any(|(who, at)| who != key && *at >= since)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spool::Reason;

    #[test]
    fn h4_probes_slow_down_with_jitter_and_stay_below_their_bound() {
        let (now, pace, mut jitter) = (Instant::now(), Pace::default(), Jitter::default());
        let failure = Failure { reason: Reason::Network, status: None, message: "".into() };
        let mut circuit = Circuit::open(failure, now, SystemTime::now(), &pace, jitter.spread());
        let (mut at, mut gaps) = (now, Vec::new());
        for _ in 0..10 {
            gaps.push(circuit.next_probe - at);
            at = circuit.next_probe;
            circuit.probe_started(at, &pace, jitter.spread());
        }
        assert!(gaps[0] < Duration::from_secs(1) && gaps[9] > Duration::from_secs(11));
        assert!(gaps.iter().all(|gap| *gap <= pace.probe_max.mul_f64(1.25)), "{gaps:?}");
    }

    #[test]
    fn recent_tells_the_success_of_others_from_ones_own() {
        let (now, mut recent) = (Instant::now(), Recent::default());
        recent.record("a", now);
        recent.record("a", now + Duration::from_secs(1));
        assert!(!recent.others_since(&"a", now) && recent.others_since(&"b", now));
        recent.record("b", now + Duration::from_secs(2));
        assert!(recent.others_since(&"b", now) && recent.others_since(&"a", now));
        assert!(!recent.others_since(&"b", now + Duration::from_secs(2)));
    }
}
