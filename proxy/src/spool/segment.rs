//! Segments: the header, and reading frames with torn and damaged places. Layout: `docs/spool.md`.

use super::frame::{self, Frame, Mark};

/// Bytes before the first frame.
pub const PAGE: usize = 4096;
/// Where the second copy of the header is.
pub const SECOND: u64 = 512;
const MAGIC: &[u8; 8] = b"BFLOG\0\0\x02";
/// Of the version before: without a salt.
const FIRST: &[u8; 8] = b"BFLOG\0\0\x01";
const LEN: usize = 44;

/// What a segment says about itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SegmentHeader {
    /// Number, as in the file name.
    pub number: u32,
    /// How far the segment before this one is known to be synced.
    pub previous_synced: u32,
    /// Batches named above this have their first frame here or later.
    pub created: u64,
    /// Above every stamp handed out.
    pub reserved: u64,
    /// What frames of this segment bear; see [`Mark`].
    pub salt: u64,
}

impl SegmentHeader {
    /// As bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(LEN);
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&self.number.to_le_bytes());
        out.extend_from_slice(&self.previous_synced.to_le_bytes());
        out.extend_from_slice(&self.created.to_le_bytes());
        out.extend_from_slice(&self.reserved.to_le_bytes());
        out.extend_from_slice(&self.salt.to_le_bytes());
        let crc = crc32c::crc32c(&out);
        out.extend_from_slice(&crc.to_le_bytes());
        out
    }

    /// The first page of a segment.
    pub fn page(&self) -> Vec<u8> {
        let mut page = self.encode();
        page.resize(SECOND as usize, 0);
        page.extend_from_slice(&self.encode());
        page.resize(PAGE, 0);
        page
    }

    fn decode_one(bytes: &[u8]) -> Option<Self> {
        let salted = bytes.starts_with(MAGIC);
        let len = if salted { LEN } else { LEN - 8 };
        let body = bytes.get(..len - 4)?;
        if !(salted || bytes.starts_with(FIRST)) || frame::word(bytes, len - 4)? != crc32c::crc32c(body) {
            return None;
        }
        Some(Self {
            number: frame::word(bytes, 8)?,
            previous_synced: frame::word(bytes, 12)?,
            created: frame::long(bytes, 16)?,
            reserved: frame::long(bytes, 24)?,
            salt: if salted { frame::long(bytes, 32)? } else { 0 },
        })
    }

    /// The valid copy with the higher reserved stamp.
    pub fn decode(page: &[u8]) -> Option<Self> {
        let second = page.get(SECOND as usize..).unwrap_or_default();
        let copies = [Self::decode_one(page), Self::decode_one(second)];
        copies.into_iter().flatten().max_by_key(|header| header.reserved)
    }
}

/// A stretch of a segment that holds no valid frame though it was synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Damage {
    /// Where it begins.
    pub at: usize,
    /// Its length.
    pub len: usize,
}

/// The frames of a segment.
#[derive(Debug, Default)]
pub struct Contents<'a> {
    /// Valid frames in order.
    pub frames: Vec<Frame<'a>>,
    /// Damaged places between them.
    pub damage: Vec<Damage>,
    /// Where they end; what follows was never synced.
    pub end: usize,
}

/// What the frames of a segment bear. Where the page with both headers is lost the first frame says it: at that place
/// nobody but us writes.
pub fn mark(bytes: &[u8], number: u32) -> Mark {
    let first = || frame::salt(bytes.get(PAGE..)?);
    let salt = SegmentHeader::decode(bytes).map(|header| header.salt).or_else(first);
    Mark { segment: number, salt: salt.unwrap_or(0) }
}

/// Reads a whole segment. `synced` is what the next segment's header says about this one, or 0.
///
/// At the first broken frame the question is whether it was ever synced. Only frames written after a sync can say so.
/// When none does, what follows was never acknowledged and is ignored.
pub fn read(bytes: &[u8], number: u32, synced: u32) -> Contents<'_> {
    let mark = mark(bytes, number);
    let mut found = Contents::default();
    let mut at = PAGE;
    while at < bytes.len() {
        if let Some(frame) = next(bytes, at, mark) {
            at += frame::length(frame.payload.len());
            found.frames.push(frame);
            continue;
        }
        // One look at what follows settles it: anything behind that knows of a sync beyond this place?
        let mut behind = at;
        let mut after = None;
        let mut known = synced as usize > at;
        while let Some((place, frame)) = search(bytes, behind + frame::ALIGN, mark) {
            after.get_or_insert(place);
            known |= frame.synced as usize > at;
            if known {
                break;
            }
            behind = place + frame::length(frame.payload.len()) - frame::ALIGN;
        }
        match after {
            Some(place) if known => {
                found.damage.push(Damage { at, len: place - at });
                at = place;
            }
            None if known => {
                let end = bytes.len().min(synced as usize);
                found.damage.push(Damage { at, len: end - at });
                at = end;
                break;
            }
            _ => break,
        }
    }
    found.end = at;
    found
}

fn next(bytes: &[u8], at: usize, mark: Mark) -> Option<Frame<'_>> {
    frame::decode(bytes.get(at..)?, mark)
}

