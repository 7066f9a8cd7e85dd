//! Whether the process lives, takes data in, and is well.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, atomic::Ordering::Relaxed},
};

use axum::{
    Extension, Json,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use jiff::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

use super::{ApiError, ApiState, Delivery, guard::Admitted, problems};
use crate::{
    inputs::{InputState, InputStatus},
    ledger::Events,
    spool::State as Place,
};

/// The process answers.
#[utoipa::path(get, path = "/livez", tag = "health", responses((status = 200, body = String)))]
pub async fn livez() -> &'static str {
    "ok\n"
}

/// Data is taken in, and goes on to be: a configuration was applied, the spool can be written and has room, memory is left,
/// every input was tried, and, unless the configuration has a `schema_version`, at least one of them listens. At the end
/// this fails before intake ends.
#[utoipa::path(get, path = "/readyz", tag = "health",
    responses((status = 200, body = String), (status = 503, body = String, description = "What is missing")))]
pub async fn readyz(State(state): State<Arc<ApiState>>) -> Response {
    if state.leaving.load(Relaxed) {
        let problem = "it ends; intake goes on until senders are led elsewhere\n";
        return (StatusCode::SERVICE_UNAVAILABLE, problem).into_response();
    }
    let of_program = state.running.load().config.schema_version.is_some();
    let (inputs, trouble) = ((state.inputs)(), (state.spool_trouble)());
    let problem = problems::not_ready(&inputs, &trouble, (state.memory_problem)(), of_program);
    match problem {
        None => "ok\n".into_response(),
        Some(problem) => (StatusCode::SERVICE_UNAVAILABLE, problem + "\n").into_response(),
    }
}

/// Prometheus metrics (OpenMetrics text).
#[utoipa::path(get, path = "/metrics", tag = "health", responses((status = 200, body = String)))]
pub async fn metrics(State(state): State<Arc<ApiState>>) -> Result<Response, ApiError> {
    let text = state.metrics.encode().map_err(ApiError::internal)?;
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    Ok(([(header::CONTENT_TYPE, kind)], text).into_response())
}

/// Health at a glance.
#[derive(Debug, Serialize, ToSchema)]
pub struct Health {
    /// `healthy`, or `degraded` when there is any problem: an input that does not listen, a spool that is full or cannot be
    /// written or read, memory used up, an open circuit, a configuration that does not run.
    status: &'static str,
    /// Version of the program.
    version: &'static str,
    /// `app.name`.
    service_name: String,
    /// Now.
    #[schema(value_type = String)]
    timestamp: Timestamp,
    /// The rest is for those who may read.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    details: Option<Details>,
}

#[derive(Debug, Serialize, ToSchema)]
struct Details {
    /// What is wrong, if anything.
    problems: Vec<String>,
    plugins: Inputs,
    receiver: Receiver,
    stats: Stats,
    /// Events by place.
    #[schema(value_type = Object)]
    events: Events,
}

#[derive(Debug, Serialize, ToSchema)]
struct Inputs {
    /// Configured inputs.
    total_plugins: usize,
    /// Those that listen now.
    active_plugins: usize,
    plugins_by_type: BTreeMap<&'static str, usize>,
    /// Null when there are none, as clients of the former program know it.
    #[schema(required)]
    plugin_details: Option<Vec<InputHealth>>,
    /// `active` or `no_plugins`.
    status: &'static str,
}

#[derive(Debug, Serialize, ToSchema)]
struct InputHealth {
    name: String,
    #[serde(rename = "type")]
    kind: &'static str,
    /// `active` when it listens; otherwise its state.
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    port: Option<u16>,
    dataset_id: String,
    tenant_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_error: Option<String>,
}

#[derive(Debug, Serialize, ToSchema)]
struct Receiver {
    base_url: String,
    /// `configured`, or `failing` while its circuit is open.
    status: &'static str,
}

