//! One entry of the dead-letter queue: look at it, take it away, delete it.

use std::{
    io::{self, Read},
    sync::Arc,
};

use axum::{
    Json,
    body::{Body, Bytes},
    extract::{Path, State, rejection::PathRejection},
    http::header,
    response::{IntoResponse, Response},
};
use flate2::read::MultiGzDecoder;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use utoipa::{IntoParams, ToSchema};

use super::{
    ApiError, ApiState,
    dlq::{DlqFile, parse_id},
};
use crate::{
    ids::{DatasetId, DatasetKey, TenantId},
    spool::{Entry, SpoolHandle, Stamp, State as Place},
};

/// Lines and bytes that a preview shows at most; no more is decompressed.
const PREVIEW_LINES: usize = 20;
const PREVIEW_BYTES: u64 = 64 * 1024;
/// Bytes of a download read at a time.
const PIECE: usize = 64 * 1024;

/// Which entry.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub struct Named {
    /// Tenant.
    #[param(value_type = String)]
    tenant: TenantId,
    /// Dataset.
    #[param(value_type = String)]
    dataset: DatasetId,
    /// Name of the batch, with or without `.gz`.
    name: String,
}

type NamedPath = Result<Path<Named>, PathRejection>;

/// An entry with the beginning of what is in it.
#[derive(Debug, Serialize, ToSchema)]
pub struct DlqEntry {
    #[serde(flatten)]
    file: DlqFile,
    /// Its first lines, as text.
    preview: Vec<String>,
    /// Whether there is more than the preview.
    preview_truncated: bool,
    /// Why there is no preview, or none beyond what is shown.
    #[serde(skip_serializing_if = "Option::is_none")]
    preview_error: Option<String>,
}

fn find(spool: &SpoolHandle, named: NamedPath) -> Result<Entry, ApiError> {
    let Path(named) = named?;
    let (key, stamp) = parse_id(&named.name)?;
    if key != (DatasetKey { tenant: named.tenant, dataset: named.dataset }) {
        return Err(ApiError::invalid("the name of the batch is one of another tenant or dataset"));
    }
    let entry = spool.entry(stamp).filter(|entry| entry.key == key && entry.state == Place::Dlq);
    entry.ok_or_else(|| {
        ApiError::not_found("no such batch in the DLQ; it may have been delivered, retried or deleted")
    })
}

/// An entry with its first lines.
#[utoipa::path(get, path = "/api/v1/dlq/files/{tenant}/{dataset}/{name}", tag = "dlq", params(Named),
    responses((status = 200, body = DlqEntry), (status = 400, body = super::error::ErrorBody),
        (status = 404, body = super::error::ErrorBody)))]
pub async fn show(State(state): State<Arc<ApiState>>, named: NamedPath) -> Result<Json<DlqEntry>, ApiError> {
    let entry = find(&state.spool, named)?;
    let (spool, stamp) = (state.spool.clone(), entry.stamp);
    let preview =
        tokio::task::spawn_blocking(move || preview(&spool, stamp)).await.map_err(ApiError::internal)??;
    let (text, error) = preview;
    let whole = error.is_none() && (text.len() as u64) < PREVIEW_BYTES;
    let text = String::from_utf8_lossy(&text);
    let mut lines = text.split_terminator('\n');
    let shown: Vec<String> = lines.by_ref().take(PREVIEW_LINES).map(ToOwned::to_owned).collect();
    Ok(Json(DlqEntry {
        preview_truncated: !whole || lines.next().is_some(),
        preview: shown,
        preview_error: error,
        file: entry.into(),
    }))
}

/// The first bytes of what is in a batch, and what stopped the reading, if anything.
fn preview(spool: &SpoolHandle, stamp: Stamp) -> io::Result<(Vec<u8>, Option<String>)> {
    let mut text = Vec::new();
    let reader = spool.open(stamp)?;
    let error = MultiGzDecoder::new(reader).take(PREVIEW_BYTES).read_to_end(&mut text).err();
    Ok((text, error.map(|error| error.to_string())))
}

/// The batch as it would be uploaded (gzip).
#[utoipa::path(get, path = "/api/v1/dlq/files/{tenant}/{dataset}/{name}/download", tag = "dlq", params(Named),
    responses((status = 200, body = Vec<u8>, content_type = "application/gzip"),
        (status = 400, body = super::error::ErrorBody), (status = 404, body = super::error::ErrorBody)))]
pub async fn download(State(state): State<Arc<ApiState>>, named: NamedPath) -> Result<Response, ApiError> {
    let entry = find(&state.spool, named)?;
    let (spool, stamp) = (state.spool.clone(), entry.stamp);
    let reader =
        tokio::task::spawn_blocking(move || spool.open(stamp)).await.map_err(ApiError::internal)??;
    let headers = [
        (header::CONTENT_TYPE, "application/gzip".to_owned()),
        (header::CONTENT_LENGTH, entry.file_bytes.to_string()),
        (header::CONTENT_DISPOSITION, format!("attachment; filename=\"{}\"", entry.file_name())),
    ];
    Ok((headers, stream(reader)).into_response())
}

/// Reads ahead of the client by a few pieces, on a thread where reading may block.
fn stream(mut reader: Box<dyn Read + Send>) -> Body {
    let (send, mut receive) = mpsc::channel::<io::Result<Bytes>>(2);
    tokio::task::spawn_blocking(move || {
        loop {
            let mut piece = Vec::with_capacity(PIECE);
            let read = reader.by_ref().take(PIECE as u64).read_to_end(&mut piece);
            let (end, item) = match read {
                Ok(0) => return,
                Ok(_) => (false, Ok(piece.into())),
                Err(error) => (true, Err(error)),
            };
            if send.blocking_send(item).is_err() || end {
                return;
            }
        }
    });
    Body::from_stream(futures_util::stream::poll_fn(move |context| receive.poll_recv(context)))
}

/// What was deleted.
#[derive(Debug, Serialize, ToSchema)]
pub struct Deleted {
    success: bool,
    message: String,
    /// Events that are gone with it.
    events: u64,
}

/// Deletes an entry for good.
#[utoipa::path(delete, path = "/api/v1/dlq/files/{tenant}/{dataset}/{name}", tag = "dlq", params(Named),
    responses((status = 200, body = Deleted), (status = 400, body = super::error::ErrorBody),
        (status = 404, body = super::error::ErrorBody)))]
pub async fn delete(State(state): State<Arc<ApiState>>, named: NamedPath) -> Result<Json<Deleted>, ApiError> {
    let entry = find(&state.spool, named)?;
    state.spool.delete(entry.stamp).await?;
    tracing::warn!(batch = entry.file_name(), events = entry.lines, "deleted from the DLQ through the API");
    Ok(Json(Deleted {
        success: true,
        message: format!("Deleted {}", entry.file_name()),
        events: entry.lines,
    }))
}
