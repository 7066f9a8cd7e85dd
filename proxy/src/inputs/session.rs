//! One connection's bytes on their way to the spool.
//!
//! ```text
//! input -> Framer -> decode -> LineBuffer -> spool
//! ```
//! Lines wait for others of their connection until the buffer is full or [`HOLD`] has passed.
//!
//! [`LARGE`] bytes of input and [`FEW`] bytes of lines are every connection's own: `max_connections` bounds them. What
//! goes beyond counts against the memory budget: `share` is for the input of a half line, `cover` for lines. No
//! connection waits for either with a cover in hand, so none waits for another in a circle (see
//! [`MemoryBudget`](crate::batch::MemoryBudget)). While the spool is full neither grows, and covers are given back: what
//! waits without one is no more than was covered when the spool became full.

use std::{
    net::SocketAddr,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::{
    InputContext, Refusal, Route, Table,
    format::Errors,
    handover::submit,
    plan::{Framing, LineSettings},
};
use crate::{
    batch::{CHUNK_TARGET, LineBuffer, Reservation, effort},
    decode::{
        ReceiveTime,
        flow::Transport,
        framing::{Framer, Step},
    },
};

/// How long a line waits for others of its connection.
const HOLD: Duration = Duration::from_millis(50);
/// What a connection reads into at first.
const SMALL: usize = 8 * 1024;
/// What it reads into when that fills.
const LARGE: usize = 32 * 1024;
/// Lines that a connection may have without a cover.
const FEW: usize = 32 * 1024;
/// Room that is there for each read.
const ROOM: usize = 4 * 1024;
/// How long a line above [`LARGE`] waits for memory before its connection is closed.
const MEMORY_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the last lines may wait for a full spool at the end.
const LAST: Duration = Duration::from_secs(1);
/// When nothing is due.
const LATER: Duration = Duration::from_hours(1);

/// State of one connection.
#[derive(Debug)]
pub(super) struct Session<'a> {
    context: &'a InputContext,
    peer: SocketAddr,
    open: Open,
    lines: LineBuffer,
    /// When the first of `lines` came.
    since: Option<Instant>,
    framer: Framer,
    /// What a message is that the connection is closed for.
    closes: Refusal,
    /// Whether lines are left of a message that was taken already.
    more: bool,
    input: Vec<u8>,
    /// Of `input`.
    share: Reservation,
    /// Of `lines`: nothing, or [`CHUNK_TARGET`].
    cover: Reservation,
    read_timeout: Option<Duration>,
    last_read: Instant,
    effort: Effort,
}

/// Time spent on what was read, since a moment at least [`effort::WINDOW`] ago when it is looked at.
#[derive(Debug)]
struct Effort {
    busy: Duration,
    since: Instant,
}

/// Counts a connection while it is open.
#[derive(Debug)]
struct Open(Arc<Route>);

impl Open {
    fn new(route: Arc<Route>) -> Self {
        route.stats.connections.fetch_add(1, Relaxed);
        Self(route)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.stats.connections.fetch_sub(1, Relaxed);
    }
}

impl Drop for Session<'_> {
    fn drop(&mut self) {
        let Route { decoder, stats, .. } = &*self.open.0;
        let untaught = decoder.ended(self.peer);
        if untaught > 0 {
            stats.refuse(Refusal::Template, untaught);
        }
    }
}

enum Progress {
    /// There are as many lines as there may be for now, and there is more.
    Full,
    /// All complete messages are taken.
    Done,
    /// A message above the limit, where the setting says to close, or one whose end cannot be told.
    Close,
}

impl<'a> Session<'a> {
    pub fn new(
        context: &'a InputContext,
        peer: SocketAddr,
        route: Arc<Route>,
        settings: &LineSettings,
    ) -> Self {
        let LineSettings { framing, oversize, max_line_size, read_timeout, .. } = *settings;
        let (framer, closes) = match framing {
            Framing::Lines(delimiter) => {
                (Framer::lines(delimiter, max_line_size, oversize), Refusal::Oversize)
            }
            Framing::Syslog => (Framer::syslog(max_line_size, oversize), Refusal::Oversize),
            Framing::Ipfix => (Framer::ipfix(), Refusal::Malformed),
        };
        Self {
            context,
            peer,
            lines: LineBuffer::new(Arc::clone(&route.stream)),
            open: Open::new(route),
            since: None,
            framer,
            closes,
            more: false,
            input: Vec::with_capacity(SMALL),
            share: Reservation::default(),
            cover: Reservation::default(),
            read_timeout,
            last_read: Instant::now(),
            effort: Effort { busy: Duration::ZERO, since: Instant::now() },
        }
    }

    /// Where the next bytes are read to.
    pub fn input(&mut self) -> &mut Vec<u8> {
        &mut self.input
    }

    /// Counts why the connection is closed.
    pub fn refuse(&self, cause: Refusal) {
        self.open.0.stats.refuse(cause, 1);
    }

