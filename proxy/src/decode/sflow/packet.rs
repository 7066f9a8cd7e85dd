//! The first bytes of a packet, layer by layer.
//!
//! A header ends where the agent cut it, so every layer may be incomplete: what is there is kept, and parsing ends where
//! bytes are missing or a protocol is not known. Nothing is copied but addresses.

/// What the layers say.
#[derive(Debug, Clone, Copy, Default)]
pub struct Packet<'a> {
    pub macs: Option<Macs>,
    /// Tags of 802.1Q and 802.1ad, outermost first: four bytes each, type and TCI.
    pub vlans: &'a [u8],
    /// What follows the tags, or what MPLS carries.
    pub etype: Option<u32>,
    /// MPLS label stack entries (RFC 3032), outermost first: four bytes each.
    pub mpls: &'a [u8],
    pub addresses: Option<Addresses>,
    /// Of what IP carries; behind the extension headers in IPv6.
    pub proto: Option<u32>,
    pub tos: Option<u32>,
    pub ttl: Option<u8>,
    pub flow_label: Option<u32>,
    pub fragment: Option<Fragment>,
    pub ports: Option<(u32, u32)>,
    pub tcp_flags: Option<u32>,
    /// Type and code.
    pub icmp: Option<(u8, u8)>,
    /// A packet within this one.
    pub tunnel: Option<Tunnel<'a>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Macs {
    pub source: [u8; 6],
    pub destination: [u8; 6],
}

/// Source, then destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Addresses {
    V4([u8; 4], [u8; 4]),
    V6([u8; 16], [u8; 16]),
}

/// Where a fragment belongs. Every IPv4 packet has this.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fragment {
    pub id: u32,
    /// In units of eight bytes.
    pub offset: u16,
    /// Of IPv4: 2 is "do not fragment", 1 "more fragments"; of IPv6 the second only.
    pub flags: u8,
}

/// How a packet is carried in another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tunnel<'a> {
    pub kind: TunnelKind,
    /// VXLAN and Geneve network identifier, GRE key.
    pub id: Option<u32>,
    /// Ethertype of `bytes`; `None` is Ethernet.
    pub etype: Option<u16>,
    pub bytes: &'a [u8],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TunnelKind {
    Vxlan,
    Geneve,
    Gre,
    Ip,
}

impl TunnelKind {
    /// Its name in a line.
    pub fn label(self) -> &'static str {
        match self {
            Self::Vxlan => "vxlan",
            Self::Geneve => "geneve",
            Self::Gre => "gre",
            Self::Ip => "ip",
        }
    }
}

pub const IPV4: u16 = 0x0800;
pub const IPV6: u16 = 0x86dd;
const MPLS: u16 = 0x8847;
const MPLS_MULTICAST: u16 = 0x8848;
const PPPOE: u16 = 0x8864;
const ETHERNET: u16 = 0x6558;

/// A header of one of the protocols that sFlow numbers; nothing is known of others.
#[inline]
pub fn parse(protocol: u32, bytes: &[u8]) -> Packet<'_> {
    let mut packet = Packet::default();
    match protocol {
        1 => packet.ethernet(bytes),
        7 | 14 => packet.ppp(bytes.strip_prefix(&[0xff, 3]).unwrap_or(bytes)),
        11 => packet.network(IPV4, bytes),
        12 => packet.network(IPV6, bytes),
        13 => packet.network(MPLS, bytes),
        _ => {}
    }
    packet
}

/// What a tunnel carries.
pub fn parse_inner<'a>(tunnel: &Tunnel<'a>) -> Packet<'a> {
    let mut packet = Packet::default();
    match tunnel.etype {
        Some(etype) => packet.network(etype, tunnel.bytes),
        None => packet.ethernet(tunnel.bytes),
    }
    packet
}

/// Two bytes at `at`.
#[inline]
fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().copied().map(u16::from_be_bytes)
}

