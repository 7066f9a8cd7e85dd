//! Holds back every write to the API server that comes from a replica which does not lead, and counts the others.
//!
//! A layer of the client, so nothing in the program can forget it. A write that has begun is given up when the lease
//! runs out, [`super::MARGIN`] before another replica can begin one.

use std::{
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures_util::{FutureExt as _, future::BoxFuture};
use http::{Method, Request, Response};
use kube::client::Body;
use tokio::time::timeout;
use tower::{BoxError, Layer, Service};

use super::Standing;
use crate::metrics::Metrics;

/// Longest time that a write may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// A write was held back or given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fenced {
    /// Another replica leads.
    #[error("this replica does not lead, so it writes nothing")]
    Follows,
    /// It took too long.
    #[error("the API server did not answer a write in time")]
    Late,
}

/// Adds the fence to a client.
#[derive(Clone)]
pub struct FenceLayer {
    standing: Standing,
    metrics: Arc<Metrics>,
}

impl FenceLayer {
    /// A fence that asks `standing`.
    pub fn new(standing: Standing, metrics: Arc<Metrics>) -> Self {
        Self { standing, metrics }
    }
}

impl<S> Layer<S> for FenceLayer {
    type Service = Fence<S>;

    fn layer(&self, inner: S) -> Fence<S> {
        Fence { inner, layer: self.clone() }
    }
}

/// A client's service with the fence before it.
#[derive(Clone)]
pub struct Fence<S> {
    inner: S,
    layer: FenceLayer,
}

impl<S, B> Service<Request<Body>> for Fence<S>
where
    S: Service<Request<Body>, Response = Response<B>>,
    S::Future: Send + 'static,
    S::Error: Into<BoxError>,
    B: Send + 'static,
{
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Response<B>, BoxError>>;
    type Response = Response<B>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let method = request.method().clone();
        if method == Method::GET || method == Method::HEAD {
            return self.inner.call(request).map(|result| result.map_err(Into::into)).boxed();
        }
        let left = self.layer.standing.left();
        if left.is_zero() {
            self.layer.metrics.fenced.inc();
            return async { Err(Fenced::Follows.into()) }.boxed();
        }
        let labels = [("kind", kind(request.uri().path())), ("verb", verb(&method))];
        self.layer.metrics.writes.get_or_create(&labels).inc();
        let call = timeout(left.min(PATIENCE), self.inner.call(request));
        call.map(|result| match result {
            Ok(result) => result.map_err(Into::into),
            Err(_) => Err(Fenced::Late.into()),
        })
        .boxed()
    }
}

fn verb(method: &Method) -> &'static str {
    match *method {
        Method::POST => "create",
        Method::PUT => "update",
        Method::PATCH => "patch",
        Method::DELETE => "delete",
        _ => "other",
    }
}

/// The kind that a path is about, of those that the operator writes.
fn kind(path: &str) -> &'static str {
    const KINDS: &[&str] = &[
        "serviceaccounts",
        "secrets",
        "configmaps",
        "networkpolicies",
        "poddisruptionbudgets",
        "services",
        "statefulsets",
        "daemonsets",
        "proxies",
        "proxydatasets",
        "pods",
        "persistentvolumeclaims",
        "events",
    ];
    let mut segments = path.split('/');
    let kind = segments.find_map(|segment| KINDS.iter().find(|kind| **kind == segment));
    kind.copied().unwrap_or("other")
}
