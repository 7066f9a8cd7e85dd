//! The dead-letter queue as a whole: counters, pages of entries, sending back.

use std::{str::FromStr, sync::Arc, time::SystemTime};

use axum::{
    Json,
    extract::{Query, State, rejection::QueryRejection},
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{ApiError, ApiState};
use crate::{
    batch::Class,
    deliver::label,
    ids::{DatasetId, DatasetKey, IdError, TenantId},
    inputs::paging,
    spool::{Entry, SpoolHandle, Stamp, State as Place},
};

mod id;
pub mod retry;
pub mod stats;

pub use id::{created_at, id, parse_id};

/// Entries asked of the spool at a time.
const STRIDE: usize = 256;

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
    /// Last upload; null when it was never tried.
    #[schema(value_type = Option<String>, required)]
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
            failure_reason: entry.failure.map(|failure| failure.message.to_string()),
            acknowledged: entry.class == Class::Acknowledged,
        }
    }
}

/// Which entries. Everything that is given must hold.
#[derive(Debug)]
pub(in crate::api) struct Wanted {
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
    pub(in crate::api) fn suffix(&self) -> String {
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

/// Which entries, behind which one, and how many.
type Asked = (Wanted, Option<(DatasetKey, Stamp)>, usize);

impl ListQuery {
    /// What is asked for.
    pub(in crate::api) fn read(self) -> Result<Asked, ApiError> {
        let Self { tenant_id, dataset_id, reason, created_after, created_before, after, limit } = self;
        let (tenant, dataset) = (given(tenant_id)?, given(dataset_id)?);
        let wanted = Wanted { tenant, dataset, reason, created_after, created_before };
        let after = after.as_deref().map(parse_id).transpose()?;
        Ok((wanted, after, paging::page(limit)))
    }
}

/// Entries of the dead-letter queue, by tenant, dataset and age.
#[utoipa::path(get, path = "/api/v1/dlq/files", tag = "dlq", params(ListQuery),
    responses((status = 200, body = DlqFiles), (status = 400, body = super::error::ErrorBody)))]
pub async fn files(
    State(state): State<Arc<ApiState>>,
    query: Result<Query<ListQuery>, QueryRejection>,
) -> Result<Json<DlqFiles>, ApiError> {
    let Query(query) = query?;
    let (wanted, after, limit) = query.read()?;
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
