//! `spool ls`.

use std::{
    io,
    path::{Path, PathBuf},
};

use serde::Serialize;

use super::{
    super::{Reason, Stamp, files::Tree, meta::Meta, walk::summary},
    Report, Said, Verdict,
    instance::{Data, Instance, Logged},
    line,
};
use crate::{
    batch::Class,
    ids::{DatasetId, Hint, TenantId},
};

/// A segment as shown.
#[derive(Debug, Serialize)]
pub struct SegmentLine {
    number: u32,
    bytes: u64,
    frames: usize,
    used_bytes: usize,
    synced_to: u32,
}

/// A batch as shown.
#[derive(Debug, Serialize)]
pub struct BatchLine {
    /// `queue`, `retry`, `dlq`, or `open`: its Close frame is not in the log.
    pub state: &'static str,
    /// Owner.
    pub tenant: TenantId,
    /// Dataset.
    pub dataset: DatasetId,
    /// Name within the spool: 19 digits, too many for a number in JSON.
    pub stamp: String,
    /// What the lines are.
    pub hint: Hint,
    /// Whether somebody was told that its lines are safe.
    pub acknowledged: bool,
    /// Lines, in file and log together.
    pub lines: u64,
    /// Bytes of the file.
    pub bytes: u64,
    /// `file`, `log`, or `both` when the file does not have all.
    pub held_by: &'static str,
    /// Failed uploads.
    pub attempts: u32,
    /// Why the last one failed.
    pub reason: Option<Reason>,
    /// HTTP status of the last one.
    pub status: Option<u16>,
    /// For people.
    pub message: String,
}

/// An instance as shown.
#[derive(Debug, Serialize)]
pub struct Listing {
    folder: PathBuf,
    in_use: bool,
    segments: Vec<SegmentLine>,
    /// Batches, by name.
    pub batches: Vec<BatchLine>,
    quarantined_files: usize,
    quarantined_bytes: u64,
}

/// Lists an instance.
pub fn instance(folder: &Path) -> io::Result<Said> {
    Ok(Said::Ls(listing(folder)?))
}

/// Batches, and lines in them, that no process looks after.
pub fn waiting(folder: &Path) -> io::Result<(usize, u64)> {
    let listing = listing(folder)?;
    let batches = if listing.in_use { &[][..] } else { &listing.batches[..] };
    Ok((batches.len(), batches.iter().map(|batch| batch.lines).sum()))
}

/// The listing itself.
pub fn listing(folder: &Path) -> io::Result<Listing> {
    let found = Instance::read(folder)?;
    let segments = found.segments.iter().map(|segment| SegmentLine {
        number: segment.number,
        bytes: segment.bytes,
        frames: segment.frames,
        used_bytes: segment.end,
        synced_to: segment.synced,
    });
    let mut stamps: Vec<Stamp> = found.files.keys().chain(found.logged.keys()).copied().collect();
    stamps.sort_unstable();
    stamps.dedup();
    let mut batches = Vec::new();
    for stamp in stamps {
        let (data, logged) = (found.files.get(&stamp), found.logged.get(&stamp));
        match batch(&found, stamp, data, logged) {
            Ok(shown) => batches.extend(shown),
            // Delivered while we look.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(Listing {
        folder: folder.to_owned(),
        in_use: found.in_use,
        segments: segments.collect(),
        batches,
        quarantined_files: found.quarantine.len(),
        quarantined_bytes: found.quarantine.iter().map(|(_, bytes)| bytes).sum(),
    })
}

fn batch(
    found: &Instance,
    stamp: Stamp,
    data: Option<&Data>,
    logged: Option<&Logged>,
) -> io::Result<Option<BatchLine>> {
    let opening = logged.and_then(|logged| logged.opening.as_ref());
    if logged.is_some_and(|logged| logged.done) {
        return Ok(None);
    }
    let Some((key, hint)) = data
        .map(|data| (data.name.key.clone(), data.name.hint.clone()))
        .or_else(|| opening.map(|opening| (opening.key().dataset, opening.key().hint)))
    else {
        return Ok(None);
    };
    let in_log = logged.is_some_and(|logged| !logged.lines.is_empty());
    let headers = match data {
        Some(data) if !in_log => {
            summary(&mut std::fs::File::open(found.layout.data(data.tree, &data.name))?)?
        }
        _ => None,
    };
    let (lines, whole) = if let Some(sum) = headers {
        (sum.lines, true)
    } else {
        let all = found.assemble(data, logged)?;
        (all.lines, all.file_is_whole)
    };
    let class = opening.map(|opening| opening.key().class).or(headers.map(|sum| sum.first.class));
    let path = data.map(|data| found.layout.meta(data.tree, &data.name));
    let meta = path.and_then(|path| Meta::decode(&std::fs::read(path).ok()?));
    let closed = !in_log || logged.is_some_and(|logged| logged.totals.is_some());
    Ok(Some(BatchLine {
        state: match (data.map(|data| data.tree), meta.is_some()) {
            _ if !closed => "open",
            (Some(Tree::Dlq), _) => "dlq",
            (Some(Tree::Batches), true) => "retry",
            _ => "queue",
        },
        tenant: key.tenant,
        dataset: key.dataset,
        stamp: format!("{:019}", stamp.0),
        hint,
        acknowledged: class != Some(Class::Unacknowledged),
        lines,
        bytes: data.map_or(0, |data| data.bytes),
        held_by: match (data.is_some(), whole) {
            (false, _) => "log",
            (true, true) => "file",
            (true, false) => "both",
        },
        attempts: meta.as_ref().map_or(0, |meta| meta.attempts),
        reason: meta.as_ref().and_then(|meta| meta.reason),
        status: meta.as_ref().and_then(|meta| meta.status),
        message: meta.map(|meta| meta.message).unwrap_or_default(),
    }))
}

impl Report for Listing {
    fn verdict(&self) -> Verdict {
        Verdict::Sound
    }

    fn write(&self, page: &mut String) {
        let used = if self.in_use { " (in use by a running proxy)" } else { "" };
        line(page, format_args!("{}{used}", self.folder.display()));
        line(page, format_args!("  segment          bytes     frames       used  synced to"));
        for s in &self.segments {
            line(
                page,
                format_args!(
                    "  {:010} {:>11} {:>10} {:>10} {:>10}",
                    s.number, s.bytes, s.frames, s.used_bytes, s.synced_to
                ),
            );
        }
        line(page, format_args!("  state  held by      lines      bytes  tries  batch"));
        for b in &self.batches {
            let name = format!("{}--{}--{}--{}", b.tenant, b.dataset, b.stamp, b.hint);
            let why = reason(b);
            line(
                page,
                format_args!(
                    "  {:<6} {:<7} {:>10} {:>10} {:>6}  {name}{why}",
                    b.state, b.held_by, b.lines, b.bytes, b.attempts
                ),
            );
        }
        if self.quarantined_files > 0 {
            line(
                page,
                format_args!(
                    "  quarantine: {} files, {} bytes",
                    self.quarantined_files, self.quarantined_bytes
                ),
            );
        }
    }
}

fn reason(batch: &BatchLine) -> String {
    let label = batch.reason.and_then(|reason| serde_json::to_value(reason).ok());
    match label.as_ref().and_then(|label| label.as_str()) {
        Some(label) => format!("  {label}: {}", batch.message.lines().next().unwrap_or_default()),
        None => String::new(),
    }
}
