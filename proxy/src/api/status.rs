//! What runs, for programs: the operator waits here for a change.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
    time::Duration,
};

use axum::{
    Json,
    extract::{Query, State, rejection::QueryRejection},
    http::header,
    response::{IntoResponse, Response},
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep};
use utoipa::{IntoParams, ToSchema};

use super::{ApiError, ApiState, problems};
use crate::{
    deliver::CircuitStatus,
    inputs::{
        InputStatus, ListenerStatus,
        senders::{SenderQuery, SenderRow},
    },
    ledger::Events,
};

/// Longest wait.
pub(super) const MAX_WAIT: Duration = Duration::from_mins(1);
/// How soon a change is seen.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// What runs.
#[derive(Debug, Serialize, ToSchema)]
pub struct Status {
    /// Names the state of everything below but counters; for `after`.
    etag: String,
    version: &'static str,
    /// Names the configuration that runs.
    config_hash: String,
    /// 1 at start, one more with each reload.
    config_generation: u64,
    /// When it was applied.
    #[schema(value_type = String)]
    config_since: Timestamp,
    /// What of the configuration does not run: each with line and remedy.
    config_left_out: Vec<String>,
    /// Keys whose new values take effect at the next start.
    config_needs_restart: Vec<&'static str>,
    /// Why the file as it is now was not applied; the configuration before it goes on.
    #[serde(skip_serializing_if = "Option::is_none")]
    config_problem: Option<String>,
    uptime_seconds: u64,
    inputs: Vec<InputStatus>,
    /// Sockets, with what they refused that belongs to no input.
    listeners: Vec<ListenerStatus>,
    /// Open circuits: where delivery is held up and why.
    circuits: Vec<CircuitStatus>,
    /// Everything that is wrong now, as in `/api/v1/health`.
    problems: Vec<String>,
    /// Why the spool cannot be written.
    #[serde(skip_serializing_if = "Option::is_none")]
    spool_problem: Option<String>,
    /// Events by place.
    #[schema(value_type = Object)]
    events: Events,
    /// Whether accepted + imported equals the sum of all places.
    events_balanced: bool,
}

/// When to answer.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct Wait {
    /// An `etag`: answer as soon as the state has another one, or when `wait` is over.
    after: Option<String>,
    /// For how long: `30s` or `30`; at most a minute.
    wait: Option<String>,
}

/// What runs: inputs, circuits, events. With `after` and `wait` it waits for a change of a state, an address, the
/// configuration or an error, never of a counter.
#[utoipa::path(get, path = "/api/v1/status", tag = "status", params(Wait),
    responses((status = 200, body = Status), (status = 400, body = super::error::ErrorBody),
        (status = 503, body = super::error::ErrorBody, description = "Too many requests wait already")))]
pub async fn status(
    State(state): State<Arc<ApiState>>,
    query: Result<Query<Wait>, QueryRejection>,
) -> Result<Response, ApiError> {
    let Query(query) = query?;
    let wait = query.read()?;
    let mut now = look(&state);
    if let Some(after) = query.after.filter(|after| !wait.is_zero() && *after == now.etag) {
        let _place = state
            .long_polls
            .try_acquire()
            .map_err(|_| ApiError::unavailable("too many requests wait for a change already"))?;
        let end = Instant::now() + wait;
        while now.etag == after && Instant::now() < end {
            sleep(LOOK_EVERY.min(end - Instant::now())).await;
            now = look(&state);
        }
    }
    let etag = format!("\"{}\"", now.etag);
    Ok(([(header::ETAG, etag), (header::CACHE_CONTROL, "no-store".to_owned())], Json(now)).into_response())
}

impl Wait {
    /// For how long.
    pub(super) fn read(&self) -> Result<Duration, ApiError> {
        let Some(text) = &self.wait else { return Ok(Duration::ZERO) };
        let seconds = text
            .strip_suffix('s')
            .unwrap_or(text)
            .parse()
            .map_err(|_| ApiError::invalid(format!("wait is {text:?}; give seconds as `30s` or `30`")))?;
        Ok(Duration::from_secs(seconds).min(MAX_WAIT))
    }
}

fn look(state: &ApiState) -> Status {
    let running = state.running.load();
    let (inputs, delivery, trouble) = ((state.inputs)(), (state.delivery)(), (state.spool_trouble)());
    let problems = problems::now(state, &inputs, &delivery);
    let (circuits, spool_problem, config_problem) =
        (delivery.circuits, trouble.unwritable, (state.config_problem)());
    let mut hasher = DefaultHasher::new();
    (&running.hash, running.generation, spool_problem.is_some(), &config_problem).hash(&mut hasher);
    running.left_out.hash(&mut hasher);
    (
        trouble.full_acknowledged,
        trouble.full_unacknowledged,
        trouble.files_unwritable.is_some(),
        trouble.unreadable > 0,
    )
        .hash(&mut hasher);
    for input in &inputs {
        (&input.name, &input.tenant_id, &input.dataset_id, &input.addresses, &input.error).hash(&mut hasher);
        std::mem::discriminant(&input.state).hash(&mut hasher);
    }
    for circuit in &circuits {
        (&circuit.scope, &circuit.tenant_id, &circuit.dataset_id, &circuit.reason).hash(&mut hasher);
    }
    let events = state.ledger.snapshot();
    Status {
        etag: format!("{:016x}", hasher.finish()),
        version: state.version,
        config_hash: running.hash.clone(),
        config_generation: running.generation,
        config_since: running.since,
        config_left_out: running.left_out.clone(),
        config_needs_restart: running.needs_restart.clone(),
        config_problem,
        uptime_seconds: state.started.elapsed().as_secs(),
        inputs,
        listeners: (state.listeners)(),
        circuits,
        problems,
        spool_problem,
        events,
        events_balanced: events.balanced(),
    }
}

/// Senders.
#[derive(Debug, Serialize, ToSchema)]
pub struct SenderList {
    senders: Vec<SenderRow>,
    /// `offset` of the next page; absent on the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_offset: Option<usize>,
}

/// Who sends, and who went quiet.
#[utoipa::path(get, path = "/api/v1/senders", tag = "status", params(SenderQuery),
    responses((status = 200, body = SenderList), (status = 400, body = super::error::ErrorBody)))]
pub async fn senders(
    State(state): State<Arc<ApiState>>,
    query: Result<Query<SenderQuery>, QueryRejection>,
) -> Result<Json<SenderList>, ApiError> {
    let Query(mut query) = query?;
    let limit = query.page();
    query.limit = Some(limit + 1);
    let mut senders = state.senders.query(&query);
    let more = senders.len() > limit;
    senders.truncate(limit);
    Ok(Json(SenderList { senders, next_offset: more.then_some(query.offset + limit) }))
}
