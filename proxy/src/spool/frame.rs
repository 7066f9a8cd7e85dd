//! Frames of the log. Layout: `docs/spool.md`.

use serde::{Deserialize, Serialize};

use super::Stamp;
use crate::{
    batch::{Class, StreamKey},
    ids::{DatasetId, DatasetKey, Hint, TenantId},
};

/// Bytes before the payload.
pub const HEADER: usize = 56;
/// Frames begin at multiples of this.
pub const ALIGN: usize = 8;
/// Longest payload that is believed: a member of the longest line, incompressible, with room to spare.
pub const MAX_PAYLOAD: usize = 64 << 20;
const MAGIC: u8 = 0xBF;

/// What all frames of a segment bear, so that nothing else is taken for one of them: neither what was in its place before,
/// nor what a sender made to look like a frame, who cannot know the salt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    /// Number of the segment.
    pub segment: u32,
    /// Random bits of its header, 48 of them; 0 in segments of version 1.
    pub salt: u64,
}

impl Mark {
    fn high(self) -> [u8; 2] {
        ((self.salt >> 32) as u16).to_le_bytes()
    }

    fn low(self) -> u32 {
        self.salt as u32
    }
}

/// What a frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// First of a batch: whose it is.
    Open = 1,
    /// Lines.
    Raw = 2,
    /// Lines as a gzip member.
    Member = 3,
    /// The batch is whole.
    Close = 4,
    /// The batch is finished.
    Done = 5,
    /// The batch will be two others.
    Split = 6,
    /// The batch is whole in its file, or was; frames before this do not count.
    Settled = 7,
}

impl Kind {
    fn from_byte(byte: u8) -> Option<Self> {
        [Self::Open, Self::Raw, Self::Member, Self::Close, Self::Done, Self::Split, Self::Settled]
            .into_iter()
            .find(|kind| *kind as u8 == byte)
    }
}

/// A frame's header without what the log adds (segment, length, CRC, synced).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// What it is.
    pub kind: Kind,
    /// Batch.
    pub stamp: Stamp,
    /// Number within the batch.
    pub number: u32,
    /// Raw offset within the batch.
    pub offset: u64,
    /// Lines.
    pub lines: u32,
    /// Raw length.
    pub raw_len: u32,
    /// CRC-32 of the raw bytes.
    pub raw_crc: u32,
}

impl Header {
    /// A header of a frame that carries no lines.
    pub fn control(kind: Kind, stamp: Stamp, number: u32, offset: u64) -> Self {
        Self { kind, stamp, number, offset, lines: 0, raw_len: 0, raw_crc: 0 }
    }
}

/// A frame as read.
#[derive(Debug, Clone, Copy)]
pub struct Frame<'a> {
    /// Header.
    pub header: Header,
    /// Offset in the segment up to which all was synced when this was written.
    pub synced: u32,
    /// Payload.
    pub payload: &'a [u8],
}

/// Bytes a frame with this payload takes in the log.
pub fn length(payload: usize) -> usize {
    (HEADER + payload).next_multiple_of(ALIGN)
}

/// Appends a frame to `out`.
pub fn encode(header: &Header, mark: Mark, synced: u32, payload: &[u8], out: &mut Vec<u8>) {
    let start = out.len();
    out.extend_from_slice(&[MAGIC, header.kind as u8]);
    out.extend_from_slice(&mark.high());
    out.extend_from_slice(&mark.segment.to_le_bytes());
    out.extend_from_slice(&(payload.len() as u32).to_le_bytes());
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&header.stamp.0.to_le_bytes());
    out.extend_from_slice(&header.number.to_le_bytes());
    out.extend_from_slice(&synced.to_le_bytes());
    out.extend_from_slice(&header.offset.to_le_bytes());
    out.extend_from_slice(&header.lines.to_le_bytes());
    out.extend_from_slice(&header.raw_len.to_le_bytes());
    out.extend_from_slice(&header.raw_crc.to_le_bytes());
    out.extend_from_slice(&mark.low().to_le_bytes());
    out.extend_from_slice(payload);
    let end = out.len();
    out.resize(start + length(payload.len()), 0);
    if let Some(frame) = out.get_mut(start..end) {
        seal(frame);
    }
}

