//! Whether the Receiver can be reached and takes what the inputs will send, without sending data.
//!
//! `GET /health` says that it is there. An upload without body and file name says the rest: the Receiver checks tenant,
//! token and dataset before it complains about what is missing, so that complaint is the proof.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{Json, extract::State};
use futures_util::{StreamExt, stream};
use reqwest::{Certificate, Client, RequestBuilder, header::CONTENT_LENGTH, redirect::Policy};
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    ApiState,
    config::{MASK, without_credentials},
};
use crate::{
    config::{Config, Receiver, Secret, Tokens},
    ids::{DatasetKey, TenantId},
    inputs::InputStatus,
};

/// For one question.
const TIMEOUT: Duration = Duration::from_secs(10);
/// For all of them; below the time limit of a request.
const ALTOGETHER: Duration = Duration::from_secs(90);
/// Questions at a time.
const AT_ONCE: usize = 8;
/// Bytes of an answer that are read.
const MAX_ANSWER: usize = 1024;
/// What the Receiver says when nothing but the data is missing.
const PROOFS: [&str; 2] = ["Empty request body", "X-Proxy-Filename header is required"];

/// Outcome of the test.
#[derive(Debug, Serialize, ToSchema)]
pub struct Connectivity {
    message: String,
    results: Vec<Tested>,
    summary: Summary,
}

#[derive(Debug, Serialize, ToSchema)]
struct Tested {
    tenant_id: String,
    dataset_id: String,
    plugin_name: String,
    plugin_type: &'static str,
    /// Masked; absent when uploads of this tenant carry no token.
    #[serde(skip_serializing_if = "Option::is_none")]
    bearer_token: Option<&'static str>,
    receiver_url: String,
    #[serde(flatten)]
    answer: Answer,
}

/// What one question came to.
#[derive(Debug, Clone, Serialize, ToSchema)]
struct Answer {
    /// `success`; `failed` when the Receiver said no; `error` when it said nothing.
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    status_code: Option<u16>,
    /// As `12.3ms`.
    response_time: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    error_message: Option<String>,
    /// Its first 1 KiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    response_body: Option<String>,
}

#[derive(Debug, Serialize, ToSchema)]
struct Summary {
    total_tests: usize,
    success_count: usize,
    failure_count: usize,
    error_count: usize,
    success_rate_percent: f64,
}

/// Asks the Receiver about the dataset of every input; no data is sent.
#[utoipa::path(post, path = "/api/v1/test/connectivity", tag = "configuration", responses((status = 200, body = Connectivity)))]
pub async fn test(State(state): State<Arc<ApiState>>) -> Json<Connectivity> {
    let config = state.running.load().config.clone();
    let inputs = (state.inputs)();
    let mut keys: Vec<DatasetKey> = config.inputs.iter().map(|input| input.key.clone()).collect();
    keys.sort();
    keys.dedup();
    let user_agent = format!("{}/{}-connectivity-test", config.app_name, state.version);
    let asked = match client(&config.receiver, &user_agent) {
        Ok(client) => ask_all(&client, &config, keys).await,
        Err(error) => {
            keys.into_iter().map(|key| (key, Answer::none(error.clone(), Duration::ZERO))).collect()
        }
    };
    let results: Vec<_> = inputs.iter().filter_map(|input| tested(input, &asked, &config)).collect();
    let summary = Summary::of(&results);
    let message = match summary.total_tests {
        0 => "No inputs to test".to_owned(),
        total => format!("{} of {total} tests successful", summary.success_count),
    };
    Json(Connectivity { message, results, summary })
}

fn tested(input: &InputStatus, asked: &BTreeMap<DatasetKey, Answer>, config: &Config) -> Option<Tested> {
    let key = DatasetKey { tenant: input.tenant_id.parse().ok()?, dataset: input.dataset_id.parse().ok()? };
    let answer = asked.get(&key)?.clone();
    Some(Tested {
        bearer_token: of_tenant(&config.tokens, &key.tenant).map(|_| MASK),
        receiver_url: format!("{}/{key}", without_credentials(&config.receiver.base_url)),
        tenant_id: input.tenant_id.clone(),
        dataset_id: input.dataset_id.clone(),
        plugin_name: input.name.clone(),
        plugin_type: input.kind,
        answer,
    })
}

