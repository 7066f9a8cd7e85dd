//! What every input gets from the rest of the process, and what a route is.

use std::{
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use super::{InputStats, Refusal, Senders, prefix::PrefixTable};
use crate::{
    batch::{Class, Level, MemoryBudget, Stream, StreamKey},
    config::{DataFormat, Input, Source},
    decode::{
        ReceiveTime,
        json::mark_truncated,
        syslog::{self, Shape, SyslogRules},
        text::{self, TextRules},
    },
    ids::Hint,
    ledger::Ledger,
    metrics::Metrics,
    spool::{Refused, SpoolHandle},
    throttle::Throttle,
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
}

/// How the bytes of a route become lines.
#[derive(Debug)]
pub enum Decoder {
    /// Lines of text or JSON.
    Text(TextRules),
    /// One syslog message each.
    Syslog(Box<SyslogRules>),
}

/// What became of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Decoded {
    /// Lines appended.
    pub lines: u32,
    /// Of these, kept though not understood.
    pub undecoded: u32,
}

impl Decoder {
    /// Appends one message of a stream as one line, none when it is blank.
    pub fn push_frame(&self, frame: &[u8], source: IpAddr, now: &ReceiveTime, out: &mut Vec<u8>) -> Decoded {
        match self {
            Self::Text(_) if trim(frame).is_empty() => Decoded::default(),
            Self::Text(rules) => {
                text::push_line(frame, rules, source, now, out);
                Decoded { lines: 1, undecoded: 0 }
            }
            Self::Syslog(_) => self.push(frame, source, now, out),
        }
    }

    /// The same for the first bytes of a message whose rest is lost. The line says so, unless lines are passed through
    /// whatever they are.
    pub fn push_cut(&self, frame: &[u8], source: IpAddr, now: &ReceiveTime, out: &mut Vec<u8>) -> Decoded {
        let start = out.len();
        let decoded = self.push_frame(frame, source, now, out);
        if !matches!(self, Self::Text(TextRules { format: DataFormat::Ndjson, .. })) {
            mark_truncated(start, out);
        }
        decoded
    }

    /// Appends the lines of one datagram.
    pub fn push(&self, message: &[u8], source: IpAddr, now: &ReceiveTime, out: &mut Vec<u8>) -> Decoded {
        match self {
            Self::Text(rules) => {
                Decoded { lines: text::push_lines(message, rules, source, now, out), undecoded: 0 }
            }
            Self::Syslog(rules) => {
                let message = trim(message);
                if message.is_empty() {
                    return Decoded::default();
                }
                let shape = syslog::push_message(message, rules, source, now, out);
                Decoded { lines: 1, undecoded: u32::from(shape == Shape::Raw) }
            }
        }
    }
}

/// Without the NULs and white space that senders put around a message.
fn trim(message: &[u8]) -> &[u8] {
    let padding = |byte: &u8| *byte == 0 || byte.is_ascii_whitespace();
    let Some(first) = message.iter().position(|byte| !padding(byte)) else { return &[] };
    let last = message.iter().rposition(|byte| !padding(byte)).unwrap_or(first);
    message.get(first..=last).unwrap_or_default()
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
    refusals: Throttle,
}

/// Why a route cannot be made.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct RouteError(String);

impl Route {
    /// A route for `input`.
    pub fn new(input: Input, stats: Arc<InputStats>) -> Result<Self, RouteError> {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let class = match input.source {
            Source::Http(_) => Class::Acknowledged,
            _ => Class::Unacknowledged,
        };
        // The decoder writes JSON whatever the file says.
        let hint =
            if matches!(input.source, Source::Syslog(_)) { Hint::ndjson() } else { input.hint.clone() };
        let decoder = match &input.source {
            Source::Syslog(source) => Decoder::Syslog(Box::new(
                SyslogRules::new(source).map_err(|error| RouteError(error.to_string()))?,
            )),
            _ => Decoder::Text(TextRules {
                format: input.format,
                bfts: hint.is_json(),
                source_field: input.source_field.clone(),
            }),
        };
        let key = StreamKey { dataset: input.key.clone(), hint, class };
        let stream = Arc::new(Stream { key, batching: input.batching.clone() });
        let refusals = Throttle::default();
        Ok(Self { id: NEXT.fetch_add(1, Relaxed), input: Arc::new(input), stream, stats, decoder, refusals })
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

    /// All routes.
    pub fn routes(&self) -> &[Arc<Route>] {
        &self.routes
    }
}
