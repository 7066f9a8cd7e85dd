//! What a datagram consists of: a header, samples, and in each sample records.
//!
//! ```text
//! datagram := version=5 agent:address sub_agent sequence uptime count sample*
//! sample   := format length body          flow 0:1 0:3, counters 0:2 0:4, drop 0:5
//! body     := fields count record*        0:3 and 0:4 spell out what 0:1 and 0:2 pack into bits
//! record   := format length data
//! ```
//! A count is what the sender claims; what is read is bounded by the bytes that are there, eight at least per sample
//! and record.

use super::xdr::{Address, Reader, Tagged};

/// The header of a datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// The agent, which need not be who sent the datagram.
    pub agent: Address,
    /// Numbers datagrams for itself.
    pub sub_agent: u32,
    /// Number of the datagram.
    pub sequence: u32,
    /// Milliseconds since the agent started.
    pub uptime_ms: u32,
    /// How many samples are said to follow.
    pub samples: u32,
}

/// What the counters or packets are of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DataSource {
    /// 0 is an interface, 1 a VLAN, 2 a physical entity.
    pub class: u32,
    /// Its index.
    pub index: u32,
}

/// Where a packet came in or went out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Interface {
    /// 0 is an index, 1 the reason of a discard, 2 a number of interfaces.
    pub format: u32,
    /// That.
    pub value: u32,
    /// As it stands in the sample.
    pub written: u32,
}

/// One of several packets.
#[derive(Debug, Clone, Copy)]
pub struct FlowSample<'a> {
    pub sequence: u32,
    pub source: DataSource,
    pub rate: u32,
    pub pool: u32,
    pub drops: u32,
    pub input: Interface,
    pub output: Interface,
    pub records: Records<'a>,
}

/// Counters at one moment.
#[derive(Debug, Clone, Copy)]
pub struct CounterSample<'a> {
    pub sequence: u32,
    pub source: DataSource,
    pub records: Records<'a>,
}

/// A packet that was dropped.
#[derive(Debug, Clone, Copy)]
pub struct DropSample<'a> {
    pub sequence: u32,
    pub source: DataSource,
    pub drops: u32,
    pub input: u32,
    pub output: u32,
    pub reason: u32,
    pub records: Records<'a>,
}

/// A sample of any kind.
#[derive(Debug, Clone, Copy)]
pub enum Sample<'a> {
    Flow(FlowSample<'a>),
    Counters(CounterSample<'a>),
    Drop(DropSample<'a>),
    /// Of a format that is not known.
    Other(Tagged<'a>),
}

/// The records of a sample: as many as are claimed, or as there are.
#[derive(Debug, Clone, Copy)]
pub struct Records<'a> {
    reader: Reader<'a>,
    claimed: u32,
}

/// Those that are left.
#[derive(Debug, Clone)]
pub struct RecordIter<'a>(Records<'a>);

impl Header {
    /// After the version.
    pub fn read(reader: &mut Reader<'_>) -> Option<Self> {
        Some(Self {
            agent: reader.address()?,
            sub_agent: reader.u32()?,
            sequence: reader.u32()?,
            uptime_ms: reader.u32()?,
            samples: reader.u32()?,
        })
    }
}

impl DataSource {
    fn packed(reader: &mut Reader<'_>) -> Option<Self> {
        reader.u32().map(|bits| Self { class: bits >> 24, index: bits & 0x00ff_ffff })
    }

    fn expanded(reader: &mut Reader<'_>) -> Option<Self> {
        Some(Self { class: reader.u32()?, index: reader.u32()? })
    }
}

impl Interface {
    fn packed(reader: &mut Reader<'_>) -> Option<Self> {
        reader.u32().map(|bits| Self { format: bits >> 30, value: bits & 0x3fff_ffff, written: bits })
    }

    fn expanded(reader: &mut Reader<'_>) -> Option<Self> {
        let (format, value) = (reader.u32()?, reader.u32()?);
        Some(Self { format, value, written: value })
    }
}

impl<'a> Sample<'a> {
    /// `None` when it is shorter than what every sample of its format has.
    pub fn read(tagged: Tagged<'a>) -> Option<Self> {
        let reader = &mut Reader::new(tagged.body);
        Some(match (tagged.enterprise, tagged.format) {
            (0, 1) => Self::Flow(FlowSample {
                sequence: reader.u32()?,
                source: DataSource::packed(reader)?,
                rate: reader.u32()?,
                pool: reader.u32()?,
                drops: reader.u32()?,
                input: Interface::packed(reader)?,
                output: Interface::packed(reader)?,
                records: Records::read(reader)?,
            }),
            (0, 3) => Self::Flow(FlowSample {
                sequence: reader.u32()?,
                source: DataSource::expanded(reader)?,
                rate: reader.u32()?,
                pool: reader.u32()?,
                drops: reader.u32()?,
                input: Interface::expanded(reader)?,
                output: Interface::expanded(reader)?,
                records: Records::read(reader)?,
            }),
            (0, 2) => Self::Counters(CounterSample {
                sequence: reader.u32()?,
                source: DataSource::packed(reader)?,
                records: Records::read(reader)?,
            }),
            (0, 4) => Self::Counters(CounterSample {
                sequence: reader.u32()?,
                source: DataSource::expanded(reader)?,
                records: Records::read(reader)?,
            }),
            (0, 5) => Self::Drop(DropSample {
                sequence: reader.u32()?,
                source: DataSource::expanded(reader)?,
                drops: reader.u32()?,
                input: reader.u32()?,
                output: reader.u32()?,
                reason: reader.u32()?,
                records: Records::read(reader)?,
            }),
            _ => Self::Other(tagged),
        })
    }
}

impl<'a> Records<'a> {
    fn read(reader: &mut Reader<'a>) -> Option<Self> {
        let claimed = reader.u32()?;
        Some(Self { reader: *reader, claimed })
    }

    /// Whether more are claimed than there are.
    pub fn are_cut(self) -> bool {
        let mut all = self.into_iter();
        all.by_ref().for_each(drop);
        all.0.claimed > 0
    }
}

impl<'a> IntoIterator for Records<'a> {
    type Item = Tagged<'a>;
    type IntoIter = RecordIter<'a>;

    #[inline]
    fn into_iter(self) -> RecordIter<'a> {
        RecordIter(self)
    }
}

impl<'a> Iterator for RecordIter<'a> {
    type Item = Tagged<'a>;

    #[inline]
    fn next(&mut self) -> Option<Tagged<'a>> {
        let left = self.0.claimed.checked_sub(1)?;
        let record = self.0.reader.tagged()?;
        self.0.claimed = left;
        Some(record)
    }
}
