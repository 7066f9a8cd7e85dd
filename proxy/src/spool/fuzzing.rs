//! What must hold for any bytes on the disk. For the fuzz target and a property test; not in a normal build.

use std::io::Cursor;

use super::{
    Stamp,
    frame::{self, Header, Kind},
    member::parse_header,
    segment::{self, PAGE, SegmentHeader},
    walk::{Piece, pieces, summary},
};

/// Reads `bytes` as everything the spool reads from its files.
///
/// # Panics
/// When something does not hold.
pub fn any_bytes(bytes: &[u8]) {
    let number = frame::word(bytes, 0).unwrap_or(1);
    let synced = frame::word(bytes, 4).unwrap_or(0);
    as_segment(bytes, number, synced);
    let header = SegmentHeader { number, previous_synced: 0, created: 1, reserved: 2 };
    assert_eq!(SegmentHeader::decode(&header.page()), Some(header));
    // Behind a good page, and with a good frame before and after it.
    let mut log = header.page();
    let control = Header::control(Kind::Raw, Stamp(1), 0, 0);
    frame::encode(&control, number, 0, bytes, &mut log);
    log.extend_from_slice(bytes);
    log.resize(log.len().next_multiple_of(frame::ALIGN), 0);
    let synced = log.len() as u32;
    frame::encode(&control, number, synced, b"end", &mut log);
    let found = as_segment(&log, number, synced);
    assert!(found >= 2, "a synced frame is found whatever is before it");
    as_batch_file(bytes);
}

fn as_segment(bytes: &[u8], number: u32, synced: u32) -> usize {
    let found = segment::read(bytes, number, synced);
    let mut end = PAGE;
    for damage in &found.damage {
        assert!(damage.at >= end && damage.at + damage.len <= bytes.len());
        end = damage.at + damage.len;
    }
    found.frames.len()
}

fn as_batch_file(bytes: &[u8]) {
    let _ = parse_header(bytes);
    let found = pieces(bytes);
    let mut at = 0;
    let mut lines = 0;
    for piece in &found {
        assert_eq!(piece.at().start, at, "pieces leave no byte out");
        assert!(piece.at().end > at);
        at = piece.at().end;
        if let Piece::Sound { info, .. } = piece {
            lines += u64::from(info.lines);
        }
    }
    assert_eq!(at, bytes.len());
    let sum = summary(&mut Cursor::new(bytes)).unwrap_or_default();
    if !found.is_empty() && found.iter().all(|piece| matches!(piece, Piece::Sound { .. })) {
        assert_eq!(sum.map(|sum| sum.lines), Some(lines));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{batch::Class, spool::member::Compressor};

    proptest! {
        #[test]
        fn any_bytes_and_any_bit_of_good_ones(
            bytes in proptest::collection::vec(any::<u8>(), 0..600),
            text in "[a-z\n]{1,200}",
            flips in proptest::collection::vec(any::<prop::sample::Index>(), 0..4),
        ) {
            any_bytes(&bytes);
            let mut file = Vec::new();
            for part in [&text[..], "x\n"] {
                file.extend(Compressor::default().member(part.as_bytes(), 1, Class::Acknowledged, 1, 6));
            }
            any_bytes(&file);
            for flip in flips {
                let bit = flip.index(file.len() * 8);
                file[bit / 8] ^= 1 << (bit % 8);
                any_bytes(&file);
            }
        }
    }
}
