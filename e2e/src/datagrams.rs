//! Datagrams of exporters, made beforehand: only numbers are changed, so that making them costs a sender nothing.
//!
//! Each record has a number, which stands where `Bytes` is read from. The instruction guard of the proxy has this file
//! too, so it needs nothing of this crate.

use std::{fmt, net::Ipv4Addr};

/// What an exporter speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// NetFlow 5.
    V5,
    /// NetFlow 9 with a template of 16 fields.
    V9,
    /// IPFIX with a template of 16 fields.
    Ipfix,
    /// sFlow 5: flow samples of raw headers of 128 bytes.
    Sflow,
}

impl Version {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::V5, Self::V9, Self::Ipfix, Self::Sflow];

    /// Records in a datagram: as many as an Ethernet frame takes.
    pub fn records(self) -> u16 {
        match self {
            Self::V5 => 30,
            Self::V9 => 27,
            Self::Ipfix => 20,
            Self::Sflow => 7,
        }
    }

    /// Elements and lengths of a record; 0 is a byte of nothing. sFlow has none.
    fn fields(self) -> &'static [(u16, usize)] {
        match self {
            Self::V5 => &V5,
            Self::V9 => &V9,
            Self::Ipfix => &IPFIX,
            Self::Sflow => &[],
        }
    }

    /// What stands before the first record but for sequence, agent and length of the data set, and where the sequence is.
    fn header(self) -> (Vec<u8>, usize) {
        let count = u32::from(self.records());
        match self {
            Self::V5 => (words(&[5 << 16 | count, UPTIME_MS, EXPORT, 0, 0, 0x43e8]), 16),
            Self::V9 => (words(&[9 << 16 | 1, UPTIME_MS, EXPORT, 0, 1]), 12),
            Self::Ipfix => (words(&[10 << 16, EXPORT, 0, 1]), 8),
            Self::Sflow => (words(&[5, 1, 0, 0, 0, UPTIME_MS, count]), 16),
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V5 => "NetFlow v5",
            Self::V9 => "NetFlow v9",
            Self::Ipfix => "IPFIX",
            Self::Sflow => "sFlow",
        })
    }
}

/// Where the number is.
const OCTETS: u16 = 1;
/// Elements of a record of NetFlow v5 and their bytes; 0 is padding.
pub const V5: [(u16, usize); 20] = [
    (8, 4),
    (12, 4),
    (15, 4),
    (10, 2),
    (14, 2),
    (2, 4),
    (OCTETS, 4),
    (22, 4),
    (21, 4),
    (7, 2),
    (11, 2),
    (0, 1),
    (6, 1),
    (4, 1),
    (5, 1),
    (16, 2),
    (17, 2),
    (9, 1),
    (13, 1),
    (0, 2),
];
const V9: [(u16, usize); 16] = [
    (8, 4),
    (12, 4),
    (15, 4),
    (10, 4),
    (14, 4),
    (2, 4),
    (OCTETS, 4),
    (22, 4),
    (21, 4),
    (7, 2),
    (11, 2),
    (6, 1),
    (4, 1),
    (5, 1),
    (16, 4),
    (17, 4),
];
const IPFIX: [(u16, usize); 16] = [
    (8, 4),
    (12, 4),
    (15, 4),
    (10, 4),
    (14, 4),
    (2, 8),
    (OCTETS, 8),
    (152, 8),
    (153, 8),
    (7, 2),
    (11, 2),
    (6, 1),
    (4, 1),
    (5, 1),
    (16, 4),
    (17, 4),
];
/// When everything is exported, Unix s.
pub const EXPORT: u32 = 1_767_225_600;
/// How long the exporter had been up then.
const UPTIME_MS: u32 = 90_000_000;
const TEMPLATE: u16 = 256;
/// A prime, so that exporters that take turns do not get the same ones over and over.
const PREPARED: u64 = 251;

/// An exporter, and how far it has counted.
#[derive(Debug, Clone, Copy)]
pub struct Exporter {
    /// Its own, of loopback.
    pub address: Ipv4Addr,
    sequence: u32,
}

