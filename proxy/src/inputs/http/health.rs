//! `GET /health` of a listener: always 200, JSON.

use std::sync::atomic::Ordering::Relaxed;

use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    Response,
    header::{CONTENT_TYPE, HeaderValue},
};
use serde::Serialize;

use super::table::Paths;
use crate::{
    decode::ReceiveTime,
    inputs::{InputStats, Refusal},
};

#[derive(Serialize)]
struct Health<'a> {
    status: &'a str,
    message: &'a str,
    requests_received: u64,
    bytes_received: u64,
    requests_rejected: u64,
    last_updated: &'a str,
}

/// Counters are sums over the datasets of the listener. `problem` says why requests are refused now.
pub fn response(paths: &Paths, problem: Option<&str>) -> Response<Full<Bytes>> {
    let sum = |count: fn(&InputStats) -> u64| paths.routes().map(|route| count(&route.route.stats)).sum();
    let now = ReceiveTime::now();
    let health = Health {
        status: if problem.is_none() { "healthy" } else { "unhealthy" },
        message: problem.unwrap_or("HTTP input is listening"),
        requests_received: sum(|stats| stats.messages.load(Relaxed)),
        bytes_received: sum(|stats| stats.bytes.load(Relaxed)),
        requests_rejected: sum(|stats| Refusal::ALL.iter().map(|cause| stats.refused(*cause)).sum()),
        last_updated: now.nanos(),
    };
    let body = serde_json::to_vec(&health).unwrap_or_default();
    let mut response = Response::new(Full::new(body.into()));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
