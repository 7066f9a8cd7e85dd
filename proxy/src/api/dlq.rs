//! The dead-letter queue as a whole: counters, pages of entries, sending back.

use std::{collections::BTreeMap, str::FromStr, sync::Arc, time::SystemTime};

use axum::{
    Json,
    body::Bytes,
    extract::{
        Query, State,
        rejection::{BytesRejection, QueryRejection},
    },
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{ApiError, ApiState};
use crate::{
    batch::Class,
    deliver::label,
    ids::{DatasetId, DatasetKey, Hint, IdError, TenantId},
    ledger::Events,
    spool::{Entry, SpoolHandle, Stamp, State as Place, Totals, UsageNow},
};

/// Entries of a page unless told, and at most.
const DEFAULT_PAGE: usize = 100;
const MAX_PAGE: usize = 1000;
/// Entries asked of the spool at a time.
const STRIDE: usize = 256;
/// Entries that an answer to a retry names.
const MAX_DETAILS: usize = 1000;

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
            failure_reason: entry.failure.map(|failure| failure.message),
        }
    }
}

/// The file name up to its first dot: how older versions name a batch.
pub fn id(entry: &Entry) -> String {
    let mut name = entry.file_name();
    name.truncate(name.len() - ".gz".len());
    name
}

/// What an id or file name says, as typed parts; anything else is no batch.
pub fn parse_id(text: &str) -> Result<(DatasetKey, Stamp), ApiError> {
    let wrong = || {
        let shown: String = text.chars().take(200).collect();
        ApiError::invalid(format!(
            "{shown:?} is no batch; one is named <tenant>--<dataset>--<19 digits>--<hint>"
        ))
    };
    let parts: Vec<&str> = text.strip_suffix(".gz").unwrap_or(text).split("--").collect();
    let [tenant, dataset, stamp, hint] = parts[..] else { return Err(wrong()) };
    if stamp.len() != 19 || !stamp.bytes().all(|byte| byte.is_ascii_digit()) || hint.parse::<Hint>().is_err()
    {
        return Err(wrong());
    }
    let key = DatasetKey {
        tenant: tenant.parse().map_err(ApiError::invalid)?,
        dataset: dataset.parse().map_err(ApiError::invalid)?,
    };
    Ok((key, Stamp(stamp.parse().map_err(|_| wrong())?)))
}

/// When a batch's first line was received.
pub fn created_at(stamp: Stamp) -> Timestamp {
    Timestamp::from_nanosecond(stamp.0.into()).unwrap_or_default()
}

fn time(at: SystemTime) -> Timestamp {
    Timestamp::try_from(at).unwrap_or_default()
}

/// An entry of the dead-letter queue.
#[derive(Debug, Serialize, ToSchema)]
pub struct DlqFile {
    /// Name of the batch.
    id: String,
    tenant_id: String,
    dataset_id: String,
    /// Name of its file.
    filename: String,
    compressed_size: u64,
    uncompressed_size: u64,
    line_count: u64,
    data_hint: String,
    /// Receive time of its first line.
    #[schema(value_type = String)]
    created_at: Timestamp,
    /// Last upload; absent when it was never tried.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    last_retry: Option<Timestamp>,
    /// Uploads that failed.
    retry_count: u32,
    /// `dlq`.
    status: &'static str,
    /// What the last failure was, for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    failure_reason: Option<String>,
    /// The same, for programs: `server`, `unauthorized`, `spool_full`, ...
    #[serde(skip_serializing_if = "Option::is_none")]
    trigger_reason: Option<&'static str>,
    /// HTTP status of the last answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    http_status: Option<u16>,
    /// Whether a sender was told that this data is safe.
    acknowledged: bool,
}

impl From<Entry> for DlqFile {
    fn from(entry: Entry) -> Self {
        Self {
            id: id(&entry),
            filename: entry.file_name(),
            tenant_id: entry.key.tenant.to_string(),
            dataset_id: entry.key.dataset.to_string(),
            compressed_size: entry.file_bytes,
            uncompressed_size: entry.raw_bytes,
            line_count: entry.lines,
            data_hint: entry.hint.to_string(),
            created_at: created_at(entry.stamp),
            last_retry: entry.last_attempt.map(time),
            retry_count: entry.attempts,
            status: "dlq",
            trigger_reason: entry.failure.as_ref().map(|failure| label(failure.reason)),
            http_status: entry.failure.as_ref().and_then(|failure| failure.status),
            failure_reason: entry.failure.map(|failure| failure.message),
            acknowledged: entry.class == Class::Acknowledged,
        }
    }
}

/// Which entries. Everything that is given must hold.
#[derive(Debug)]
struct Wanted {
    tenant: Option<TenantId>,
    dataset: Option<DatasetId>,
    reason: Option<String>,
    created_after: Option<Timestamp>,
    created_before: Option<Timestamp>,
}

/// An identifier; none when the text means all.
fn given<T: FromStr<Err = IdError>>(text: Option<String>) -> Result<Option<T>, ApiError> {
    let text = text.filter(|text| !text.is_empty() && text != "*");
    text.map(|id| id.parse()).transpose().map_err(ApiError::invalid)
}

