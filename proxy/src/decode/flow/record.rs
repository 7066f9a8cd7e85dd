//! The one schema of flow lines and how its members are written.
//!
//! A line is one JSON object. It starts with what all lines of a datagram share ([`Line::begin`]), goes on with a
//! member per field, and ends with `BfTs`, the receive time in Unix ms. No member comes twice. NetFlow, IPFIX and
//! sFlow flow samples use the same names for the same things:
//!
//! | members | unit | from |
//! |---|---|---|
//! | `Type` | `NETFLOW_V5`, `NETFLOW_V7`, `NETFLOW_V9`, `IPFIX`, `SFLOW_5` | version of the datagram |
//! | `TimeReceivedNs`, `TimeFlowStartNs`, `TimeFlowEndNs` | Unix ns | receive time; the record's times, else the export time |
//! | `SamplerAddress`, `SequenceNum`, `ObservationDomainId` | text, number | sender; header (source id in v9) |
//! | `SamplingRate` | one of n | header, record, or what options said last |
//! | `SrcAddr`, `DstAddr`, `NextHop`, `BgpNextHop` | text | IPv4 or IPv6 |
//! | `SrcPort`, `DstPort`, `Proto`, `Etype`, `TcpFlags`, `IcmpType`, `IcmpCode`, `IpTos`, `IpTtl`, `IpFlags` | number | |
//! | `Bytes`, `Packets` | of the flow as sampled | |
//! | `InIf`, `OutIf`, `InIfName`, `OutIfName` | SNMP index, name from options | |
//! | `SrcMac`, `DstMac` | number of 48 bits, or text | [`MacFormat`] |
//! | `VlanId`, `SrcVlan`, `DstVlan`, `MplsLabel`, `MplsTtl`, `MplsIp` | number; lists, outermost first | |
//! | `SrcAs`, `DstAs`, `NextHopAs`, `AsPath`, `BgpCommunities`, `SrcNet`, `DstNet` | AS numbers; prefix lengths | |
//! | `ApplicationId`, `ApplicationName` | `engine:selector`, text | record, options |
//!
//! A value that is on the wire is written, zero included; one that is not is left out.

use std::net::IpAddr;

use super::{
    address::{push_hex, push_ipv4, push_ipv6, push_mac},
    digits::{push_i64, push_u64},
};
pub use crate::config::MacFormat;
use crate::decode::{ReceiveTime, json::push_escaped};

/// Longest name of a member in bytes.
pub const MAX_NAME: usize = ROOM - 4;
/// What a name is copied as: a length known to the compiler is a few moves, not a call.
const ROOM: usize = 56;

/// A member's name as it stands in a line: `,"Name":`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Name {
    text: [u8; ROOM],
    length: u8,
}

impl Name {
    /// Of a member whose name needs no escapes. What is longer than [`MAX_NAME`] is cut.
    pub const fn new(member: &str) -> Self {
        let mut text = [0; ROOM];
        put(&mut text, 0, b',');
        put(&mut text, 1, b'"');
        let (mut rest, mut end) = (member.as_bytes(), 2);
        while let Some((byte, after)) = rest.split_first() {
            if end < MAX_NAME + 2 {
                put(&mut text, end, *byte);
                end += 1;
            }
            rest = after;
        }
        put(&mut text, end, b'"');
        put(&mut text, end + 1, b':');
        Self { text, length: end as u8 + 2 }
    }

    /// `member_2` for another of the same name; its end is cut where the number would not fit.
    pub fn numbered(member: &str, number: usize) -> Self {
        let number = format!("_{number}");
        let mut end = member.len().min(MAX_NAME.saturating_sub(number.len()));
        while !member.is_char_boundary(end) {
            end -= 1;
        }
        Self::new(&format!("{}{number}", member.get(..end).unwrap_or_default()))
    }

    /// The member's name itself.
    pub fn member(&self) -> &str {
        let text = self.text.get(2..usize::from(self.length).saturating_sub(2));
        text.and_then(|text| std::str::from_utf8(text).ok()).unwrap_or_default()
    }
}

const fn put(text: &mut [u8; ROOM], at: usize, byte: u8) {
    if let Some((_, [place, ..])) = text.split_at_mut_checked(at) {
        *place = byte;
    }
}

/// The names of the common schema.
#[allow(missing_docs)]
pub mod names {
    use super::Name;

