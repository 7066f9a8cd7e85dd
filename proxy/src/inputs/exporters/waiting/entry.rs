//! One entry of the file.

use std::{
    fs::File,
    io::{self, BufReader, Read},
    net::{IpAddr, Ipv6Addr},
    os::unix::fs::FileExt,
};

use super::index::Index;
use crate::decode::flow::{Clock, Origin, Place, Set, Source};

/// Entries start at multiples of this, and their heads are as long.
pub const BLOCK: u64 = 64;
/// Longest records: those of the longest datagram.
const LONGEST: usize = u16::MAX as usize;
/// What the checksum of a head is of.
const CHECKED: std::ops::Range<usize> = 8..60;
/// Where it stands that an entry was taken.
const TAKEN: usize = 60;
/// What is read at a time at a start.
const PIECE: usize = 1 << 20;

/// What an entry says beside its records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    pub length: usize,
    crc: u32,
    pub place: Place,
    pub origin: Origin,
    pub taken: bool,
}

impl Head {
    /// Bytes from this entry to the next.
    pub fn step(&self) -> u64 {
        BLOCK + (self.length as u64).next_multiple_of(BLOCK)
    }
}

/// An entry as it is written.
pub fn encode(place: &Place, set: &Set) -> Vec<u8> {
    let Place { source, version, domain, template } = *place;
    let Origin { received_ns, clock, sequence, count } = set.origin;
    let address = match source.address {
        IpAddr::V4(address) => address.to_ipv6_mapped(),
        IpAddr::V6(address) => address,
    };
    let mut bytes = vec![0; 8];
    bytes.extend_from_slice(&address.octets());
    bytes.extend_from_slice(&source.port.to_be_bytes());
    bytes.extend_from_slice(&version.to_be_bytes());
    bytes.extend_from_slice(&domain.to_be_bytes());
    bytes.extend_from_slice(&template.to_be_bytes());
    bytes.extend_from_slice(&count.to_be_bytes());
    bytes.extend_from_slice(&received_ns.to_be_bytes());
    bytes.extend_from_slice(&clock.export_ns.to_be_bytes());
    bytes.extend_from_slice(&clock.uptime_ms.unwrap_or_default().to_be_bytes());
    bytes.extend_from_slice(&sequence.to_be_bytes());
    let crc = checksum(bytes.get(CHECKED).unwrap_or_default(), &set.bytes);
    let numbers = (set.bytes.len() as u32).to_be_bytes().into_iter().chain(crc.to_be_bytes());
    bytes.iter_mut().zip(numbers).for_each(|(to, from)| *to = from);
    bytes.resize(BLOCK as usize, 0);
    bytes.extend_from_slice(&set.bytes);
    bytes.resize(bytes.len().next_multiple_of(BLOCK as usize), 0);
    bytes
}

fn checksum(head: &[u8], records: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(head);
    hasher.update(records);
    hasher.finalize()
}

/// The head in these bytes; `None` when it is none.
fn decode(bytes: &[u8; BLOCK as usize]) -> Option<Head> {
    let mut fields = Fields(bytes);
    let (length, crc) = (u32::from_be_bytes(fields.next()?), u32::from_be_bytes(fields.next()?));
    let address = IpAddr::V6(Ipv6Addr::from(fields.next::<16>()?)).to_canonical();
    let port = u16::from_be_bytes(fields.next()?);
    let version = u16::from_be_bytes(fields.next()?);
    let domain = u32::from_be_bytes(fields.next()?);
    let template = u16::from_be_bytes(fields.next()?);
    let count = u16::from_be_bytes(fields.next()?);
    let received_ns = u64::from_be_bytes(fields.next()?);
    let export_ns = u64::from_be_bytes(fields.next()?);
    let uptime_ms = u32::from_be_bytes(fields.next()?);
    let sequence = u32::from_be_bytes(fields.next()?);
    let uptime_ms = Some(uptime_ms).filter(|_| version == 9);
    let clock = Clock { export_ns, uptime_ms, started_ms: None };
    let length = usize::try_from(length).ok().filter(|length| *length <= LONGEST)?;
    Some(Head {
        length,
        crc,
        place: Place { source: Source { address, port }, version, domain, template },
        origin: Origin { received_ns, clock, sequence, count },
        taken: bytes.get(TAKEN) != Some(&0),
    })
}

struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn next<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (field, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*field)
    }
}

fn damaged() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "an entry is damaged")
}

/// The set of the entry at `at`.
pub fn read(file: &File, at: u64) -> io::Result<Set> {
    let mut block = [0; BLOCK as usize];
    file.read_exact_at(&mut block, at)?;
    let head = decode(&block).ok_or_else(damaged)?;
    let mut bytes = vec![0; head.length];
    file.read_exact_at(&mut bytes, at + BLOCK)?;
    if checksum(block.get(CHECKED).unwrap_or_default(), &bytes) != head.crc {
        return Err(damaged());
    }
    Ok(Set { origin: head.origin, bytes: bytes.into() })
}

/// Notes that the entry at `at` waits no more.
pub fn mark_taken(file: &File, at: u64) -> io::Result<()> {
    file.write_all_at(&[1], at + TAKEN as u64)
}

/// What is in a file.
#[derive(Debug, Default)]
pub struct Found {
    /// Where the entries are that wait.
    pub index: Index,
    /// Where the last one ends that can be read.
    pub end: u64,
    /// Entries that are damaged in themselves, or have no place.
    pub damaged: u64,
}

/// Reads a file from its first entry on.
pub fn read_all(file: &File) -> io::Result<Found> {
    let mut found = Found { end: BLOCK, ..Found::default() };
    let mut reader = BufReader::with_capacity(PIECE, file);
    let mut skipped = [0; BLOCK as usize];
    // The position is the file's own, and this is the only one that uses it.
    io::Seek::seek(&mut reader, io::SeekFrom::Start(0))?;
    reader.read_exact(&mut skipped)?;
    let (mut block, mut records) = ([0; BLOCK as usize], Vec::new());
    loop {
        if reader.read_exact(&mut block).is_err() {
            break;
        }
        let Some(head) = decode(&block) else { break };
        records.resize((head.step() - BLOCK) as usize, 0);
        if reader.read_exact(&mut records).is_err() {
            break;
        }
        let is_whole = records
            .get(..head.length)
            .is_some_and(|records| checksum(block.get(CHECKED).unwrap_or_default(), records) == head.crc);
        if is_whole && !head.taken && found.index.admits(&head.place) {
            found.index.add(&head.place, found.end, head.origin.received_ns);
        } else {
            found.damaged += u64::from(!head.taken);
        }
        found.end += head.step();
    }
    Ok(found)
}
