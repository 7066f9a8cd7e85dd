//! A sample as a line.

use super::{
    Datagram,
    counters::Counters,
    extended::Extended,
    layout::{push_address, push_others},
    members::{push_packet, push_tunnel},
    packet::{self, Addresses, Macs, Packet},
    sample::{CounterSample, DataSource, DropSample, FlowSample, Interface, Records, Sample},
    xdr::{Reader, Tagged},
};
use crate::decode::flow::record::{Line, Name, names};

pub(super) fn push(datagram: &Datagram<'_>, sample: &Sample<'_>, out: &mut Vec<u8>) {
    let line = match sample {
        Sample::Flow(sample) => push_flow(datagram, sample, out),
        Sample::Counters(sample) => push_counters(datagram, sample, out),
        Sample::Drop(sample) => push_drop(datagram, sample, out),
        Sample::Other(tagged) => push_other(datagram, tagged, out),
    };
    line.end(datagram.now);
}

/// What every line starts with.
fn begin<'a>(datagram: &Datagram<'_>, kind: &str, out: &'a mut Vec<u8>) -> Line<'a> {
    let header = &datagram.header;
    let mut line = Line::begin(kind, datagram.now, datagram.source, out);
    line.number(&names::SEQUENCE_NUM, header.sequence);
    push_address(&const { Name::new("AgentAddress") }, header.agent, &mut line);
    line.number(&const { Name::new("SubAgentId") }, header.sub_agent);
    line
}

fn push_source(sequence: u32, source: DataSource, line: &mut Line<'_>) {
    line.number(&const { Name::new("SampleSequenceNum") }, sequence);
    line.number(&const { Name::new("SourceIdClass") }, source.class);
    line.number(&const { Name::new("SourceIdIndex") }, source.index);
}

fn push_flow<'a>(datagram: &Datagram<'_>, sample: &FlowSample<'_>, out: &'a mut Vec<u8>) -> Line<'a> {
    let mut line = begin(datagram, "SFLOW_5", out);
    push_source(sample.sequence, sample.source, &mut line);
    line.number(&names::SAMPLING_RATE, sample.rate);
    line.number(&const { Name::new("SamplePool") }, sample.pool);
    line.number(&const { Name::new("SampleDrops") }, sample.drops);
    let input = [&names::IN_IF, &const { Name::new("InDropReason") }, &const { Name::new("InIfCount") }];
    push_interface(sample.input, input, &mut line);
    let output = [&names::OUT_IF, &const { Name::new("OutDropReason") }, &const { Name::new("OutIfCount") }];
    push_interface(sample.output, output, &mut line);
    push_records(datagram, sample.records, &mut line);
    line
}

/// An index, the reason of a discard or a number of interfaces: each has a member of its own.
fn push_interface(interface: Interface, names: [&Name; 3], line: &mut Line<'_>) {
    if let Some(name) = names.get(interface.format as usize) {
        line.number(name, interface.value);
    }
}

fn push_drop<'a>(datagram: &Datagram<'_>, sample: &DropSample<'_>, out: &'a mut Vec<u8>) -> Line<'a> {
    let mut line = begin(datagram, "SFLOW_5_DROP", out);
    push_source(sample.sequence, sample.source, &mut line);
    line.number(&const { Name::new("SampleDrops") }, sample.drops);
    line.number(&names::IN_IF, sample.input);
    line.number(&names::OUT_IF, sample.output);
    line.number(&const { Name::new("DropReason") }, sample.reason);
    push_records(datagram, sample.records, &mut line);
    line
}

fn push_counters<'a>(datagram: &Datagram<'_>, sample: &CounterSample<'_>, out: &'a mut Vec<u8>) -> Line<'a> {
    let mut line = begin(datagram, "SFLOW_5_COUNTERS", out);
    line.number(&const { Name::new("AgentUptimeMs") }, datagram.header.uptime_ms);
    push_source(sample.sequence, sample.source, &mut line);
    let mut counters = Counters::new();
    push_each(sample.records, 0, &mut line, |record, line| counters.push(record, line));
    line
}

fn push_other<'a>(datagram: &Datagram<'_>, sample: &Tagged<'_>, out: &'a mut Vec<u8>) -> Line<'a> {
    let mut line = begin(datagram, "SFLOW_5_OTHER", out);
    push_others([*sample], &mut line);
    line
}

/// The packet first, then what else is said of it.
fn push_records(datagram: &Datagram<'_>, records: Records<'_>, line: &mut Line<'_>) {
    let now = datagram.now.unix_ns_digits().as_bytes();
    for name in [&names::TIME_FLOW_START_NS, &names::TIME_FLOW_END_NS] {
        line.name(name);
        line.out().extend_from_slice(now);
    }
    let mut sampled = Sampled::default();
    let mut done = 0;
    for (index, record) in records.into_iter().enumerate() {
        if sampled.take(&record) {
            done |= bit(index);
        }
    }
    sampled.push(datagram, line);
    let mut extended = Extended::new();
    push_each(records, done, line, |record, line| extended.push(record, line));
}

