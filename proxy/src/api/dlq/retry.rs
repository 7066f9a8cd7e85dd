//! Sending back.

use std::sync::Arc;

use axum::{
    Json,
    body::Bytes,
    extract::{State, rejection::BytesRejection},
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    STRIDE, Wanted, given,
    id::{id, parse_id},
};
use crate::{
    api::{ApiError, ApiState},
    ids::DatasetKey,
    spool::{Entry, SpoolHandle, Stamp, State as Place},
};

/// Entries that an answer names.
const MAX_DETAILS: usize = 1000;

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
    /// False when the spool had no room for all.
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
    responses((status = 200, body = RetryOutcome), (status = 400, body = crate::api::error::ErrorBody)))]
pub async fn retry(
    State(state): State<Arc<ApiState>>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<RetryOutcome>, ApiError> {
    let body = body.map_err(|_| ApiError::too_large("a body of more than 1 MiB"))?;
    let (wanted, only) = read(&body)?;
    // A client that goes away does not stop what was begun.
    let retried = tokio::spawn(async move { revive(&state.spool, &wanted, only).await });
    retried.await.map(Json).map_err(ApiError::internal)
}

type Only = Option<Vec<(DatasetKey, Stamp)>>;

/// Which entries a body asks for.
pub(in crate::api) fn read(body: &[u8]) -> Result<(Wanted, Only), ApiError> {
    let request: RetryRequest = if body.trim_ascii().is_empty() {
        RetryRequest::default()
    } else {
        serde_json::from_slice(body).map_err(ApiError::invalid)?
    };
    let RetryRequest { tenant_id, dataset_id, reason, created_after, created_before, ids } = request;
    let (tenant, dataset) = (given(tenant_id)?, given(dataset_id)?);
    let wanted = Wanted { tenant, dataset, reason, created_after, created_before };
    let only = ids.map(|ids| ids.iter().map(|id| parse_id(id)).collect::<Result<Vec<_>, _>>()).transpose()?;
    Ok((wanted, only))
}

async fn revive(spool: &SpoolHandle, wanted: &Wanted, only: Only) -> RetryOutcome {
    let mut retried =
        RetryOutcome { success: true, message: String::new(), files_retried: 0, details: Vec::new() };
    if let Some(only) = only {
        for (key, stamp) in only {
            let is_wanted = |entry: &Entry| {
                entry.key == key && entry.state == Place::Dlq && wanted.has_dataset(&key) && wanted.has(entry)
            };
            if let Some(entry) = spool.entry(stamp).filter(is_wanted)
                && !retried.revive(spool, &entry).await
            {
                break;
            }
        }
    } else {
        let mut after = None;
        'pages: loop {
            let page = wanted.page(spool, after.as_ref(), STRIDE);
            for entry in &page {
                if !retried.revive(spool, entry).await {
                    break 'pages;
                }
            }
            match page.last() {
                Some(last) => after = Some((last.key.clone(), last.stamp)),
                None => break,
            }
        }
    }
    retried.message =
        format!("Successfully retried {} files from DLQ{}", retried.files_retried, wanted.suffix());
    if !retried.success {
        retried.message += ". The others stay: the spool is half full; retry them when it has been delivered";
    }
    retried
}

impl RetryOutcome {
    /// False when there is no room for it, nor for any other.
    async fn revive(&mut self, spool: &SpoolHandle, entry: &Entry) -> bool {
        if !spool.usage().has_room_for_returns() {
            self.success = false;
            return false;
        }
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
        true
    }
}
