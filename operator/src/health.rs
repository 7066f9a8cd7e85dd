//! `/livez`, `/readyz` and `/metrics` on one port.
//!
//! Ready is a replica that knows what there is: every kind has had its first list, and none is missing on the cluster. A
//! replica that does not lead is ready too.

use std::{net::SocketAddr, sync::Arc};

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::{
    controller::Queue,
    gather::{Watches, World},
    leader::Standing,
    metrics::Metrics,
};

/// What the answers are made of.
#[derive(Clone)]
pub struct Health {
    /// How the watches fare.
    pub watches: Arc<Watches>,
    /// What there is.
    pub world: Arc<World>,
    /// Who waits.
    pub queue: Arc<Queue>,
    /// Whether this replica leads.
    pub standing: Standing,
    /// What was counted.
    pub metrics: Arc<Metrics>,
}

/// Serves until `end`.
pub async fn serve(listener: TcpListener, health: Health, end: CancellationToken) -> std::io::Result<()> {
    let router = Router::new()
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .with_state(health);
    axum::serve(listener, router).with_graceful_shutdown(end.cancelled_owned()).await
}

/// Opens the port.
pub async fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    TcpListener::bind(address).await
}

async fn readyz(State(health): State<Health>) -> Response {
    match health.watches.problem() {
        None => "ok\n".into_response(),
        Some(problem) => (StatusCode::SERVICE_UNAVAILABLE, problem + "\n").into_response(),
    }
}

async fn metrics(State(health): State<Health>) -> Response {
    let metrics = &health.metrics;
    let (proxies, datasets) = health.world.counts();
    metrics.objects.get_or_create(&[("kind", "proxies")]).set(proxies as i64);
    metrics.objects.get_or_create(&[("kind", "proxydatasets")]).set(datasets as i64);
    let leads = health.standing.leads();
    metrics.leads.set(i64::from(leads));
    // In a replica that does not lead nobody waits for a pass.
    metrics.queued.set(if leads { health.queue.depth() as i64 } else { 0 });
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    match metrics.encode() {
        Ok(text) => ([(header::CONTENT_TYPE, kind)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}
