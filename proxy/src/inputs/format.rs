//! How the bytes of a route become lines.

use std::{
    net::{IpAddr, SocketAddr},
    sync::{Arc, atomic::Ordering::Relaxed},
};

use super::{
    Refusal, Route,
    exporters::{FlowMemory, Memory, SflowMemory},
};
use crate::{
    config::{DataFormat, ExporterId, Input, SflowSource, Source},
    decode::{
        ReceiveTime, ebpf,
        flow::{self, Outcome, Transport},
        json::mark_truncated,
        sflow::{self, SflowRules},
        syslog::{self, Shape, SyslogRules},
        text::{self, TextRules},
    },
};

/// How the bytes of a route become lines.
#[derive(Debug)]
pub enum Decoder {
    /// Lines of text or JSON.
    Text(TextRules),
    /// One syslog message each.
    Syslog(Box<SyslogRules>),
    /// NetFlow and IPFIX.
    Flow(FlowDecoder),
    /// sFlow.
    Sflow(SflowDecoder),
    /// JSON objects, however they are laid out.
    Ebpf(TextRules),
}

/// NetFlow and IPFIX, with what exporters have taught.
#[derive(Debug)]
pub struct FlowDecoder {
    memory: Arc<FlowMemory>,
    by_port: bool,
}

/// sFlow, with what is known of agents.
#[derive(Debug)]
pub struct SflowDecoder {
    memory: Arc<SflowMemory>,
    rules: SflowRules,
}

/// What became of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Decoded {
    /// Lines appended.
    pub lines: u32,
    /// Of these, kept though not understood.
    pub undecoded: u32,
    /// Why it, or a part of it, was refused.
    pub malformed: Option<Malformed>,
    /// Parts that were lost because their template had not come.
    pub untaught: u32,
    /// Whether there are more lines: see [`Decoder::resume`].
    pub more: bool,
}

/// Why a message of a protocol that is not text was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// NetFlow and IPFIX.
    #[error(transparent)]
    Flow(flow::Fault),
    /// sFlow.
    #[error(transparent)]
    Sflow(sflow::Damage),
}

/// What was wrong with some messages of a sender.
#[derive(Debug, Default)]
pub(super) struct Errors {
    undecoded: u64,
    malformed: u64,
    untaught: u64,
    /// Messages that met a defect of the program.
    pub defects: u64,
    example: Option<Malformed>,
}

impl Errors {
    /// Adds what became of a message.
    pub fn add(&mut self, decoded: &Decoded) {
        self.undecoded += u64::from(decoded.undecoded);
        self.malformed += u64::from(decoded.malformed.is_some());
        self.untaught += u64::from(decoded.untaught);
        self.example = self.example.or(decoded.malformed);
    }

    /// Counts and reports them; returns how many they are.
    pub fn count(self, route: &Route, sender: IpAddr) -> u64 {
        let Self { undecoded, malformed, untaught, defects, example } = self;
        let stats = &route.stats;
        if undecoded > 0 {
            stats.undecoded.fetch_add(undecoded, Relaxed);
        }
        for (cause, events) in [(Refusal::Malformed, malformed + defects), (Refusal::Template, untaught)] {
            if events > 0 {
                stats.refuse(cause, events);
            }
        }
        if let Some(example) = example
            && let Some(left_out) = route.malformed.pass()
        {
            tracing::warn!(input = %route.input.name, %sender, left_out,
                "a message, or a part of it, is left out: {example}; see what this sender is set to send, and where");
        }
        undecoded + malformed + untaught + defects
    }
}

impl Decoder {
    /// For `input`, which has the `memory` that its type needs.
    pub fn new(input: &Input, memory: Option<Memory>) -> Result<Self, String> {
        let text = |bfts| TextRules { format: input.format, bfts, source_field: input.source_field.clone() };
        match (&input.source, memory) {
            (Source::Syslog(source), _) => {
                let rules = SyslogRules::new(source).map_err(|error| error.to_string())?;
                Ok(Self::Syslog(Box::new(rules)))
            }
            (Source::Netflow(source) | Source::Ipfix(source), Some(Memory::Flow(memory))) => {
                let by_port = source.exporter_id == ExporterId::AddressPort;
                Ok(Self::Flow(FlowDecoder { memory, by_port }))
            }
            (Source::Sflow(source), Some(Memory::Sflow(memory))) => {
                Ok(Self::Sflow(SflowDecoder { memory, rules: sflow_rules(source) }))
            }
            (Source::Netflow(_) | Source::Ipfix(_) | Source::Sflow(_), _) => {
                Err("it has no memory of exporters; please report it".to_owned())
            }
            (Source::Ebpf(_), _) => Ok(Self::Ebpf(text(true))),
            (Source::Udp(_) | Source::Tcp(_) | Source::Http(_), _) => {
                Ok(Self::Text(text(input.hint.is_json())))
            }
        }
    }

    /// Appends one message of a stream as one line, none when it is blank; all lines of one of IPFIX.
    pub fn push_frame(
        &self,
        frame: &[u8],
        source: SocketAddr,
        now: &ReceiveTime,
        out: &mut Vec<u8>,
    ) -> Decoded {
        match self {
            Self::Text(_) if trim(frame).is_empty() => Decoded::default(),
            Self::Text(rules) => {
                text::push_line(frame, rules, source.ip(), now, out);
                Decoded { lines: 1, ..Decoded::default() }
            }
            Self::Flow(decoder) => decoder.push(frame, source, Transport::Tcp, now, out),
            Self::Syslog(_) | Self::Sflow(_) | Self::Ebpf(_) => self.push(frame, source, now, out),
        }
    }

