//! Which elements give which members of the common schema.
//!
//! A member may come from several elements. Within a template the one of the lowest rank has it, the first of equal
//! ones; the others go by their own names, so that no member comes twice and nothing is lost.

use super::{
    element::Type,
    record::{Name, names},
    template::{Family, Kind, Side, Slot},
    value::Time,
};

/// What an element gives.
#[derive(Debug, Clone)]
pub struct Common {
    /// Its members; the first is the one that is written under its operation's name.
    pub members: &'static [Name],
    /// The lowest has the members.
    pub rank: u8,
    /// How they are written; `None` as its type says.
    pub kind: Option<Kind>,
    /// Whether a length of so many bytes can be that.
    pub lengths: std::ops::RangeInclusive<u16>,
}

/// Ranks in use.
pub const RANKS: u8 = 6;

/// Members of an element of IANA's registry.
pub fn find(id: u16) -> Option<Common> {
    let plain = |members: &'static [Name], rank| Some(Common { members, rank, kind: None, lengths: 1..=8 });
    let with = |members: &'static [Name], rank, kind, lengths| {
        Some(Common { members, rank, kind: Some(kind), lengths })
    };
    let time = |members: &'static [Name], rank, time| with(members, rank, Kind::Time(time), 1..=8);
    match id {
        1 => plain(&[names::BYTES], 0),
        23 => plain(&[names::BYTES], 1),
        2 => plain(&[names::PACKETS], 0),
        24 => plain(&[names::PACKETS], 1),
        4 => plain(&[names::PROTO], 0),
        5 => plain(&[names::IP_TOS], 0),
        6 => plain(&[names::TCP_FLAGS], 0),
        7 => plain(&[names::SRC_PORT], 0),
        11 => plain(&[names::DST_PORT], 0),
        8 => with(&[names::SRC_ADDR], 0, Kind::Address(Side::Source, Family::V4), 4..=4),
        27 => with(&[names::SRC_ADDR], 0, Kind::Address(Side::Source, Family::V6), 16..=16),
        12 => with(&[names::DST_ADDR], 0, Kind::Address(Side::Destination, Family::V4), 4..=4),
        28 => with(&[names::DST_ADDR], 0, Kind::Address(Side::Destination, Family::V6), 16..=16),
        9 => plain(&[names::SRC_NET], 0),
        29 => plain(&[names::SRC_NET], 1),
        13 => plain(&[names::DST_NET], 0),
        30 => plain(&[names::DST_NET], 1),
        10 => with(&[names::IN_IF], 0, Kind::Captured(Slot::InIf), 1..=8),
        14 => with(&[names::OUT_IF], 0, Kind::Captured(Slot::OutIf), 1..=8),
        15 => with(&[names::NEXT_HOP], 0, Kind::typed(Type::Ipv4), 4..=4),
        62 => with(&[names::NEXT_HOP], 1, Kind::typed(Type::Ipv6), 16..=16),
        18 => with(&[names::BGP_NEXT_HOP], 0, Kind::typed(Type::Ipv4), 4..=4),
        63 => with(&[names::BGP_NEXT_HOP], 1, Kind::typed(Type::Ipv6), 16..=16),
        16 => plain(&[names::SRC_AS], 0),
        17 => plain(&[names::DST_AS], 0),
        128 => plain(&[names::NEXT_HOP_AS], 0),
        31 => plain(&[names::IPV6_FLOW_LABEL], 0),
        176 => plain(&[names::ICMP_TYPE], 0),
        178 => plain(&[names::ICMP_TYPE], 1),
        177 => plain(&[names::ICMP_CODE], 0),
        179 => plain(&[names::ICMP_CODE], 1),
        32 => with(&[names::ICMP_TYPE, names::ICMP_CODE], 2, Kind::IcmpTypeCode, 2..=2),
        139 => with(&[names::ICMP_TYPE, names::ICMP_CODE], 3, Kind::IcmpTypeCode, 2..=2),
        54 => plain(&[names::FRAGMENT_ID], 0),
        88 => plain(&[names::FRAGMENT_OFFSET], 0),
        197 => with(&[names::IP_FLAGS], 0, Kind::IpFlags, 1..=1),
        192 => plain(&[names::IP_TTL], 0),
        52 => plain(&[names::IP_TTL], 1),
        56 => with(&[names::SRC_MAC], 0, Kind::typed(Type::Mac), 6..=6),
        81 => with(&[names::SRC_MAC], 1, Kind::typed(Type::Mac), 6..=6),
        80 => with(&[names::DST_MAC], 0, Kind::typed(Type::Mac), 6..=6),
        57 => with(&[names::DST_MAC], 1, Kind::typed(Type::Mac), 6..=6),
        58 => with(&[names::VLAN_ID, names::SRC_VLAN], 0, Kind::Vlan, 1..=8),
        243 => plain(&[names::VLAN_ID], 1),
        59 => plain(&[names::DST_VLAN], 0),
        254 => plain(&[names::DST_VLAN], 1),
        60 => with(&[names::ETYPE], 0, Kind::IpVersion, 1..=1),
        256 => plain(&[names::ETYPE], 1),
        47 => with(&[names::MPLS_IP], 0, Kind::MplsAddress, 4..=4),
        140 => with(&[names::MPLS_IP], 1, Kind::MplsAddress, 16..=16),
        70..=79 => with(&[names::MPLS_LABEL], 0, Kind::MplsLabels, 3..=3),
        89 => plain(&[names::FORWARDING_STATUS], 0),
        34 => plain(&[names::SAMPLING_RATE], 0),
        50 => plain(&[names::SAMPLING_RATE], 1),
        48 | 302 => with(&[], 0, Kind::Captured(Slot::Sampler), 1..=8),
        95 => with(&[names::APPLICATION_ID], 0, Kind::Application, 1..=13),
        96 => with(&[names::APPLICATION_NAME], 0, Kind::typed(Type::Text), 1..=u16::MAX),
        138 => plain(&[names::OBSERVATION_POINT_ID], 0),
        156 => with(&[names::TIME_FLOW_START_NS], 0, Kind::Time(Time::Nanoseconds), 8..=8),
        154 => with(&[names::TIME_FLOW_START_NS], 1, Kind::Time(Time::Microseconds), 8..=8),
        152 => time(&[names::TIME_FLOW_START_NS], 2, Time::Milliseconds),
        150 => time(&[names::TIME_FLOW_START_NS], 3, Time::Seconds),
        158 => time(&[names::TIME_FLOW_START_NS], 4, Time::Before),
        22 => time(&[names::TIME_FLOW_START_NS], 5, Time::Uptime),
        157 => with(&[names::TIME_FLOW_END_NS], 0, Kind::Time(Time::Nanoseconds), 8..=8),
        155 => with(&[names::TIME_FLOW_END_NS], 1, Kind::Time(Time::Microseconds), 8..=8),
        153 => time(&[names::TIME_FLOW_END_NS], 2, Time::Milliseconds),
        151 => time(&[names::TIME_FLOW_END_NS], 3, Time::Seconds),
        159 => time(&[names::TIME_FLOW_END_NS], 4, Time::Before),
        21 => time(&[names::TIME_FLOW_END_NS], 5, Time::Uptime),
        _ => None,
    }
}
