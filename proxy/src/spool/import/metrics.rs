//! What adoption shows of itself.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family},
};

use crate::metrics::Metrics;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CauseLabel {
    cause: &'static str,
}

/// Why an old file is not in a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// Not of the old program; left alone.
    Foreign,
    /// Nothing in it; removed.
    Empty,
    /// Cut off: whole lines are delivered, the file is in quarantine.
    Torn,
    /// Not what it was when it was written: in quarantine, nothing of it is delivered.
    Damaged,
}

impl Cause {
    /// Value of the metric label.
    pub fn label(self) -> &'static str {
        match self {
            Self::Foreign => "foreign",
            Self::Empty => "empty",
            Self::Torn => "torn",
            Self::Damaged => "damaged",
        }
    }
}

/// Metrics of adoption.
#[derive(Debug, Clone)]
pub struct ImportMetrics {
    /// Old files whose lines are in a batch of ours.
    pub files: Counter,
    /// Their lines.
    pub events: Counter,
    refused: Family<CauseLabel, Counter>,
}

impl ImportMetrics {
    /// Registers all.
    pub fn new(metrics: &Metrics) -> Self {
        let this = Self { files: Counter::default(), events: Counter::default(), refused: Family::default() };
        metrics.register(|r| {
            r.register("spool_imported_files", "Files of an old spool taken over", this.files.clone());
            r.register("spool_imported_events", "Events in them", this.events.clone());
            r.register(
                "spool_import_refused_files",
                "Files of an old spool not, or not wholly, taken over, by cause",
                this.refused.clone(),
            );
        });
        this
    }

    /// One file was refused.
    pub fn refuse(&self, cause: Cause) {
        self.refused.get_or_create(&CauseLabel { cause: cause.label() }).inc();
    }
}
