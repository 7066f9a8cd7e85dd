//! Counters.

use std::{collections::BTreeMap, sync::Arc};

use axum::{Json, extract::State};
use jiff::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

use super::id::{created_at, id};
use crate::{
    api::ApiState,
    ids::{DatasetId, TenantId},
    ledger::Events,
    spool::{Entry, Stamp, State as Place, Totals, UsageNow},
};

/// Batches of one dataset or of many.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct Counts {
    /// Never tried.
    queue_files: u64,
    /// Failed at least once, tried again by itself.
    retry_files: u64,
    /// Set aside.
    dlq_files: u64,
    queue_bytes: u64,
    retry_bytes: u64,
    dlq_bytes: u64,
}

impl Counts {
    fn add(&mut self, place: Place, totals: &Totals) {
        let (files, bytes) = match place {
            Place::Queue => (&mut self.queue_files, &mut self.queue_bytes),
            Place::Retry => (&mut self.retry_files, &mut self.retry_bytes),
            Place::Dlq => (&mut self.dlq_files, &mut self.dlq_bytes),
        };
        *files += totals.batches;
        *bytes += totals.bytes;
    }
}

#[derive(Debug, Default, Serialize, ToSchema)]
struct TenantStats {
    #[serde(flatten)]
    counts: Counts,
    #[schema(value_type = BTreeMap<String, Counts>)]
    dataset_stats: BTreeMap<DatasetId, Counts>,
}

/// Batches by place.
#[derive(Debug, Serialize, ToSchema)]
pub struct DlqStats {
    spooling_enabled: bool,
    /// Closed batches that were never tried.
    total_files_in_queue: u64,
    /// Batches that failed and are tried again.
    total_files_in_retry: u64,
    total_files_in_dlq: u64,
    total_bytes_in_queue: u64,
    total_bytes_in_retry: u64,
    total_bytes_in_dlq: u64,
    #[schema(value_type = BTreeMap<String, TenantStats>)]
    tenant_stats: BTreeMap<TenantId, TenantStats>,
    #[serde(skip_serializing_if = "Option::is_none")]
    oldest_queue_file: Option<OldEntry>,
    #[serde(skip_serializing_if = "Option::is_none")]
    oldest_retry_file: Option<OldEntry>,
    #[serde(skip_serializing_if = "Option::is_none")]
    oldest_dlq_file: Option<OldEntry>,
    spool_directory: String,
    /// Bytes on disk against their limits, and why nothing can be written, if so.
    #[schema(value_type = Object)]
    usage: UsageNow,
    /// Events by place, those in memory and in open batches included.
    #[schema(value_type = Object)]
    events: Events,
}

#[derive(Debug, Serialize, ToSchema)]
struct OldEntry {
    id: String,
    tenant_id: String,
    dataset_id: String,
    compressed_size: u64,
    uncompressed_size: u64,
    #[schema(value_type = String)]
    created_at: Timestamp,
    retry_count: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    failure_reason: Option<String>,
}

/// Batches in queue, retry and dead-letter queue, by tenant and dataset.
#[utoipa::path(get, path = "/api/v1/dlq/stats", tag = "dlq", responses((status = 200, body = DlqStats)))]
pub async fn stats(State(state): State<Arc<ApiState>>) -> Json<DlqStats> {
    let (mut all, mut tenants) = (Counts::default(), BTreeMap::<TenantId, TenantStats>::new());
    let mut oldest = |place| {
        let mut oldest: Option<Stamp> = None;
        for (key, totals) in state.spool.totals(place) {
            let tenant = tenants.entry(key.tenant).or_default();
            all.add(place, &totals);
            tenant.counts.add(place, &totals);
            tenant.dataset_stats.entry(key.dataset).or_default().add(place, &totals);
            oldest = oldest.into_iter().chain(totals.oldest).min();
        }
        oldest.and_then(|stamp| state.spool.entry(stamp)).map(OldEntry::from)
    };
    let [oldest_queue_file, oldest_retry_file, oldest_dlq_file] =
        [Place::Queue, Place::Retry, Place::Dlq].map(&mut oldest);
    let spooling = &state.running.load().config.spooling;
    Json(DlqStats {
        spooling_enabled: spooling.enabled,
        total_files_in_queue: all.queue_files,
        total_files_in_retry: all.retry_files,
        total_files_in_dlq: all.dlq_files,
        total_bytes_in_queue: all.queue_bytes,
        total_bytes_in_retry: all.retry_bytes,
        total_bytes_in_dlq: all.dlq_bytes,
        tenant_stats: tenants,
        oldest_queue_file,
        oldest_retry_file,
        oldest_dlq_file,
        spool_directory: spooling.directory.display().to_string(),
        usage: state.spool.usage(),
        events: state.ledger.snapshot(),
    })
}

impl From<Entry> for OldEntry {
    fn from(entry: Entry) -> Self {
        Self {
            id: id(&entry),
            tenant_id: entry.key.tenant.to_string(),
            dataset_id: entry.key.dataset.to_string(),
            compressed_size: entry.file_bytes,
            uncompressed_size: entry.raw_bytes,
            created_at: created_at(entry.stamp),
            retry_count: entry.attempts,
            failure_reason: entry.failure.map(|failure| failure.message.to_string()),
        }
    }
}
