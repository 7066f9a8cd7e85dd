//! Datagrams on their way from a receiver thread to its decoder.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use super::udp::UdpPort;

/// Datagrams from which a batch is handed over.
const FULL_DATAGRAMS: usize = 2048;
/// Bytes that one message of the kernel adds.
const MESSAGE: usize = 64 * 1024;
/// What a batch holds beside the bytes of datagrams: lengths, groups, ports.
const HEADS: usize = 128 * 1024;
/// Batches on their way to one decoder.
const IN_FLIGHT: std::ops::RangeInclusive<usize> = 2..=8;
/// Bytes from which a batch is handed over.
const FULL_BYTES: std::ops::RangeInclusive<usize> = 16 * 1024..=512 * 1024;
/// Of the memory budget, at most.
const PART: usize = 4;

/// How many batches of which size each pair of threads has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Batches {
    /// On their way to the decoder.
    pub in_flight: usize,
    /// Bytes from which one is handed over.
    pub full: usize,
}

impl Batches {
    /// For `pairs` of threads within a quarter of a budget of `total` bytes. A budget that is too small for the
    /// smallest batches is exceeded.
    pub fn within(total: u64, pairs: usize) -> Self {
        let each = usize::try_from(total).unwrap_or(usize::MAX) / PART / pairs.max(1);
        let largest = FULL_BYTES.end() + MESSAGE + HEADS;
        let in_flight = (each / largest).saturating_sub(BESIDES).clamp(*IN_FLIGHT.start(), *IN_FLIGHT.end());
        let full = (each / (in_flight + BESIDES)).saturating_sub(MESSAGE + HEADS);
        Self { in_flight, full: full.clamp(*FULL_BYTES.start(), *FULL_BYTES.end()) }
    }

    /// Most bytes that one pair's batches hold.
    pub fn memory(self) -> usize {
        (self.in_flight + BESIDES) * (self.full + MESSAGE + HEADS)
    }
}
/// Batches that are not on their way: being filled, waiting to be sent off, being decoded.
const BESIDES: usize = 3;

/// Datagrams that arrived at about one time. Consecutive ones of one sender form a group, so that what is done per
/// sender is not done per datagram.
#[derive(Debug)]
pub(super) struct PacketBatch {
    /// When the first one was taken from its socket, Unix nanoseconds.
    pub received_ns: u64,
    bytes: Vec<u8>,
    lengths: Vec<u32>,
    groups: Vec<GroupHead>,
    ports: Vec<Arc<UdpPort>>,
    full: usize,
}

#[derive(Debug)]
struct GroupHead {
    port: u32,
    source: IpAddr,
    source_port: u16,
    datagrams: u32,
    bytes: u32,
}

impl GroupHead {
    fn is_of(&self, other: &Self) -> bool {
        self.port == other.port && self.source == other.source && self.source_port == other.source_port
    }
}

/// Datagrams of one sender.
#[derive(Debug)]
pub(super) struct Group<'a> {
    pub port: &'a Arc<UdpPort>,
    /// With port 0 where ports do not tell senders apart.
    pub source: SocketAddr,
    pub count: u64,
    pub bytes: u64,
    pub datagrams: Datagrams<'a>,
}

/// The datagrams themselves.
#[derive(Debug)]
pub(super) struct Datagrams<'a> {
    bytes: &'a [u8],
    lengths: std::slice::Iter<'a, u32>,
}

impl<'a> Iterator for Datagrams<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let (datagram, rest) = self.bytes.split_at_checked(*self.lengths.next()? as usize)?;
        self.bytes = rest;
        Some(datagram)
    }
}

impl PacketBatch {
    /// One that is handed over with `full` bytes. Its memory is used as it fills.
    pub fn new(full: usize) -> Self {
        Self { bytes: Vec::with_capacity(full + MESSAGE), ..Self::unused(full) }
    }

    /// The same that holds no memory until it is used.
    pub fn unused(full: usize) -> Self {
        Self {
            received_ns: 0,
            bytes: Vec::new(),
            lengths: Vec::new(),
            groups: Vec::new(),
            ports: Vec::new(),
            full,
        }
    }

    pub fn is_empty(&self) -> bool {
        self.lengths.is_empty()
    }

    pub fn is_full(&self) -> bool {
        self.bytes.len() >= self.full || self.lengths.len() >= FULL_DATAGRAMS
    }

    /// Adds a datagram, or several of `segment` bytes each that the kernel merged.
    pub fn push(&mut self, port: &Arc<UdpPort>, source: SocketAddr, bytes: &[u8], segment: Option<usize>) {
        self.bytes.extend_from_slice(bytes);
        let before = self.lengths.len();
        match segment {
            Some(segment) => self.lengths.extend(bytes.chunks(segment).map(|datagram| datagram.len() as u32)),
            None => self.lengths.push(bytes.len() as u32),
        }
        let added = (self.lengths.len() - before) as u32;
        let port = self.port_index(port);
        let head = GroupHead {
            port,
            source: source.ip(),
            source_port: source.port(),
            datagrams: added,
            bytes: bytes.len() as u32,
        };
        match self.groups.last_mut() {
            Some(group) if group.is_of(&head) => {
                group.datagrams += head.datagrams;
                group.bytes += head.bytes;
            }
            _ => self.groups.push(head),
        }
    }

