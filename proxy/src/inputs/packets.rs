//! Datagrams on their way from a receiver thread to its decoder.

use std::{net::IpAddr, sync::Arc};

use super::udp::UdpPort;

/// Bytes from which a batch is handed over.
const FULL_BYTES: usize = 512 * 1024;
/// Datagrams from which a batch is handed over.
const FULL_DATAGRAMS: usize = 2048;

/// Datagrams that arrived at about one time. Consecutive ones of one sender form a group, so that what is done per
/// sender is not done per datagram.
#[derive(Debug, Default)]
pub(super) struct PacketBatch {
    /// When the first one was taken from its socket, Unix nanoseconds.
    pub received_ns: u64,
    bytes: Vec<u8>,
    lengths: Vec<u32>,
    groups: Vec<GroupHead>,
    ports: Vec<Arc<UdpPort>>,
}

#[derive(Debug)]
struct GroupHead {
    port: u32,
    source: IpAddr,
    datagrams: u32,
    bytes: u32,
}

/// Datagrams of one sender.
#[derive(Debug)]
pub(super) struct Group<'a> {
    pub port: &'a Arc<UdpPort>,
    pub source: IpAddr,
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
    pub fn is_empty(&self) -> bool {
        self.lengths.is_empty()
    }

    pub fn is_full(&self) -> bool {
        self.bytes.len() >= FULL_BYTES || self.lengths.len() >= FULL_DATAGRAMS
    }

    /// Adds a datagram, or several of `segment` bytes each that the kernel merged.
    pub fn push(&mut self, port: &Arc<UdpPort>, source: IpAddr, bytes: &[u8], segment: Option<usize>) {
        self.bytes.extend_from_slice(bytes);
        let before = self.lengths.len();
        match segment {
            Some(segment) => self.lengths.extend(bytes.chunks(segment).map(|datagram| datagram.len() as u32)),
            None => self.lengths.push(bytes.len() as u32),
        }
        let added = (self.lengths.len() - before) as u32;
        let port = self.port_index(port);
        match self.groups.last_mut() {
            Some(group) if group.source == source && group.port == port => {
                group.datagrams += added;
                group.bytes += bytes.len() as u32;
            }
            _ => self.groups.push(GroupHead { port, source, datagrams: added, bytes: bytes.len() as u32 }),
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
                source: head.source,
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
        let address = |last: u8| IpAddr::from([192, 0, 2, last]);
        let mut batch = PacketBatch::default();
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
}