    /// The same for the first bytes of a message whose rest is lost. The line says so, unless lines are passed through
    /// whatever they are.
    pub fn push_cut(
        &self,
        frame: &[u8],
        source: SocketAddr,
        now: &ReceiveTime,
        out: &mut Vec<u8>,
    ) -> Decoded {
        let start = out.len();
        let decoded = self.push_frame(frame, source, now, out);
        if !matches!(self, Self::Text(TextRules { format: DataFormat::Ndjson, .. })) {
            mark_truncated(start, out);
        }
        decoded
    }

    /// Appends the lines of one datagram.
    pub fn push(&self, message: &[u8], source: SocketAddr, now: &ReceiveTime, out: &mut Vec<u8>) -> Decoded {
        match self {
            Self::Text(rules) => {
                let lines = text::push_lines(message, rules, source.ip(), now, out);
                Decoded { lines, ..Decoded::default() }
            }
            Self::Syslog(rules) => {
                let message = trim(message);
                if message.is_empty() {
                    return Decoded::default();
                }
                let shape = syslog::push_message(message, rules, source.ip(), now, out);
                Decoded { lines: 1, undecoded: u32::from(shape == Shape::Raw), ..Decoded::default() }
            }
            Self::Flow(decoder) => decoder.push(message, source, Transport::Udp, now, out),
            Self::Sflow(decoder) => decoder.push(message, source, now, out),
            Self::Ebpf(rules) => {
                let ebpf::Events { lines, undecoded } =
                    ebpf::push_events(message, rules, source.ip(), now, out);
                Decoded { lines, undecoded, ..Decoded::default() }
            }
        }
    }

    /// Appends more lines that waited for the template of a datagram or stream of `source`, which left some for later.
    pub fn resume(
        &self,
        source: SocketAddr,
        over: Transport,
        now: &ReceiveTime,
        out: &mut Vec<u8>,
    ) -> Decoded {
        match self {
            Self::Flow(decoder) => {
                decoded(decoder.memory.shared().resume(decoder.exporter(source, over), now, out))
            }
            _ => Decoded::default(),
        }
    }

    /// The stream of `source` has ended; returns what was lost because its template had not come.
    pub fn ended(&self, source: SocketAddr) -> u64 {
        match self {
            Self::Flow(decoder) => {
                decoder.memory.shared().forget(&decoder.exporter(source, Transport::Tcp)) as u64
            }
            _ => 0,
        }
    }

    /// Whether a stream that was decoded with `former` can go on with this.
    pub fn continues(&self, former: &Self) -> bool {
        match (self, former) {
            (Self::Flow(one), Self::Flow(two)) => Arc::ptr_eq(&one.memory, &two.memory),
            _ => true,
        }
    }

    /// Whether the ports of senders tell them apart.
    pub fn by_port(&self) -> bool {
        matches!(self, Self::Flow(decoder) if decoder.by_port)
    }

    /// What is known of exporters.
    pub fn memory(&self) -> Option<Memory> {
        match self {
            Self::Flow(decoder) => Some(Memory::Flow(Arc::clone(&decoder.memory))),
            Self::Sflow(decoder) => Some(Memory::Sflow(Arc::clone(&decoder.memory))),
            Self::Text(_) | Self::Syslog(_) | Self::Ebpf(_) => None,
        }
    }
}

impl FlowDecoder {
    fn exporter(&self, source: SocketAddr, over: Transport) -> flow::Source {
        let port = if self.by_port || over == Transport::Tcp { source.port() } else { 0 };
        flow::Source { address: source.ip(), port }
    }

    fn push(
        &self,
        message: &[u8],
        source: SocketAddr,
        over: Transport,
        now: &ReceiveTime,
        out: &mut Vec<u8>,
    ) -> Decoded {
        decoded(self.memory.shared().push(message, self.exporter(source, over), over, now, out))
    }
}

impl SflowDecoder {
    fn push(&self, datagram: &[u8], source: SocketAddr, now: &ReceiveTime, out: &mut Vec<u8>) -> Decoded {
        let read = sflow::push_datagram(datagram, &self.rules, source.ip(), now, out);
        self.memory.note(source.ip(), &read, now.unix_ns());
        Decoded { lines: read.lines, malformed: read.damage.map(Malformed::Sflow), ..Decoded::default() }
    }
}

fn decoded(outcome: Outcome) -> Decoded {
    Decoded {
        lines: outcome.lines,
        undecoded: 0,
        malformed: outcome.fault.map(Malformed::Flow),
        untaught: outcome.unknown,
        more: outcome.more,
    }
}

fn sflow_rules(source: &SflowSource) -> SflowRules {
    let SflowSource { output, mac_format, counters, drops, inner, .. } = *source;
    SflowRules { output, counters, drops, inner, mac: mac_format }
}

/// Without the NULs and white space that senders put around a message.
fn trim(message: &[u8]) -> &[u8] {
    let padding = |byte: &u8| *byte == 0 || byte.is_ascii_whitespace();
    let Some(first) = message.iter().position(|byte| !padding(byte)) else { return &[] };
    let last = message.iter().rposition(|byte| !padding(byte)).unwrap_or(first);
    message.get(first..=last).unwrap_or_default()
}