/// Gives all frames in `bytes` the mark of another segment, for writing them again after a failed sync.
pub fn move_to_segment(bytes: &mut [u8], mark: Mark) {
    let mut at = 0;
    while let Some(len) = word(bytes, at + 8) {
        let end = at + HEADER + len as usize;
        let Some(frame) = bytes.get_mut(at..end) else { return };
        if let Some(place) = frame.get_mut(2..4) {
            place.copy_from_slice(&mark.high());
        }
        put(frame, 4, mark.segment);
        put(frame, 28, 0);
        put(frame, 52, mark.low());
        seal(frame);
        at += length(len as usize);
    }
}

/// Reads the frame at the start of `bytes`.
pub fn decode(bytes: &[u8], mark: Mark) -> Option<Frame<'_>> {
    let marked = word(bytes, 4)? == mark.segment && salt(bytes)? == mark.salt;
    if *bytes.first()? != MAGIC || !marked {
        return None;
    }
    let kind = Kind::from_byte(*bytes.get(1)?)?;
    let len = word(bytes, 8)? as usize;
    if len > MAX_PAYLOAD {
        return None;
    }
    let payload = bytes.get(HEADER..HEADER + len)?;
    if word(bytes, 12)? != checksum(bytes.get(..HEADER + len)?) {
        return None;
    }
    let header = Header {
        kind,
        stamp: Stamp(long(bytes, 16)?),
        number: word(bytes, 24)?,
        offset: long(bytes, 32)?,
        lines: word(bytes, 40)?,
        raw_len: word(bytes, 44)?,
        raw_crc: word(bytes, 48)?,
    };
    Some(Frame { header, synced: word(bytes, 28)?, payload })
}

/// The salt that the frame at the start of `bytes` bears.
pub fn salt(bytes: &[u8]) -> Option<u64> {
    Some(u64::from(word(bytes, 0)? >> 16) << 32 | u64::from(word(bytes, 52)?))
}

fn seal(frame: &mut [u8]) {
    let crc = checksum(frame);
    put(frame, 12, crc);
}

/// CRC32C of a frame with its own field taken as 0.
fn checksum(frame: &[u8]) -> u32 {
    let head = crc32c::crc32c(frame.get(..12).unwrap_or_default());
    let zero = crc32c::crc32c_append(head, &[0; 4]);
    crc32c::crc32c_append(zero, frame.get(16..).unwrap_or_default())
}

fn put(bytes: &mut [u8], at: usize, value: u32) {
    if let Some(place) = bytes.get_mut(at..at + 4) {
        place.copy_from_slice(&value.to_le_bytes());
    }
}

/// Little-endian u32 at `at`.
pub fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?))
}

/// Little-endian u64 at `at`.
pub fn long(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at.checked_add(8)?)?.try_into().ok()?))
}

/// Payload of an Open frame.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Opening {
    tenant: TenantId,
    dataset: DatasetId,
    hint: Hint,
    acknowledged: bool,
    /// Receive time of the first line, Unix nanoseconds.
    pub first_ns: u64,
}

impl Opening {
    /// Of a new batch.
    pub fn new(key: &StreamKey, first_ns: u64) -> Self {
        Self {
            tenant: key.dataset.tenant.clone(),
            dataset: key.dataset.dataset.clone(),
            hint: key.hint.clone(),
            acknowledged: key.class == Class::Acknowledged,
            first_ns,
        }
    }

    /// Whose lines the batch holds.
    pub fn key(&self) -> StreamKey {
        let class = if self.acknowledged { Class::Acknowledged } else { Class::Unacknowledged };
        let dataset = DatasetKey { tenant: self.tenant.clone(), dataset: self.dataset.clone() };
        StreamKey { dataset, hint: self.hint.clone(), class }
    }

    /// As payload. Strings and numbers always serialise.
    pub fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// From a payload.
    pub fn decode(payload: &[u8]) -> Option<Self> {
        serde_json::from_slice(payload).ok()
    }
}

/// Payload of a Close frame: what the batch must amount to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Totals {
    /// Frames before this one.
    pub frames: u32,
    /// Lines.
    pub lines: u64,
    /// Raw length.
    pub raw: u64,
    /// CRC-32 of all raw bytes.
    pub crc: u32,
}

