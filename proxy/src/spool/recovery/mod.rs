//! Reads what earlier runs left: segments and batch files. Rules: `docs/spool.md`, "Recovery".

mod files;
mod rebuild;
mod segments;

pub use files::newest_file;
use segments::{cut_off, each_segment, naming};
pub use segments::{header, note_settled, remove_segment, segment_bytes, segments, trim};

use std::{
    collections::HashMap,
    io,
    path::{Path, PathBuf},
    sync::atomic::Ordering::Relaxed,
    time::Duration,
};

use super::{
    Shared, Stamp,
    backlog::Record,
    files::{Name, Tree},
    frame::{Cut, Kind, Opening, Totals},
    member::Compressor,
    meta::Meta,
    split,
    store::Store,
    thread,
    unreadable::Unreadable,
};

/// Between two attempts at what cannot be read or removed.
pub const AGAIN: Duration = if cfg!(test) { Duration::from_millis(50) } else { Duration::from_secs(30) };

/// What was found.
#[derive(Debug, Default)]
pub struct Recovered {
    /// Whole batches, durable.
    pub records: Vec<Record>,
    /// Those of them that have damaged members.
    pub damaged: Vec<Stamp>,
    /// Finished on the way: originals of splits, batches set aside.
    pub done: Vec<(Stamp, crate::ids::DatasetKey)>,
    /// Lines of batches set aside.
    pub quarantined: u64,
    /// What could not be read or written.
    pub unreadable: Unreadable,
    /// Segments from this one on hold frames of it; none is needed otherwise.
    pub needed_from: Option<u32>,
}

impl Recovered {
    /// Divides the segments that were read: those that can go, and those that are needed again.
    pub fn divide(&self, segments: &[u32]) -> (Vec<u32>, Vec<u32>) {
        segments.iter().copied().partition(|number| self.needed_from.is_none_or(|from| *number < from))
    }
}

/// What the log says about a batch.
#[derive(Debug, Default)]
struct Logged {
    opening: Option<Opening>,
    first_offset: Option<u64>,
    totals: Option<Totals>,
    cut: Option<Cut>,
    done: bool,
    /// It was whole in its file; frames before that do not count.
    settled: bool,
    /// The segment of its first frame.
    segment: u32,
}

/// A batch file that was found.
#[derive(Debug, Clone)]
struct Found {
    name: Name,
    tree: Tree,
    has_meta: bool,
}

/// Recovery of one instance folder.
#[derive(Debug)]
pub struct Recovery<'a> {
    shared: &'a Shared,
    store: &'a Store,
    /// Whether the running process makes batches in this folder.
    own: bool,
    segments: Vec<u32>,
    logged: HashMap<Stamp, Logged>,
    found: HashMap<Stamp, Found>,
    folders: Vec<PathBuf>,
    damage_from: Option<u64>,
    compressor: Compressor,
    /// What an attempt before this one left.
    only: Option<&'a Unreadable>,
    out: Recovered,
}

impl<'a> Recovery<'a> {
    /// Of `segments` and all batch files in `store` that are not live.
    pub fn new(shared: &'a Shared, store: &'a Store, segments: Vec<u32>) -> Self {
        Self {
            shared,
            store,
            own: store.layout.root() == shared.store.layout.root(),
            segments,
            logged: HashMap::new(),
            found: HashMap::new(),
            folders: Vec::new(),
            damage_from: None,
            compressor: Compressor::default(),
            only: None,
            out: Recovered::default(),
        }
    }

    /// Only what an attempt before this one left.
    pub fn only(mut self, left: Option<&'a Unreadable>) -> Self {
        self.only = left;
        self
    }

    /// Does it. Afterwards the segments are not needed any more.
    pub fn run(mut self) -> io::Result<Recovered> {
        for number in &self.segments {
            // What is read from the page cache must not vanish after it was sent.
            let path = self.store.layout.segment(*number);
            self.store.sync_segment(&path).map_err(|error| naming(&path, &error))?;
        }
        self.read_log()?;
        failpoint!("recovery.read");
        self.find_files();
        let mut rebuilds = self.prepare();
        self.replay(&mut rebuilds)?;
        failpoint!("recovery.replayed");
        self.finish(rebuilds);
        self.splits();
        failpoint!("recovery.synced");
        // Files that were removed, now or by an earlier run, must not come back once their frames are gone.
        for folder in std::mem::take(&mut self.folders) {
            if let Err(error) = self.store.disk.sync_dir(&folder) {
                self.leave_folder(&folder, &error);
            }
        }
        self.out.needed_from = self.needed_from();
        Ok(self.out)
    }

    /// Whether the running process made this batch, or an earlier attempt settled it, so that it is not ours to touch.
    fn is_live(&self, stamp: Stamp) -> bool {
        self.is_born(stamp) || self.only.is_some_and(|left| !left.contains(stamp))
    }