    macro_rules! names {
        ($($name:ident = $member:literal),* $(,)?) => {
            $(pub const $name: Name = Name::new($member);)*
        };
    }

    names! {
        SEQUENCE_NUM = "SequenceNum", SAMPLING_RATE = "SamplingRate",
        OBSERVATION_DOMAIN_ID = "ObservationDomainId", OBSERVATION_POINT_ID = "ObservationPointId",
        ENGINE_TYPE = "EngineType", ENGINE_ID = "EngineId",
        TIME_FLOW_START_NS = "TimeFlowStartNs", TIME_FLOW_END_NS = "TimeFlowEndNs",
        SRC_ADDR = "SrcAddr", DST_ADDR = "DstAddr", NEXT_HOP = "NextHop", BGP_NEXT_HOP = "BgpNextHop",
        BYTES = "Bytes", PACKETS = "Packets", ETYPE = "Etype", PROTO = "Proto",
        SRC_PORT = "SrcPort", DST_PORT = "DstPort", IN_IF = "InIf", OUT_IF = "OutIf",
        IN_IF_NAME = "InIfName", OUT_IF_NAME = "OutIfName", SRC_MAC = "SrcMac", DST_MAC = "DstMac",
        VLAN_ID = "VlanId", SRC_VLAN = "SrcVlan", DST_VLAN = "DstVlan",
        IP_TOS = "IpTos", IP_TTL = "IpTtl", IP_FLAGS = "IpFlags", TCP_FLAGS = "TcpFlags",
        IPV6_FLOW_LABEL = "Ipv6FlowLabel", ICMP_TYPE = "IcmpType", ICMP_CODE = "IcmpCode",
        FRAGMENT_ID = "FragmentId", FRAGMENT_OFFSET = "FragmentOffset",
        SRC_AS = "SrcAs", DST_AS = "DstAs", NEXT_HOP_AS = "NextHopAs", AS_PATH = "AsPath",
        BGP_COMMUNITIES = "BgpCommunities", SRC_NET = "SrcNet", DST_NET = "DstNet",
        MPLS_LABEL = "MplsLabel", MPLS_TTL = "MplsTtl", MPLS_IP = "MplsIp",
        FORWARDING_STATUS = "ForwardingStatus",
        APPLICATION_ID = "ApplicationId", APPLICATION_NAME = "ApplicationName",
    }
}

/// Writes one line's members to the end of a buffer.
#[derive(Debug)]
pub struct Line<'a> {
    out: &'a mut Vec<u8>,
}

impl<'a> Line<'a> {
    /// Goes on with a line that was begun.
    #[inline]
    pub fn of(out: &'a mut Vec<u8>) -> Self {
        Self { out }
    }

    /// `{"Type":…,"TimeReceivedNs":…,"SamplerAddress":…`
    pub fn begin(kind: &str, now: &ReceiveTime, sampler: IpAddr, out: &'a mut Vec<u8>) -> Self {
        out.extend_from_slice(b"{\"Type\":\"");
        out.extend_from_slice(kind.as_bytes());
        out.extend_from_slice(b"\",\"TimeReceivedNs\":");
        out.extend_from_slice(now.unix_ns_digits().as_bytes());
        let mut line = Self { out };
        line.address(&const { Name::new("SamplerAddress") }, sampler.to_canonical());
        line
    }

    /// `,"BfTs":…}` and the line's end.
    pub fn end(self, now: &ReceiveTime) {
        self.out.extend_from_slice(b",\"BfTs\":");
        self.out.extend_from_slice(now.unix_ms_digits().as_bytes());
        self.out.extend_from_slice(b"}\n");
    }

    /// The name alone; what is written next to [`Self::out`] is its value.
    #[inline]
    pub fn name(&mut self, name: &Name) {
        let end = self.out.len() + usize::from(name.length);
        self.out.extend_from_slice(&name.text);
        self.out.truncate(end);
    }

    /// For values of kinds that have no method here.
    #[inline]
    pub fn out(&mut self) -> &mut Vec<u8> {
        self.out
    }

    /// A number.
    #[inline]
    pub fn number(&mut self, name: &Name, value: impl Into<u64>) {
        self.name(name);
        push_u64(value.into(), self.out);
    }

