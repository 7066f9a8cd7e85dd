//! `spool verify`.

use std::{
    fs,
    io::{self, Read},
    path::{Path, PathBuf},
};

use serde::Serialize;

use super::{
    super::{
        meta::Meta,
        walk::{Piece, pieces},
    },
    Report, Said, Verdict,
    instance::{Data, Instance, Logged},
    line,
};

/// Something that is not as it should be.
#[derive(Debug, Serialize)]
pub struct Finding {
    /// Costs lines or knowledge; otherwise it is what a crash leaves and nothing is lost.
    pub problem: bool,
    /// Where.
    pub file: PathBuf,
    /// At which byte.
    pub offset: u64,
    /// What it is.
    pub what: String,
    /// What the proxy does about it at its next start, and `repair` now.
    pub then: &'static str,
}

/// What was looked at, and what was found.
#[derive(Debug, Serialize)]
pub struct Findings {
    folder: PathBuf,
    in_use: bool,
    segments: usize,
    frames: usize,
    batches: usize,
    members: usize,
    /// All findings.
    #[serde(rename = "findings")]
    pub all: Vec<Finding>,
}

/// Checks an instance.
pub fn instance(folder: &Path) -> io::Result<Said> {
    let found = Instance::read(folder)?;
    let mut out = Findings {
        folder: folder.to_owned(),
        in_use: found.in_use,
        segments: found.segments.len(),
        frames: found.segments.iter().map(|segment| segment.frames).sum(),
        batches: found.files.len(),
        members: 0,
        all: Vec::new(),
    };
    out.log(&found);
    let without_file = found.logged.keys().filter(|stamp| !found.files.contains_key(*stamp));
    let stamps: Vec<_> = found.files.keys().chain(without_file).copied().collect();
    for stamp in stamps {
        let (data, logged) = (found.files.get(&stamp), found.logged.get(&stamp));
        match out.batch(&found, data, logged) {
            // Delivered while we look.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            other => other?,
        }
    }
    for path in &found.stray {
        out.note(path, 0, "metadata without a batch".to_owned(), "it is removed");
    }
    for path in &found.foreign {
        let half = path.extension().is_some_and(|ending| ending == "tmp");
        let then = if half { "it is removed" } else { "it is left alone" };
        out.note(path, 0, "not a file of the spool".to_owned(), then);
    }
    for (name, bytes) in &found.quarantine {
        let path = found.layout.quarantine().join(name);
        out.note(
            &path,
            0,
            format!("{bytes} bytes in quarantine"),
            "nothing; `repair --salvage` takes the readable lines out of it",
        );
    }
    Ok(Said::Verify(out))
}

impl Findings {
    fn log(&mut self, found: &Instance) {
        for segment in &found.segments {
            let path = found.layout.segment(segment.number);
            if segment.header.is_none() {
                if segment.frames > 0 {
                    self.problem(
                        &path,
                        0,
                        "both copies of the segment's header are broken".to_owned(),
                        "its frames are read; what the header said of the segment before is unknown",
                    );
                } else {
                    self.note(
                        &path,
                        0,
                        "a segment that was being made when the process ended".to_owned(),
                        "its number is skipped",
                    );
                }
            }
            for damage in &segment.damage {
                let what = format!("{} bytes were synced and hold no valid frame", damage.len);
                self.problem(
                    &path,
                    damage.at as u64,
                    what,
                    "reading goes on behind them; lines of these frames that no batch file has are lost",
                );
            }
            if let Some(at) = segment.torn {
                self.note(
                    &path,
                    at as u64,
                    "a round that was never synced, cut off by a crash".to_owned(),
                    "it is ignored: nobody was told that its lines are safe",
                );
            }
        }
    }

