//! Delivery in numbers.

use std::fmt::Debug;

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
};

use crate::metrics::Metrics;

/// `outcome` of an upload.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct OutcomeLabel {
    /// `2xx` to `5xx`, `network`, `timeout`, `corrupt` or `local`.
    pub outcome: &'static str,
}

/// `reason` of a move into the DLQ.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ReasonLabel {
    /// See [`super::outcome::label`].
    pub reason: &'static str,
}

/// `scope` of a circuit.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ScopeLabel {
    /// `receiver`, `tenant` or `dataset`.
    pub scope: &'static str,
}

/// What delivery counts.
#[derive(Debug)]
pub struct DeliverMetrics {
    /// From the start of an upload to its outcome.
    pub duration: Histogram,
    /// From the first line of a batch to the Receiver's answer.
    pub latency: Histogram,
    /// Uploads by outcome.
    pub uploads: Family<OutcomeLabel, Counter>,
    /// Compressed bytes the Receiver took.
    pub bytes: Counter,
    /// Lines the Receiver took.
    pub lines: Counter,
    /// Uploads running.
    pub in_flight: Gauge,
    /// Open circuits.
    pub circuits: Family<ScopeLabel, Gauge>,
    /// Batches moved into the DLQ by delivery.
    pub buried: Family<ReasonLabel, Counter>,
    /// Batches that came back from the DLQ by themselves.
    pub returned: Counter,
}

impl DeliverMetrics {
    /// Registers them.
    pub fn new(metrics: &Metrics) -> Self {
        Self {
            duration: metrics.add(
                "upload_duration_seconds",
                "Time from the start of an upload to its outcome",
                Histogram::new(exponential_buckets(0.005, 2.0, 14)),
            ),
            latency: metrics.add(
                "delivery_latency_seconds",
                "Time from the first line of a batch to its delivery",
                Histogram::new(exponential_buckets(0.05, 3.0, 14)),
            ),
            uploads: metrics.add("uploads", "Uploads by outcome", Family::default()),
            bytes: metrics.add("uploaded_bytes", "Compressed bytes delivered", Counter::default()),
            lines: metrics.add("uploaded_lines", "Lines delivered", Counter::default()),
            in_flight: metrics.add("uploads_in_flight", "Uploads running now", Gauge::default()),
            circuits: metrics.add("circuit_open", "Open circuits by scope", Family::default()),
            buried: metrics.add("upload_dlq_moves", "Batches set aside by delivery", Family::default()),
            returned: metrics.add(
                "dlq_returned",
                "Batches that returned from the DLQ by themselves",
                Counter::default(),
            ),
        }
    }

    /// Deliveries and failed uploads since start.
    pub fn totals(&self) -> Totals {
        let count = |outcome| self.uploads.get_or_create(&OutcomeLabel { outcome }).get();
        let failed = ["3xx", "4xx", "5xx", "network", "timeout", "corrupt", "local"];
        Totals { batches: count("2xx"), bytes: self.bytes.get(), failures: failed.map(count).iter().sum() }
    }
}

/// What delivery came to since start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// Batches the Receiver took.
    pub batches: u64,
    /// Compressed bytes of these.
    pub bytes: u64,
    /// Uploads that failed.
    pub failures: u64,
}