    fn is_born(&self, stamp: Stamp) -> bool {
        self.own && self.shared.made_here(stamp)
    }

    /// The same for a batch that was found in `folder`; of an unread folder nothing was known before.
    fn is_live_in(&self, stamp: Stamp, folder: &Path) -> bool {
        let news = self.only.is_some_and(|left| left.covers(folder));
        if news {
            self.is_born(stamp) || self.shared.backlog.get(stamp).is_some()
        } else {
            self.is_live(stamp)
        }
    }

    /// A batch is for later: nothing of it is published, its frames are kept.
    fn leave(&mut self, stamp: Stamp, path: &Path, error: &io::Error) {
        self.store.metrics.file_failures.inc();
        self.out.unreadable.note(stamp, path, error);
        self.retract();
    }

    /// A folder and all batches in it are for later.
    fn leave_folder(&mut self, folder: &Path, error: &io::Error) {
        self.store.metrics.file_failures.inc();
        self.out.unreadable.note_folder(folder, error);
        let inside: Vec<(Stamp, PathBuf)> = self
            .out
            .records
            .iter()
            .map(|record| (record.entry.stamp, self.store.layout.data(record.tree, &record.name())))
            .filter(|(_, path)| path.starts_with(folder))
            .collect();
        for (stamp, path) in inside {
            self.out.unreadable.note(stamp, &path, error);
        }
        self.retract();
    }

    /// Takes back what is for later. A batch that was cut and its halves belong together.
    fn retract(&mut self) {
        for (stamp, batch) in self.logged.iter().filter(|(_, batch)| !batch.done) {
            let Some(cut) = batch.cut else { continue };
            let family = [*stamp, cut.halves[0], cut.halves[1]];
            if let Some(left) = family.into_iter().find(|stamp| self.out.unreadable.contains(*stamp)) {
                for stamp in family {
                    self.out.unreadable.join(stamp, left);
                }
            }
        }
        let left = &self.out.unreadable;
        self.out.records.retain(|record| !left.contains(record.entry.stamp));
        self.out.damaged.retain(|stamp| !left.contains(*stamp));
    }

    /// The first segment that is needed again.
    fn needed_from(&self) -> Option<u32> {
        if self.out.unreadable.has_folders() {
            return self.segments.first().copied();
        }
        self.out.unreadable.stamps().filter_map(|stamp| Some(self.logged.get(&stamp)?.segment)).min()
    }

    fn read_log(&mut self) -> io::Result<()> {
        let mut logged: HashMap<Stamp, Logged> = HashMap::new();
        let mut damaged = None;
        let store = self.store;
        each_segment(store, &self.segments, |number, len, found| {
            cut_off(store, number, len, found.end);
            if !found.damage.is_empty() {
                damaged.get_or_insert(number);
            }
            if !found.damage.is_empty() && self.only.is_none() {
                let bytes: usize = found.damage.iter().map(|damage| damage.len).sum();
                tracing::error!(
                    segment = number,
                    bytes,
                    places = found.damage.len(),
                    "the log is damaged; what batch files do not hold of these frames is lost"
                );
            }
            for frame in &found.frames {
                let new = || Logged { segment: number, ..Logged::default() };
                let batch = logged.entry(frame.header.stamp).or_insert_with(new);
                match frame.header.kind {
                    Kind::Open => {
                        batch.opening = Opening::decode(frame.payload);
                        if batch.opening.is_none() {
                            // Written by a version with other rules for names: lost its name, and not delivered.
                            damaged.get_or_insert(number);
                        }
                    }
                    Kind::Raw | Kind::Member => {
                        batch.first_offset.get_or_insert(frame.header.offset);
                    }
                    Kind::Close => batch.totals = Totals::decode(frame.payload),
                    Kind::Done => batch.done = true,
                    Kind::Settled => *batch = Logged { segment: number, settled: true, ..Logged::default() },
                    Kind::Split => batch.cut = Cut::decode(frame.payload),
                }
            }
        })?;
        logged.retain(|stamp, _| !self.is_live(*stamp));
        self.logged = logged;
        // Only a batch younger than the oldest segment must have its first frame in the log.
        let oldest = self.segments.first().and_then(|number| header(self.store, *number));
        self.damage_from = damaged.and(oldest).map(|header| header.created);
        Ok(())
    }