    /// When [`Self::tick`] has something to do.
    pub fn next_timer(&self) -> Instant {
        let flush = self.since.map(|since| since + HOLD);
        let idle = self.read_timeout.map(|limit| self.last_read + limit);
        flush.into_iter().chain(idle).min().unwrap_or_else(|| self.last_read + LATER)
    }

    /// Hands over lines that have waited long enough; refuses a peer that has been silent for too long.
    pub async fn tick(&mut self, stop: &CancellationToken) -> Result<(), Refusal> {
        let now = Instant::now();
        if self.since.is_some_and(|since| since + HOLD <= now) {
            self.hand_over(stop).await;
        }
        match self.read_timeout {
            Some(limit) if self.last_read + limit <= now => Err(Refusal::Timeout),
            _ => Ok(()),
        }
    }

    /// Goes on with the route that the table names for this peer.
    pub async fn reroute(&mut self, table: &Table, stop: &CancellationToken) -> Result<(), Refusal> {
        let found = table.lookup(self.peer.ip());
        // What the peer has taught is the input's: another one would wait for it for ever.
        let Some(route) = found.filter(|route| route.decoder.continues(&self.open.0.decoder)) else {
            // Nobody takes what came since.
            self.input.clear();
            return Err(Refusal::Source);
        };
        if route.id != self.open.0.id {
            self.hand_over(stop).await;
            self.lines = LineBuffer::new(Arc::clone(&route.stream));
            self.open = Open::new(Arc::clone(route));
        }
        Ok(())
    }

    /// Makes room for the next read.
    pub async fn make_room(&mut self, stop: &CancellationToken) -> Result<(), Refusal> {
        let (len, capacity) = (self.input.len(), self.input.capacity());
        if capacity - len < ROOM {
            let wanted = 2 * capacity;
            if wanted > LARGE {
                self.hand_over(stop).await;
                self.grow_share(wanted, stop).await?;
            }
            self.input.reserve_exact(wanted - len);
        }
        Ok(())
    }

    /// A share for a line of this length.
    async fn grow_share(&mut self, wanted: usize, stop: &CancellationToken) -> Result<(), Refusal> {
        tokio::select! {
            biased;
            _ = self.context.spool.room(self.open.0.stream.key.class) => {}
            () = stop.cancelled() => {}
        }
        let grown = self.context.memory.grow_half(&mut self.share, wanted);
        timeout(MEMORY_TIMEOUT, grown).await.map_err(|_| Refusal::Full)
    }

    /// Gives back the input of a long line once the line is out of it.
    fn shrink(&mut self) {
        if self.input.capacity() > LARGE && self.input.len() <= LARGE - ROOM {
            let mut input = Vec::with_capacity(LARGE);
            input.extend_from_slice(&self.input);
            self.input = input;
        }
    }

    /// Gives back the share of a long line once its line has memory of its own.
    fn release(&mut self) {
        if self.input.capacity() <= LARGE {
            self.share = Reservation::default();
        }
    }

    /// Takes the messages out of what was read.
    pub async fn take(&mut self, stop: &CancellationToken) -> Result<(), Refusal> {
        self.last_read = Instant::now();
        let filled = self.input.len() == self.input.capacity();
        let now = ReceiveTime::now();
        loop {
            let progress = self.decode(&now);
            self.shrink();
            match progress {
                Progress::Full => {
                    if !self.grow_cover() {
                        self.hand_over(stop).await;
                    }
                    self.release();
                }
                Progress::Done => break self.release(),
                Progress::Close => {
                    // Nothing of that line is kept, nor of what follows it.
                    self.input.clear();
                    return Err(self.closes);
                }
            }
        }
        if filled && self.input.capacity() < LARGE {
            self.input.reserve_exact(LARGE - self.input.len());
        }
        if !self.lines.is_empty() {
            self.since.get_or_insert(self.last_read);
        }
        self.worked();
        Ok(())
    }

    /// Tells how busy this connection is and, with all others, the processors: one connection alone cannot keep more
    /// than one of them busy.
    fn worked(&mut self) {
        let now = Instant::now();
        let spent = now - self.last_read;
        let Effort { busy, since } = &mut self.effort;
        *busy += spent;
        self.context.level.worked(spent);
        if now - *since >= effort::WINDOW {
            self.context.level.observe(effort::fill(*busy, now - *since));
            self.effort = Effort { busy: Duration::ZERO, since: now };
        }
    }

