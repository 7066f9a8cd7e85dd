//! What runs, for programs: the operator waits here for a change.

use std::{
    collections::{BTreeMap, HashMap},
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
    config::{RefusedInput, SCHEMA_VERSION},
    deliver::CircuitStatus,
    ids::TenantId,
    inputs::{
        InputStatus, ListenerStatus, paging,
        senders::{SenderQuery, SenderRow},
    },
    ledger::Events,
    spool::{SpoolHandle, TenantBytes},
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
    /// The `schema_version` of documents up to which every key is known.
    schema_version: u32,
    /// SHA-256 of the text of the configuration that runs, uncompressed.
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
    /// Inputs that run, then entries that were refused and had no version that could go on.
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
    spool: SpoolStatus,
    /// Events by place.
    #[schema(value_type = Object)]
    events: Events,
    /// Whether accepted + imported equals the sum of all places.
    events_balanced: bool,
}

/// How full the spool is, and whose bytes are in it.
#[derive(Debug, Serialize, ToSchema)]
struct SpoolStatus {
    /// Log and batch files without the dead-letter queue.
    bytes: u64,
    /// Their limit: `spooling.max_size_bytes`, or the share of the volume if that is less.
    limit_bytes: u64,
    /// The dead-letter queue.
    dlq_bytes: u64,
    /// Its limit; absent when there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    dlq_limit_bytes: Option<u64>,
    /// Whether what earlier runs left has been read, all of it, so that `tenants` is complete.
    complete: bool,
    /// Tenants that have something in it.
    #[schema(value_type = BTreeMap<String, TenantBytes>)]
    tenants: BTreeMap<TenantId, TenantBytes>,
}

impl SpoolStatus {
    fn of(spool: &SpoolHandle) -> Self {
        let usage = spool.usage();
        Self {
            bytes: usage.log_bytes + usage.batch_bytes,
            limit_bytes: usage.limit_bytes,
            dlq_bytes: usage.dlq_bytes,
            dlq_limit_bytes: Some(usage.dlq_limit_bytes).filter(|limit| *limit < u64::MAX),
            complete: spool.is_fully_known(),
            tenants: spool.by_tenant(),
        }
    }
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
    let (mut inputs, delivery, trouble) = ((state.inputs)(), (state.delivery)(), (state.spool_trouble)());
    let problems = problems::now(state, &inputs, &delivery);
    show_refused(&mut inputs, &running.refused);
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
        (&input.name, &input.tenant_id, &input.dataset_id, &input.hash, &input.addresses).hash(&mut hasher);
        (input.state, input.error_kind, input.errno).hash(&mut hasher);
    }
    for circuit in &circuits {
        (&circuit.scope, &circuit.tenant_id, &circuit.dataset_id, &circuit.reason).hash(&mut hasher);
    }
    let events = state.ledger.snapshot();
    Status {
        etag: format!("{:016x}", hasher.finish()),
        version: state.version,
        schema_version: SCHEMA_VERSION,
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
        spool: SpoolStatus::of(&state.spool),
        events,
        events_balanced: events.balanced(),
    }
}

/// Says of inputs that a newer entry was refused, and adds the entries that nothing goes on for.
fn show_refused(inputs: &mut Vec<InputStatus>, refused: &[RefusedInput]) {
    if refused.is_empty() {
        return;
    }
    let places: HashMap<_, _> = inputs
        .iter()
        .enumerate()
        .map(|(at, input)| ((input.tenant_id.clone(), input.dataset_id.clone()), at))
        .collect();
    for one in refused {
        let place = one.goes_on.as_ref().map(|key| (key.tenant.to_string(), key.dataset.to_string()));
        match place.and_then(|place| inputs.get_mut(*places.get(&place)?)) {
            Some(input) => input.refuse(one),
            None => inputs.push(InputStatus::of_refused(one)),
        }
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
    let next_offset = paging::cut(&mut senders, query.offset, limit);
    Ok(Json(SenderList { senders, next_offset }))
}