impl Totals {
    /// As payload.
    pub fn encode(&self) -> [u8; 24] {
        let mut out = [0; 24];
        let bytes = self
            .frames
            .to_le_bytes()
            .into_iter()
            .chain(self.lines.to_le_bytes())
            .chain(self.raw.to_le_bytes())
            .chain(self.crc.to_le_bytes());
        for (to, from) in out.iter_mut().zip(bytes) {
            *to = from;
        }
        out
    }

    /// From a payload.
    pub fn decode(payload: &[u8]) -> Option<Self> {
        Some(Self {
            frames: word(payload, 0)?,
            lines: long(payload, 4)?,
            raw: long(payload, 12)?,
            crc: word(payload, 20)?,
        })
    }
}

/// Payload of a Split frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cut {
    /// Names of the halves.
    pub halves: [Stamp; 2],
    /// Lines of the first.
    pub lines: u64,
}

impl Cut {
    /// As payload.
    pub fn encode(&self) -> Vec<u8> {
        let [first, second] = self.halves;
        [first.0, second.0, self.lines].into_iter().flat_map(u64::to_le_bytes).collect()
    }

    /// From a payload.
    pub fn decode(payload: &[u8]) -> Option<Self> {
        Some(Self { halves: [Stamp(long(payload, 0)?), Stamp(long(payload, 8)?)], lines: long(payload, 16)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const fn mark(segment: u32) -> Mark {
        Mark { segment, salt: 0x1234_5678_9abc }
    }

    fn header(stamp: u64) -> Header {
        Header {
            kind: Kind::Raw,
            stamp: Stamp(stamp),
            number: 3,
            offset: 77,
            lines: 2,
            raw_len: 9,
            raw_crc: 1,
        }
    }

    proptest! {
        #[test]
        fn a_frame_reads_back_and_any_flipped_bit_is_seen(
            stamp in any::<u64>(), payload in proptest::collection::vec(any::<u8>(), 0..300), flip in any::<prop::sample::Index>()
        ) {
            let mut bytes = Vec::new();
            encode(&header(stamp), mark(5), 4096, &payload, &mut bytes);
            prop_assert_eq!(bytes.len() % ALIGN, 0);
            let frame = decode(&bytes, mark(5)).unwrap();
            prop_assert_eq!(frame.header, header(stamp));
            prop_assert_eq!((frame.payload, frame.synced), (&payload[..], 4096));
            prop_assert!(decode(&bytes, mark(6)).is_none(), "a frame of another segment is no frame");
            for salt in [0, 0x1234_5678_9abd, 0x9234_5678_9abc] {
                prop_assert!(decode(&bytes, Mark { segment: 5, salt }).is_none(), "nor is one without its salt");
            }
            let bit = flip.index((HEADER + payload.len()) * 8);
            bytes[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(decode(&bytes, mark(5)).is_none());
        }

        #[test]
        fn any_bytes_are_a_frame_or_none(bytes in proptest::collection::vec(any::<u8>(), 0..200), segment in any::<u32>()) {
            let _ = decode(&bytes, mark(segment));
            let mut bytes = bytes;
            move_to_segment(&mut bytes, mark(segment));
        }
    }

    #[test]
    fn frames_can_move_to_another_segment() {
        let mut bytes = Vec::new();
        encode(&header(1), mark(5), 4096, b"a\n", &mut bytes);
        let second = bytes.len();
        encode(&header(2), mark(5), 4096, b"bbbbbbbbbbbbbbbb\n", &mut bytes);
        move_to_segment(&mut bytes, mark(6));
        let (first, rest) = bytes.split_at(second);
        assert_eq!(decode(first, mark(6)).unwrap().header.stamp, Stamp(1));
        assert_eq!(decode(rest, mark(6)).unwrap().payload, b"bbbbbbbbbbbbbbbb\n");
        assert_eq!(decode(rest, mark(6)).unwrap().synced, 0);
    }

    #[test]
    fn totals_cut_and_opening_read_back() {
        let totals = Totals { frames: 1, lines: 1 << 40, raw: 1 << 41, crc: 7 };
        assert_eq!(Totals::decode(&totals.encode()), Some(totals));
        let cut = Cut { halves: [Stamp(1), Stamp(2)], lines: 9 };
        assert_eq!(Cut::decode(&cut.encode()), Some(cut));
        assert!(Totals::decode(&[0; 23]).is_none());
    }
}
