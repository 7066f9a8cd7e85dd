//! How long a peer may take: for a request, for reading an answer, and between two requests.
//!
//! The connection's task looks at one deadline now and then; moving it costs one atomic store, so a request costs no
//! timer.
//!
//! ```text
//! Waiting --first byte--> Reading --body complete--> Working --answer--> Answering --flushed--> Waiting
//! ```

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, sleep},
};

use crate::inputs::forward::forward_writes;

/// Longest distance of two looks at the deadline.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// The handler's own deadline comes first, so that it can answer 408.
const HANDLER_FIRST: Duration = Duration::from_secs(1);
const NEVER: u64 = u64::MAX;

/// Settings of a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// A whole request, from its first byte.
    pub read: Duration,
    /// From an answer until the system took its last byte.
    pub write: Duration,
    /// Between two requests.
    pub idle: Duration,
}

impl Timeouts {
    /// The larger of each.
    pub fn max(self, other: Self) -> Self {
        Self {
            read: self.read.max(other.read),
            write: self.write.max(other.write),
            idle: self.idle.max(other.idle),
        }
    }
}

impl Default for Timeouts {
    fn default() -> Self {
        Self { read: Duration::from_secs(30), write: Duration::from_secs(30), idle: Duration::from_mins(2) }
    }
}

/// What a connection is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Phase {
    /// Between requests.
    Waiting = 0,
    /// A request comes in.
    Reading = 1,
    /// The spool has it.
    Working = 2,
    /// The answer goes out.
    Answering = 3,
}

/// The clock of one connection.
#[derive(Debug)]
pub struct Pace {
    timeouts: Timeouts,
    start: Instant,
    /// Milliseconds after `start`.
    deadline: AtomicU64,
    phase: AtomicU8,
    unread: AtomicBool,
}

impl Pace {
    /// A new connection: its first request must come as fast as if it had begun.
    pub fn new(timeouts: Timeouts) -> Self {
        let pace = Self {
            timeouts,
            start: Instant::now(),
            deadline: AtomicU64::new(NEVER),
            phase: AtomicU8::new(Phase::Waiting as u8),
            unread: AtomicBool::new(false),
        };
        pace.enter(Phase::Waiting, timeouts.read);
        pace
    }

    /// Where it is.
    pub fn phase(&self) -> Phase {
        match self.phase.load(Relaxed) {
            0 => Phase::Waiting,
            1 => Phase::Reading,
            2 => Phase::Working,
            _ => Phase::Answering,
        }
    }

    /// The header of a request is complete; returns until when its body must be.
    pub fn request(&self) -> Instant {
        if self.phase() != Phase::Reading {
            self.enter(Phase::Reading, self.timeouts.read);
        }
        let deadline = self.start + Duration::from_millis(self.deadline.load(Relaxed));
        self.deadline.fetch_add(HANDLER_FIRST.as_millis() as u64, Relaxed);
        deadline
    }

    /// The body is complete.
    pub fn working(&self) {
        self.phase.store(Phase::Working as u8, Relaxed);
        self.deadline.store(NEVER, Relaxed);
    }

    /// The answer is there; `unread` says that a part of the request may still come.
    pub fn answering(&self, unread: bool) {
        self.enter(Phase::Answering, self.timeouts.write);
        if unread {
            self.unread.store(true, Relaxed);
        }
    }

    /// Whether an answer went out before its request was read.
    pub fn unread(&self) -> bool {
        self.unread.load(Relaxed)
    }

    /// Resolves when the deadline has passed.
    pub async fn expired(&self) {
        let shortest = self.timeouts.read.min(self.timeouts.write).min(self.timeouts.idle);
        let look_every = (shortest / 4).clamp(Duration::from_millis(50), LOOK_EVERY);
        loop {
            sleep(look_every).await;
            if self.since_start(Instant::now()) >= self.deadline.load(Relaxed) {
                return;
            }
        }
    }

    fn enter(&self, phase: Phase, time: Duration) {
        self.phase.store(phase as u8, Relaxed);
        self.deadline.store(self.since_start(Instant::now() + time), Relaxed);
    }

    fn since_start(&self, at: Instant) -> u64 {
        u64::try_from(at.duration_since(self.start).as_millis()).unwrap_or(NEVER)
    }
}

/// A stream that tells its [`Pace`] of first bytes and finished answers.
#[derive(Debug)]
pub struct Paced<S> {
    stream: S,
    pace: Arc<Pace>,
}

impl<S> Paced<S> {
    /// `stream` under `pace`.
    pub fn new(stream: S, pace: Arc<Pace>) -> Self {
        Self { stream, pace }
    }

    /// The stream alone.
    pub fn into_inner(self) -> S {
        self.stream
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Paced<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        if buf.filled().len() > before && self.pace.phase() == Phase::Waiting {
            self.pace.enter(Phase::Reading, self.pace.timeouts.read);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Paced<S> {
    forward_writes!();

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
        if self.pace.phase() == Phase::Answering {
            self.pace.enter(Phase::Waiting, self.pace.timeouts.idle);
        }
        Poll::Ready(Ok(()))
    }
}