impl Exporter {
    /// One of many.
    pub fn new(number: u16) -> Self {
        let [upper, lower] = number.to_be_bytes();
        Self { address: Ipv4Addr::new(127, 1, upper, lower), sequence: 0 }
    }
}

/// Those of a version.
#[derive(Debug)]
pub struct Datagrams {
    version: Version,
    prepared: Vec<Vec<u8>>,
    /// Where the numbers of the records are, four bytes each.
    numbers: Vec<usize>,
    /// Where the sequence is.
    sequence: usize,
}

impl Datagrams {
    /// The same ones each time.
    pub fn new(version: Version) -> Self {
        let mut random = Random(1);
        let (header, sequence) = version.header();
        let (mut prepared, mut numbers) = (Vec::new(), Vec::new());
        for _ in 0..PREPARED {
            let mut datagram = header.clone();
            numbers.clear();
            if matches!(version, Version::V9 | Version::Ipfix) {
                datagram.extend([TEMPLATE, 0].map(u16::to_be_bytes).as_flattened());
            }
            for _ in 0..version.records() {
                let flow = Flow::new(&mut random);
                numbers.push(match version {
                    Version::Sflow => flow.push_sample(&mut datagram),
                    _ => flow.push_record(version.fields(), &mut datagram),
                });
            }
            end(&mut datagram, header.len(), version);
            prepared.push(datagram);
        }
        Self { version, prepared, numbers, sequence }
    }

    /// Bytes of each.
    pub fn size(&self) -> usize {
        self.prepared.first().map_or(0, Vec::len)
    }

    /// Appends the next one of `exporter`; its records have the numbers from `number` on.
    pub fn append(&self, exporter: &mut Exporter, number: u64, out: &mut Vec<u8>) {
        let index = number / u64::from(self.version.records()) % PREPARED;
        let Some(prepared) = self.prepared.get(index as usize) else { return };
        let start = out.len();
        out.extend_from_slice(prepared);
        let Some(datagram) = out.get_mut(start..) else { return };
        put(datagram, self.sequence, exporter.sequence.to_be_bytes());
        if self.version == Version::Sflow {
            put(datagram, 8, exporter.address.octets());
        }
        for (at, number) in self.numbers.iter().zip((number as u32)..) {
            put(datagram, *at, number.to_be_bytes());
        }
        let counts = match self.version {
            Version::V5 | Version::Ipfix => u32::from(self.version.records()),
            Version::V9 | Version::Sflow => 1,
        };
        exporter.sequence = exporter.sequence.wrapping_add(counts);
    }

    /// A datagram of `exporter` that has the template alone, where there is one.
    pub fn template(&self, exporter: &mut Exporter) -> Option<Vec<u8>> {
        let set = match self.version {
            Version::V9 => 0,
            Version::Ipfix => 2,
            Version::V5 | Version::Sflow => return None,
        };
        let fields = self.version.fields();
        let (mut datagram, sequence) = self.version.header();
        let start = datagram.len();
        let head = [set, 0, TEMPLATE, fields.len() as u16];
        let fields = fields.iter().flat_map(|(element, length)| [*element, *length as u16]);
        datagram.extend(head.into_iter().chain(fields).flat_map(u16::to_be_bytes));
        end(&mut datagram, start, self.version);
        put(&mut datagram, sequence, exporter.sequence.to_be_bytes());
        exporter.sequence = exporter.sequence.wrapping_add(u32::from(self.version == Version::V9));
        Some(datagram)
    }
}

/// Fills up to four bytes and writes the lengths of the set at `start` and of the message.
fn end(datagram: &mut Vec<u8>, start: usize, version: Version) {
    if !matches!(version, Version::V9 | Version::Ipfix) {
        return;
    }
    datagram.resize(datagram.len().next_multiple_of(4), 0);
    let length = datagram.len() as u16;
    put(datagram, start + 2, (length - start as u16).to_be_bytes());
    if version == Version::Ipfix {
        put(datagram, 2, length.to_be_bytes());
    }
}

/// What a flow was.
struct Flow {
    source: u32,
    destination: u32,
    ports: (u16, u16),
    interface: u32,
    packets: u32,
    /// How long before the export it began and ended.
    ago_ms: (u32, u32),
    is_tcp: bool,
    system: u32,
}

