//! The decoder thread of a UDP pair: batches of datagrams to lines of streams.
//!
//! Lines wait in one buffer per route, of this thread alone, until it is full or [`HOLD`] has passed since its
//! first line.

use std::{
    collections::HashMap,
    net::SocketAddr,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, atomic::Ordering::Relaxed},
    time::{Duration, Instant},
};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use tokio::sync::oneshot;

use super::{
    Decoded, InputContext, Refusal, Route,
    format::Errors,
    packets::{Group, PacketBatch},
};
use crate::{
    batch::LineBuffer,
    decode::{ReceiveTime, flow::Transport},
    spool::member::Compressor,
    throttle::Throttle,
};

/// How long a line waits for others of its stream.
const HOLD: Duration = Duration::from_millis(50);
/// How far apart two looks for buffers that have waited long enough are at least.
const LOOK: Duration = Duration::from_millis(5);

/// What a decoder is given.
pub(super) enum Work {
    /// Datagrams.
    Batch(PacketBatch),
    /// Everything to the spool, then an answer.
    Flush(oneshot::Sender<()>),
}

/// The thread's state.
pub(super) struct Worker {
    work: Receiver<Work>,
    emptied: Sender<PacketBatch>,
    streams: HashMap<u64, Open>,
    /// When the next buffer has waited long enough.
    due: Option<Instant>,
    out: Output,
    panics: Throttle,
}

/// What handing over needs.
struct Output {
    context: InputContext,
    compressor: Compressor,
}

/// Lines of one route.
struct Open {
    route: Arc<Route>,
    buffer: LineBuffer,
    since: Option<Instant>,
}

impl Worker {
    pub fn new(context: InputContext, work: Receiver<Work>, emptied: Sender<PacketBatch>) -> Self {
        let out = Output { context, compressor: Compressor::default() };
        let panics = Throttle::default();
        Self { work, emptied, streams: HashMap::new(), due: None, out, panics }
    }

    /// Works until the receiver has ended, then hands everything over.
    pub fn run(mut self) {
        while catch_unwind(AssertUnwindSafe(|| self.work())).is_err() {
            if let Some(left_out) = self.panics.pass() {
                tracing::error!(left_out, "lines met a defect of the program and are lost; please report it");
            }
        }
    }

    fn work(&mut self) {
        loop {
            let wait = self.due.map_or(HOLD, |due| due.saturating_duration_since(Instant::now()));
            match self.work.recv_timeout(wait) {
                Ok(Work::Batch(mut batch)) => {
                    self.observe();
                    self.decode(&batch);
                    batch.clear();
                    let _ = self.emptied.try_send(batch);
                }
                Ok(Work::Flush(done)) => {
                    self.flush(None);
                    let _ = done.send(());
                }
                Err(RecvTimeoutError::Timeout) => self.observe(),
                Err(RecvTimeoutError::Disconnected) => return self.flush(None),
            }
            if self.due.is_some() {
                let now = Instant::now();
                if self.due.is_some_and(|due| due <= now) {
                    self.flush(Some(now));
                }
            }
        }
    }

    /// Tells how full the way here is, which sets the compression level.
    fn observe(&self) {
        let room = self.work.capacity().unwrap_or(1).max(1);
        self.out.context.level.observe(self.work.len() as f32 / room as f32);
    }

    fn decode(&mut self, batch: &PacketBatch) {
        let now = ReceiveTime::new(batch.received_ns);
        let started = Instant::now();
        for group in batch.groups() {
            self.group(group, &now, started);
        }
    }

