//! A packet's layers as members of a line.

use super::{
    packet::{Addresses, Packet, Tunnel, parse_inner},
    xdr::words,
};
use crate::decode::flow::record::{Line, MacFormat, Name};

/// The members of a packet.
struct Names {
    source_mac: Name,
    destination_mac: Name,
    vlan: Name,
    vlans: Name,
    labels: Name,
    label_ttls: Name,
    etype: Name,
    source: Name,
    destination: Name,
    proto: Name,
    tos: Name,
    ttl: Name,
    flags: Name,
    fragment: Name,
    offset: Name,
    flow_label: Name,
    source_port: Name,
    destination_port: Name,
    tcp_flags: Name,
    icmp_type: Name,
    icmp_code: Name,
}

macro_rules! names {
    ($prefix:literal) => {
        Names {
            source_mac: Name::new(concat!($prefix, "SrcMac")),
            destination_mac: Name::new(concat!($prefix, "DstMac")),
            vlan: Name::new(concat!($prefix, "VlanId")),
            vlans: Name::new(concat!($prefix, "VlanIds")),
            labels: Name::new(concat!($prefix, "MplsLabel")),
            label_ttls: Name::new(concat!($prefix, "MplsTtl")),
            etype: Name::new(concat!($prefix, "Etype")),
            source: Name::new(concat!($prefix, "SrcAddr")),
            destination: Name::new(concat!($prefix, "DstAddr")),
            proto: Name::new(concat!($prefix, "Proto")),
            tos: Name::new(concat!($prefix, "IpTos")),
            ttl: Name::new(concat!($prefix, "IpTtl")),
            flags: Name::new(concat!($prefix, "IpFlags")),
            fragment: Name::new(concat!($prefix, "FragmentId")),
            offset: Name::new(concat!($prefix, "FragmentOffset")),
            flow_label: Name::new(concat!($prefix, "Ipv6FlowLabel")),
            source_port: Name::new(concat!($prefix, "SrcPort")),
            destination_port: Name::new(concat!($prefix, "DstPort")),
            tcp_flags: Name::new(concat!($prefix, "TcpFlags")),
            icmp_type: Name::new(concat!($prefix, "IcmpType")),
            icmp_code: Name::new(concat!($prefix, "IcmpCode")),
        }
    };
}

static OUTER: Names = names!("");
static INNER: Names = names!("Inner");

/// The packet that was sampled.
#[inline]
pub fn push_packet(packet: &Packet<'_>, mac: MacFormat, line: &mut Line<'_>) {
    push(packet, &OUTER, mac, line);
}

/// The packet that it carries: `TunnelType`, `TunnelId` and the same members with `Inner` before their names.
pub fn push_tunnel(tunnel: &Tunnel<'_>, mac: MacFormat, line: &mut Line<'_>) {
    line.text(&const { Name::new("TunnelType") }, tunnel.kind.label().as_bytes());
    if let Some(id) = tunnel.id {
        line.number(&const { Name::new("TunnelId") }, id);
    }
    push(&parse_inner(tunnel), &INNER, mac, line);
}

#[inline]
fn push(packet: &Packet<'_>, names: &Names, mac: MacFormat, line: &mut Line<'_>) {
    if let Some(macs) = packet.macs {
        line.mac(&names.source_mac, macs.source, mac);
        line.mac(&names.destination_mac, macs.destination, mac);
    }
    if !packet.vlans.is_empty() {
        push_vlans(packet.vlans, names, line);
    }
    if !packet.mpls.is_empty() {
        push_labels(packet.mpls, names, line);
    }
    if let Some(etype) = packet.etype {
        line.number(&names.etype, etype);
    }
    match packet.addresses {
        Some(Addresses::V4(source, destination)) => {
            line.ipv4(&names.source, source);
            line.ipv4(&names.destination, destination);
        }
        Some(Addresses::V6(source, destination)) => {
            line.ipv6(&names.source, source);
            line.ipv6(&names.destination, destination);
        }
        None => {}
    }
    let numbers = [
        (&names.proto, packet.proto),
        (&names.tos, packet.tos),
        (&names.ttl, packet.ttl.map(u32::from)),
        (&names.flow_label, packet.flow_label),
        (&names.flags, packet.fragment.map(|fragment| fragment.flags.into())),
        (&names.fragment, packet.fragment.map(|fragment| fragment.id)),
        (&names.offset, packet.fragment.map(|fragment| fragment.offset.into())),
        (&names.source_port, packet.ports.map(|ports| ports.0)),
        (&names.destination_port, packet.ports.map(|ports| ports.1)),
        (&names.tcp_flags, packet.tcp_flags),
        (&names.icmp_type, packet.icmp.map(|icmp| icmp.0.into())),
        (&names.icmp_code, packet.icmp.map(|icmp| icmp.1.into())),
    ];
    for (name, number) in numbers {
        if let Some(number) = number {
            line.number(name, number);
        }
    }
}

/// `VlanId` is the outermost tag, as dot1qVlanId is in IPFIX; several tags are listed as well.
fn push_vlans(tags: &[u8], names: &Names, line: &mut Line<'_>) {
    let ids = words(tags).map(|tag| u64::from(tag & 0xfff));
    line.number(&names.vlan, ids.clone().next().unwrap_or_default());
    if tags.len() > 4 {
        line.numbers(&names.vlans, ids);
    }
}

fn push_labels(stack: &[u8], names: &Names, line: &mut Line<'_>) {
    line.numbers(&names.labels, words(stack).map(|entry| u64::from(entry >> 12)));
    line.numbers(&names.label_ttls, words(stack).map(|entry| u64::from(entry & 0xff)));
}
