//! What the spool shows of itself.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
};

use super::{State, files::Tree};
use crate::{batch::Class, metrics::Metrics};

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StateLabel {
    state: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct EvictionLabel {
    class: &'static str,
    cause: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DatasetLabel {
    tenant: String,
    dataset: String,
}

/// Metrics of the spool.
#[derive(Debug)]
pub struct SpoolMetrics {
    bytes: Family<StateLabel, Gauge>,
    batches: Family<StateLabel, Gauge>,
    events: Family<StateLabel, Gauge>,
    evicted: Family<EvictionLabel, Counter>,
    delivered: Family<DatasetLabel, Counter>,
    /// Bytes of all log segments.
    pub log_bytes: Gauge,
    /// Duration of `fdatasync` on the log.
    pub sync_seconds: Histogram,
    /// Writes or syncs of the log that failed.
    pub log_failures: Counter,
    /// Writes of batch files or metadata that failed.
    pub file_failures: Counter,
    /// Bytes per closed batch.
    pub batch_bytes: Histogram,
    /// Lines per closed batch.
    pub batch_lines: Histogram,
    /// Batches found at start.
    pub recovered: Counter,
    /// Pieces set aside because they cannot be trusted.
    pub quarantined: Counter,
    /// Lines in them, as far as known.
    pub quarantined_lines: Counter,
    /// Files that are not ours.
    pub foreign: Gauge,
    /// Batches and folders of earlier runs that cannot be read.
    pub unreadable: Gauge,
    /// Age of the oldest undelivered batch (queue and retry) in seconds.
    pub oldest_seconds: Gauge<f64, AtomicU64>,
    /// Segments removed.
    pub segments_removed: Counter,
    /// Batches synced so that a segment could go.
    pub checkpointed: Counter,
    /// Times that batches were synced so that a segment could go.
    pub checkpoints: Counter,
}

impl SpoolMetrics {
    /// Registers all.
    pub fn new(metrics: &Metrics) -> Self {
        Self {
            bytes: metrics.add("spool_bytes", "Bytes of batch files by state", Family::default()),
            batches: metrics.add("spool_batches", "Closed batches by state", Family::default()),
            events: metrics.add("spool_events", "Events in closed batches by state", Family::default()),
            evicted: metrics.add("spool_evicted", "Batches evicted by class and cause", Family::default()),
            delivered: metrics.add("delivered_events", "Events that the Receiver has", Family::default()),
            log_bytes: metrics.add("spool_log_bytes", "Bytes of log segments", Gauge::default()),
            sync_seconds: metrics.add(
                "spool_sync_seconds",
                "Duration of fdatasync on the log",
                Histogram::new(exponential_buckets(0.000_1, 2.0, 16)),
            ),
            log_failures: metrics.add(
                "spool_log_failures",
                "Failed writes and syncs of the log",
                Counter::default(),
            ),
            file_failures: metrics.add(
                "spool_file_failures",
                "Failed writes of batch files and metadata",
                Counter::default(),
            ),
            batch_bytes: metrics.add(
                "spool_batch_size_bytes",
                "Compressed bytes per closed batch",
                Histogram::new(exponential_buckets(256.0, 4.0, 9)),
            ),
            batch_lines: metrics.add(
                "spool_batch_lines",
                "Lines per closed batch",
                Histogram::new(exponential_buckets(1.0, 4.0, 11)),
            ),
            recovered: metrics.add(
                "spool_recovered_batches",
                "Batches found in the spool at start",
                Counter::default(),
            ),
            quarantined: metrics.add(
                "spool_quarantined",
                "Pieces set aside as untrustworthy",
                Counter::default(),
            ),
            quarantined_lines: metrics.add(
                "spool_quarantined_events",
                "Events in quarantined pieces, as far as known",
                Counter::default(),
            ),
            foreign: metrics.add(
                "spool_foreign_files",
                "Files in the spool that are not ours",
                Gauge::default(),
            ),
            unreadable: metrics.add(
                "spool_unreadable_batches",
                "Batches and folders of earlier runs that cannot be read",
                Gauge::default(),
            ),
            oldest_seconds: metrics.add(
                "spool_oldest_seconds",
                "Age of the oldest undelivered batch",
                Gauge::default(),
            ),
            segments_removed: metrics.add(
                "spool_segments_removed",
                "Log segments removed",
                Counter::default(),
            ),
            checkpointed: metrics.add(
                "spool_checkpointed_batches",
                "Batches synced to free a segment",
                Counter::default(),
            ),
            checkpoints: metrics.add(
                "spool_checkpoints",
                "Times that batches were synced to free a segment",
                Counter::default(),
            ),
        }
    }

    /// One batch more (`sign` 1) or less (-1) in a state.
    pub fn count(&self, state: State, sign: i64, bytes: u64, lines: u64) {
        let label = StateLabel { state: state.label() };
        self.bytes.get_or_create(&label).inc_by(sign * bytes as i64);
        self.batches.get_or_create(&label).inc_by(sign);
        self.events.get_or_create(&label).inc_by(sign * lines as i64);
    }

    /// The Receiver has a batch of `lines` events.
    pub fn deliver(&self, tenant: &str, dataset: &str, lines: u64) {
        let label = DatasetLabel { tenant: tenant.to_owned(), dataset: dataset.to_owned() };
        self.delivered.get_or_create(&label).inc_by(lines);
    }

    /// A batch was pushed out.
    pub fn evict(&self, class: Class, cause: &'static str) {
        let class = match class {
            Class::Acknowledged => "acknowledged",
            Class::Unacknowledged => "unacknowledged",
        };
        self.evicted.get_or_create(&EvictionLabel { class, cause }).inc();
    }
}

/// What a batch counts against the limits: on a volume it takes a block at least.
pub fn weight(file_bytes: u64) -> u64 {
    file_bytes.max(4096)
}

/// Bytes that count against the limits.
#[derive(Debug, Default)]
pub struct Usage {
    /// Segments of this run.
    pub log: AtomicU64,
    /// Segments that earlier runs left.
    pub old_log: AtomicU64,
    /// Batch files outside the DLQ.
    pub files: AtomicU64,
    /// The DLQ.
    pub dlq: AtomicU64,
    /// Batches outside the DLQ.
    pub batches: AtomicU64,
    /// Batches in it.
    pub dlq_batches: AtomicU64,
    /// Bodies on their way to the log, members on their way to their file.
    pub incoming: AtomicU64,
    /// Folders of other processes in the same directory.
    pub others: AtomicU64,
}

impl Usage {
    /// What counts against `max_size_bytes`.
    pub fn spool(&self) -> u64 {
        let parts = [&self.log, &self.old_log, &self.files, &self.incoming, &self.others];
        parts.iter().map(|part| part.load(Relaxed)).sum()
    }

    /// All segments.
    pub fn whole_log(&self) -> u64 {
        self.log.load(Relaxed) + self.old_log.load(Relaxed)
    }

    /// A closed batch whose file has `bytes` comes in.
    pub fn add_batch(&self, tree: Tree, bytes: u64) {
        let (held, number) = self.of(tree);
        held.fetch_add(weight(bytes), Relaxed);
        number.fetch_add(1, Relaxed);
    }

    /// A closed batch whose file has `bytes` goes.
    pub fn take_batch(&self, tree: Tree, bytes: u64) {
        let (held, number) = self.of(tree);
        Self::take(held, weight(bytes));
        Self::take(number, 1);
    }

    fn of(&self, tree: Tree) -> (&AtomicU64, &AtomicU64) {
        match tree {
            Tree::Batches => (&self.files, &self.batches),
            Tree::Dlq => (&self.dlq, &self.dlq_batches),
        }
    }

    /// Takes `bytes` out of a counter, never below 0.
    pub fn take(counter: &AtomicU64, bytes: u64) {
        let _ = counter.fetch_update(Relaxed, Relaxed, |held| Some(held.saturating_sub(bytes)));
    }
}
