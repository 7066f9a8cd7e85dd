//! Who exports flow records, and what of them was lost on the way.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Query, State, rejection::QueryRejection},
};
use serde::Serialize;
use utoipa::ToSchema;

use super::{ApiError, ApiState};
use crate::inputs::{ExporterQuery, ExporterRow, paging};

/// Exporters.
#[derive(Debug, Serialize, ToSchema)]
pub struct ExporterList {
    exporters: Vec<ExporterRow>,
    /// `offset` of the next page; absent on the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_offset: Option<usize>,
}

/// Exporters of NetFlow, IPFIX and sFlow: when they were heard last, how much they send, their templates, what waits for
/// one, and what was lost on the way by their sequence numbers. By input, in order of their addresses.
#[utoipa::path(get, path = "/api/v1/exporters", tag = "status", params(ExporterQuery),
    responses((status = 200, body = ExporterList), (status = 400, body = super::error::ErrorBody)))]
pub async fn exporters(
    State(state): State<Arc<ApiState>>,
    query: Result<Query<ExporterQuery>, QueryRejection>,
) -> Result<Json<ExporterList>, ApiError> {
    let Query(mut query) = query?;
    let limit = query.page();
    query.limit = Some(limit + 1);
    let mut exporters = (state.exporters)(&query);
    let next_offset = paging::cut(&mut exporters, query.offset, limit);
    Ok(Json(ExporterList { exporters, next_offset }))
}