/// The first valid frame at or after `from`.
fn search(bytes: &[u8], from: usize, mark: Mark) -> Option<(usize, Frame<'_>)> {
    /// Most of a segment that a crash left behind was preallocated and never written.
    const UNWRITTEN: &[u8] = &[0; PAGE];
    let mut at = from;
    loop {
        at = at.next_multiple_of(frame::ALIGN);
        while bytes.get(at..at + PAGE) == Some(UNWRITTEN) {
            at += PAGE;
        }
        let skip = bytes.get(at..)?.iter().position(|byte| *byte != 0)?;
        at = at + skip - (at + skip) % frame::ALIGN;
        if let Some(frame) = next(bytes, at, mark) {
            return Some((at, frame));
        }
        at += frame::ALIGN;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spool::{
        Stamp,
        frame::{Header, Kind},
    };
    use proptest::prelude::*;

    const SALT: u64 = 0x1234_5678_9abc;

    fn segment(rounds: &[&[&str]]) -> (Vec<u8>, Vec<usize>) {
        let header = SegmentHeader { number: 4, previous_synced: 0, created: 1, reserved: 2, salt: SALT };
        let mut bytes = header.page();
        let mut starts = Vec::new();
        for round in rounds {
            let synced = bytes.len() as u32;
            for payload in *round {
                starts.push(bytes.len());
                let header = Header::control(Kind::Raw, Stamp(1), 0, 0);
                frame::encode(
                    &header,
                    Mark { segment: 4, salt: SALT },
                    synced,
                    payload.as_bytes(),
                    &mut bytes,
                );
            }
        }
        bytes.resize(bytes.len() + 10_000, 0);
        (bytes, starts)
    }

    fn payloads(found: &Contents<'_>) -> Vec<String> {
        found.frames.iter().map(|f| String::from_utf8_lossy(f.payload).into_owned()).collect()
    }

    #[test]
    fn header_survives_the_loss_of_one_copy() {
        let header = SegmentHeader { number: 4, previous_synced: 9, created: 1, reserved: 2, salt: SALT };
        let mut page = header.page();
        assert_eq!(SegmentHeader::decode(&page), Some(header));
        page[9] ^= 1;
        assert_eq!(SegmentHeader::decode(&page), Some(header));
        page[520] ^= 1;
        assert_eq!(SegmentHeader::decode(&page), None);
    }

    #[test]
    fn frames_are_read_without_the_page_that_has_the_salt() {
        let (mut bytes, _) = segment(&[&["a"], &["b"]]);
        bytes[..PAGE].fill(0);
        assert_eq!(payloads(&read(&bytes, 4, 0)), ["a", "b"]);
    }

    /// As the version before wrote it: header and one frame.
    #[test]
    fn a_segment_of_version_1_is_read() {
        let hex = |text: &str| -> Vec<u8> {
            let digits: Vec<u8> = text.chars().filter_map(|c| c.to_digit(16)).map(|d| d as u8).collect();
            digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
        };
        let header = hex("42464c4f47000001040000000900000001000000000000000200000000000000d4c7df6b");
        let mut bytes = header.clone();
        bytes.resize(SECOND as usize, 0);
        bytes.extend(header);
        bytes.resize(PAGE, 0);
        bytes.extend(hex("bf020000040000000400000079ec34e907000000000000000100000000100000
             000000000000000001000000040000009fa817f8000000006f6e650a00000000"));
        let header = SegmentHeader { number: 4, previous_synced: 9, created: 1, reserved: 2, salt: 0 };
        assert_eq!(SegmentHeader::decode(&bytes), Some(header));
        let found = read(&bytes, 4, 0);
        assert_eq!((payloads(&found), found.frames[0].header.stamp), (vec!["one\n".to_owned()], Stamp(7)));
    }

    #[test]
    fn a_torn_last_round_is_ignored_and_ends_the_log() {
        let (mut bytes, starts) = segment(&[&["a"], &["b", "c", "d"]]);
        bytes[starts[2] + 3] ^= 1;
        let found = read(&bytes, 4, 0);
        assert_eq!(payloads(&found), ["a", "b"]);
        assert!(found.damage.is_empty());
    }

    #[test]
    fn a_flipped_bit_in_a_synced_round_costs_that_frame_only() {
        let (mut bytes, starts) = segment(&[&["a", "b", "c"], &["d"]]);
        bytes[starts[1] + 56] ^= 1;
        let found = read(&bytes, 4, 0);
        assert_eq!(payloads(&found), ["a", "c", "d"]);
        assert_eq!(found.damage, [Damage { at: starts[1], len: starts[2] - starts[1] }]);
    }

    #[test]
    fn the_next_segment_tells_that_the_last_round_was_synced() {
        let (mut bytes, starts) = segment(&[&["a", "b"]]);
        let synced = (bytes.len() - 10_000) as u32;
        bytes[starts[1] + 8] ^= 1;
        assert!(read(&bytes, 4, 0).damage.is_empty());
        assert_eq!(read(&bytes, 4, synced).damage.len(), 1);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read(mut bytes in proptest::collection::vec(any::<u8>(), 0..400), synced in any::<u32>(), flip in any::<prop::sample::Index>()) {
            let _ = read(&bytes, 4, synced);
            let (mut whole, _) = segment(&[&["a", "b"], &["c"]]);
            let at = flip.index(whole.len());
            whole[at] = bytes.pop().unwrap_or(1);
            let _ = read(&whole, 4, synced);
        }
    }
}
