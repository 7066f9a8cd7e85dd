//! The log and the batch files. Format and invariants: `docs/spool.md`.
//!
//! ```text
//! Chunk -> writer: frame in the log, fdatasync, acknowledgement -> batch file beside it -> close frame
//!       -> backlog (queue, retry, dlq) <-> deliver
//! ```

use std::{io::Read, sync::Arc, time::SystemTime};

pub mod member;

use crate::{
    batch::{Chunk, Class, MemoryBudget},
    config::Spooling,
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

/// Where a closed batch stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum State {
    /// Never tried.
    Queue,
    /// Failed at least once.
    Retry,
    /// Set aside.
    Dlq,
}

/// Why a batch failed last. One variant is one metric label and one machine-readable reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
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
    /// Text for people: at most 1 KiB.
    pub message: String,
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

/// What a spool needs of the rest of the process.
#[derive(Debug, Clone)]
pub struct Parts {
    /// Settings.
    pub settings: Spooling,
    /// The memory budget, for tails.
    pub memory: MemoryBudget,
    /// The book of events.
    pub ledger: Arc<Ledger>,
    /// Registry.
    pub metrics: Arc<Metrics>,
}

/// A handle to the running spool; clones share it.
#[derive(Debug, Clone)]
pub struct SpoolHandle {}

#[allow(unused_variables, clippy::unimplemented, clippy::unused_async, missing_docs)]
impl SpoolHandle {
    /// Hands a chunk over from a decoder thread. Unacknowledged data makes room by moving its like to the DLQ.
    pub fn submit_blocking(&self, chunk: Chunk) -> Result<(), Refused> {
        unimplemented!()
    }

    /// Hands a chunk over and waits while the spool is full (TCP: the sender is slowed down). No durability yet.
    pub async fn submit(&self, chunk: Chunk) -> Result<(), Refused> {
        unimplemented!()
    }

    /// Returns once all chunks are in the log and synced; refuses at once when full (HTTP: 503).
    pub async fn commit(&self, chunks: Vec<Chunk>) -> Result<(), Refused> {
        unimplemented!()
    }

    /// Whether data of this class would be taken now.
    pub fn has_room(&self, class: Class) -> bool {
        unimplemented!()
    }

    /// Datasets that have batches in queue or retry, or in the DLQ.
    pub fn datasets(&self) -> Vec<DatasetKey> {
        unimplemented!()
    }

    /// Oldest batches of a dataset in the given states, at most `limit`, from `after` (exclusive) on.
    pub fn entries(
        &self,
        key: &DatasetKey,
        states: &[State],
        after: Option<Stamp>,
        limit: usize,
    ) -> Vec<Entry> {
        unimplemented!()
    }

    /// One batch.
    pub fn entry(&self, stamp: Stamp) -> Option<Entry> {
        unimplemented!()
    }

    /// Resolves when a batch was closed, returned or moved since the last call.
    pub async fn changed(&self) {
        unimplemented!()
    }

    /// The bytes of a batch (gzip), for reading from the start. A batch's file may move meanwhile; the reader stays good.
    pub fn open(&self, stamp: Stamp) -> std::io::Result<Box<dyn Read + Send>> {
        unimplemented!()
    }

    /// The Receiver has it: the file goes.
    pub async fn delivered(&self, stamp: Stamp) -> std::io::Result<()> {
        unimplemented!()
    }

    /// An attempt failed: one more in `attempts`, state retry.
    pub async fn failed(&self, stamp: Stamp, failure: Failure) -> std::io::Result<()> {
        unimplemented!()
    }

    /// Into the DLQ, with its reason.
    pub async fn bury(&self, stamp: Stamp, failure: Failure) -> std::io::Result<()> {
        unimplemented!()
    }

    /// Out of the DLQ into retry, with `attempts` 0.
    pub async fn revive(&self, stamp: Stamp) -> std::io::Result<()> {
        unimplemented!()
    }

    /// A person deletes a DLQ entry.
    pub async fn delete(&self, stamp: Stamp) -> std::io::Result<()> {
        unimplemented!()
    }

    /// A batch whose members do not match their CRC: set aside, counted, never sent.
    pub async fn quarantine(&self, stamp: Stamp, why: String) -> std::io::Result<()> {
        unimplemented!()
    }

    /// Cuts a batch in two after a 413; `None` when it has one line only.
    pub async fn split(&self, stamp: Stamp) -> std::io::Result<Option<[Stamp; 2]>> {
        unimplemented!()
    }
}
