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

use flate2::{Compress, Compression, FlushCompress, Status};

use crate::batch::Class;

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

/// Deflate states, one per level, made at first use and kept: a state is some 270 KiB.
#[derive(Debug, Default)]
pub struct Compressor {
    states: [Option<Box<Compress>>; 10],
}

impl Compressor {
    /// Compresses `raw` into one member. `level` above 9 counts as 9.
    pub fn member(&mut self, raw: &[u8], lines: u32, class: Class, first_ns: u64, level: u32) -> Vec<u8> {
        let level = level.min(9);
        let mut out = Vec::with_capacity(HEADER + TRAILER + raw.len() / 3 + 64);
        out.extend_from_slice(&[0x1f, 0x8b, 8, 4, 0, 0, 0, 0, 0, 255]);
        out.extend_from_slice(&((SUBFIELD + 4) as u16).to_le_bytes());
        out.extend_from_slice(b"BF");
        out.extend_from_slice(&(SUBFIELD as u16).to_le_bytes());
        out.resize(HEADER, 0);
        let state = self.states.get_mut(level as usize);
        if let Some(state) = state {
            let state = state.get_or_insert_with(|| Box::new(Compress::new(Compression::new(level), false)));
            state.reset();
            deflate(state, raw, &mut out);
        }
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
}

/// Runs one deflate stream to its end; the output grows as needed. Neither call can fail: the state is fresh and the
/// output has room.
fn deflate(state: &mut Compress, raw: &[u8], out: &mut Vec<u8>) {
    loop {
        let taken = usize::try_from(state.total_in()).unwrap_or(raw.len()).min(raw.len());
        let rest = raw.get(taken..).unwrap_or_default();
        match state.compress_vec(rest, out, FlushCompress::Finish) {
            Ok(Status::StreamEnd) | Err(_) => return,
            Ok(_) => out.reserve(raw.len() / 4 + 4096),
        }
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
