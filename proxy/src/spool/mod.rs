//! The log and the batch files. Format and invariants: `docs/spool.md`.
//!
//! ```text
//! Chunk -> writer: frame in the log, fdatasync, acknowledgement -> batch file beside it -> close frame
//!       -> backlog (queue, retry, dlq) <-> deliver
//! ```

#![deny(clippy::indexing_slicing)]

use std::{fmt, sync::Arc, time::SystemTime};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

mod adopt;
mod backlog;
mod checkpoint;
mod disk;
mod filer;
mod files;
pub mod frame;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
mod handle;
mod import;
mod instance;
mod limits;
mod live;
mod log;
pub mod member;
mod memory_disk;
mod meta;
mod metrics;
mod open;
mod open_batch;
mod recovery;
mod segment;
mod shared;
mod split;
mod stamps;
mod store;
#[cfg(test)]
mod tests;
mod thread;
pub mod tool;
mod unreadable;
mod walk;
mod worker;
mod writer;

pub(crate) use disk::{Disk, RealDisk};
pub use handle::SpoolHandle;
pub use open::{Spool, SpoolError};
use shared::Shared;

use crate::{
    batch::{Class, MemoryBudget},
    config::{Batching, Spooling},
    ids::{DatasetKey, Hint},
    ledger::Ledger,
    metrics::Metrics,
};

/// Why the spool does not take a chunk.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The limit for this class of data is reached; try again later.
    #[error("the spool is full")]
    Full,
    /// The log cannot be written; the writer goes on trying with a new segment.
    #[error("the spool cannot be written: {0}")]
    Unwritable(String),
    /// Intake has ended.
    #[error("the proxy is stopping")]
    Stopping,
}

/// The name of a batch within this spool: 19 digits, strictly increasing, low 16 bits the spool's id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Stamp(pub u64);

impl Stamp {
    /// Id of the spool that gave the name.
    pub fn id(self) -> u16 {
        self.0 as u16
    }
}

/// Where a closed batch stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Never tried.
    Queue,
    /// Failed at least once.
    Retry,
    /// Set aside.
    Dlq,
}

impl State {
    /// Value of the metric label.
    pub fn label(self) -> &'static str {
        match self {
            Self::Queue => "queue",
            Self::Retry => "retry",
            Self::Dlq => "dlq",
        }
    }
}

/// Why a batch failed last. One variant is one metric label and one machine-readable reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// Connection refused, reset, DNS.
    Network,
    /// No answer in time.
    Timeout,
    /// 5xx.
    Server,
    /// 429.
    TooManyRequests,
    /// 401.
    Unauthorized,
    /// 403.
    Forbidden,
    /// 404.
    NotFound,
    /// 410: unknown or inactive tenant.
    Gone,
    /// 400 with the text of an unknown dataset.
    UnknownDataset,
    /// 413 of a batch that cannot be cut further.
    TooLarge,
    /// 3xx.
    Redirect,
    /// Any other 4xx: poison.
    Rejected,
    /// Pushed out by the spool's limit.
    SpoolFull,
    /// Older than `max_age_days`.
    Age,
    /// The tenant's token cannot be read.
    NoToken,
}

/// A failed attempt, or a move into the DLQ.
#[derive(Debug, Clone)]
pub struct Failure {
    /// Class of the failure.
    pub reason: Reason,
    /// HTTP status when there was an answer.
    pub status: Option<u16>,
    /// Text for people: at most 1 KiB. Batches that go for the same cause share it.
    pub message: Arc<str>,
}

/// A closed batch as the backlog knows it.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Name.
    pub stamp: Stamp,
    /// Owner.
    pub key: DatasetKey,
    /// What the lines are.
    pub hint: Hint,
    /// Acknowledged or not.
    pub class: Class,
    /// Lines in the batch.
    pub lines: u64,
    /// Bytes before compression.
    pub raw_bytes: u64,
    /// Bytes of the file.
    pub file_bytes: u64,
    /// Where it stands.
    pub state: State,
    /// Failed uploads so far.
    pub attempts: u32,
    /// When the last one ended.
    pub last_attempt: Option<SystemTime>,
    /// What the last failure was.
    pub failure: Option<Failure>,
}

impl Entry {
    /// `{tenant}--{dataset}--{stamp}--{hint}.gz`.
    pub fn file_name(&self) -> String {
        format!("{}--{}--{:019}--{}.gz", self.key.tenant, self.key.dataset, self.stamp.0, self.hint)
    }
}

/// Sums over batches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Totals {
    /// Number.
    pub batches: u64,
    /// Bytes of their files.
    pub bytes: u64,
    /// Lines.
    pub lines: u64,
    /// Name of the oldest.
    pub oldest: Option<Stamp>,
    /// Name of the newest.
    pub newest: Option<Stamp>,
}

/// What a tenant has in the spool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, ToSchema)]
pub struct TenantBytes {
    /// In batches that are not closed yet, as they are in the log.
    pub open_bytes: u64,
    /// In closed batches that wait for delivery.
    pub queue_bytes: u64,
    /// In the dead-letter queue.
    pub dlq_bytes: u64,
}

impl TenantBytes {
    /// All of it.
    pub fn total(&self) -> u64 {
        self.open_bytes + self.queue_bytes + self.dlq_bytes
    }
}

/// Bytes and limits at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct UsageNow {
    /// Segments of the log.
    pub log_bytes: u64,
    /// Batch files outside the DLQ.
    pub batch_bytes: u64,
    /// The DLQ.
    pub dlq_bytes: u64,
    /// Limit of the first two together.
    pub limit_bytes: u64,
    /// Limit of the DLQ.
    pub dlq_limit_bytes: u64,
    /// Why nothing can be written, if so.
    pub unwritable: Option<String>,
    /// Why a batch file cannot be written, if so; its lines are safe in the log.
    pub files_unwritable: Option<String>,
    /// Batches and folders of earlier runs that cannot be read now.
    pub unreadable: u64,
    /// Whose data is refused or held back because the spool is full.
    pub full: Full,
    /// Closed batches outside the DLQ, and how many there may be.
    #[serde(skip)]
    pub batches: (u64, u64),
}

impl UsageNow {
    /// Whether batches may come back from the DLQ. Half of the limit stays for what comes in: the DLQ of one tenant must
    /// not shut the door for all.
    pub fn has_room_for_returns(&self) -> bool {
        let (batches, most) = self.batches;
        self.log_bytes + self.batch_bytes < self.limit_bytes / 2 && batches < most / 2
    }
}

/// Which classes of data have reached their limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Full {
    /// HTTP: 503.
    pub acknowledged: bool,
    /// Datagrams are refused, TCP waits.
    pub unacknowledged: bool,
}

/// The compression level now under the settings of a stream, or under the general ones where they are not known.
pub type LevelNow = Arc<dyn Fn(Option<&Batching>) -> u32 + Send + Sync>;

/// What a spool needs of the rest of the process.
#[derive(Clone)]
pub struct Parts {
    /// Settings.
    pub settings: Spooling,
    /// The memory budget. The spool takes a quarter of it for tails, or half of it for everything when `enabled` is
    /// false.
    pub memory: MemoryBudget,
    /// The book of events.
    pub ledger: Arc<Ledger>,
    /// Registry.
    pub metrics: Arc<Metrics>,
    /// Level for tails.
    pub level: LevelNow,
    /// `receiver.max_payload_size`: no batch grows beyond it.
    pub max_payload: u64,
}

impl fmt::Debug for Parts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Parts").field("settings", &self.settings).finish_non_exhaustive()
    }
}