#[derive(Debug, Serialize, ToSchema)]
struct Stats {
    /// Datagrams, requests and reads of all inputs (the name is that of older versions).
    udp_messages_received: u64,
    /// Those refused, and those the kernel dropped.
    udp_message_errors: u64,
    /// Lines accepted.
    lines_received: u64,
    /// Batches delivered or waiting now.
    batches_created: u64,
    /// Batches delivered.
    batches_forwarded: u64,
    /// Uploads that failed, for whatever reason.
    forwarding_errors: u64,
    /// Bytes as received.
    bytes_received: u64,
    /// Compressed bytes delivered.
    bytes_forwarded: u64,
    /// Last message of any sender; null before the first.
    #[schema(value_type = Option<String>, required)]
    last_activity: Option<Timestamp>,
    uptime_seconds: u64,
}

/// Health at a glance; without permission to read only whether it is well.
#[utoipa::path(get, path = "/api/v1/health", tag = "health", responses((status = 200, body = Health)))]
pub async fn health(
    State(state): State<Arc<ApiState>>,
    Extension(Admitted(admitted)): Extension<Admitted>,
) -> Json<Health> {
    let (inputs, delivery) = ((state.inputs)(), (state.delivery)());
    let problems = problems::now(&state, &inputs, &delivery);
    Json(Health {
        status: if problems.is_empty() { "healthy" } else { "degraded" },
        version: state.version,
        service_name: state.running.load().config.app_name.clone(),
        timestamp: Timestamp::now(),
        details: admitted.then(|| details(&state, &inputs, &delivery, problems)),
    })
}

fn details(state: &ApiState, inputs: &[InputStatus], delivery: &Delivery, problems: Vec<String>) -> Details {
    let running = state.running.load();
    let mut by_type = BTreeMap::new();
    for input in inputs {
        *by_type.entry(input.kind).or_default() += 1;
    }
    let ports: Ports<'_> = running
        .config
        .inputs
        .iter()
        .map(|input| ((input.key.tenant.as_str(), input.key.dataset.as_str()), input.listen.port))
        .collect();
    let sum = |of: fn(&InputStatus) -> u64| inputs.iter().map(of).sum();
    let places = [Place::Queue, Place::Retry, Place::Dlq];
    let waiting = places
        .into_iter()
        .flat_map(|place| state.spool.totals(place))
        .map(|(_, totals)| totals.batches)
        .sum::<u64>();
    Details {
        plugins: Inputs {
            total_plugins: inputs.len(),
            active_plugins: inputs.iter().filter(|input| input.state == InputState::Listening).count(),
            plugins_by_type: by_type,
            status: if inputs.is_empty() { "no_plugins" } else { "active" },
            plugin_details: (!inputs.is_empty())
                .then(|| inputs.iter().map(|input| plugin(input, &ports)).collect()),
        },
        receiver: Receiver {
            base_url: super::config::without_credentials(&running.config.receiver.base_url),
            status: if delivery.circuits.iter().any(|circuit| circuit.scope == "receiver") {
                "failing"
            } else {
                "configured"
            },
        },
        stats: Stats {
            udp_messages_received: sum(|input| input.messages),
            udp_message_errors: sum(|input| input.refused_in_all() + input.kernel_drops),
            lines_received: sum(|input| input.lines),
            batches_created: delivery.totals.batches + waiting,
            batches_forwarded: delivery.totals.batches,
            forwarding_errors: delivery.totals.failures,
            bytes_received: sum(|input| input.bytes),
            bytes_forwarded: delivery.totals.bytes,
            last_activity: state.senders.last_seen(),
            uptime_seconds: state.started.elapsed().as_secs(),
        },
        events: state.ledger.snapshot(),
        problems,
    }
}

type Ports<'a> = HashMap<(&'a str, &'a str), u16>;

fn plugin(input: &InputStatus, configured: &Ports<'_>) -> InputHealth {
    let configured = configured.get(&(input.tenant_id.as_str(), input.dataset_id.as_str()));
    let bound = input.addresses.first().and_then(|address| address.rsplit(':').next()?.parse().ok());
    InputHealth {
        name: input.name.clone(),
        kind: input.kind,
        status: match input.state {
            InputState::Listening => "active",
            InputState::Starting => "starting",
            InputState::Paused => "paused",
            InputState::Retrying => "retrying",
            InputState::Rejected => "rejected",
            InputState::Stopped => "stopped",
        },
        port: bound.or(configured.copied()),
        dataset_id: input.dataset_id.clone(),
        tenant_id: input.tenant_id.clone(),
        last_error: input.error.clone(),
    }
}
