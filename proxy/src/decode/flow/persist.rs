//! What exporters have taught, as bytes that survive a restart.
//!
//! ```text
//! file   "BFFLOW" version:2 entry*
//! entry  length:4 crc:4 payload               crc: CRC-32 (IEEE) of the payload
//! payload address:16 port:2 protocol:2 domain:4 used:8 kind:1 content
//! kind   0 v9 template, 1 v9 options template, 2 IPFIX template, 3 IPFIX options template: as received
//!        4 key:8 value: what options said; key 0 rate, 1 start, else (what << 56 | number), see `knowledge`
//! ```
//! All numbers are big-endian, IPv4 addresses IPv4-mapped. An entry that is cut short or damaged ends the reading:
//! what came before holds, and what is lost comes again with the exporter's next templates. A file of another version is
//! not read. Sessions (TCP) are not in it, because their templates end with them.

use std::net::{IpAddr, Ipv6Addr};

use super::{exporters::Source, templates::Kind};

/// Start of a file, with its version.
const MAGIC: &[u8; 8] = b"BFFLOW\x00\x01";
/// Bytes of a payload before its content.
const FIXED: usize = 33;
/// What options said.
const SAID: u8 = Kind::ALL.len() as u8;

/// What an entry is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Key {
    /// Of whom.
    pub source: Source,
    /// 9 or 10.
    pub version: u16,
    /// Observation domain.
    pub domain: u32,
    /// When it was last needed, Unix ns.
    pub used_ns: u64,
}

/// What an entry says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content<'a> {
    /// A template as received.
    Template(Kind, &'a [u8]),
    /// Something that options said.
    Said(u64, &'a [u8]),
}

/// Starts a file.
pub fn begin(out: &mut Vec<u8>) {
    out.extend_from_slice(MAGIC);
}

/// Appends an entry.
pub fn push(key: &Key, content: Content<'_>, out: &mut Vec<u8>) {
    let start = out.len();
    out.extend_from_slice(&[0; 8]);
    let address = match key.source.address {
        IpAddr::V4(address) => address.to_ipv6_mapped(),
        IpAddr::V6(address) => address,
    };
    out.extend_from_slice(&address.octets());
    out.extend_from_slice(&key.source.port.to_be_bytes());
    out.extend_from_slice(&key.version.to_be_bytes());
    out.extend_from_slice(&key.domain.to_be_bytes());
    out.extend_from_slice(&key.used_ns.to_be_bytes());
    match content {
        Content::Template(kind, definition) => {
            out.push(Kind::ALL.iter().position(|each| *each == kind).unwrap_or_default() as u8);
            out.extend_from_slice(definition);
        }
        Content::Said(what, value) => {
            out.push(SAID);
            out.extend_from_slice(&what.to_be_bytes());
            out.extend_from_slice(value);
        }
    }
    let Some((head, payload)) = out.get_mut(start..).and_then(|entry| entry.split_at_mut_checked(8)) else {
        return;
    };
    let (length, crc) = (payload.len() as u32, crc32fast::hash(payload));
    let numbers = length.to_be_bytes().into_iter().chain(crc.to_be_bytes());
    head.iter_mut().zip(numbers).for_each(|(to, from)| *to = from);
}

/// The entries of a file, up to the first that is damaged.
#[derive(Debug)]
pub struct Entries<'a> {
    rest: &'a [u8],
    /// Whether something could not be read.
    pub is_damaged: bool,
}

/// The entries of a file; none of a file of another version.
pub fn entries(file: &[u8]) -> Entries<'_> {
    match file.split_first_chunk() {
        Some((MAGIC, rest)) => Entries { rest, is_damaged: false },
        _ => Entries { rest: &[], is_damaged: !file.is_empty() },
    }
}

impl<'a> Iterator for Entries<'a> {
    type Item = (Key, Content<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let entry = split_entry(self.rest);
        self.is_damaged |= entry.is_none();
        self.rest = entry.map_or(&[], |(_, rest)| rest);
        entry.map(|(entry, _)| entry)
    }
}

fn split_entry(bytes: &[u8]) -> Option<((Key, Content<'_>), &[u8])> {
    let (length, rest) = bytes.split_first_chunk()?;
    let (crc, rest) = rest.split_first_chunk()?;
    let (payload, rest) = rest.split_at_checked(u32::from_be_bytes(*length) as usize)?;
    if crc32fast::hash(payload) != u32::from_be_bytes(*crc) {
        return None;
    }
    Some((read(payload)?, rest))
}

fn read(payload: &[u8]) -> Option<(Key, Content<'_>)> {
    let (fixed, content) = payload.split_first_chunk::<FIXED>()?;
    let (address, rest) = fixed.split_first_chunk::<16>()?;
    let (port, rest) = rest.split_first_chunk()?;
    let (version, rest) = rest.split_first_chunk()?;
    let (domain, rest) = rest.split_first_chunk()?;
    let (used, rest) = rest.split_first_chunk()?;
    let address = IpAddr::V6(Ipv6Addr::from(*address)).to_canonical();
    let key = Key {
        source: Source { address, port: u16::from_be_bytes(*port) },
        version: u16::from_be_bytes(*version),
        domain: u32::from_be_bytes(*domain),
        used_ns: u64::from_be_bytes(*used),
    };
    let kind = *rest.first()?;
    if kind == SAID {
        let (what, value) = content.split_first_chunk()?;
        return Some((key, Content::Said(u64::from_be_bytes(*what), value)));
    }
    Some((key, Content::Template(*Kind::ALL.get(usize::from(kind))?, content)))
}
