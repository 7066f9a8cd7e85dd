//! What every input gets from the rest of the process, and what a route is.

use std::{
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use super::{InputStats, Refusal, Senders, exporters::Memory, format::Decoder, prefix::PrefixTable};
use crate::{
    batch::{Class, Level, MemoryBudget, Stream, StreamKey},
    config::{Input, Source},
    ids::Hint,
    ledger::Ledger,
    metrics::Metrics,
    spool::{Refused, SpoolHandle},
    throttle::Throttle,
    vital::Vitals,
};

/// What every input gets; clones share it.
#[derive(Debug, Clone)]
pub struct InputContext {
    /// Where chunks go.
    pub spool: SpoolHandle,
    /// Bytes between sockets and spool.
    pub memory: MemoryBudget,
    /// The compression level now.
    pub level: Arc<Level>,
    /// The book of events.
    pub ledger: Arc<Ledger>,
    /// Who sent what, and when last.
    pub senders: Arc<Senders>,
    /// Registry.
    pub metrics: Arc<Metrics>,
    /// Where connections run.
    pub runtime: tokio::runtime::Handle,
    /// Told when a part that takes data meets a defect.
    pub vitals: Vitals,
}

/// One dataset on one listener.
#[derive(Debug)]
pub struct Route {
    /// Unlike every other route of this process, also one made of the same input later.
    pub id: u64,
    /// The input as configured.
    pub input: Arc<Input>,
    /// Where its lines go.
    pub stream: Arc<Stream>,
    /// What it counts; the same before and after a reload.
    pub stats: Arc<InputStats>,
    /// How its messages are read.
    pub decoder: Decoder,
    /// For logs of messages that cannot be.
    pub malformed: Throttle,
    refusals: Throttle,
}

/// Why a route cannot be made.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct RouteError(String);

impl Route {
    /// A route for `input`, of whose exporters nothing is known.
    pub fn new(input: Input, stats: Arc<InputStats>) -> Result<Self, RouteError> {
        let memory = Memory::open(&input, None, &stats);
        Self::remembering(input, stats, memory)
    }

    /// A route for `input`; `memory` is what is known of its exporters, if its type has any.
    pub fn remembering(
        input: Input,
        stats: Arc<InputStats>,
        memory: Option<Memory>,
    ) -> Result<Self, RouteError> {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let class = match input.source {
            Source::Http(_) => Class::Acknowledged,
            _ => Class::Unacknowledged,
        };
        // All decoders but that of text write JSON whatever the file says.
        let decoder = Decoder::new(&input, memory).map_err(RouteError)?;
        let hint = if matches!(decoder, Decoder::Text(_)) { input.hint.clone() } else { Hint::ndjson() };
        let key = StreamKey { dataset: input.key.clone(), hint, class };
        let stream = Arc::new(Stream { key, batching: input.batching.clone() });
        Ok(Self {
            id: NEXT.fetch_add(1, Relaxed),
            input: Arc::new(input),
            stream,
            stats,
            decoder,
            malformed: Throttle::default(),
            refusals: Throttle::default(),
        })
    }

    /// Books lines as accepted, before the spool has them.
    pub fn book<'a>(&'a self, ledger: &'a Ledger, lines: u32) -> Booking<'a> {
        ledger.accept(u64::from(lines));
        Booking { route: self, ledger, lines: u64::from(lines) }
    }
}

/// Lines on their way to the spool. Dropped without an outcome, they count as refused.
#[derive(Debug)]
#[must_use]
pub struct Booking<'a> {
    route: &'a Route,
    ledger: &'a Ledger,
    lines: u64,
}

impl Booking<'_> {
    /// Counts the lines, or takes the booking back when the spool refused them.
    pub fn settle(mut self, outcome: Result<(), Refused>) {
        let lines = std::mem::take(&mut self.lines);
        match outcome {
            Ok(()) => _ = self.route.stats.lines.fetch_add(lines, Relaxed),
            Err(refused) => self.cancel(lines, &refused),
        }
    }

    fn cancel(&self, lines: u64, refused: &Refused) {
        let Route { input, stats, refusals, .. } = self.route;
        self.ledger.unaccept(lines);
        let cause = match refused {
            Refused::Unwritable(_) => Refusal::Unwritable,
            Refused::Full | Refused::Stopping => Refusal::Full,
        };
        stats.refuse(cause, lines);
        if let Some(left_out) = refusals.pass() {
            tracing::error!(input = %input.name, dataset = %input.key, lines, left_out,
                "lines lost: {refused}; free space, raise `spooling.max_size_bytes` or see why nothing is delivered");
        }
    }
}

impl Drop for Booking<'_> {
    fn drop(&mut self) {
        if self.lines > 0 {
            self.cancel(self.lines, &Refused::Stopping);
        }
    }
}

/// The routes of one listener: the longest prefix that contains the sender wins.
#[derive(Debug)]
pub struct Table {
    routes: Vec<Arc<Route>>,
    prefixes: PrefixTable<Arc<Route>>,
}

impl Table {
    /// A table of these routes; none of them claims a prefix of another.
    pub fn new(routes: Vec<Arc<Route>>) -> Self {
        let prefixes = routes
            .iter()
            .flat_map(|route| route.input.prefixes().into_iter().map(|net| (net, Arc::clone(route))))
            .collect();
        Self { prefixes: PrefixTable::new(prefixes), routes }
    }

    /// Whose sender this is.
    pub fn lookup(&self, source: IpAddr) -> Option<&Arc<Route>> {
        self.prefixes.lookup(source)
    }

    /// Whether some route tells senders apart by their ports too.
    pub fn by_port(&self) -> bool {
        self.routes.iter().any(|route| route.decoder.by_port())
    }

    /// All routes.
    pub fn routes(&self) -> &[Arc<Route>] {
        &self.routes
    }
}
