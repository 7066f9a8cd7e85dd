//! Packets that exporters see, and the flows that they are.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Of the sender's and the receiver's network card.
pub const MACS: ([u8; 6], [u8; 6]) = ([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]);

/// The packets of a conversation in one direction.
pub struct Flow {
    pub source: IpAddr,
    pub destination: IpAddr,
    pub transport: Transport,
    pub tos: u8,
    pub vlan: Option<u16>,
    /// Bytes that each packet carries.
    pub payloads: &'static [usize],
}

/// What IP carries.
#[derive(Clone, Copy)]
pub enum Transport {
    /// Ports, and the flags of each packet.
    Tcp((u16, u16), &'static [u8]),
    /// Ports.
    Udp((u16, u16)),
    /// Type and code.
    Icmp(u8, u8),
}

/// One of each kind; the first two are one connection.
pub fn flows() -> Vec<Flow> {
    let v4 = |last: u8, to: u8| {
        (IpAddr::from(Ipv4Addr::new(10, 0, 0, last)), IpAddr::from(Ipv4Addr::new(10, 0, 1, to)))
    };
    let flow = |(source, destination): (IpAddr, IpAddr), transport: Transport, payloads: &'static [usize]| {
        Flow { source, destination, transport, tos: 0, vlan: None, payloads }
    };
    let (client, server) = v4(1, 1);
    let v6 = |net: u16| IpAddr::from(Ipv6Addr::new(0x2001, 0xdb8, net, 0, 0, 0, 0, 1));
    vec![
        flow(
            (client, server),
            Transport::Tcp((40_001, 443), &[0x02, 0x18, 0x18, 0x18, 0x11]),
            &[0, 100, 200, 300, 0],
        ),
        flow((server, client), Transport::Tcp((443, 40_001), &[0x12, 0x18, 0x11]), &[0, 1200, 1400]),
        Flow { tos: 0xb8, ..flow(v4(2, 53), Transport::Udp((40_002, 53)), &[40, 40]) },
        flow(v4(3, 3), Transport::Icmp(8, 0), &[56; 4]),
        flow((v6(0), v6(1)), Transport::Udp((40_004, 443)), &[500, 500]),
        Flow { vlan: Some(100), ..flow(v4(5, 5), Transport::Udp((40_005, 514)), &[300; 3]) },
    ]
}

impl Flow {
    /// Its packets as Ethernet frames.
    pub fn frames(&self) -> Vec<Vec<u8>> {
        let packets = self.payloads.iter().enumerate().map(|(number, payload)| self.packet(number, *payload));
        packets.map(|packet| ethernet(self.vlan, self.etype(), &packet)).collect()
    }

    /// Bytes of its packets, from the header of IP on.
    pub fn bytes(&self) -> u64 {
        let packets = self.payloads.iter().enumerate();
        packets.map(|(number, payload)| self.packet(number, *payload).len() as u64).sum()
    }

    /// How many packets.
    pub fn packets(&self) -> u64 {
        self.payloads.len() as u64
    }

    /// 2048 or 34525.
    pub fn etype(&self) -> u16 {
        if self.source.is_ipv4() { 0x0800 } else { 0x86dd }
    }

    fn packet(&self, number: usize, payload: usize) -> Vec<u8> {
        let data = vec![0x5a; payload];
        let (protocol, carried) = match self.transport {
            Transport::Tcp(ports, flags) => (6, tcp(ports, flags[number], &data)),
            Transport::Udp(ports) => (17, udp(ports, &data)),
            Transport::Icmp(kind, code) => {
                (1, [&[kind, code, 0, 0, 0, 7, 0, number as u8][..], &data].concat())
            }
        };
        match (self.source, self.destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                ipv4(source, destination, protocol, self.tos, &carried)
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => ipv6(source, destination, protocol, &carried),
            _ => panic!("one family"),
        }
    }
}

impl Transport {
    /// As IANA numbers it.
    pub fn protocol(self) -> u8 {
        match self {
            Self::Tcp(..) => 6,
            Self::Udp(_) => 17,
            Self::Icmp(..) => 1,
        }
    }
}

/// An Ethernet frame, perhaps with a tag of 802.1Q.
pub fn ethernet(vlan: Option<u16>, etype: u16, payload: &[u8]) -> Vec<u8> {
    let tag = vlan.map(|vlan| [0x8100_u16.to_be_bytes(), vlan.to_be_bytes()].concat()).unwrap_or_default();
    [&MACS.1[..], &MACS.0, &tag, &etype.to_be_bytes(), payload].concat()
}

/// An IPv4 packet.
pub fn ipv4(source: Ipv4Addr, destination: Ipv4Addr, protocol: u8, tos: u8, payload: &[u8]) -> Vec<u8> {
    let [upper, lower] = (20 + payload.len() as u16).to_be_bytes();
    let mut header = vec![0x45, tos, upper, lower, 0, 1, 0, 0, 64, protocol, 0, 0];
    header.extend(source.octets());
    header.extend(destination.octets());
    let sum: u32 = header.chunks(2).map(|word| u32::from(word[0]) << 8 | u32::from(word[1])).sum();
    let carried = |sum: u32| (sum >> 16) + (sum & 0xffff);
    let checksum = !carried(carried(sum)) as u16;
    header[10..12].copy_from_slice(&checksum.to_be_bytes());
    [header, payload.to_vec()].concat()
}

fn ipv6(source: Ipv6Addr, destination: Ipv6Addr, protocol: u8, payload: &[u8]) -> Vec<u8> {
    let [upper, lower] = (payload.len() as u16).to_be_bytes();
    let head = [0x60, 0, 0, 0, upper, lower, protocol, 64];
    [&head[..], &source.octets(), &destination.octets(), payload].concat()
}

/// A datagram without checksum.
pub fn udp(ports: (u16, u16), payload: &[u8]) -> Vec<u8> {
    let words = [ports.0, ports.1, 8 + payload.len() as u16, 0];
    [words.map(u16::to_be_bytes).as_flattened(), payload].concat()
}

fn tcp(ports: (u16, u16), flags: u8, payload: &[u8]) -> Vec<u8> {
    let ports = [ports.0, ports.1].map(u16::to_be_bytes);
    [ports.as_flattened(), &[0, 0, 0, 1, 0, 0, 0, 1, 0x50, flags, 0x20, 0, 0, 0, 0, 0], payload].concat()
}