    /// The last message, though nothing ended it, and then everything to the spool.
    pub async fn finish(mut self, stop: &CancellationToken) {
        let input = std::mem::take(&mut self.input);
        let mut counts = Counts::default();
        let mut bytes = 0;
        if let Some(last) = self.framer.finish(&input) {
            let now = ReceiveTime::now();
            counts.now_ns = now.unix_ns();
            self.push(Some((last.bytes, last.cut || last.broken_off)), &now, &mut counts);
            counts.oversize += u64::from(last.cut);
            if last.broken_off && counts.paused == 0 {
                // What is missing may be why its format was not understood.
                counts.misframed = 1;
                counts.errors = Errors::default();
            }
            bytes = input.len();
        }
        self.count(counts, bytes);
        drop(input);
        self.hand_over(stop).await;
    }

    /// Whether more lines may be collected, for which there is memory now.
    fn grow_cover(&mut self) -> bool {
        let InputContext { spool, memory, .. } = self.context;
        !self.lines.is_full()
            && self.cover.bytes() == 0
            && spool.has_room(self.lines.stream().key.class)
            && memory.grow_whole(&mut self.cover, CHUNK_TARGET)
    }

    fn decode(&mut self, now: &ReceiveTime) -> Progress {
        let most = if self.cover.bytes() > 0 { CHUNK_TARGET } else { FEW };
        let mut counts = Counts { now_ns: now.unix_ns(), ..Counts::default() };
        let mut at = 0;
        // Taken out for the time being, so that a message in it can be read while lines are written.
        let input = std::mem::take(&mut self.input);
        let progress = loop {
            if self.more {
                self.push(None, now, &mut counts);
                if self.lines.is_full() || self.lines.len() >= most {
                    break Progress::Full;
                }
                continue;
            }
            match self.framer.next(input.get(at..).unwrap_or_default()) {
                Step::Frame { bytes, consumed, cut } => {
                    self.push(Some((bytes, cut)), now, &mut counts);
                    counts.oversize += u64::from(cut);
                    at += consumed;
                    if self.lines.is_full() || self.lines.len() >= most {
                        break Progress::Full;
                    }
                }
                Step::Skip { consumed } => at += consumed,
                Step::More => break Progress::Done,
                Step::Close => break Progress::Close,
            }
        };
        self.input = input;
        self.input.drain(..at.min(self.input.len()));
        self.count(counts, at);
        progress
    }

    /// Appends the lines of a message, of which `cut` says whether its end is missing; or what one has left for later.
    fn push(&mut self, message: Option<(&[u8], bool)>, now: &ReceiveTime, counts: &mut Counts) {
        let route = &*self.open.0;
        if message.is_some() {
            counts.messages += 1;
            if route.input.paused {
                counts.paused += 1;
                return;
            }
        }
        let (peer, out) = (self.peer, self.lines.out());
        let decoded = match message {
            Some((message, true)) => route.decoder.push_cut(message, peer, now, out),
            Some((message, false)) => route.decoder.push_frame(message, peer, now, out),
            None => route.decoder.resume(peer, Transport::Tcp, now, out),
        };
        self.lines.added(decoded.lines, now);
        self.more = decoded.more;
        counts.errors.add(&decoded);
    }

    fn count(&mut self, counts: Counts, bytes: usize) {
        let faults = self.framer.take_faults();
        let route = &*self.open.0;
        let Route { input, stats, .. } = route;
        let misframed = counts.misframed + faults.malformed;
        stats.bytes.fetch_add(bytes as u64, Relaxed);
        stats.messages.fetch_add(counts.messages, Relaxed);
        for (cause, events) in [
            (Refusal::Oversize, counts.oversize + faults.dropped),
            (Refusal::Paused, counts.paused),
            (Refusal::Malformed, faults.broken),
        ] {
            if events > 0 {
                stats.refuse(cause, events);
            }
        }
        if misframed > 0 {
            stats.misframed.fetch_add(misframed, Relaxed);
        }
        let errors = counts.errors.count(route, self.peer.ip()) + misframed;
        if counts.messages > 0 {
            let senders = &self.context.senders;
            senders.record(&input.key, self.peer.ip(), counts.messages, bytes as u64, errors, counts.now_ns);
        }
    }

    /// Lines to the spool; waits while that is full, though not for long at the end.
    async fn hand_over(&mut self, stop: &CancellationToken) {
        self.since = None;
        if self.lines.is_empty() {
            return;
        }
        let given_up = async {
            stop.cancelled().await;
            sleep(LAST).await;
        };
        tokio::select! {
            biased;
            () = submit(self.context, &self.open.0, &mut self.lines, &mut self.cover) => {}
            () = given_up => {
                // Lines that were booked said so when their booking was dropped; these say it now.
                drop(self.open.0.book(&self.context.ledger, self.lines.lines()));
                self.lines = LineBuffer::new(Arc::clone(self.lines.stream()));
                self.cover = Reservation::default();
            }
        }
    }
}

/// What one pass over the input found.
#[derive(Default)]
struct Counts {
    now_ns: u64,
    messages: u64,
    misframed: u64,
    oversize: u64,
    paused: u64,
    errors: Errors,
}

#[cfg(test)]
#[path = "session_tests.rs"]
mod tests;
