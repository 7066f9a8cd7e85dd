//! The lines of before: one per flow record, `{"version":5,"agent_ip":…,"sampling_rate":…,"input_if":…,"output_if":…}`
//! with what a record of a packet says; one line for a datagram without any flow record.

use super::{
    Datagram,
    flow::{Ip, Raw},
    layout::push_address,
    packet::{self, Addresses},
    sample::FlowSample,
    xdr::Tagged,
};
use crate::decode::flow::record::{Line, Name};

/// Appends a line per record and says how many.
pub(super) fn push_flow(datagram: &Datagram<'_>, sample: &FlowSample<'_>, out: &mut Vec<u8>) -> u32 {
    let mut lines = 0;
    for record in sample.records {
        let mut line = begin(datagram, out);
        line.number(&const { Name::new("sampling_rate") }, sample.rate);
        line.number(&const { Name::new("input_if") }, sample.input.written);
        line.number(&const { Name::new("output_if") }, sample.output.written);
        push_record(&record, &mut line);
        line.end(datagram.now);
        lines += 1;
    }
    lines
}

/// A datagram without flow records.
pub(super) fn push_summary(datagram: &Datagram<'_>, out: &mut Vec<u8>) {
    let mut line = begin(datagram, out);
    line.number(&const { Name::new("sequence_number") }, datagram.header.sequence);
    line.number(&const { Name::new("samples_count") }, datagram.header.samples);
    line.end(datagram.now);
}

fn begin<'a>(datagram: &Datagram<'_>, out: &'a mut Vec<u8>) -> Line<'a> {
    out.extend_from_slice(b"{\"version\":5");
    let mut line = Line::of(out);
    push_address(&const { Name::new("agent_ip") }, datagram.header.agent, &mut line);
    line
}

fn push_record(record: &Tagged<'_>, line: &mut Line<'_>) {
    match (record.enterprise, record.format) {
        (0, 1) => {
            let Some(raw) = Raw::read(record.body) else { return };
            let packet = packet::parse(raw.protocol, raw.header);
            line.number(&const { Name::new("protocol") }, raw.protocol);
            line.number(&const { Name::new("frame_length") }, raw.frame_length);
            if let Some(addresses) = packet.addresses {
                push_ends(addresses, packet.ports.unwrap_or_default(), line);
            }
        }
        (0, format @ (3 | 4)) => {
            let Some(ip) = Ip::read(format, record.body) else { return };
            line.number(&const { Name::new("protocol") }, ip.proto);
            push_ends(ip.addresses, ip.ports, line);
        }
        _ => {}
    }
}

/// Ports of zero are left out, as before.
fn push_ends(addresses: Addresses, ports: (u32, u32), line: &mut Line<'_>) {
    const SOURCE: Name = Name::new("src_ip");
    const DESTINATION: Name = Name::new("dst_ip");
    const PORTS: [Name; 2] = [Name::new("src_port"), Name::new("dst_port")];
    match addresses {
        Addresses::V4(source, destination) => {
            line.ipv4(&SOURCE, source);
            line.ipv4(&DESTINATION, destination);
        }
        Addresses::V6(source, destination) => {
            line.ipv6(&SOURCE, source);
            line.ipv6(&DESTINATION, destination);
        }
    }
    for (name, port) in PORTS.iter().zip([ports.0, ports.1]) {
        if port > 0 {
            line.number(name, port);
        }
    }
}
