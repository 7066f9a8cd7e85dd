//! Segments of earlier runs: reading, cutting, noting, removing.

use std::{io, path::Path};

use super::Recovered;
use crate::spool::{
    Stamp,
    files::Layout,
    frame::{self, Header, Kind},
    metrics::Usage,
    segment::{self, SegmentHeader},
    store::{Store, missing_is_fine},
};

/// Less than this at the end of a segment stays.
const WORTH_CUTTING: usize = 16 << 10;

/// Numbers of the segments in a folder, in order.
pub fn segments(store: &Store) -> io::Result<Vec<u32>> {
    let listed = store.disk.list(&store.layout.log())?;
    let mut numbers: Vec<u32> = listed.iter().filter_map(|file| Layout::segment_number(&file.name)).collect();
    numbers.sort_unstable();
    Ok(numbers)
}

/// Bytes of those segments.
pub fn segment_bytes(store: &Store, numbers: &[u32]) -> u64 {
    if numbers.is_empty() {
        return 0;
    }
    let ours = |name: &str| Layout::segment_number(name).is_some_and(|number| numbers.contains(&number));
    let listed = store.disk.list(&store.layout.log()).unwrap_or_default();
    listed.iter().filter(|file| ours(&file.name)).map(|file| file.len).sum()
}

/// Reads segments only to cut them where their frames end. Runs that die before they have read the log leave one
/// preallocated segment each; without this they would fill the spool.
pub fn trim(store: &Store, numbers: &[u32]) {
    let read = each_segment(store, numbers, |number, len, found| cut_off(store, number, len, found.end));
    if let Err(error) = read {
        tracing::warn!(%error, "the log of earlier runs takes more room than it needs");
    }
}

/// What was set aside in a segment and never written is given back.
pub(super) fn cut_off(store: &Store, number: u32, len: usize, end: usize) {
    if len.saturating_sub(end) < WORTH_CUTTING
        || store.disk.truncate(&store.layout.segment(number), end as u64).is_err()
    {
        return;
    }
    Usage::take(&store.usage.old_log, (len - end) as u64);
}

/// Removes a segment for good, with what a crash in [`note_settled`] left beside it.
pub fn remove_segment(store: &Store, number: u32) -> io::Result<()> {
    let path = store.layout.segment(number);
    missing_is_fine(store.disk.remove(&path.with_added_extension("tmp")))?;
    missing_is_fine(store.disk.remove(&path))?;
    store.disk.sync_dir(&store.layout.log())
}

/// Header of a segment.
pub fn header(store: &Store, number: u32) -> Option<SegmentHeader> {
    let mut page = vec![0; segment::PAGE];
    store.disk.open(&store.layout.segment(number)).ok()?.read_exact(&mut page).ok()?;
    SegmentHeader::decode(&page)
}

/// Segments stay for what cannot be read now. Their frames of batches that are whole in their files, or finished, must
/// not bring those back once they are delivered or moved: the last segment gets a frame about each.
pub fn note_settled(store: &Store, kept: &[u32], recovered: &Recovered) -> io::Result<()> {
    let whole = recovered.records.iter().map(|record| record.entry.stamp);
    let settled: Vec<Stamp> = whole.chain(recovered.done.iter().map(|(stamp, _)| *stamp)).collect();
    let Some(last) = kept.last().copied().filter(|_| !settled.is_empty()) else { return Ok(()) };
    let path = store.layout.segment(last);
    let mut bytes = store.disk.read(&path)?;
    let mark = segment::mark(&bytes, last);
    bytes.truncate(segment::read(&bytes, last, 0).end);
    bytes.resize(bytes.len().max(segment::PAGE), 0);
    for stamp in settled {
        frame::encode(&Header::control(Kind::Settled, stamp, 0, 0), mark, 0, &[], &mut bytes);
    }
    store.disk.replace(&path, &bytes)?;
    store.disk.sync_dir(&store.layout.log())
}

/// Reads segments: number, length and frames of each.
pub(super) fn each_segment(
    store: &Store,
    segments: &[u32],
    mut each: impl FnMut(u32, usize, &segment::Contents<'_>),
) -> io::Result<()> {
    for (index, number) in segments.iter().enumerate() {
        let next = segments.get(index + 1).and_then(|next| header(store, *next));
        let synced = next.map_or(0, |next| next.previous_synced);
        let path = store.layout.segment(*number);
        let bytes = store.disk.read(&path).map_err(|error| naming(&path, &error))?;
        each(*number, bytes.len(), &segment::read(&bytes, *number, synced));
    }
    Ok(())
}

/// The same error with the path in it.
pub(super) fn naming(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}
