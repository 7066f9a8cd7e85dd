//! Gzip members that carry what recovery needs to know about them.
//!
//! A member is a complete RFC 1952 stream: fixed header, FEXTRA, raw deflate data, CRC-32, ISIZE. FEXTRA holds one
//! subfield with id `BF` and [`SUBFIELD`] bytes, little-endian:
//!
//! | offset | bytes | content |
//! |---|---|---|
//! | 0 | 4 | length of the whole member |
//! | 4 | 4 | raw length |
//! | 8 | 4 | lines |
//! | 12 | 4 | CRC32C of the deflate data and the gzip trailer (all that follows the FEXTRA field) |
//! | 16 | 8 | receive time of the first line, Unix nanoseconds |
//! | 24 | 1 | class: 0 unacknowledged, 1 acknowledged |
//!
//! So a reader walks headers without inflating and a bad member is recognised alone. `gzip -t` and Go's multi-member
//! reader take the file as it is.

use std::fmt;

use libdeflater::CompressionLvl;

use crate::batch::{CHUNK_TARGET, Class};

/// Bytes of our subfield's data.
pub const SUBFIELD: usize = 25;
/// Bytes before the deflate data: fixed header 10, XLEN 2, subfield header 4, subfield.
pub const HEADER: usize = 16 + SUBFIELD;
/// Bytes after it.
pub const TRAILER: usize = 8;

/// What a member's FEXTRA says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemberInfo {
    /// Bytes of the whole member.
    pub len: u32,
    /// Bytes before compression.
    pub raw_len: u32,
    /// Lines.
    pub lines: u32,
    /// CRC32C of everything after the header.
    pub crc32c: u32,
    /// Receive time of the first line, Unix nanoseconds.
    pub first_ns: u64,
    /// Class of the batch.
    pub class: Class,
}

/// A deflate state, made at first use and kept until another level is asked for, and room for its output.
#[derive(Default)]
pub struct Compressor {
    state: Option<(u32, libdeflater::Compressor)>,
    room: Vec<u8>,
}

impl fmt::Debug for Compressor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Compressor")
            .field("level", &self.state.as_ref().map(|(level, _)| level))
            .finish_non_exhaustive()
    }
}

impl Compressor {
    /// Compresses `raw` into one member. `level` above 9 counts as 9.
    pub fn member(&mut self, raw: &[u8], lines: u32, class: Class, first_ns: u64, level: u32) -> Vec<u8> {
        let deflated = self.deflate(raw, level.min(9));
        let mut out = Vec::with_capacity(HEADER + deflated.len() + TRAILER);
        out.extend_from_slice(&[0x1f, 0x8b, 8, 4, 0, 0, 0, 0, 0, 255]);
        out.extend_from_slice(&((SUBFIELD + 4) as u16).to_le_bytes());
        out.extend_from_slice(b"BF");
        out.extend_from_slice(&(SUBFIELD as u16).to_le_bytes());
        out.resize(HEADER, 0);
        out.extend_from_slice(deflated);
        self.shrink();
        out.extend_from_slice(&crc32fast::hash(raw).to_le_bytes());
        out.extend_from_slice(&(raw.len() as u32).to_le_bytes());
        let crc = crc32c::crc32c(out.get(HEADER..).unwrap_or_default());
        let mut sub = [0u8; SUBFIELD];
        let fields = [out.len() as u32, raw.len() as u32, lines, crc].map(u32::to_le_bytes);
        let bytes = fields.iter().flatten().copied().chain(first_ns.to_le_bytes()).chain([class_byte(class)]);
        for (to, from) in sub.iter_mut().zip(bytes) {
            *to = from;
        }
        if let Some(place) = out.get_mut(16..HEADER) {
            place.copy_from_slice(&sub);
        }
        out
    }

    /// `raw` as one deflate stream. It cannot fail: there is room for the longest.
    fn deflate(&mut self, raw: &[u8], level: u32) -> &[u8] {
        if self.state.as_ref().is_none_or(|(known, _)| *known != level) {
            let level_of = CompressionLvl::new(level as i32).unwrap_or_default();
            self.state = Some((level, libdeflater::Compressor::new(level_of)));
        }
        let Some((_, state)) = &mut self.state else { return &[] };
        let most = state.deflate_compress_bound(raw.len());
        if self.room.len() < most {
            self.room.resize(most, 0);
        }
        let len = state.deflate_compress(raw, &mut self.room).unwrap_or(0);
        self.room.get(..len).unwrap_or_default()
    }

    /// One very long line shall not hold its memory for good.
    fn shrink(&mut self) {
        self.room.truncate(2 * CHUNK_TARGET);
        self.room.shrink_to(2 * CHUNK_TARGET);
    }
}

fn class_byte(class: Class) -> u8 {
    match class {
        Class::Unacknowledged => 0,
        Class::Acknowledged => 1,
    }
}

/// Reads the header of the member at the start of `bytes` (at least [`HEADER`] of them); `None` when it is not ours.
pub fn parse_header(bytes: &[u8]) -> Option<MemberInfo> {
    let header = bytes.get(..HEADER)?;
    if header.get(..4)? != [0x1f, 0x8b, 8, 4] || header.get(10..12)? != ((SUBFIELD + 4) as u16).to_le_bytes()
    {
        return None;
    }
    if header.get(12..14)? != b"BF" || header.get(14..16)? != (SUBFIELD as u16).to_le_bytes() {
        return None;
    }
    let word = |at: usize| Some(u32::from_le_bytes(header.get(at..at + 4)?.try_into().ok()?));
    let class = match header.get(40)? {
        0 => Class::Unacknowledged,
        1 => Class::Acknowledged,
        _ => return None,
    };
    let info = MemberInfo {
        len: word(16)?,
        raw_len: word(20)?,
        lines: word(24)?,
        crc32c: word(28)?,
        first_ns: u64::from_le_bytes(header.get(32..40)?.try_into().ok()?),
        class,
    };
    (info.len as usize >= HEADER + TRAILER).then_some(info)
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_member_inflates_to_its_lines_and_its_header_tells_the_truth(
            raw in proptest::collection::vec(any::<u8>(), 0..5000), lines in any::<u32>(), level in 0u32..12
        ) {
            let mut compressor = Compressor::default();
            for _ in 0..2 {
                let member = compressor.member(&raw, lines, Class::Acknowledged, 7, level);
                let info = parse_header(&member).unwrap();
                prop_assert_eq!(info.len as usize, member.len());
                prop_assert_eq!((info.raw_len as usize, info.lines, info.first_ns), (raw.len(), lines, 7));
                prop_assert_eq!(info.crc32c, crc32c::crc32c(&member[HEADER..]));
                let mut back = Vec::new();
                flate2::read::MultiGzDecoder::new(&member[..]).read_to_end(&mut back).unwrap();
                prop_assert_eq!(&back, &raw);
            }
        }

        #[test]
        fn any_bytes_are_parsed_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = parse_header(&bytes);
        }
    }
}