impl<'a> Packet<'a> {
    #[inline]
    fn ethernet(&mut self, bytes: &'a [u8]) {
        let Some((destination, rest)) = bytes.split_first_chunk() else { return };
        let Some((source, rest)) = rest.split_first_chunk() else { return };
        self.macs = Some(Macs { source: *source, destination: *destination });
        let Some(mut etype) = u16_at(rest, 0) else { return };
        let (mut tags, mut payload) = (0, rest);
        while matches!(etype, 0x8100 | 0x88a8 | 0x9100 | 0x9200)
            && let Some((_, after)) = payload.split_first_chunk::<4>()
            && let Some(next) = u16_at(after, 0)
        {
            (etype, payload) = (next, after);
            tags += 4;
        }
        self.vlans = rest.get(..tags).unwrap_or_default();
        let payload = payload.get(2..).unwrap_or_default();
        match (etype, payload) {
            // Below 1536 it is a length, and LLC follows; SNAP (RFC 1042) names the protocol after all.
            (..1536, [0xaa, 0xaa, 3, _, _, _, upper, lower, rest @ ..]) => {
                self.network(u16::from_be_bytes([*upper, *lower]), rest);
            }
            (..1536, _) => {}
            _ => self.network(etype, payload),
        }
    }

    /// RFC 1661: a protocol of one or two bytes.
    fn ppp(&mut self, bytes: &'a [u8]) {
        let (protocol, rest) = match bytes {
            [odd, rest @ ..] if odd & 1 == 1 => (u16::from(*odd), rest),
            [upper, lower, rest @ ..] => (u16::from_be_bytes([*upper, *lower]), rest),
            _ => return,
        };
        match protocol {
            0x0021 => self.network(IPV4, rest),
            0x0057 => self.network(IPV6, rest),
            0x0281 => self.network(MPLS, rest),
            _ => {}
        }
    }

    #[inline]
    fn network(&mut self, etype: u16, bytes: &'a [u8]) {
        self.etype = Some(u32::from(etype));
        match etype {
            IPV4 => self.ipv4(bytes),
            IPV6 => self.ipv6(bytes),
            MPLS | MPLS_MULTICAST => self.labels(bytes),
            // RFC 2516: six bytes, then as in PPP.
            PPPOE => self.ppp(bytes.get(6..).unwrap_or_default()),
            _ => {}
        }
    }

    fn labels(&mut self, bytes: &'a [u8]) {
        let bottom =
            bytes.chunks_exact(4).position(|entry| matches!(entry, [_, _, last, _] if last & 1 == 1));
        let count = bottom.map_or(bytes.len() / 4, |at| at + 1);
        let (stack, payload) = bytes.split_at_checked(4 * count).unwrap_or_default();
        self.mpls = stack;
        match payload.first().filter(|_| bottom.is_some()).map(|first| first >> 4) {
            Some(4) => self.network(IPV4, payload),
            Some(6) => self.network(IPV6, payload),
            _ => {}
        }
    }

    #[inline]
    fn ipv4(&mut self, bytes: &'a [u8]) {
        let Some(header) = bytes.first_chunk::<20>() else { return };
        let [version, tos, _, _, id0, id1, flags0, flags1, ttl, proto, _, _, s0, s1, s2, s3, d0, d1, d2, d3] =
            *header;
        if version >> 4 != 4 {
            return;
        }
        let flags = u16::from_be_bytes([flags0, flags1]);
        let offset = flags & 0x1fff;
        self.addresses = Some(Addresses::V4([s0, s1, s2, s3], [d0, d1, d2, d3]));
        self.proto = Some(u32::from(proto));
        self.tos = Some(u32::from(tos));
        self.ttl = Some(ttl);
        let id = u32::from(u16::from_be_bytes([id0, id1]));
        self.fragment = Some(Fragment { id, offset, flags: (flags >> 13) as u8 });
        if offset == 0 {
            let length = usize::from(version & 15) * 4;
            self.transport(proto, bytes.get(length.max(20)..).unwrap_or_default());
        }
    }

    fn ipv6(&mut self, bytes: &'a [u8]) {
        let Some((header, rest)) = bytes.split_first_chunk::<40>() else { return };
        let [v0, v1, v2, v3, _, _, next, hops, addresses @ ..] = header;
        let first = u32::from_be_bytes([*v0, *v1, *v2, *v3]);
        if first >> 28 != 6 {
            return;
        }
        let Some((source, destination)) = addresses.split_first_chunk::<16>() else { return };
        let Some(destination) = destination.first_chunk::<16>() else { return };
        self.addresses = Some(Addresses::V6(*source, *destination));
        self.tos = Some(first >> 20 & 0xff);
        self.flow_label = Some(first & 0xf_ffff);
        self.ttl = Some(*hops);
        self.extensions(*next, rest);
    }