async fn ask_all(client: &Client, config: &Config, keys: Vec<DatasetKey>) -> BTreeMap<DatasetKey, Answer> {
    let end = tokio::time::Instant::now() + ALTOGETHER;
    let late = || Answer::none("not asked: the test took too long".to_owned(), ALTOGETHER);
    stream::iter(keys)
        .map(|key| async move {
            let answer = tokio::time::timeout_at(end, ask(client, config, &key)).await;
            (key, answer.unwrap_or_else(|_| late()))
        })
        .buffer_unordered(AT_ONCE)
        .collect()
        .await
}

async fn ask(client: &Client, config: &Config, key: &DatasetKey) -> Answer {
    let base = &config.receiver.base_url;
    let upload = client
        .post(format!("{base}/{key}"))
        .header("X-Proxy-Test", "connectivity-check")
        .header(CONTENT_LENGTH, 0);
    let upload = match token(&config.tokens, &key.tenant) {
        Ok(Some(token)) => upload.bearer_auth(token),
        Ok(None) => upload,
        Err(error) => {
            return Answer::none(
                format!("the token of {} cannot be read: {error}", key.tenant),
                Duration::ZERO,
            );
        }
    };
    let answer = send(upload).await;
    let body = answer.response_body.as_deref().unwrap_or_default();
    match answer.status_code {
        Some(200..=299) => answer.success(),
        Some(400) if PROOFS.iter().any(|proof| body.contains(proof)) => answer.success(),
        // Not an answer of the Receiver's own: what stands between may not let an empty upload pass.
        Some(400 | 405 | 411 | 415 | 501) if !body.contains("dataset") => {
            match send(client.get(format!("{base}/health"))).await {
                health if health.status_code == Some(200) => health.success(),
                _ => answer,
            }
        }
        _ => answer,
    }
}

fn token(tokens: &Tokens, tenant: &TenantId) -> std::io::Result<Option<String>> {
    of_tenant(tokens, tenant).map(Secret::read).transpose()
}

fn of_tenant<'a>(tokens: &'a Tokens, tenant: &TenantId) -> Option<&'a Secret> {
    tokens.tenants.get(tenant).or(tokens.global.as_ref())
}

async fn send(request: RequestBuilder) -> Answer {
    let start = Instant::now();
    let mut response = match request.send().await {
        Ok(response) => response,
        Err(error) => return Answer::none(causes(&error), start.elapsed()),
    };
    let mut body = Vec::new();
    while let Ok(Some(piece)) = response.chunk().await {
        body.extend_from_slice(&piece);
        if body.len() >= MAX_ANSWER {
            body.truncate(MAX_ANSWER);
            break;
        }
    }
    let code = response.status();
    Answer {
        status: "failed",
        status_code: Some(code.as_u16()),
        response_time: format!("{:.1?}", start.elapsed()),
        error_message: Some(format!("the Receiver answers {code}")),
        response_body: (!body.is_empty()).then(|| String::from_utf8_lossy(&body).into_owned()),
    }
}

impl Answer {
    fn none(error: String, after: Duration) -> Self {
        let response_time = format!("{after:.1?}");
        Self {
            status: "error",
            status_code: None,
            response_time,
            error_message: Some(error),
            response_body: None,
        }
    }

    fn success(self) -> Self {
        Self { status: "success", error_message: None, ..self }
    }
}

impl Summary {
    fn of(results: &[Tested]) -> Self {
        let count = |status| results.iter().filter(|result| result.answer.status == status).count();
        let success_count = count("success");
        Self {
            total_tests: results.len(),
            success_count,
            failure_count: count("failed"),
            error_count: count("error"),
            success_rate_percent: 100.0 * success_count as f64 / results.len().max(1) as f64,
        }
    }
}

fn client(receiver: &Receiver, user_agent: &str) -> Result<Client, String> {
    crate::inputs::tls::install_provider();
    let mut authorities = Vec::new();
    if let Some(path) = &receiver.ca_file {
        let pem =
            std::fs::read(path).map_err(|error| format!("receiver.ca_file {}: {error}", path.display()))?;
        authorities =
            Certificate::from_pem_bundle(&pem).map_err(|error| format!("receiver.ca_file: {error}"))?;
    }
    Client::builder()
        .user_agent(user_agent)
        .redirect(Policy::none())
        .no_proxy()
        .timeout(TIMEOUT)
        .tls_certs_merge(authorities)
        .build()
        .map_err(|error| causes(&error))
}

/// An error with everything below it; reqwest's own text hides the cause.
fn causes(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
