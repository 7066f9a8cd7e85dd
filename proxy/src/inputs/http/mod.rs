//! HTTP/1.1 requests whose bodies are lines. Answers and limits: `docs/reference/http.md`.
//!
//! ```text
//! Acceptor -> connection (time limits) -> request (path, sender, token) -> body (encoding) -> lines -> commit -> 200
//! ```
//! 200 is sent after the spool has the lines synced, never before. [`Http`] is what one listener does with its
//! connections; [`Http::set_routes`] swaps its datasets while connections go on.

#![deny(clippy::indexing_slicing)]

use std::{net::IpAddr, sync::Arc};

use arc_swap::ArcSwap;
use tokio_util::sync::CancellationToken;

use super::{
    InputContext, Refusal, Route, Senders,
    accept::{Connection, Serve},
};
use crate::{
    batch::{Chunk, Class, Level, MemoryBudget},
    ledger::Ledger,
    spool::{Refused, SpoolHandle},
};

mod answer;
mod auth;
mod connection;
mod encoding;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
mod health;
mod lines;
mod pace;
mod request;
mod table;

use table::Paths;

/// What requests need of the spool.
pub trait Store: Clone + Send + Sync + 'static {
    /// Whether acknowledged data would be taken now.
    fn has_room(&self) -> bool;
    /// Returns once all chunks are synced.
    fn commit(&self, chunks: Vec<Chunk>) -> impl Future<Output = Result<(), Refused>> + Send;
}

impl Store for SpoolHandle {
    fn has_room(&self) -> bool {
        Self::has_room(self, Class::Acknowledged)
    }

    fn commit(&self, chunks: Vec<Chunk>) -> impl Future<Output = Result<(), Refused>> + Send {
        Self::commit(self, chunks)
    }
}

/// What requests need beside the store.
#[derive(Debug)]
struct Shared {
    memory: MemoryBudget,
    level: Arc<Level>,
    ledger: Arc<Ledger>,
    senders: Arc<Senders>,
}

/// What an HTTP listener does with its connections.
#[derive(Debug)]
pub struct Http<S = SpoolHandle> {
    shared: Shared,
    store: S,
    paths: ArcSwap<Paths>,
}

impl Http {
    /// Serves `routes`, the datasets of one listener.
    pub fn new(ctx: InputContext, routes: &[Arc<Route>]) -> Self {
        let InputContext { spool, memory, level, ledger, senders, .. } = ctx;
        Self::with_store(Shared { memory, level, ledger, senders }, spool, routes)
    }
}

impl<S: Store> Http<S> {
    fn with_store(shared: Shared, store: S, routes: &[Arc<Route>]) -> Self {
        Self { shared, store, paths: ArcSwap::from_pointee(Paths::new(routes)) }
    }

    /// Swaps the datasets. Requests that are being read go on with the old ones.
    pub fn set_routes(&self, routes: &[Arc<Route>]) {
        self.paths.store(Arc::new(Paths::new(routes)));
    }
}

impl<S: Store> Serve for Http<S> {
    /// Everybody: `/health` is for all, and a request is told 403.
    fn admits(&self, _peer: IpAddr) -> bool {
        true
    }

    fn is_stranger(&self, peer: IpAddr) -> bool {
        !self.paths.load().admits(peer)
    }

    fn refused(&self, _peer: IpAddr, cause: Refusal) {
        self.paths.load().first().refuse(cause, 1);
    }

    async fn serve(self: Arc<Self>, connection: Connection, stop: CancellationToken) {
        connection::serve(self, connection, stop).await;
    }
}

#[cfg(test)]
mod tests;