    /// A number with a sign.
    pub fn signed(&mut self, name: &Name, value: i64) {
        self.name(name);
        push_i64(value, self.out);
    }

    /// A list of numbers.
    pub fn numbers(&mut self, name: &Name, values: impl IntoIterator<Item = u64>) {
        self.list(name, values, push_u64);
    }

    /// A list whose values `push` writes.
    pub fn list<T>(
        &mut self,
        name: &Name,
        values: impl IntoIterator<Item = T>,
        mut push: impl FnMut(T, &mut Vec<u8>),
    ) {
        self.name(name);
        self.out.push(b'[');
        for (index, value) in values.into_iter().enumerate() {
            if index > 0 {
                self.out.push(b',');
            }
            push(value, self.out);
        }
        self.out.push(b']');
    }

    /// An IPv4 address.
    #[inline]
    pub fn ipv4(&mut self, name: &Name, address: [u8; 4]) {
        self.name(name);
        self.out.push(b'"');
        push_ipv4(address, self.out);
        self.out.push(b'"');
    }

    /// An IPv6 address.
    #[inline]
    pub fn ipv6(&mut self, name: &Name, address: [u8; 16]) {
        self.name(name);
        self.out.push(b'"');
        push_ipv6(address, self.out);
        self.out.push(b'"');
    }

    /// An address of either family.
    pub fn address(&mut self, name: &Name, address: IpAddr) {
        match address {
            IpAddr::V4(address) => self.ipv4(name, address.octets()),
            IpAddr::V6(address) => self.ipv6(name, address.octets()),
        }
    }

    /// A MAC address.
    #[inline]
    pub fn mac(&mut self, name: &Name, address: [u8; 6], format: MacFormat) {
        self.name(name);
        if format == MacFormat::Text {
            self.out.push(b'"');
            push_mac(address, self.out);
            self.out.push(b'"');
        } else {
            push_u64(address.iter().fold(0, |number, octet| number << 8 | u64::from(*octet)), self.out);
        }
    }

    /// Text; what is no UTF-8 becomes U+FFFD.
    pub fn text(&mut self, name: &Name, text: &[u8]) {
        self.name(name);
        self.out.push(b'"');
        push_escaped(text, self.out);
        self.out.push(b'"');
    }

    /// Bytes as hexadecimal text.
    pub fn hex(&mut self, name: &Name, bytes: &[u8]) {
        self.name(name);
        self.out.push(b'"');
        push_hex(bytes, self.out);
        self.out.push(b'"');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_one_object_with_its_members_in_order() {
        let now = ReceiveTime::new(1_767_225_600_123_456_789);
        let mut out = Vec::new();
        let mut line = Line::begin("SFLOW_5", &now, "::ffff:192.0.2.1".parse().unwrap(), &mut out);
        line.number(&names::SRC_PORT, 0_u16);
        line.ipv4(&names::SRC_ADDR, [10, 0, 0, 1]);
        line.address(&names::DST_ADDR, "2001:db8::1".parse().unwrap());
        line.mac(&names::SRC_MAC, [0, 0, 0, 0, 1, 0], MacFormat::Number);
        line.mac(&names::DST_MAC, [0, 0, 0, 0, 1, 0], MacFormat::Text);
        line.numbers(&names::AS_PATH, [64_496, 64_497]);
        line.signed(&Name::new("offset"), -3);
        line.text(&Name::new("note"), b"a\"\xff");
        line.hex(&Name::new("9:1"), b"\x01\xff");
        line.end(&now);
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "{\"Type\":\"SFLOW_5\",\"TimeReceivedNs\":1767225600123456789,\"SamplerAddress\":\"192.0.2.1\",\
             \"SrcPort\":0,\"SrcAddr\":\"10.0.0.1\",\"DstAddr\":\"2001:db8::1\",\"SrcMac\":256,\
             \"DstMac\":\"00:00:00:00:01:00\",\"AsPath\":[64496,64497],\"offset\":-3,\"note\":\"a\\\"\u{fffd}\",\
             \"9:1\":\"01ff\",\"BfTs\":1767225600123}\n"
        );
    }

    #[test]
    fn a_name_that_is_too_long_is_cut() {
        let long = "x".repeat(80);
        assert_eq!(Name::new(&long).member(), &long[..MAX_NAME]);
        assert_eq!(names::SRC_ADDR.member(), "SrcAddr");
    }
}
