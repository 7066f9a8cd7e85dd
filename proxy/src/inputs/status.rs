//! What people and the operator are told about an input.

use std::{collections::BTreeMap, sync::atomic::Ordering::Relaxed};

use serde::Serialize;
use utoipa::ToSchema;

use super::{InputState, InputStats, Refusal};
use crate::config::{Input, Source};

/// One input with all its listeners.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct InputStatus {
    /// `name`.
    pub name: String,
    /// `type`.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// Tenant.
    pub tenant_id: String,
    /// Dataset.
    pub dataset_id: String,
    /// The worst state of its listeners.
    pub state: InputState,
    /// Where it listens, with the port the system chose for 0: `udp 0.0.0.0:514`.
    pub addresses: Vec<String>,
    /// Why it does not listen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Datagrams, requests or reads that arrived.
    pub messages: u64,
    /// Bytes as received.
    pub bytes: u64,
    /// Lines handed to the spool.
    pub lines: u64,
    /// Messages stored as they came because they were not understood.
    pub undecoded: u64,
    /// Datagrams the kernel dropped because the receive buffer was full.
    pub kernel_drops: u64,
    /// Effective receive buffer of each socket in bytes; 0 for streams.
    pub receive_buffer: u64,
    /// Open connections.
    pub connections: u64,
    /// What was refused, by cause; causes without a case are left out.
    pub refused: BTreeMap<&'static str, u64>,
}

impl InputStatus {
    /// `input` with the counters of each of its listeners and the address each is bound to.
    pub fn new<'a>(input: &Input, listeners: impl IntoIterator<Item = (String, &'a InputStats)>) -> Self {
        let mut status = Self {
            name: input.name.clone(),
            kind: kind(&input.source),
            tenant_id: input.key.tenant.to_string(),
            dataset_id: input.key.dataset.to_string(),
            state: InputState::Paused,
            addresses: Vec::new(),
            error: None,
            messages: 0,
            bytes: 0,
            lines: 0,
            undecoded: 0,
            kernel_drops: 0,
            receive_buffer: 0,
            connections: 0,
            refused: BTreeMap::new(),
        };
        for (address, stats) in listeners {
            status.add(address, stats);
        }
        if status.addresses.is_empty() {
            status.state = InputState::Starting;
        }
        status
    }

    fn add(&mut self, address: String, stats: &InputStats) {
        let (state, error) = stats.state();
        if severity(&state) > severity(&self.state) {
            self.state = state;
        }
        self.error = self.error.take().or(error);
        self.addresses.push(address);
        self.messages += stats.messages.load(Relaxed);
        self.bytes += stats.bytes.load(Relaxed);
        self.lines += stats.lines.load(Relaxed);
        self.undecoded += stats.undecoded.load(Relaxed);
        self.kernel_drops += stats.kernel_drops.load(Relaxed);
        self.receive_buffer = self.receive_buffer.max(stats.receive_buffer.load(Relaxed));
        self.connections += stats.connections.load(Relaxed);
        for cause in Refusal::ALL {
            let events = stats.refused(cause);
            if events > 0 {
                *self.refused.entry(cause.label()).or_default() += events;
            }
        }
    }

    /// Everything that arrived and was not kept.
    pub fn refused_in_all(&self) -> u64 {
        self.refused.values().sum()
    }
}

fn kind(source: &Source) -> &'static str {
    match source {
        Source::Udp(_) => "udp",
        Source::Tcp(_) => "tcp",
        Source::Syslog(_) => "syslog",
        Source::Http(_) => "http",
    }
}

fn severity(state: &InputState) -> u8 {
    match state {
        InputState::Paused => 0,
        InputState::Listening => 1,
        InputState::Starting => 2,
        InputState::Stopped => 3,
        InputState::Retrying => 4,
    }
}