    /// The groups in order of arrival.
    pub fn groups(&self) -> impl Iterator<Item = Group<'_>> {
        let mut bytes = self.bytes.as_slice();
        let mut lengths = self.lengths.as_slice();
        self.groups.iter().map_while(move |head| {
            let (group_bytes, rest) = bytes.split_at_checked(head.bytes as usize)?;
            let (group_lengths, rest_lengths) = lengths.split_at_checked(head.datagrams as usize)?;
            (bytes, lengths) = (rest, rest_lengths);
            Some(Group {
                port: self.ports.get(head.port as usize)?,
                source: SocketAddr::new(head.source, head.source_port),
                count: u64::from(head.datagrams),
                bytes: u64::from(head.bytes),
                datagrams: Datagrams { bytes: group_bytes, lengths: group_lengths.iter() },
            })
        })
    }

    /// Empties it and keeps its memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.lengths.clear();
        self.groups.clear();
        self.ports.clear();
    }

    fn port_index(&mut self, port: &Arc<UdpPort>) -> u32 {
        let last = self.ports.len().wrapping_sub(1);
        if self.ports.last().is_some_and(|known| Arc::ptr_eq(known, port)) {
            return last as u32;
        }
        self.ports.push(Arc::clone(port));
        self.ports.len() as u32 - 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inputs::Table;

    #[test]
    fn consecutive_datagrams_of_one_sender_on_one_port_are_one_group() {
        let port = || UdpPort::new(Arc::new(Table::new(Vec::new())), Arc::default());
        let (one, two) = (port(), port());
        let address = |last: u8| SocketAddr::from(([192, 0, 2, last], 0));
        let mut batch = PacketBatch::new(*FULL_BYTES.end());
        for _ in 0..2 {
            assert!(batch.is_empty());
            batch.push(&one, address(1), b"a", None);
            batch.push(&one, address(1), b"bbccd", Some(2));
            batch.push(&one, address(2), b"", None);
            batch.push(&two, address(2), b"e", None);
            batch.push(&one, address(2), b"f", None);
            let groups: Vec<_> = batch
                .groups()
                .map(|group| {
                    let datagrams: Vec<_> = group.datagrams.map(<[u8]>::to_vec).collect();
                    (Arc::ptr_eq(group.port, &one), group.source, group.count, group.bytes, datagrams)
                })
                .collect();
            let bytes =
                |texts: &[&str]| texts.iter().map(|text| text.as_bytes().to_vec()).collect::<Vec<_>>();
            assert_eq!(
                groups,
                [
                    (true, address(1), 4, 6, bytes(&["a", "bb", "cc", "d"])),
                    (true, address(2), 1, 0, bytes(&[""])),
                    (false, address(2), 1, 1, bytes(&["e"])),
                    (true, address(2), 1, 1, bytes(&["f"])),
                ]
            );
            batch.clear();
        }
        while !batch.is_full() {
            batch.push(&one, address(1), &[0; 1000], None);
        }
        assert_eq!(batch.groups().next().unwrap().bytes, 525_000);
    }

    #[test]
    fn batches_stay_within_a_quarter_of_the_budget() {
        for (mebibytes, pairs, in_flight) in [(64, 2, 8), (64, 4, 2), (64, 8, 2), (1024, 8, 8), (16, 2, 2)] {
            let total = mebibytes << 20;
            let batches = Batches::within(total, pairs);
            assert_eq!(batches.in_flight, in_flight, "{mebibytes} {pairs}");
            let all = (batches.memory() * pairs) as u64;
            assert!(all <= total / 4 && (all > total / 8 || mebibytes == 1024), "{mebibytes} {pairs}: {all}");
        }
        assert_eq!(Batches::within(1 << 20, 64), Batches { in_flight: 2, full: 16 * 1024 });
    }

    #[test]
    fn a_batch_never_outgrows_what_is_reckoned_for_it() {
        let port = UdpPort::new(Arc::new(Table::new(Vec::new())), Arc::default());
        let full = *FULL_BYTES.end();
        let mut batch = PacketBatch::new(full);
        let (before, message) = (batch.bytes.capacity(), vec![0; MESSAGE - 1]);
        while !batch.is_full() {
            batch.push(&port, SocketAddr::from(([192, 0, 2, 1], 0)), &message, None);
        }
        assert_eq!(batch.bytes.capacity(), before);
        let mut small = PacketBatch::new(full);
        for number in 0_u32.. {
            // Another sender each time, on another port each time.
            let port = UdpPort::new(Arc::new(Table::new(Vec::new())), Arc::default());
            small.push(&port, SocketAddr::from((number.to_be_bytes(), 0)), &[0], None);
            if small.is_full() {
                break;
            }
        }
        let heads = small.lengths.capacity() * size_of::<u32>()
            + small.groups.capacity() * size_of::<GroupHead>()
            + small.ports.capacity() * size_of::<Arc<UdpPort>>();
        assert!(heads <= HEADS, "{heads}");
    }
}