    /// Finishes what a split began.
    fn splits(&mut self) {
        let mut cuts: Vec<(Stamp, Cut)> = self
            .logged
            .iter()
            .filter(|(_, batch)| !batch.done)
            .filter_map(|(stamp, batch)| batch.cut.map(|cut| (*stamp, cut)))
            .collect();
        // One that could not be removed comes before a half of it that was cut as well: else it would bring that back.
        cuts.sort_unstable_by_key(|(stamp, _)| *stamp);
        for (stamp, cut) in cuts {
            let Some(original) = self.out.records.iter().find(|record| record.entry.stamp == stamp).cloned()
            else {
                continue;
            };
            if let Err(error) = self.split_again(&original, cut) {
                self.leave(stamp, &self.store.layout.data(original.tree, &original.name()), &error);
            }
        }
    }

    fn split_again(&mut self, original: &Record, cut: Cut) -> io::Result<()> {
        let stamp = original.entry.stamp;
        if !self.finish_split(original, cut)? {
            return Ok(());
        }
        self.store.remove(original.tree, &original.name(), original.has_meta)?;
        self.store.sync_folders(std::iter::once(&original.entry.key))?;
        self.out.records.retain(|record| record.entry.stamp != stamp);
        self.out.damaged.retain(|damaged| *damaged != stamp);
        self.out.done.push((stamp, original.entry.key.clone()));
        Ok(())
    }

    fn finish_split(&mut self, original: &Record, cut: Cut) -> io::Result<bool> {
        let [rescued, _] = cut.halves;
        if cut.lines == 0 {
            // Sound members under a new name: written as a whole or not at all.
            let is_there = self.out.records.iter().any(|record| record.entry.stamp == rescued)
                || self.logged.get(&rescued).is_some_and(|batch| batch.done || batch.settled);
            if is_there {
                // Its name, too, before the original goes.
                self.store.sync_folders(std::iter::once(&original.entry.key))?;
            }
            return Ok(is_there);
        }
        let bytes = self.store.read(original.tree, &original.name())?;
        let level = self.shared.level(None);
        let Ok(halves) = split::halves(&bytes, cut.lines, original.entry.class, level, &mut self.compressor)
        else {
            return Ok(false);
        };
        for (half, stamp) in halves.into_iter().zip(cut.halves) {
            self.out.records.retain(|record| record.entry.stamp != stamp);
            if self.logged.get(&stamp).is_some_and(|batch| batch.done || batch.settled) {
                continue;
            }
            let mut record = original.clone();
            record.entry.stamp = stamp;
            record.entry.lines = half.lines;
            record.entry.raw_bytes = half.raw;
            record.entry.file_bytes = half.bytes.len() as u64;
            let name = record.name();
            self.with_room(self.store.replace(record.tree, &name, &half.bytes))?;
            if record.has_meta {
                drop(self.store.save_meta(record.tree, &record.name(), &Meta::of(&record.entry)));
            }
            self.out.records.push(record);
        }
        self.store.sync_folders(std::iter::once(&original.entry.key))?;
        Ok(true)
    }
}

/// Recovers the own folder in the background: publishes what is found, then removes the old segments. What cannot be
/// read is tried again until the process ends.
pub fn recover_own(shared: &Shared, mut old: Vec<u32>) {
    let store = &shared.store;
    let mut left: Option<Unreadable> = None;
    loop {
        let worth_it = left.as_ref().is_none_or(|left| left.may_have_changed(&*store.disk));
        let attempt =
            || thread::survives(|| Recovery::new(shared, store, old.clone()).only(left.as_ref()).run());
        let wait = match worth_it.then(attempt) {
            // Everything stays as it is; new data is not concerned.
            Some(None) => {
                tracing::error!(folder = %store.layout.root().display(), "the recovery of what earlier runs left in the spool failed; it stays there, and the next start tries again");
                shared.unreadable.fetch_add(1, Relaxed);
                shared.show_unreadable();
                break;
            }
            Some(Some(Ok(recovered))) => {
                let (gone, kept) = recovered.divide(&old);
                let unreadable = recovered.unreadable.clone();
                // Before anything is delivered: frames of a delivered batch without its first one would look like lines whose
                // file somebody removed.
                old = shared.drop_old_segments(store, &gone, &kept);
                if let Err(error) = note_settled(store, &old, &recovered) {
                    tracing::warn!(%error, "a log segment that is kept cannot be written; the next start may send batches again");
                }
                shared.publish_recovered(recovered);
                shared.unreadable.store(unreadable.len() as u64, Relaxed);
                shared.show_unreadable();
                shared.recovered.set();
                if unreadable.is_empty() {
                    shared.remove_patiently(store, old);
                    break;
                }
                left = Some(unreadable);
                AGAIN
            }
            Some(Some(Err(error))) => {
                store.metrics.file_failures.inc();
                tracing::warn!(%error, "what earlier runs left in the spool cannot be read completely; trying again");
                Duration::from_secs(5)
            }
            None => AGAIN,
        };
        if shared.abandoned.wait(wait) {
            break;
        }
    }
    shared.recovered.set();
}