    /// RFC 8200, 4. Each header is eight bytes at least, so this ends.
    fn extensions(&mut self, mut next: u8, mut rest: &'a [u8]) {
        loop {
            self.proto = Some(u32::from(next));
            let length = match (next, rest) {
                (44, [_, _, o0, o1, id @ ..]) => {
                    let bits = u16::from_be_bytes([*o0, *o1]);
                    let id = id.first_chunk().copied().map_or(0, u32::from_be_bytes);
                    let fragment = Fragment { id, offset: bits >> 3, flags: (bits & 1) as u8 };
                    self.fragment = Some(fragment);
                    if fragment.offset > 0 {
                        self.proto = rest.first().copied().map(u32::from);
                        return;
                    }
                    8
                }
                // Authentication counts in words of four bytes, the others of eight.
                (51, [_, length, ..]) => 4 * usize::from(*length) + 8,
                (0 | 43 | 60 | 135 | 139 | 140, [_, length, ..]) => 8 * usize::from(*length) + 8,
                _ => return self.transport(next, rest),
            };
            let Some(after) = rest.get(length..) else {
                // Cut within the header, which still says what follows it.
                self.proto = rest.first().copied().map(u32::from);
                return;
            };
            next = rest.first().copied().unwrap_or_default();
            rest = after;
        }
    }

    #[inline]
    fn transport(&mut self, proto: u8, bytes: &'a [u8]) {
        match proto {
            // TCP, UDP, DCCP, SCTP, UDP-Lite
            6 | 17 | 33 | 132 | 136 => {
                let Some([s0, s1, d0, d1]) = bytes.first_chunk().copied() else { return };
                let ports = (u16::from_be_bytes([s0, s1]), u16::from_be_bytes([d0, d1]));
                self.ports = Some((ports.0.into(), ports.1.into()));
                if proto == 6 {
                    self.tcp_flags = bytes.get(13).copied().map(u32::from);
                } else if proto == 17 {
                    self.tunnel = over_udp(ports.1, bytes.get(8..).unwrap_or_default());
                }
            }
            1 | 58 => self.icmp = bytes.first_chunk().map(|[kind, code]| (*kind, *code)),
            47 => self.tunnel = gre(bytes),
            4 => self.tunnel = Some(Tunnel { kind: TunnelKind::Ip, id: None, etype: Some(IPV4), bytes }),
            41 => self.tunnel = Some(Tunnel { kind: TunnelKind::Ip, id: None, etype: Some(IPV6), bytes }),
            _ => {}
        }
    }
}

/// VXLAN (RFC 7348) and Geneve (RFC 8926), told by their ports.
#[inline]
fn over_udp(port: u16, payload: &[u8]) -> Option<Tunnel<'_>> {
    if !matches!(port, 4789 | 8472 | 6081) {
        return None;
    }
    let ([first, _, p0, p1, v0, v1, v2, _], rest) = payload.split_first_chunk::<8>()?;
    let id = Some(u32::from_be_bytes([0, *v0, *v1, *v2]));
    if port != 6081 {
        return (first & 8 != 0).then_some(Tunnel { kind: TunnelKind::Vxlan, id, etype: None, bytes: rest });
    }
    let bytes = rest.get(usize::from(first & 0x3f) * 4..)?;
    let etype = u16::from_be_bytes([*p0, *p1]);
    Some(Tunnel { kind: TunnelKind::Geneve, id, etype: (etype != ETHERNET).then_some(etype), bytes })
}

/// RFC 2784 and 2890; what it carries may be a mirrored frame behind a header of ERSPAN.
fn gre(bytes: &[u8]) -> Option<Tunnel<'_>> {
    let ([flags, version, e0, e1], rest) = bytes.split_first_chunk::<4>()?;
    if version & 7 != 0 {
        return None;
    }
    let field = |bit: u8| usize::from(flags & bit != 0) * 4;
    let (checksum, key, sequence) = (field(0x80), field(0x20), field(0x10));
    let id = rest.get(checksum..).and_then(|rest| rest.first_chunk()).copied().map(u32::from_be_bytes);
    let id = id.filter(|_| key > 0);
    let (etype, more) = match u16::from_be_bytes([*e0, *e1]) {
        ETHERNET => (None, 0),
        0x88be => (None, 2 * sequence),
        0x22eb => (None, 12),
        etype => (Some(etype), 0),
    };
    let bytes = rest.get(checksum + key + sequence + more..)?;
    Some(Tunnel { kind: TunnelKind::Gre, id, etype, bytes })
}