    fn group(&mut self, mut group: Group<'_>, now: &ReceiveTime, started: Instant) {
        let (table, address) = (group.port.table(), group.source.ip());
        let Some(route) = table.lookup(address) else {
            return group.port.refuse(address, Refusal::Source, group.count);
        };
        route.stats.messages.fetch_add(group.count, Relaxed);
        route.stats.bytes.fetch_add(group.bytes, Relaxed);
        if route.input.paused {
            return route.stats.refuse(Refusal::Paused, group.count);
        }
        let open = self.streams.entry(route.id).or_insert_with(|| Open {
            route: Arc::clone(route),
            buffer: LineBuffer::new(Arc::clone(&route.stream)),
            since: None,
        });
        let mut errors = Errors::default();
        // A decoder is total, so this catches defects only; the datagram that showed one is left out.
        while catch_unwind(AssertUnwindSafe(|| open.decode(&mut group, now, &mut errors, &mut self.out)))
            .is_err()
        {
            errors.defects += 1;
            if let Some(left_out) = self.panics.pass() {
                tracing::error!(input = %route.input.name, source = %address, left_out,
                    "a datagram met a defect of the program and is lost; please report it");
            }
        }
        if open.since.is_none() && !open.buffer.is_empty() {
            open.since = Some(started);
            self.due.get_or_insert(started + HOLD);
        }
        let errors = errors.count(route, address);
        let senders = &self.out.context.senders;
        senders.record(&route.input.key, address, group.count, group.bytes, errors, now.unix_ns());
    }

    /// Hands over the buffers that have waited long enough at `now`, or all.
    fn flush(&mut self, now: Option<Instant>) {
        let mut due = None;
        self.streams.retain(|_, open| {
            if let (Some(now), Some(since)) = (now, open.since)
                && since + HOLD > now
            {
                due = Some(due.map_or(since, |first: Instant| first.min(since)));
                return true;
            }
            self.out.hand_over(open);
            // An idle stream holds no memory.
            false
        });
        self.due = due.map(|since| (since + HOLD).max(Instant::now() + LOOK));
    }
}

impl Open {
    /// Decodes what is left of the group. On a panic the datagram is taken already and the buffer holds whole lines
    /// only.
    fn decode(&mut self, group: &mut Group<'_>, now: &ReceiveTime, errors: &mut Errors, out: &mut Output) {
        let Group { source, datagrams, .. } = group;
        for datagram in datagrams.by_ref() {
            let mut decoded = self.push(Some(datagram), *source, now);
            loop {
                errors.add(&decoded);
                self.buffer.added(decoded.lines, now);
                if self.buffer.is_full() {
                    out.hand_over(self);
                }
                if !decoded.more {
                    break;
                }
                decoded = self.push(None, *source, now);
            }
        }
    }

    /// Appends the lines of a datagram, or what it has left for later.
    fn push(&mut self, datagram: Option<&[u8]>, source: SocketAddr, now: &ReceiveTime) -> Decoded {
        let lines = Whole::new(self.buffer.out());
        let decoded = match datagram {
            Some(datagram) => self.route.decoder.push(datagram, source, now, lines.0),
            None => self.route.decoder.resume(source, Transport::Udp, now, lines.0),
        };
        lines.keep();
        decoded
    }
}

/// Takes back what was appended unless it is kept.
struct Whole<'a>(&'a mut Vec<u8>, usize);

impl<'a> Whole<'a> {
    fn new(out: &'a mut Vec<u8>) -> Self {
        let before = out.len();
        Self(out, before)
    }

    fn keep(mut self) {
        self.1 = usize::MAX;
    }
}

impl Drop for Whole<'_> {
    fn drop(&mut self) {
        self.0.truncate(self.1);
    }
}

impl Output {
    fn hand_over(&mut self, open: &mut Open) {
        open.since = None;
        if open.buffer.is_empty() {
            return;
        }
        let context = &self.context;
        let memory = context.memory.reserve_blocking(&context.runtime, open.buffer.len());
        let level = context.level.of(&open.route.stream.batching);
        let Some(mut chunk) = open.buffer.take(level, &mut self.compressor, memory) else { return };
        chunk.shrink();
        let booking = open.route.book(&context.ledger, chunk.lines);
        booking.settle(context.spool.submit_blocking(chunk));
    }
}