/// Those of the first 64 records that are not done yet, then all that are left.
fn push_each(
    records: Records<'_>,
    mut done: u64,
    line: &mut Line<'_>,
    mut push: impl FnMut(&Tagged<'_>, &mut Line<'_>) -> bool,
) {
    let mut left = false;
    for (index, record) in records.into_iter().enumerate() {
        let bit = bit(index);
        if done & bit != 0 {
            continue;
        }
        if bit != 0 && push(&record, line) {
            done |= bit;
        } else {
            left = true;
        }
    }
    if left {
        let others = records.into_iter().enumerate().filter(|(index, _)| done & bit(*index) == 0);
        push_others(others.map(|(_, record)| record), line);
    }
}

/// None beyond 64.
fn bit(index: usize) -> u64 {
    u32::try_from(index).ok().and_then(|index| 1_u64.checked_shl(index)).unwrap_or(0)
}

/// What the records of a sample say of the packet. Of each kind the first counts; what a raw header says is never
/// overwritten by what the agent parsed.
#[derive(Default)]
struct Sampled<'a> {
    raw: Option<Raw<'a>>,
    ethernet: Option<Ethernet>,
    ip: Option<Ip>,
}

/// `sampled_header`.
#[derive(Clone, Copy)]
pub(super) struct Raw<'a> {
    pub protocol: u32,
    pub frame_length: u32,
    pub header: &'a [u8],
}

/// `sampled_ethernet`.
#[derive(Clone, Copy)]
struct Ethernet {
    length: u32,
    macs: Macs,
    etype: u32,
}

/// `sampled_ipv4` and `sampled_ipv6`.
#[derive(Clone, Copy)]
pub(super) struct Ip {
    length: u32,
    pub proto: u32,
    pub addresses: Addresses,
    pub ports: (u32, u32),
    tcp_flags: u32,
    tos: u32,
}

impl<'a> Raw<'a> {
    pub fn read(data: &'a [u8]) -> Option<Self> {
        let mut reader = Reader::new(data);
        let (protocol, frame_length) = (reader.u32()?, reader.u32()?);
        let _stripped = reader.u32()?;
        Some(Self { protocol, frame_length, header: reader.opaque()? })
    }
}

impl Ethernet {
    fn read(data: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(data);
        let length = reader.u32()?;
        let macs = Macs { source: reader.mac()?, destination: reader.mac()? };
        Some(Self { length, macs, etype: reader.u32()? })
    }
}

impl Ip {
    pub fn read(format: u32, data: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(data);
        Some(Self {
            length: reader.u32()?,
            proto: reader.u32()?,
            addresses: if format == 3 {
                Addresses::V4(reader.array()?, reader.array()?)
            } else {
                Addresses::V6(reader.array()?, reader.array()?)
            },
            ports: (reader.u32()?, reader.u32()?),
            tcp_flags: reader.u32()?,
            tos: reader.u32()?,
        })
    }
}

/// Sets what is not set.
fn fill<T>(place: &mut Option<T>, found: Option<T>) -> bool {
    let filled = place.is_none() && found.is_some();
    if filled {
        *place = found;
    }
    filled
}

impl<'a> Sampled<'a> {
    /// Whether the record says something of the packet that no other has said.
    fn take(&mut self, record: &Tagged<'a>) -> bool {
        match (record.enterprise, record.format) {
            (0, 1) => fill(&mut self.raw, Raw::read(record.body)),
            (0, 2) => fill(&mut self.ethernet, Ethernet::read(record.body)),
            (0, format @ (3 | 4)) => fill(&mut self.ip, Ip::read(format, record.body)),
            _ => false,
        }
    }

    fn push(&self, datagram: &Datagram<'_>, line: &mut Line<'_>) {
        let length = self.raw.map(|raw| raw.frame_length);
        let length = length.or(self.ethernet.map(|ethernet| ethernet.length)).or(self.ip.map(|ip| ip.length));
        if let Some(length) = length {
            line.number(&names::BYTES, length);
            line.number(&names::PACKETS, 1_u32);
        }
        let mut packet = self.raw.map_or_else(Packet::default, |raw| packet::parse(raw.protocol, raw.header));
        if let Some(ethernet) = self.ethernet {
            packet.macs.get_or_insert(ethernet.macs);
            packet.etype.get_or_insert(ethernet.etype);
        }
        if let Some(ip) = &self.ip {
            fill_ip(&mut packet, ip);
        }
        push_packet(&packet, datagram.rules.mac, line);
        if let Some(raw) = self.raw.filter(|raw| raw.protocol != 1) {
            line.number(&const { Name::new("HeaderProtocol") }, raw.protocol);
            if packet.etype.is_none() {
                line.hex(&const { Name::new("Header") }, raw.header);
            }
        }
        if let Some(tunnel) = packet.tunnel.filter(|_| datagram.rules.inner) {
            push_tunnel(&tunnel, datagram.rules.mac, line);
        }
    }
}

fn fill_ip(packet: &mut Packet<'_>, ip: &Ip) {
    if packet.addresses.is_some() {
        return;
    }
    packet.addresses = Some(ip.addresses);
    packet.proto = Some(ip.proto);
    packet.ports = Some(ip.ports);
    packet.tcp_flags = Some(ip.tcp_flags);
    packet.tos = Some(ip.tos);
    packet.etype.get_or_insert(match ip.addresses {
        Addresses::V4(..) => packet::IPV4.into(),
        Addresses::V6(..) => packet::IPV6.into(),
    });
}
