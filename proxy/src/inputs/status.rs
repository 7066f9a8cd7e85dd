//! What people and the operator are told about an input.

use std::{collections::BTreeMap, sync::atomic::Ordering::Relaxed};

use serde::Serialize;
use utoipa::ToSchema;

use super::{InputErrorKind, InputState, InputStats, Refusal};
use crate::config::{Input, RefusedInput, Source};

/// One input with all its listeners.
#[derive(Debug, Clone, Default, PartialEq, Serialize, ToSchema)]
pub struct InputStatus {
    /// `name`.
    pub name: String,
    /// `type`; `unknown` for one that this version does not know.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// Tenant.
    pub tenant_id: String,
    /// Dataset.
    pub dataset_id: String,
    /// Names the entry of the document that holds for it: of what it was made, whether it listens or not.
    pub hash: String,
    /// Whether it listens; retrying while one of its listeners is.
    pub state: InputState,
    /// Where it listens, with the port the system chose for 0: `udp 0.0.0.0:514`.
    pub addresses: Vec<String>,
    /// Why it does not listen, or not as configured, and what to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// What sort of trouble that is. With `not_supported`, `invalid` and `conflict` a newer entry was refused; an input
    /// that ran before goes on as it was, with its own `hash`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_kind: Option<InputErrorKind>,
    /// Number of the system's error.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub errno: Option<i32>,
    /// Number of the configuration that holds for it, counted since start.
    pub generation: u64,
    /// Datagrams, messages of streams, or requests that arrived.
    pub messages: u64,
    /// Bytes as received.
    pub bytes: u64,
    /// Lines handed to the spool.
    pub lines: u64,
    /// Messages stored as they came because they were not understood; the metric tells the causes apart.
    pub undecoded: u64,
    /// Datagrams the kernel dropped because the receive buffer was full.
    pub kernel_drops: u64,
    /// Effective receive buffer of each socket in bytes; 0 for streams.
    pub receive_buffer: u64,
    /// The one that its `read_buffer_size` asks for; 0 for streams.
    pub receive_buffer_wanted: u64,
    /// Open connections.
    pub connections: u64,
    /// What was refused, by cause; causes without a case are left out.
    pub refused: BTreeMap<&'static str, u64>,
}

impl InputStatus {
    /// `input` with its counters and the addresses of its listeners.
    pub fn new(input: &Input, addresses: Vec<String>, generation: u64, counters: &InputStats) -> Self {
        let (state, error) = counters.state();
        Self {
            name: input.name.clone(),
            kind: input.source.kind(),
            tenant_id: input.key.tenant.to_string(),
            dataset_id: input.key.dataset.to_string(),
            hash: input.hash.clone(),
            state,
            addresses,
            error_kind: error.as_ref().map(|error| error.kind),
            errno: error.as_ref().and_then(|error| error.errno),
            error: error.map(|error| error.text),
            generation,
            messages: counters.messages.load(Relaxed),
            bytes: counters.bytes.load(Relaxed),
            lines: counters.lines.load(Relaxed),
            undecoded: counters.undecoded.load(Relaxed) + counters.misframed.load(Relaxed),
            kernel_drops: counters.kernel_drops.load(Relaxed),
            receive_buffer: counters.receive_buffer.load(Relaxed),
            receive_buffer_wanted: input.source.udp().map_or(0, |udp| udp.read_buffer_size as u64),
            connections: counters.connections.load(Relaxed),
            refused: by_cause(counters),
        }
    }

    /// An entry that is in the document and does not run.
    pub fn of_refused(refused: &RefusedInput) -> Self {
        let mut status = Self {
            name: refused.name.clone(),
            kind: known_kind(&refused.kind),
            tenant_id: refused.tenant_id.clone(),
            dataset_id: refused.dataset_id.clone(),
            hash: refused.hash.clone(),
            state: InputState::Rejected,
            ..Self::default()
        };
        status.refuse(refused);
        status
    }

    /// A newer entry for this input was refused.
    pub fn refuse(&mut self, refused: &RefusedInput) {
        self.error = Some(refused.problem.clone());
        self.error_kind = Some(refused.fault.into());
        self.errno = None;
    }

    /// Everything that arrived and was not kept.
    pub fn refused_in_all(&self) -> u64 {
        self.refused.values().sum()
    }
}

/// One socket, with what it counted for no input.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct ListenerStatus {
    /// Where, with the port the system chose for 0: `udp 0.0.0.0:514`.
    pub address: String,
    /// `type` of its inputs.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// Open connections; 0 for udp.
    pub connections: u64,
    /// What belongs to no input and was refused, by cause: `source` is senders, or their datagrams, that no
    /// `allowed_sources` admits.
    pub refused: BTreeMap<&'static str, u64>,
}

impl ListenerStatus {
    /// A listener for inputs like `source`.
    pub fn new(address: String, source: &Source, counters: &InputStats) -> Self {
        let connections = counters.connections.load(Relaxed);
        Self { address, kind: source.kind(), connections, refused: by_cause(counters) }
    }
}

fn by_cause(counters: &InputStats) -> BTreeMap<&'static str, u64> {
    let refused = Refusal::ALL.iter().map(|cause| (cause.label(), counters.refused(*cause)));
    refused.filter(|(_, events)| *events > 0).collect()
}

/// What this version knows by this name; the error says what was written.
fn known_kind(written: &str) -> &'static str {
    ["udp", "tcp", "syslog", "http", "netflow", "ipfix", "sflow", "ebpf"]
        .into_iter()
        .find(|kind| kind.eq_ignore_ascii_case(written))
        .unwrap_or("unknown")
}