    fn batch(&mut self, found: &Instance, data: Option<&Data>, logged: Option<&Logged>) -> io::Result<()> {
        let path = data.map(|data| found.layout.data(data.tree, &data.name));
        let first_frame = logged.and_then(|logged| logged.lines.first());
        if logged.is_some_and(|logged| logged.done) {
            if let Some(path) = path {
                self.note(
                    &path,
                    0,
                    "the log says that this batch is finished".to_owned(),
                    "the file is removed",
                );
            }
            return Ok(());
        }
        if data.is_none() && logged.is_none_or(|logged| logged.opening.is_none()) {
            // Delivered before its Done frame was needed, or its name was in a damaged place.
            return Ok(());
        }
        let (place, offset) = match (&path, first_frame) {
            (Some(path), _) => (path.clone(), 0),
            (None, Some(frame)) => (found.layout.segment(frame.segment), frame.at as u64),
            (None, None) => return Ok(()),
        };
        let all = found.assemble(data, logged)?;
        for lost in &all.lost {
            self.problem(
                &place,
                lost.start as u64,
                format!(
                    "{} bytes are no sound gzip member, and the log does not have their lines",
                    lost.len()
                ),
                "they go to quarantine, the rest of the batch is sent under a new name",
            );
        }
        if let Some(bad) = &all.mendable {
            self.note(
                &place,
                bad.start as u64,
                format!("{} bytes at the end are no sound gzip member; the log has their lines", bad.len()),
                "the file is cut there and filled up from the log",
            );
        } else if !all.file_is_whole && all.lost.is_empty() {
            self.note(
                &place,
                offset,
                "the batch file does not have all lines yet; the log does".to_owned(),
                "the file is filled up from the log",
            );
        }
        if let Some(gap) = all.gap {
            self.problem(
                &place,
                offset,
                format!("lines are missing from raw byte {gap} of the batch on: the log was damaged there"),
                "the other lines are sent",
            );
        }
        let totals = logged.and_then(|logged| logged.totals);
        if let Some(totals) = totals.filter(|_| all.lost.is_empty() && all.gap.is_none()) {
            let is = (all.lines, all.raw, all.crc);
            if is != (totals.lines, totals.raw, totals.crc) {
                self.problem(
                    &place,
                    offset,
                    format!(
                        "{} lines and {} bytes, but its Close frame says {} and {}, or the checksum differs",
                        all.lines, all.raw, totals.lines, totals.raw
                    ),
                    "the batch goes to quarantine as a whole",
                );
            }
        }
        if let Some(data) = data {
            self.members(found, data)?;
        }
        Ok(())
    }

    /// Inflates every sound member: the CRC32C covers the compressed bytes only.
    fn members(&mut self, found: &Instance, data: &Data) -> io::Result<()> {
        let path = found.layout.data(data.tree, &data.name);
        let bytes = fs::read(&path)?;
        for piece in pieces(&bytes) {
            let Piece::Sound { at, info, .. } = piece else { continue };
            self.members += 1;
            let member = bytes.get(at.clone()).unwrap_or_default();
            let mut raw = Vec::new();
            let inflated = flate2::bufread::GzDecoder::new(member)
                .take(u64::from(info.raw_len) + 1)
                .read_to_end(&mut raw);
            let lines = memchr::memchr_iter(b'\n', &raw).count() as u64;
            if inflated.is_err() || raw.len() as u64 != u64::from(info.raw_len) {
                self.problem(
                    &path,
                    at.start as u64,
                    "a gzip member does not inflate to what its header says".to_owned(),
                    "delivery refuses it; it goes to quarantine then",
                );
            } else if lines != u64::from(info.lines) {
                self.problem(
                    &path,
                    at.start as u64,
                    format!("a gzip member has {lines} lines, its header says {}", info.lines),
                    "it is sent with the header's count",
                );
            }
        }
        let meta = found.layout.meta(data.tree, &data.name);
        if let Ok(text) = fs::read(&meta)
            && Meta::decode(&text).is_none()
        {
            self.problem(
                &meta,
                0,
                "the metadata cannot be read".to_owned(),
                "attempts count from 0 and the reason is unknown; the batch is sent",
            );
        }
        Ok(())
    }

    fn problem(&mut self, file: &Path, offset: u64, what: String, then: &'static str) {
        self.all.push(Finding { problem: true, file: file.to_owned(), offset, what, then });
    }

    fn note(&mut self, file: &Path, offset: u64, what: String, then: &'static str) {
        self.all.push(Finding { problem: false, file: file.to_owned(), offset, what, then });
    }

    fn problems(&self) -> usize {
        self.all.iter().filter(|finding| finding.problem).count()
    }
}

impl Report for Findings {
    fn verdict(&self) -> Verdict {
        if self.problems() == 0 { Verdict::Sound } else { Verdict::Problems }
    }

    fn write(&self, page: &mut String) {
        if self.in_use {
            line(
                page,
                format_args!(
                    "{}: note: a running proxy works in it; what is under way may look unfinished",
                    self.folder.display()
                ),
            );
        }
        for finding in &self.all {
            let kind = if finding.problem { "problem" } else { "note" };
            let (file, at) = (finding.file.display(), finding.offset);
            line(page, format_args!("{file}: byte {at}: {kind}: {}; {}", finding.what, finding.then));
        }
        line(
            page,
            format_args!(
                "{}: {} segments, {} frames, {} batch files, {} members: {} problems",
                self.folder.display(),
                self.segments,
                self.frames,
                self.batches,
                self.members,
                self.problems()
            ),
        );
    }
}
