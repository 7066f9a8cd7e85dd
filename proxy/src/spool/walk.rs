//! Walks the members of a batch file.

use std::{
    io::{self, SeekFrom},
    ops::Range,
};

use super::{
    disk::Source,
    frame::word,
    member::{HEADER, MemberInfo, TRAILER, parse_header},
};

/// A stretch of a batch file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// A member whose CRC32C is right.
    Sound {
        /// Where.
        at: Range<usize>,
        /// Header.
        info: MemberInfo,
        /// CRC-32 of the raw bytes, from the gzip trailer.
        raw_crc: u32,
    },
    /// Bytes that are no sound member.
    Bad {
        /// Where.
        at: Range<usize>,
        /// The header when it can be believed: then the length is that of a member, whose trailer agrees with it.
        info: Option<MemberInfo>,
    },
}

impl Piece {
    /// Where it is.
    pub fn at(&self) -> Range<usize> {
        match self {
            Self::Sound { at, .. } | Self::Bad { at, .. } => at.clone(),
        }
    }

    /// Its header, when there is one to believe.
    pub fn info(&self) -> Option<MemberInfo> {
        match self {
            Self::Sound { info, .. } => Some(*info),
            Self::Bad { info, .. } => *info,
        }
    }
}

/// Checks a whole file. After a bad place it goes on at the next sound member.
pub fn pieces(bytes: &[u8]) -> Vec<Piece> {
    let mut found = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        if let Some((info, raw_crc)) = sound(bytes, at) {
            let end = at + info.len as usize;
            found.push(Piece::Sound { at: at..end, info, raw_crc });
            at = end;
            continue;
        }
        let info = bytes.get(at..).and_then(parse_header);
        let end = (at + 1..bytes.len())
            .find(|place| bytes.get(*place) == Some(&0x1f) && sound(bytes, *place).is_some())
            .unwrap_or(bytes.len());
        let info =
            info.filter(|info| at + info.len as usize == end && word(bytes, end - 4) == Some(info.raw_len));
        found.push(Piece::Bad { at: at..end, info });
        at = end;
    }
    found
}

fn sound(bytes: &[u8], at: usize) -> Option<(MemberInfo, u32)> {
    let info = parse_header(bytes.get(at..)?)?;
    let member = bytes.get(at..at.checked_add(info.len as usize)?)?;
    let crc = word(member, member.len() - TRAILER)?;
    let raw_len = word(member, member.len() - TRAILER + 4)?;
    let right = crc32c::crc32c(member.get(HEADER..)?) == info.crc32c && raw_len == info.raw_len;
    right.then_some((info, crc))
}

/// What the headers of a file say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Summary {
    /// First header.
    pub first: MemberInfo,
    /// Lines of all.
    pub lines: u64,
    /// Raw length of all.
    pub raw: u64,
    /// Bytes of the file.
    pub bytes: u64,
}

/// Reads headers only; `None` when they do not lead exactly to the end of the file.
pub fn summary(file: &mut dyn Source) -> io::Result<Option<Summary>> {
    let len = file.seek(SeekFrom::End(0))?;
    let mut sum: Option<Summary> = None;
    let mut at = 0;
    while at < len {
        let mut header = [0; HEADER];
        file.seek(SeekFrom::Start(at))?;
        match file.read_exact(&mut header) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            other => other?,
        }
        let Some(info) = parse_header(&header) else { return Ok(None) };
        at += u64::from(info.len);
        let total = sum.get_or_insert(Summary { first: info, lines: 0, raw: 0, bytes: len });
        total.lines += u64::from(info.lines);
        total.raw += u64::from(info.raw_len);
    }
    Ok(sum.filter(|_| at == len))
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;
    use crate::{batch::Class, spool::member::Compressor};

    fn file() -> (Vec<u8>, Vec<usize>) {
        let mut compressor = Compressor::default();
        let mut bytes = Vec::new();
        let mut starts = Vec::new();
        for text in ["one\n", "two\nthree\n", "four\n"] {
            starts.push(bytes.len());
            let lines = text.lines().count() as u32;
            bytes.extend(compressor.member(text.as_bytes(), lines, Class::Acknowledged, 7, 6));
        }
        (bytes, starts)
    }

    #[test]
    fn a_flipped_bit_anywhere_spoils_one_member_at_most() {
        let (bytes, starts) = file();
        for bit in 0..bytes.len() * 8 {
            let mut bytes = bytes.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let hit = starts.iter().filter(|start| **start <= bit / 8).count() - 1;
            let found = pieces(&bytes);
            let sound = found.iter().filter(|p| matches!(p, Piece::Sound { .. })).count();
            assert!(sound >= 2, "bit {bit}: {found:?}");
            for piece in &found {
                if let Piece::Bad { at, .. } = piece {
                    assert_eq!(at.start, starts[hit]);
                }
            }
        }
    }

    #[test]
    fn a_torn_end_is_one_bad_piece() {
        let (bytes, starts) = file();
        for len in starts[2] + 1..bytes.len() {
            let found = pieces(&bytes[..len]);
            assert_eq!(found.len(), 3);
            assert_eq!(found[2], Piece::Bad { at: starts[2]..len, info: None });
            assert_eq!(summary(&mut Cursor::new(&bytes[..len])).unwrap(), None);
        }
        let sum = summary(&mut Cursor::new(&bytes)).unwrap().unwrap();
        assert_eq!((sum.lines, sum.raw, sum.bytes), (4, 19, bytes.len() as u64));
    }
}
