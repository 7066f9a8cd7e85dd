//! sFlow version 5: one datagram in, one NDJSON line per sample out.
//!
//! | sample | `Type` | members |
//! |---|---|---|
//! | flow, expanded flow | `SFLOW_5` | the schema of [`super::flow::record`], what its other records say |
//! | counters, expanded counters | `SFLOW_5_COUNTERS` | the counters of all its records |
//! | drop notification | `SFLOW_5_DROP` | as a flow, with `DropReason` |
//! | unknown | `SFLOW_5_OTHER` | `Format` and `Data` |
//!
//! [`push_datagram`] is pure and total. What a sender claims is never believed: a count, a length or a list ends with
//! the bytes that are there, so what comes out is bounded by what came in. Samples before a damaged one are kept, and
//! [`Decoded::damage`] says what was wrong. A record whose format is not known, whose data do not fit it, or whose
//! members the line has already stands in `OtherRecords` with its bytes, so that nothing is lost and no member comes
//! twice.

#![deny(clippy::indexing_slicing)]

pub mod agents;
mod counters;
mod extended;
mod flow;
mod layout;
mod legacy;
mod members;
mod packet;
mod sample;
mod xdr;

use std::net::IpAddr;

pub use sample::Header;
use sample::Sample;
pub use xdr::Address;
use xdr::Reader;

use super::{ReceiveTime, flow::record::MacFormat};
pub use crate::config::FlowOutput as Output;

/// The settings of one sFlow input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SflowRules {
    /// Which lines samples become: one per sample with all that is known, or one per flow record with the few members
    /// of before.
    pub output: Output,
    /// Whether counter samples give lines.
    pub counters: bool,
    /// Whether drop notifications give lines.
    pub drops: bool,
    /// Whether a packet in a tunnel is parsed as well.
    pub inner: bool,
    /// How MAC addresses are written.
    pub mac: MacFormat,
}

impl SflowRules {
    fn is_legacy(self) -> bool {
        self.output == Output::Legacy
    }
}

impl Default for SflowRules {
    fn default() -> Self {
        Self { output: Output::Fields, counters: true, drops: true, inner: false, mac: MacFormat::Number }
    }
}

/// What became of a datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Decoded {
    /// Its header, for the count of what was lost on the way; `None` when it has none.
    pub header: Option<Header>,
    /// Lines appended.
    pub lines: u32,
    /// Samples that were read; those that the rules leave out give no line.
    pub samples: u32,
    /// The first thing that was wrong. What was read before it stays.
    pub damage: Option<Damage>,
}

/// What is wrong with a datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    /// Nothing of it can be read.
    #[error("it is no sFlow of version 5")]
    Version,
    /// Nothing of it can be read.
    #[error("its header is cut or has an unknown kind of agent address")]
    Header,
    /// The rest cannot be read.
    #[error("a sample is missing or longer than the datagram")]
    Sample,
    /// The sample is left out.
    #[error("a sample is shorter than its members")]
    SampleHead,
    /// What was read of the sample is kept.
    #[error("a record is missing or longer than its sample")]
    Record,
}

/// What all lines of a datagram share.
struct Datagram<'a> {
    header: Header,
    rules: &'a SflowRules,
    source: IpAddr,
    now: &'a ReceiveTime,
}

/// Appends the datagram's samples as lines of JSON, each ended by `\n`.
pub fn push_datagram(
    datagram: &[u8],
    rules: &SflowRules,
    source: IpAddr,
    now: &ReceiveTime,
    out: &mut Vec<u8>,
) -> Decoded {
    let mut reader = Reader::new(datagram);
    if reader.u32() != Some(5) {
        return Decoded { damage: Some(Damage::Version), ..Decoded::default() };
    }
    let Some(header) = Header::read(&mut reader) else {
        return Decoded { damage: Some(Damage::Header), ..Decoded::default() };
    };
    let datagram = Datagram { header, rules, source: source.to_canonical(), now };
    let mut decoded = Decoded { header: Some(header), ..Decoded::default() };
    for _ in 0..header.samples {
        let Some(tagged) = reader.tagged() else {
            decoded.damage.get_or_insert(Damage::Sample);
            break;
        };
        match Sample::read(tagged) {
            Some(sample) => datagram.push(&sample, &mut decoded, out),
            None => _ = decoded.damage.get_or_insert(Damage::SampleHead),
        }
    }
    if rules.is_legacy() && decoded.lines == 0 && decoded.damage.is_none() {
        legacy::push_summary(&datagram, out);
        decoded.lines = 1;
    }
    decoded
}

impl Datagram<'_> {
    fn push(&self, sample: &Sample<'_>, decoded: &mut Decoded, out: &mut Vec<u8>) {
        decoded.samples += 1;
        let records = match sample {
            Sample::Flow(sample) => Some(sample.records),
            Sample::Counters(sample) => Some(sample.records),
            Sample::Drop(sample) => Some(sample.records),
            Sample::Other(_) => None,
        };
        if records.is_some_and(sample::Records::are_cut) {
            decoded.damage.get_or_insert(Damage::Record);
        }
        decoded.lines += match sample {
            Sample::Flow(sample) if self.rules.is_legacy() => legacy::push_flow(self, sample, out),
            _ if self.rules.is_legacy() => 0,
            Sample::Counters(_) if !self.rules.counters => 0,
            Sample::Drop(_) if !self.rules.drops => 0,
            sample => {
                flow::push(self, sample, out);
                1
            }
        };
    }
}

#[cfg(test)]
mod tests;
