//! What one input counts. Atomics, updated once per batch of messages.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use parking_lot::Mutex;
use serde::Serialize;
use utoipa::ToSchema;

use super::InputError;

/// Why something that arrived was not accepted. Each is a value of the metric label `cause`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// The sender is in no route's `allowed_sources`.
    Source,
    /// The input is paused.
    Paused,
    /// A line, datagram or body above its limit.
    Oversize,
    /// Too many connections.
    Connections,
    /// TLS handshake or PROXY header failed.
    Handshake,
    /// Wrong or missing token.
    Unauthorized,
    /// A malformed request, body or message of a protocol that is not text, or a part of it.
    Malformed,
    /// The spool or the memory budget had no room.
    Full,
    /// The log could not be written.
    Unwritable,
    /// The peer was too slow or silent for too long.
    Timeout,
    /// Flow records whose template did not come and that could wait no longer, by sets.
    Template,
}

impl Refusal {
    /// All causes, in the order of their index.
    pub const ALL: [Self; 11] = [
        Self::Source,
        Self::Paused,
        Self::Oversize,
        Self::Connections,
        Self::Handshake,
        Self::Unauthorized,
        Self::Malformed,
        Self::Full,
        Self::Unwritable,
        Self::Timeout,
        Self::Template,
    ];

    /// Value of the metric label.
    pub fn label(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Paused => "paused",
            Self::Oversize => "oversize",
            Self::Connections => "connections",
            Self::Handshake => "handshake",
            Self::Unauthorized => "unauthorized",
            Self::Malformed => "malformed",
            Self::Full => "full",
            Self::Unwritable => "unwritable",
            Self::Timeout => "timeout",
            Self::Template => "template",
        }
    }
}

/// Whether an input listens.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum InputState {
    /// Not tried yet.
    #[default]
    Starting,
    /// Socket open.
    Listening,
    /// Listening, but everything for this input is dropped.
    Paused,
    /// Could not bind; tried again by itself.
    Retrying,
    /// Not run: another input stands in its way, or its settings cannot be used. The error says what to change.
    Rejected,
    /// Ended.
    Stopped,
}

/// Counters of one input.
#[derive(Debug)]
pub struct InputStats {
    /// Datagrams, messages of streams, or requests that arrived.
    pub messages: AtomicU64,
    /// Bytes as received.
    pub bytes: AtomicU64,
    /// Lines handed to the spool.
    pub lines: AtomicU64,
    /// Messages kept, though their format was not understood (stored as raw).
    pub undecoded: AtomicU64,
    /// Messages of a stream whose octet count was wrong or that were shorter than it.
    pub misframed: AtomicU64,
    /// Datagrams the kernel dropped because the receive buffer was full (`SO_RXQ_OVFL`); inputs that share a listener
    /// all show them. The kernel counts datagrams that it merged (`UDP_GRO`) as one.
    pub kernel_drops: AtomicU64,
    /// Effective receive buffer of each socket in bytes, as read back; 0 for streams.
    pub receive_buffer: AtomicU64,
    /// Open connections.
    pub connections: AtomicU64,
    refused: [AtomicU64; Refusal::ALL.len()],
    state: Mutex<(InputState, Option<InputError>)>,
}

impl Default for InputStats {
    fn default() -> Self {
        Self {
            messages: AtomicU64::default(),
            bytes: AtomicU64::default(),
            lines: AtomicU64::default(),
            undecoded: AtomicU64::default(),
            misframed: AtomicU64::default(),
            kernel_drops: AtomicU64::default(),
            receive_buffer: AtomicU64::default(),
            connections: AtomicU64::default(),
            refused: Default::default(),
            state: Mutex::new((InputState::Starting, None)),
        }
    }
}

impl InputStats {
    /// Counts `events` refused.
    pub fn refuse(&self, cause: Refusal, events: u64) {
        if let Some(counter) = self.refused.get(cause as usize) {
            counter.fetch_add(events, Relaxed);
        }
    }

    /// Refused so far.
    pub fn refused(&self, cause: Refusal) -> u64 {
        self.refused.get(cause as usize).map_or(0, |counter| counter.load(Relaxed))
    }

    /// State and last error.
    pub fn state(&self) -> (InputState, Option<InputError>) {
        self.state.lock().clone()
    }

    /// Sets the state; `error` says why it is not listening, or not as configured.
    pub fn set_state(&self, state: InputState, error: Option<InputError>) {
        *self.state.lock() = (state, error);
    }
}
