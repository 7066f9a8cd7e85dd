//! What the schedule is told, and what it says is to be done.

use std::time::Duration;

use crate::{
    deliver::circuit::Pace,
    ids::DatasetKey,
    spool::{Failure, Stamp},
};

/// What the configuration says.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `receiver.upload_worker_count`.
    pub per_tenant: usize,
    /// `spooling.retry_interval_seconds`.
    pub retry_interval: Duration,
    /// `spooling.dlq_auto_retry`.
    pub auto_return: bool,
    /// What is no setting.
    pub pace: Pace,
}

/// Something to do.
#[derive(Debug, Clone)]
pub enum Task {
    /// Upload this batch.
    Upload(Stamp),
    /// Put it into the DLQ: its tenant or dataset is not accepted now.
    Bury(Stamp, Failure),
    /// Upload the next DLQ entry after this one that can pass.
    DlqProbe(Option<Stamp>),
    /// Take entries out of the DLQ.
    Return {
        /// Beginning after this one.
        after: Option<Stamp>,
        /// How many.
        limit: usize,
    },
}

/// A task with its dataset.
#[derive(Debug, Clone)]
pub struct Job {
    /// Number, growing.
    pub id: u64,
    /// Whose.
    pub key: DatasetKey,
    /// What.
    pub task: Task,
    /// A circuit is open: a failure of the kind that opened it is no attempt.
    pub probe: bool,
}

/// What a job learnt of the Receiver.
#[derive(Debug, Clone)]
pub enum Answer {
    /// It took a batch.
    Accepted,
    /// It is there, and said something about this batch alone.
    Answered,
    /// It, or the way to it, is down.
    Unavailable(Failure, Option<Duration>),
    /// It does not accept the tenant (or else the dataset).
    Refused {
        /// The tenant.
        tenant: bool,
        /// What it said.
        failure: Failure,
    },
    /// Nothing was sent: no token.
    NoToken(Failure),
    /// Nothing was sent.
    Nothing,
}

/// What became of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Then {
    /// It left queue and retry.
    Left,
    /// It may go again at once.
    Again,
    /// It may go again after `retry_interval`.
    Later,
    /// A pass over the DLQ.
    Dlq {
        /// The entry looked at last.
        cursor: Option<Stamp>,
        /// There are no further ones.
        end: bool,
        /// Entries that left the DLQ.
        returned: usize,
    },
}

/// The end of a job.
#[derive(Debug, Clone)]
pub struct Report {
    /// About the Receiver.
    pub answer: Answer,
    /// About the batch.
    pub then: Then,
    /// A batch entered the DLQ.
    pub buried: bool,
}
