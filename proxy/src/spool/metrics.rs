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

use super::State;
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

/// Metrics of the spool.
#[derive(Debug)]
pub struct SpoolMetrics {
    bytes: Family<StateLabel, Gauge>,
    batches: Family<StateLabel, Gauge>,
    events: Family<StateLabel, Gauge>,
    evicted: Family<EvictionLabel, Counter>,
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
        let this = Self {
            bytes: Family::default(),
            batches: Family::default(),
            events: Family::default(),
            evicted: Family::default(),
            log_bytes: Gauge::default(),
            sync_seconds: Histogram::new(exponential_buckets(0.000_1, 2.0, 16)),
            log_failures: Counter::default(),
            file_failures: Counter::default(),
            batch_bytes: Histogram::new(exponential_buckets(256.0, 4.0, 9)),
            batch_lines: Histogram::new(exponential_buckets(1.0, 4.0, 11)),
            recovered: Counter::default(),
            quarantined: Counter::default(),
            quarantined_lines: Counter::default(),
            foreign: Gauge::default(),
            unreadable: Gauge::default(),
            oldest_seconds: Gauge::default(),
            segments_removed: Counter::default(),
            checkpointed: Counter::default(),
            checkpoints: Counter::default(),
        };
        metrics.register(|r| {
            r.register("spool_bytes", "Bytes of batch files by state", this.bytes.clone());
            r.register("spool_batches", "Closed batches by state", this.batches.clone());
            r.register("spool_events", "Events in closed batches by state", this.events.clone());
            r.register("spool_evicted", "Batches evicted by class and cause", this.evicted.clone());
            r.register("spool_log_bytes", "Bytes of log segments", this.log_bytes.clone());
            r.register("spool_sync_seconds", "Duration of fdatasync on the log", this.sync_seconds.clone());
            r.register("spool_log_failures", "Failed writes and syncs of the log", this.log_failures.clone());
            r.register(
                "spool_file_failures",
                "Failed writes of batch files and metadata",
                this.file_failures.clone(),
            );
            r.register(
                "spool_batch_size_bytes",
                "Compressed bytes per closed batch",
                this.batch_bytes.clone(),
            );
            r.register("spool_batch_lines", "Lines per closed batch", this.batch_lines.clone());
            r.register(
                "spool_recovered_batches",
                "Batches found in the spool at start",
                this.recovered.clone(),
            );
            r.register("spool_quarantined", "Pieces set aside as untrustworthy", this.quarantined.clone());
            r.register(
                "spool_quarantined_events",
                "Events in quarantined pieces, as far as known",
                this.quarantined_lines.clone(),
            );
            r.register("spool_foreign_files", "Files in the spool that are not ours", this.foreign.clone());
            r.register(
                "spool_unreadable_batches",
                "Batches and folders of earlier runs that cannot be read",
                this.unreadable.clone(),
            );
            r.register(
                "spool_oldest_seconds",
                "Age of the oldest undelivered batch",
                this.oldest_seconds.clone(),
            );
            r.register("spool_segments_removed", "Log segments removed", this.segments_removed.clone());
            r.register(
                "spool_checkpointed_batches",
                "Batches synced to free a segment",
                this.checkpointed.clone(),
            );
            r.register(
                "spool_checkpoints",
                "Times that batches were synced to free a segment",
                this.checkpoints.clone(),
            );
        });
        this
    }

    /// One batch more (`sign` 1) or less (-1) in a state.
    pub fn count(&self, state: State, sign: i64, bytes: u64, lines: u64) {
        let label = StateLabel { state: state.label() };
        self.bytes.get_or_create(&label).inc_by(sign * bytes as i64);
        self.batches.get_or_create(&label).inc_by(sign);
        self.events.get_or_create(&label).inc_by(sign * lines as i64);
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

    /// Takes `bytes` out of a counter, never below 0.
    pub fn take(counter: &AtomicU64, bytes: u64) {
        let _ = counter.fetch_update(Relaxed, Relaxed, |held| Some(held.saturating_sub(bytes)));
    }
}