impl Wanted {
    fn has_dataset(&self, key: &DatasetKey) -> bool {
        self.tenant.as_ref().is_none_or(|tenant| *tenant == key.tenant)
            && self.dataset.as_ref().is_none_or(|dataset| *dataset == key.dataset)
    }

    fn has(&self, entry: &Entry) -> bool {
        let created = created_at(entry.stamp);
        let reason = entry.failure.as_ref().map(|failure| label(failure.reason));
        self.reason.as_deref().is_none_or(|wanted| Some(wanted) == reason)
            && self.created_after.is_none_or(|after| created >= after)
            && self.created_before.is_none_or(|before| created < before)
    }

    /// ` for tenant=T dataset=D`, as messages end.
    fn suffix(&self) -> String {
        let part = |name, id: Option<String>| id.map_or(String::new(), |id| format!(" {name}={id}"));
        let parts = part("tenant", self.tenant.as_ref().map(ToString::to_string))
            + &part("dataset", self.dataset.as_ref().map(ToString::to_string));
        if parts.is_empty() { parts } else { format!(" for{parts}") }
    }

    /// Up to `limit` entries behind `after`, by tenant, dataset and age.
    fn page(&self, spool: &SpoolHandle, after: Option<&(DatasetKey, Stamp)>, limit: usize) -> Vec<Entry> {
        let mut keys = spool.datasets();
        keys.retain(|key| self.has_dataset(key) && after.is_none_or(|(after, _)| key >= after));
        keys.sort();
        let mut page = Vec::new();
        for key in keys {
            let mut from = after.filter(|(after, _)| *after == key).map(|(_, stamp)| *stamp);
            loop {
                let entries = spool.entries(&key, &[Place::Dlq], from, STRIDE);
                let last = entries.last().map(|entry| entry.stamp);
                page.extend(entries.into_iter().filter(|entry| self.has(entry)).take(limit - page.len()));
                if page.len() >= limit {
                    return page;
                }
                match last {
                    Some(last) => from = Some(last),
                    None => break,
                }
            }
        }
        page
    }
}

/// A page of entries.
#[derive(Debug, Serialize, ToSchema)]
pub struct DlqFiles {
    spooling_enabled: bool,
    files: Vec<DlqFile>,
    message: String,
    /// For `after`; absent on the last page.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// Which entries, and which page of them.
#[derive(Debug, Clone, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(default, deny_unknown_fields)]
pub struct ListQuery {
    /// Of this tenant; absent, empty or `*`: of all.
    tenant_id: Option<String>,
    /// Of this dataset; absent, empty or `*`: of all.
    dataset_id: Option<String>,
    /// With this `trigger_reason`.
    reason: Option<String>,
    /// First line received at this time or later.
    #[param(value_type = Option<String>)]
    created_after: Option<Timestamp>,
    /// First line received before this time.
    #[param(value_type = Option<String>)]
    created_before: Option<Timestamp>,
    /// The `next` of the page before.
    after: Option<String>,
    /// Entries at most: 100 unless given, 1000 at most.
    limit: Option<usize>,
}

/// Entries of the dead-letter queue, by tenant, dataset and age.
#[utoipa::path(get, path = "/api/v1/dlq/files", tag = "dlq", params(ListQuery),
    responses((status = 200, body = DlqFiles), (status = 400, body = super::error::ErrorBody)))]
pub async fn files(
    State(state): State<Arc<ApiState>>,
    query: Result<Query<ListQuery>, QueryRejection>,
) -> Result<Json<DlqFiles>, ApiError> {
    let Query(query) = query?;
    let ListQuery { tenant_id, dataset_id, reason, created_after, created_before, after, limit } = query;
    let (tenant, dataset) = (given(tenant_id)?, given(dataset_id)?);
    let wanted = Wanted { tenant, dataset, reason, created_after, created_before };
    let after = after.as_deref().map(parse_id).transpose()?;
    let limit = limit.unwrap_or(DEFAULT_PAGE).clamp(1, MAX_PAGE);
    let mut entries = wanted.page(&state.spool, after.as_ref(), limit + 1);
    let more = entries.len() > limit;
    entries.truncate(limit);
    let message = match entries.len() {
        0 => format!("No files in DLQ{}", wanted.suffix()),
        n => format!("Found {n}{} files in DLQ{}", if more { "+" } else { "" }, wanted.suffix()),
    };
    Ok(Json(DlqFiles {
        spooling_enabled: state.running.load().config.spooling.enabled,
        next: entries.last().filter(|_| more).map(id),
        files: entries.into_iter().map(DlqFile::from).collect(),
        message,
    }))
}

