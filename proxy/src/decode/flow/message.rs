//! Headers of datagrams and the sets in them.
//!
//! ```text
//! v5  version count uptime secs nsecs sequence engine-type engine-id sampling      24, then 48 each
//! v7  version count uptime secs nsecs sequence reserved                            24, then 52 each
//! v9  version count uptime secs sequence source-id                                 20, then sets (RFC 3954, 5.1)
//! 10  version length secs sequence domain                                          16, then sets (RFC 7011, 3.1)
//! set id length content                                                            4 and more
//! ```

use super::clock::Clock;

/// Why a datagram, or the rest of it, was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Fault {
    /// Not a version that is spoken here.
    #[error("it is neither NetFlow 5, 7 or 9 nor IPFIX")]
    Version,
    /// Shorter than its header, or than the records or the length it claims.
    #[error("it is shorter than its header says")]
    Short,
    /// A set shorter than its header or longer than what is left.
    #[error("a set has a number or a length that none can have")]
    Set,
    /// A template that is cut short, has no fields or too many, or a number that none can have.
    #[error("a template is cut short, has no fields or too many, or a number that none can have")]
    Template,
    /// A record that is longer than its set.
    #[error("a record is longer than its set")]
    Record,
}

/// What a header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// 5, 7, 9 or 10.
    pub version: u16,
    /// Observation domain, source id, or engine type and id.
    pub domain: u32,
    /// As it stands there.
    pub sequence: u32,
    /// Records in v5 and v7, flow sets and records in v9, bytes in IPFIX.
    pub count: u16,
    /// Sampling mode and interval of v5.
    pub sampling: u16,
    /// The times.
    pub clock: Clock,
}

/// The header and what follows it.
pub fn split(datagram: &[u8]) -> Result<(Header, &[u8]), Fault> {
    let version = datagram.first_chunk().map(|version| u16::from_be_bytes(*version)).ok_or(Fault::Short)?;
    let mut reader = Reader(datagram);
    match version {
        5 | 7 => reader.legacy(),
        9 => reader.v9(),
        10 => reader.ipfix(),
        _ => return Err(Fault::Version),
    }
    .map(|header| (header, reader.0))
    .ok_or(Fault::Short)
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn u16(&mut self) -> Option<u16> {
        let (number, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(u16::from_be_bytes(*number))
    }

    fn u32(&mut self) -> Option<u32> {
        let (number, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(u32::from_be_bytes(*number))
    }

    fn legacy(&mut self) -> Option<Header> {
        let (version, count) = (self.u16()?, self.u16()?);
        let (uptime, seconds, nanoseconds) = (self.u32()?, self.u32()?, self.u32()?);
        let sequence = self.u32()?;
        let (engine, sampling) = (self.u16()?, self.u16()?);
        let (domain, sampling) = if version == 5 { (u32::from(engine), sampling) } else { (0, 0) };
        let export_ns = u64::from(seconds) * 1_000_000_000 + u64::from(nanoseconds);
        let clock = Clock { export_ns, uptime_ms: Some(uptime), started_ms: None };
        Some(Header { version, domain, sequence, count, sampling, clock })
    }

    fn v9(&mut self) -> Option<Header> {
        let (version, count) = (self.u16()?, self.u16()?);
        let (uptime, seconds) = (self.u32()?, self.u32()?);
        let (sequence, domain) = (self.u32()?, self.u32()?);
        let export_ns = u64::from(seconds) * 1_000_000_000;
        let clock = Clock { export_ns, uptime_ms: Some(uptime), started_ms: None };
        Some(Header { version, domain, sequence, count, sampling: 0, clock })
    }

    fn ipfix(&mut self) -> Option<Header> {
        let (version, count) = (self.u16()?, self.u16()?);
        let (seconds, sequence, domain) = (self.u32()?, self.u32()?, self.u32()?);
        let clock =
            Clock { export_ns: u64::from(seconds) * 1_000_000_000, uptime_ms: None, started_ms: None };
        Some(Header { version, domain, sequence, count, sampling: 0, clock })
    }
}

/// The set at the start of `rest`, whose bytes are taken: its id and content. `Ok(None)` at the end, which zeros may
/// fill up.
pub fn next_set<'a>(rest: &mut &'a [u8]) -> Result<Option<(u16, &'a [u8])>, Fault> {
    let Some(([i0, i1, l0, l1], _)) = rest.split_first_chunk() else {
        return if is_padding(rest) { Ok(None) } else { Err(Fault::Set) };
    };
    let (id, length) = (u16::from_be_bytes([*i0, *i1]), usize::from(u16::from_be_bytes([*l0, *l1])));
    if length < 4 {
        return if is_padding(rest) { Ok(None) } else { Err(Fault::Set) };
    }
    let (set, after) = rest.split_at_checked(length).ok_or(Fault::Set)?;
    *rest = after;
    Ok(set.get(4..).map(|content| (id, content)))
}

/// Whether there are only zeros.
pub fn is_padding(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| *byte == 0)
}
