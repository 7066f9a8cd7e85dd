//! Puts batches together from what their files hold and what the log has beyond that.

use std::{
    collections::{HashMap, HashSet},
    io,
};

use crc32fast::Hasher;

use super::{Found, Logged, Recovery, each_segment};
use crate::{
    batch::{Class, MEMBER_MIN, StreamKey},
    spool::{
        Stamp,
        disk::is_full,
        files::{Name, Tree},
        frame::{Header, Kind, Opening, Totals},
        member::Compressor,
        walk::{Piece, pieces},
    },
};

/// Tails of all batches together, before they are written.
const TAILS: usize = 16 << 20;

/// A batch that is put together from file and frames.
#[derive(Debug)]
pub(super) struct Rebuild {
    name: Name,
    tree: Tree,
    key: StreamKey,
    has_meta: bool,
    len: u64,
    raw: u64,
    lines: u64,
    crc: Hasher,
    tail: Vec<u8>,
    tail_lines: u32,
    pub(super) first_ns: u64,
    pub(super) totals: Option<Totals>,
    damaged: bool,
    gap: bool,
}

impl Recovery<'_> {
    /// What of a file can be relied on; the rest is cut off when the log has it.
    pub(super) fn sound_part(&self, file: &Found, batch: &Logged) -> io::Result<Rebuild> {
        let bytes = self.store.read(file.tree, &file.name)?;
        let found = pieces(&bytes);
        let headers = || found.iter().filter_map(Piece::info);
        let key = batch.opening.as_ref().map_or_else(
            || {
                // The first frame went once the file was durable. Where not even a header is left the stricter class holds.
                let class = headers().next().map_or(Class::Acknowledged, |info| info.class);
                StreamKey { dataset: file.name.key.clone(), hint: file.name.hint.clone(), class }
            },
            Opening::key,
        );
        let mut rebuild = Rebuild::new(file.name.clone(), file.tree, key);
        rebuild.has_meta = file.has_meta;
        rebuild.totals = batch.totals;
        rebuild.first_ns = headers().next().map_or(0, |info| info.first_ns);
        for piece in &found {
            match piece {
                Piece::Sound { at, info, raw_crc } => {
                    rebuild.len = at.end as u64;
                    rebuild.count(info.lines, info.raw_len, *raw_crc);
                }
                // The log has all that follows: the file was torn here.
                Piece::Bad { .. } if batch.first_offset.is_none_or(|first| first <= rebuild.raw) => break,
                Piece::Bad { at, info } => {
                    rebuild.len = at.end as u64;
                    rebuild.raw += info.map_or(0, |info| u64::from(info.raw_len));
                    rebuild.lines += info.map_or(0, |info| u64::from(info.lines));
                    rebuild.damaged = true;
                }
            }
        }
        if rebuild.damaged {
            // Nobody may know how much was lost, but the log went on from here at the earliest.
            rebuild.raw = rebuild.raw.max(batch.first_offset.unwrap_or(0));
        }
        if rebuild.len < bytes.len() as u64 {
            self.store.disk.truncate(&self.store.layout.data(file.tree, &file.name), rebuild.len)?;
        }
        Ok(rebuild)
    }

    pub(super) fn replay(&mut self, rebuilds: &mut HashMap<Stamp, Rebuild>) -> io::Result<()> {
        let mut compressor = std::mem::take(&mut self.compressor);
        let mut failures: HashMap<Stamp, io::Error> = HashMap::new();
        let mut tails = 0;
        let mut orphans: HashMap<Stamp, (u64, Vec<u8>)> = HashMap::new();
        each_segment(self.store, &self.segments, |_, _, found| {
            for frame in &found.frames {
                let stamp = frame.header.stamp;
                if failures.contains_key(&stamp) || !matches!(frame.header.kind, Kind::Raw | Kind::Member) {
                    continue;
                }
                let Some(batch) = rebuilds.get_mut(&stamp) else {
                    if self.is_orphan(stamp) {
                        let (lines, bytes) = orphans.entry(stamp).or_default();
                        *lines += u64::from(frame.header.lines);
                        bytes.extend_from_slice(frame.payload);
                    }
                    continue;
                };
                let before = batch.tail.len();
                if let Err(error) = self.replay_frame(batch, &frame.header, frame.payload, &mut compressor) {
                    failures.insert(stamp, error);
                }
                tails = tails + batch.tail.len() - before.min(tails + batch.tail.len());
                if tails > TAILS {
                    self.write_tails(rebuilds, &mut failures, &mut compressor);
                    tails = 0;
                }
            }
        })?;
        self.write_tails(rebuilds, &mut failures, &mut compressor);
        for (stamp, error) in failures {
            if let Some(batch) = rebuilds.remove(&stamp) {
                self.leave(stamp, &self.store.layout.data(batch.tree, &batch.name), &error);
            }
        }
        rebuilds.retain(|stamp, _| !self.out.unreadable.contains(*stamp));
        for (stamp, (lines, bytes)) in orphans {
            tracing::error!(
                batch = stamp.0,
                lines,
                bytes = bytes.len(),
                "the name of a batch is lost with its file or with the begin of the log; what the log has of it is in quarantine"
            );
            self.store.quarantine(&format!("{:019}.frames", stamp.0), &bytes)?;
            self.out.quarantined += lines;
        }
        self.compressor = compressor;
        Ok(())
    }

    fn write_tails(
        &self,
        rebuilds: &mut HashMap<Stamp, Rebuild>,
        failures: &mut HashMap<Stamp, io::Error>,
        compressor: &mut Compressor,
    ) {
        for (stamp, batch) in rebuilds.iter_mut() {
            if !failures.contains_key(stamp)
                && let Err(error) = self.write_tail(batch, compressor)
            {
                failures.insert(*stamp, error);
            }
        }
    }

    /// A failure concerns one batch only, want of room, too: what goes on without it is delivered, which makes room for the next
    /// attempt. Where it does not, the DLQ gives way.
    pub(super) fn with_room(&self, written: io::Result<()>) -> io::Result<()> {
        written.inspect_err(|error| {
            if is_full(error) {
                self.shared.ask_for_space();
            }
        })
    }

    /// Whether a batch without first frame and file was not just delivered: damage hit its first frame, or it was open at the
    /// end, when nobody can have sent it, and its file is gone.
    fn is_orphan(&self, stamp: Stamp) -> bool {
        let Some(batch) = self.logged.get(&stamp) else { return false };
        let is_damaged = self.damage_from.is_some_and(|oldest| stamp.0 > oldest);
        let known = !batch.done && !batch.settled && batch.opening.is_none();
        known && !self.out.unreadable.contains(stamp) && (is_damaged || batch.totals.is_none())
    }

    fn replay_frame(
        &self,
        batch: &mut Rebuild,
        header: &Header,
        payload: &[u8],
        compressor: &mut Compressor,
    ) -> io::Result<()> {
        if header.offset < batch.raw {
            return Ok(());
        }
        if header.offset > batch.raw {
            batch.gap = true;
            batch.raw = header.offset;
        }
        batch.count(header.lines, header.raw_len, header.raw_crc);
        if header.kind == Kind::Raw {
            batch.tail.extend_from_slice(payload);
            batch.tail_lines += header.lines;
            if batch.tail.len() >= MEMBER_MIN { self.write_tail(batch, compressor) } else { Ok(()) }
        } else {
            self.write_tail(batch, compressor)?;
            self.write(batch, payload)
        }
    }

    fn write_tail(&self, batch: &mut Rebuild, compressor: &mut Compressor) -> io::Result<()> {
        if batch.tail.is_empty() {
            return Ok(());
        }
        let level = self.shared.level(None);
        let member = compressor.member(&batch.tail, batch.tail_lines, batch.key.class, batch.first_ns, level);
        batch.tail = Vec::new();
        batch.tail_lines = 0;
        self.write(batch, &member)
    }

    fn write(&self, batch: &mut Rebuild, bytes: &[u8]) -> io::Result<()> {
        self.with_room(self.store.write(batch.tree, &batch.name, batch.len, bytes))?;
        batch.len += bytes.len() as u64;
        Ok(())
    }

    /// Checks totals, makes files durable.
    pub(super) fn finish(&mut self, rebuilds: HashMap<Stamp, Rebuild>) {
        let mut keys = HashSet::new();
        for (stamp, batch) in rebuilds {
            if let Err(error) = self.finish_one(&batch) {
                self.leave(stamp, &self.store.layout.data(batch.tree, &batch.name), &error);
            }
            keys.insert(batch.name.key);
        }
        if self.store.sync_folders(keys.iter()).is_ok() {
            return;
        }
        // Whose fault is it?
        for key in keys {
            if let Err(error) = self.store.sync_folders(std::iter::once(&key)) {
                for tree in [Tree::Batches, Tree::Dlq] {
                    self.leave_folder(&self.store.layout.folder(tree, &key), &error);
                }
            }
        }
    }

    fn finish_one(&mut self, batch: &Rebuild) -> io::Result<()> {
        if batch.lines == 0 && !batch.damaged {
            return self.store.remove(batch.tree, &batch.name, batch.has_meta);
        }
        let (name, tree) = (batch.name.clone(), batch.tree);
        let file = Found { name, tree, has_meta: batch.has_meta };
        if !batch.damaged && batch.totals.is_some_and(|totals| !batch.matches(totals)) {
            return self.set_aside(&file, batch.totals.map_or(batch.lines, |totals| totals.lines));
        }
        if batch.gap {
            tracing::error!(batch = %batch.name.data(), "lines are missing in the middle of a batch: the log was damaged there; the others are sent");
        }
        let path = self.store.layout.data(batch.tree, &batch.name);
        self.with_room(self.store.sync_data(&path, batch.len))?;
        self.push(&file, batch.key.class, batch.lines, batch.raw, batch.len);
        if batch.damaged {
            self.out.damaged.push(batch.name.stamp);
        }
        Ok(())
    }

    pub(super) fn set_aside(&mut self, file: &Found, lines: u64) -> io::Result<()> {
        let bytes = self.store.read(file.tree, &file.name)?;
        self.store.quarantine(&file.name.data(), &bytes)?;
        self.store.remove(file.tree, &file.name, file.has_meta)?;
        self.out.quarantined += lines;
        self.out.done.push((file.name.stamp, file.name.key.clone()));
        tracing::error!(batch = %file.name.data(), lines, "a batch is damaged or not what its close frame says; it was set aside in quarantine and is not sent");
        Ok(())
    }
}

impl Rebuild {
    pub(super) fn new(name: Name, tree: Tree, key: StreamKey) -> Self {
        Self {
            name,
            tree,
            key,
            has_meta: false,
            len: 0,
            raw: 0,
            lines: 0,
            crc: Hasher::new(),
            tail: Vec::new(),
            tail_lines: 0,
            first_ns: 0,
            totals: None,
            damaged: false,
            gap: false,
        }
    }

    fn count(&mut self, lines: u32, raw_len: u32, raw_crc: u32) {
        self.lines += u64::from(lines);
        self.raw += u64::from(raw_len);
        self.crc.combine(&Hasher::new_with_initial_len(raw_crc, u64::from(raw_len)));
    }

    fn matches(&self, totals: Totals) -> bool {
        let crc = self.crc.clone().finalize();
        (self.lines, self.raw, crc) == (totals.lines, totals.raw, totals.crc)
    }
}
