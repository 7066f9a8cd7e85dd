//! What the schedule knows of one dataset and of one tenant.

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    ops::Bound,
    time::Instant,
};

use super::circuit::{Circuit, Recent};
use crate::{ids::DatasetKey, spool::Stamp};

/// Where a dataset stands among those that want to upload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Place {
    /// Nowhere: nothing ready.
    #[default]
    Idle,
    /// In its tenant's ring.
    Listed,
    /// Waits at a circuit.
    Parked,
}

/// One dataset.
#[derive(Debug, Default)]
pub struct Dataset {
    /// Batches that may go, oldest first.
    pub ready: BTreeSet<Stamp>,
    /// Batches between two attempts.
    pub waiting: BTreeSet<(Instant, Stamp)>,
    /// The same by name.
    pub waiting_for: HashMap<Stamp, Instant>,
    /// Batches whose attempt opened a circuit: they may probe, but not go otherwise before this time.
    pub cooling: HashMap<Stamp, Instant>,
    /// Batches in a job.
    pub running: BTreeSet<Stamp>,
    /// The batch that got no answer last: the next probe goes with another one, if there is one.
    pub unanswered: Option<Stamp>,
    /// The spool may hold more than is known here.
    pub more: bool,
    /// Its own circuit.
    pub circuit: Option<Circuit>,
    /// Its dead-letter queue.
    pub dlq: Dlq,
    /// Where it stands.
    pub place: Place,
}

impl Dataset {
    /// Batches known here.
    pub fn known(&self) -> usize {
        self.ready.len() + self.waiting.len() + self.running.len()
    }

    /// Whether this batch is known.
    pub fn knows(&self, stamp: Stamp) -> bool {
        self.ready.contains(&stamp) || self.running.contains(&stamp) || self.waiting_for.contains_key(&stamp)
    }

    /// The next batch: the oldest. A probe goes on behind the one that got no answer, so that a batch which never gets
    /// one holds up itself only.
    pub fn choose(&self, probe: bool) -> Option<Stamp> {
        let behind = |last| self.ready.range((Bound::Excluded(last), Bound::Unbounded)).next();
        let chosen = self.unanswered.filter(|_| probe).and_then(behind).or_else(|| self.ready.first());
        chosen.copied()
    }

    /// The batch may go from `at` on.
    pub fn wait(&mut self, stamp: Stamp, at: Instant) {
        self.waiting.insert((at, stamp));
        self.waiting_for.insert(stamp, at);
    }

    /// No probe is wanted: those that cool wait for their time.
    pub fn cool(&mut self) {
        for (stamp, at) in std::mem::take(&mut self.cooling) {
            if self.ready.remove(&stamp) {
                self.wait(stamp, at);
            }
        }
    }

    /// Batches whose wait is over become ready.
    pub fn promote(&mut self, now: Instant) {
        while let Some((at, stamp)) = self.waiting.first().copied()
            && at <= now
        {
            self.waiting.pop_first();
            self.waiting_for.remove(&stamp);
            self.ready.insert(stamp);
        }
    }

    /// Whether nothing has to be remembered.
    pub fn is_idle(&self) -> bool {
        self.known() == 0
            && !self.more
            && !self.dlq.maybe
            && self.dlq.work == Work::None
            && self.dlq.quiet_until.is_none()
    }
}

/// The job of a DLQ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Work {
    /// None.
    #[default]
    None,
    /// A probe of a diverting circuit, which waits for its dataset's turn.
    Waits,
    /// One that is queued or runs.
    Goes,
}

/// The return of one dataset's DLQ entries.
#[derive(Debug, Default)]
pub struct Dlq {
    /// There may be entries that can return.
    pub maybe: bool,
    /// One job at a time.
    pub work: Work,
    /// The spool showed entries since that job began, perhaps behind its back.
    pub newer: bool,
    /// The entry looked at last.
    pub cursor: Option<Stamp>,
    /// When one entry tries although nothing flows.
    pub lonely: Option<Instant>,
    /// A return is going on.
    pub returning: Option<Returning>,
    /// After a pass over all entries the next one waits.
    pub quiet_until: Option<Instant>,
}

impl Dlq {
    /// Nothing is in it that can return.
    pub fn set_empty(&mut self) {
        self.maybe = false;
        self.lonely = None;
        self.returning = None;
    }
}

/// A return that is going on.
#[derive(Debug, Clone, Copy)]
pub struct Returning {
    /// Entries in the next step.
    pub step: usize,
    /// When it is due.
    pub next: Instant,
    /// After a diverting circuit closed: as soon as the uploads have nothing else to do.
    pub fast: bool,
}

/// One tenant.
#[derive(Debug, Default)]
pub struct Tenant {
    /// Datasets that want to upload, in turn.
    pub ring: VecDeque<DatasetKey>,
    /// Jobs running.
    pub in_flight: usize,
    /// Whether it is in the schedule's ring.
    pub listed: bool,
    /// Its own circuit.
    pub circuit: Option<Circuit>,
    /// Its datasets.
    pub datasets: BTreeSet<DatasetKey>,
    /// The dataset that probed last.
    pub probed: Option<DatasetKey>,
    /// Successes by dataset.
    pub recent: Recent<DatasetKey>,
}
