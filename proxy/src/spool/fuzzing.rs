//! What must hold for any bytes on the disk: see [`crate::fuzzing`].
#![allow(missing_docs, clippy::unwrap_used, clippy::missing_panics_doc, clippy::indexing_slicing)]

use std::{cell::RefCell, io::Cursor};

use super::{
    Stamp,
    files::{Layout, Name},
    frame::{self, Cut, Header, Kind, Mark, Opening, Totals},
    import,
    member::{Compressor, parse_header},
    meta::Meta,
    segment::{self, PAGE, SegmentHeader},
    walk::{Piece, pieces, summary},
};
use crate::{api, batch::Class, deliver, ids::DatasetKey};

/// Any bytes as a segment of the log, alone and behind a good frame with another one after it; as a frame and as what
/// frames carry. What is synced is found whatever is before it, and what was read is written the same again.
pub fn log_segment(bytes: &[u8]) {
    let number = frame::word(bytes, 0).unwrap_or(1);
    let synced = frame::word(bytes, 4).unwrap_or(0);
    as_segment(bytes, number, synced);
    let salt = frame::salt(bytes).unwrap_or(0);
    let header = SegmentHeader { number, previous_synced: 0, created: 1, reserved: 2, salt };
    let mark = Mark { segment: number, salt };
    assert_eq!(SegmentHeader::decode(&header.page()), Some(header));
    if let Some(header) = SegmentHeader::decode(bytes) {
        assert_eq!(SegmentHeader::decode(&header.page()), Some(header));
    }

    let mut log = header.page();
    let control = Header::control(Kind::Raw, Stamp(1), 0, 0);
    frame::encode(&control, mark, 0, bytes, &mut log);
    log.extend_from_slice(bytes);
    log.resize(log.len().next_multiple_of(frame::ALIGN), 0);
    let synced = log.len() as u32;
    frame::encode(&control, mark, synced, b"end", &mut log);
    let found = as_segment(&log, number, synced);
    assert!(found >= 2, "a synced frame is found whatever is before it");
    // The same after a failed sync.
    let moved = Mark { segment: number.wrapping_add(1), salt: salt ^ 1 };
    let mut round = Vec::new();
    frame::encode(&control, mark, synced, bytes, &mut round);
    frame::move_to_segment(&mut round, moved);
    assert_eq!(frame::decode(&round, moved).unwrap().payload, bytes);
    frame::move_to_segment(&mut bytes.to_vec(), moved);

    if let Some(opening) = Opening::decode(bytes) {
        assert_eq!(Opening::decode(&opening.encode()), Some(opening));
    }
    if let Some(totals) = Totals::decode(bytes) {
        assert!(bytes.starts_with(&totals.encode()));
    }
    if let Some(cut) = Cut::decode(bytes) {
        assert!(bytes.starts_with(&cut.encode()));
    }
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

thread_local! {
    static COMPRESSOR: RefCell<Compressor> = RefCell::default();
}

/// Any bytes as a batch file; then as the lines of one, of which a byte is changed: that costs one member at most, and
/// the walk over a file and the check of an upload agree about what is sound.
pub fn batch_file(data: &[u8]) {
    as_batch_file(data);
    let [at, flip, cut, text @ ..] = data else { return };
    let mut file = Vec::new();
    let (head, tail) = text.split_at(usize::from(*cut).min(text.len()));
    let mut starts = Vec::new();
    for part in [head, tail, b"x\n"] {
        starts.push(file.len());
        let lines = memchr::memchr_iter(b'\n', part).count() as u32;
        file.extend(COMPRESSOR.with_borrow_mut(|c| c.member(part, lines, Class::Acknowledged, 1, 1)));
    }
    assert_eq!(as_batch_file(&file), 3);
    let sum = summary(&mut Cursor::new(&file)).unwrap().unwrap();
    assert_eq!((sum.raw, sum.bytes), (text.len() as u64 + 2, file.len() as u64));
    if *flip != 0 {
        let at = usize::from(*at) * file.len() / 256;
        file[at] ^= flip;
        // What says how many lines a member has is not covered by its checksum.
        assert!(as_batch_file(&file) >= 2, "of three members at {starts:?} byte {at} is changed");
    }
}

/// How many sound members it has.
fn as_batch_file(bytes: &[u8]) -> usize {
    let _ = parse_header(bytes);
    let found = pieces(bytes);
    let (mut at, mut lines, mut sound) = (0, 0, 0);
    for piece in &found {
        assert_eq!(piece.at().start, at, "pieces leave no byte out");
        assert!(piece.at().end > at);
        at = piece.at().end;
        if let Piece::Sound { info, .. } = piece {
            lines += u64::from(info.lines);
            sound += 1;
        }
    }
    assert_eq!(at, bytes.len());
    let whole = sound == found.len();
    let sum = summary(&mut Cursor::new(bytes)).unwrap();
    if whole && !found.is_empty() {
        assert_eq!(sum.map(|sum| sum.lines), Some(lines));
    }
    for piece in [7, 4096] {
        // The walk also compares the raw length; the inflating Receiver does it for the upload.
        assert!(deliver::fuzzing::is_sound(bytes, piece) || !whole);
    }
    sound
}

/// Any bytes as the files beside batches, ours and the former program's: read or nothing, never more than its bounds.
pub fn metadata(bytes: &[u8]) {
    if let Some(meta) = Meta::decode(bytes) {
        assert_eq!(Meta::decode(&meta.encode()), Some(meta));
    }
    let old = import::fuzzing::old_meta(bytes);
    assert_eq!(Meta::decode(&old.encode()).as_ref(), Some(&old), "it becomes one of ours");
    assert!(old.message.len() <= 1024 && old.reason.is_some());
    assert!(old.status.is_none_or(|status| (100..600).contains(&status)));
    import::fuzzing::journal(bytes);
}

/// Any text as the name of a file in a spool, ours or the former program's, and as that of a batch in a request: no
/// name, or one that is written as it was read; what is adopted always gets one.
pub fn names(bytes: &[u8]) {
    let (number, bytes) = bytes.split_at(bytes.len().min(8));
    let text = String::from_utf8_lossy(bytes);
    let name = Name::parse(&text);
    if let Some(name) = &name {
        assert_eq!(name.data(), format!("{text}.gz"));
        assert_eq!(name.meta(), format!("{text}.meta"));
    }
    let named = Name::parse(text.strip_suffix(".gz").unwrap_or(&text));
    assert_eq!(api::fuzzing::batch(&text), named.map(|name| (name.key, name.stamp)));
    if let Some(segment) = Layout::segment_number(&text) {
        assert!(Layout::new("spool".into()).segment(segment).ends_with(&*text));
    }
    let key = DatasetKey { tenant: "acme".parse().unwrap(), dataset: "web".parse().unwrap() };
    let modified = frame::long(number, 0).unwrap_or(0);
    for adopted in import::fuzzing::names(&key, &text, modified) {
        let stem = adopted.data();
        assert_eq!(
            Name::parse(stem.strip_suffix(".gz").unwrap()),
            Some(adopted),
            "found again at the next start"
        );
    }
}