/// What to send again; an empty body means everything.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RetryRequest {
    /// Of this tenant; absent, empty or `*`: of all.
    tenant_id: Option<String>,
    /// Of this dataset; absent, empty or `*`: of all.
    dataset_id: Option<String>,
    /// With this `trigger_reason`.
    reason: Option<String>,
    /// First line received at this time or later.
    #[schema(value_type = Option<String>)]
    created_after: Option<Timestamp>,
    /// First line received before this time.
    #[schema(value_type = Option<String>)]
    created_before: Option<Timestamp>,
    /// Only these batches.
    ids: Option<Vec<String>>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct RetryOutcome {
    success: bool,
    message: String,
    files_retried: usize,
    /// Up to 1000 batches one by one.
    details: Vec<RetryDetail>,
}

#[derive(Debug, Serialize, ToSchema)]
struct RetryDetail {
    file_id: String,
    tenant_id: String,
    dataset_id: String,
    success: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// Sends entries of the dead-letter queue again, with all their attempts before them.
#[utoipa::path(post, path = "/api/v1/dlq/retry", tag = "dlq", request_body = Option<RetryRequest>,
    responses((status = 200, body = RetryOutcome), (status = 400, body = super::error::ErrorBody)))]
pub async fn retry(
    State(state): State<Arc<ApiState>>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<RetryOutcome>, ApiError> {
    let body = body.map_err(|_| ApiError::too_large("a body of more than 1 MiB"))?;
    let request: RetryRequest = if body.trim_ascii().is_empty() {
        RetryRequest::default()
    } else {
        serde_json::from_slice(&body).map_err(ApiError::invalid)?
    };
    let RetryRequest { tenant_id, dataset_id, reason, created_after, created_before, ids } = request;
    let (tenant, dataset) = (given(tenant_id)?, given(dataset_id)?);
    let wanted = Wanted { tenant, dataset, reason, created_after, created_before };
    let only = ids.map(|ids| ids.iter().map(|id| parse_id(id)).collect::<Result<Vec<_>, _>>()).transpose()?;
    // A client that goes away does not stop what was begun.
    let retried = tokio::spawn(async move { revive(&state.spool, &wanted, only).await });
    retried.await.map(Json).map_err(ApiError::internal)
}

async fn revive(
    spool: &SpoolHandle,
    wanted: &Wanted,
    only: Option<Vec<(DatasetKey, Stamp)>>,
) -> RetryOutcome {
    let mut retried =
        RetryOutcome { success: true, message: String::new(), files_retried: 0, details: Vec::new() };
    if let Some(only) = only {
        for (key, stamp) in only {
            let is_wanted = |entry: &Entry| {
                entry.key == key && entry.state == Place::Dlq && wanted.has_dataset(&key) && wanted.has(entry)
            };
            if let Some(entry) = spool.entry(stamp).filter(is_wanted) {
                retried.revive(spool, &entry).await;
            }
        }
    } else {
        let mut after = None;
        loop {
            let page = wanted.page(spool, after.as_ref(), STRIDE);
            for entry in &page {
                retried.revive(spool, entry).await;
            }
            match page.last() {
                Some(last) => after = Some((last.key.clone(), last.stamp)),
                None => break,
            }
        }
    }
    retried.message =
        format!("Successfully retried {} files from DLQ{}", retried.files_retried, wanted.suffix());
    retried
}

impl RetryOutcome {
    async fn revive(&mut self, spool: &SpoolHandle, entry: &Entry) {
        let error = spool.revive(entry.stamp).await.err().map(|error| error.to_string());
        self.files_retried += usize::from(error.is_none());
        if self.details.len() < MAX_DETAILS {
            self.details.push(RetryDetail {
                file_id: id(entry),
                tenant_id: entry.key.tenant.to_string(),
                dataset_id: entry.key.dataset.to_string(),
                success: error.is_none(),
                error,
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn w27_only_a_whole_typed_name_is_a_batch() {
        let (key, stamp) = parse_id("acme--web-logs--1767225600000000001--ndjson").unwrap();
        assert_eq!((key.to_string().as_str(), stamp), ("acme/web-logs", Stamp(1_767_225_600_000_000_001)));
        assert!(parse_id("acme--web--1767225600000000001--ndjson.gz").is_ok());
        for bad in [
            "",
            "..",
            "a",
            "../../etc/passwd",
            "acme--web--1767225600000000001",
            "acme--web--176722560000000000--raw",
            "..--web--1767225600000000001--raw",
            "acme--../x--1767225600000000001--raw",
            "acme--web--1767225600000000001--../x",
            "acme--web--+767225600000000001--raw",
            "acme--web--1767225600000000001--raw--x",
            "a\0--web--1767225600000000001--raw",
        ] {
            assert!(parse_id(bad).is_err(), "{bad:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_a_batch_or_refused(text in "[a-z0-9_.%/-]{0,30}(--[a-z]{0,4}){0,3}(--[0-9]{17,21})?(--[a-z_]{0,4})?(\\.gz)?|.{0,60}") {
            if let Ok((key, stamp)) = parse_id(&text) {
                let stem = text.strip_suffix(".gz").unwrap_or(&text);
                let start = format!("{}--{}--{:019}--", key.tenant, key.dataset, stamp.0);
                proptest::prop_assert!(stem.starts_with(&start));
            }
        }
    }
}