impl Flow {
    fn new(random: &mut Random) -> Self {
        const SERVICES: [u16; 6] = [443, 443, 443, 80, 53, 22];
        let destination = 0xc633_6400 + (random.below(64) << 12) + random.below(200);
        let service = SERVICES.get(random.below(6) as usize).copied().unwrap_or_default();
        let ended = random.below(20_000);
        Self {
            source: 0x0a00_0000 + (random.below(16) << 8) + random.below(250),
            destination,
            ports: (32_768 + random.below(28_000) as u16, service),
            interface: 1 + random.below(48),
            packets: 1 + random.below(60) * random.below(60),
            ago_ms: (ended + random.below(60_000), ended),
            is_tcp: service != 53,
            system: 64_496 + (destination >> 12) % 16,
        }
    }

    fn protocol(&self) -> u8 {
        if self.is_tcp { 6 } else { 17 }
    }

    /// Appends a record of these fields; returns where its number is.
    fn push_record(&self, fields: &[(u16, usize)], out: &mut Vec<u8>) -> usize {
        let mut number = 0;
        for (element, length) in fields {
            let bytes = self.value(*element).to_be_bytes();
            out.extend_from_slice(bytes.get(bytes.len() - length..).unwrap_or_default());
            if *element == OCTETS {
                number = out.len() - 4;
            }
        }
        number
    }

    fn value(&self, element: u16) -> u64 {
        let unix_ms = |ago: u32| u64::from(EXPORT) * 1000 - u64::from(ago);
        match element {
            2 => self.packets.into(),
            4 => self.protocol().into(),
            6 if self.is_tcp => 0x1b,
            7 => self.ports.0.into(),
            8 => self.source.into(),
            9 | 13 => 24,
            10 => self.interface.into(),
            11 => self.ports.1.into(),
            12 => self.destination.into(),
            14 => 49,
            15 => 0x0a00_fffe,
            16 => 64_512,
            17 => self.system.into(),
            21 => (UPTIME_MS - self.ago_ms.1).into(),
            22 => (UPTIME_MS - self.ago_ms.0).into(),
            152 => unix_ms(self.ago_ms.0),
            153 => unix_ms(self.ago_ms.1),
            _ => 0,
        }
    }

    /// Appends a flow sample of a raw Ethernet header; returns where the length of the frame is, its number.
    fn push_sample(&self, out: &mut Vec<u8>) -> usize {
        const HEADER: u32 = 128;
        let number = out.len() + 13 * 4;
        let rate = 512;
        // Format, length, sequence, source, rate, pool, drops, input, output, one record.
        out.extend(words(&[1, HEADER + 56, 1, self.interface, rate, rate, 0, self.interface, 49, 1]));
        // Format, length, Ethernet, length of the frame, bytes taken off, length of the header.
        out.extend(words(&[1, HEADER + 16, 1, 0, 4, HEADER]));
        let end = out.len() + HEADER as usize;
        out.extend([0x00, 0x1b, 0x21, 0, 0, 1, 0x00, 0x1b, 0x21, 0, 0, self.interface as u8, 0x08, 0x00]);
        out.extend([0x45, 0, 0x05, 0xdc, 0, 1, 0x40, 0, 64, self.protocol(), 0, 0]);
        out.extend(words(&[self.source, self.destination]));
        out.extend([self.ports.0, self.ports.1].map(u16::to_be_bytes).as_flattened());
        // Sequence and acknowledgement; 20 bytes, ACK and PSH. Of UDP these are data.
        out.extend(words(&[self.packets, self.system, 0x5018_ffff, 0]));
        out.resize(end, 0x5a);
        number
    }
}

/// Linear congruences: the same in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u32) -> u32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as u32 % limit
    }
}

fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_be_bytes()).collect()
}

fn put<const N: usize>(datagram: &mut [u8], at: usize, bytes: [u8; N]) {
    if let Some((_, place)) = datagram.split_at_mut_checked(at)
        && let Some(place) = place.first_chunk_mut()
    {
        *place = bytes;
    }
}
