//! Reads what earlier runs left: segments and batch files. Rules: `docs/spool.md`, "Recovery".

mod files;
mod rebuild;

use std::{collections::HashMap, io, path::PathBuf, time::Duration};

use super::{
    Shared, Stamp,
    backlog::Record,
    files::{Layout, Name, Tree},
    frame::{Cut, Kind, Opening, Totals},
    member::Compressor,
    meta::Meta,
    segment::{self, SegmentHeader},
    split,
    store::Store,
};

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
}

/// What the log says about a batch.
#[derive(Debug, Default)]
struct Logged {
    opening: Option<Opening>,
    first_offset: Option<u64>,
    totals: Option<Totals>,
    cut: Option<Cut>,
    done: bool,
}

/// A batch file that was found.
#[derive(Debug, Clone)]
struct Found {
    name: Name,
    tree: Tree,
    len: u64,
    has_meta: bool,
}

/// Recovery of one instance folder.
#[derive(Debug)]
pub struct Recovery<'a> {
    shared: &'a Shared,
    store: &'a Store,
    segments: Vec<u32>,
    logged: HashMap<Stamp, Logged>,
    found: HashMap<Stamp, Found>,
    folders: Vec<PathBuf>,
    damage_from: Option<u64>,
    compressor: Compressor,
    out: Recovered,
}

/// Numbers of the segments in a folder, in order.
pub fn segments(store: &Store) -> io::Result<Vec<u32>> {
    let listed = store.disk.list(&store.layout.log())?;
    let mut numbers: Vec<u32> = listed.iter().filter_map(|file| Layout::segment_number(&file.name)).collect();
    numbers.sort_unstable();
    Ok(numbers)
}

/// Header of a segment.
pub fn header(store: &Store, number: u32) -> Option<SegmentHeader> {
    let mut page = vec![0; segment::PAGE];
    store.disk.open(&store.layout.segment(number)).ok()?.read_exact(&mut page).ok()?;
    SegmentHeader::decode(&page)
}

impl<'a> Recovery<'a> {
    /// Of `segments` and all batch files in `store` that are not live.
    pub fn new(shared: &'a Shared, store: &'a Store, segments: Vec<u32>) -> Self {
        Self {
            shared,
            store,
            segments,
            logged: HashMap::new(),
            found: HashMap::new(),
            folders: Vec::new(),
            damage_from: None,
            compressor: Compressor::default(),
            out: Recovered::default(),
        }
    }

    /// Does it. Afterwards the segments are not needed any more.
    pub fn run(mut self) -> io::Result<Recovered> {
        for number in &self.segments {
            // What is read from the page cache must not vanish after it was sent.
            self.store.disk.sync(&self.store.layout.segment(*number))?;
        }
        self.read_log()?;
        self.find_files()?;
        let mut rebuilds = self.prepare()?;
        self.replay(&mut rebuilds)?;
        self.finish(rebuilds)?;
        self.splits()?;
        failpoint!("recovery.synced");
        // Files that were removed, now or by an earlier run, must not come back once their frames are gone.
        for folder in &self.folders {
            self.store.disk.sync_dir(folder)?;
        }
        Ok(self.out)
    }

    /// Whether the running process made this batch, so that it is not ours to touch.
    fn is_live(&self, stamp: Stamp) -> bool {
        self.shared.born.lock().as_ref().is_some_and(|born| born.contains(&stamp))
    }

    fn each_segment(&self, mut each: impl FnMut(u32, &segment::Frames<'_>)) -> io::Result<()> {
        for (index, number) in self.segments.iter().enumerate() {
            let next = self.segments.get(index + 1).and_then(|next| header(self.store, *next));
            let synced = next.map_or(0, |next| next.previous_synced);
            let bytes = self.store.disk.read(&self.store.layout.segment(*number))?;
            each(*number, &segment::read(&bytes, *number, synced));
        }
        Ok(())
    }

    fn read_log(&mut self) -> io::Result<()> {
        let mut logged: HashMap<Stamp, Logged> = HashMap::new();
        let mut damaged = None;
        self.each_segment(|number, found| {
            if !found.damage.is_empty() {
                damaged.get_or_insert(number);
                let bytes: usize = found.damage.iter().map(|damage| damage.len).sum();
                tracing::error!(
                    segment = number,
                    bytes,
                    places = found.damage.len(),
                    "the log is damaged; what batch files do not hold of these frames is lost"
                );
            }
            for frame in &found.frames {
                let batch = logged.entry(frame.header.stamp).or_default();
                match frame.header.kind {
                    Kind::Open => batch.opening = Opening::decode(frame.payload),
                    Kind::Raw | Kind::Member => {
                        batch.first_offset.get_or_insert(frame.header.offset);
                    }
                    Kind::Close => batch.totals = Totals::decode(frame.payload),
                    Kind::Done => batch.done = true,
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
    fn splits(&mut self) -> io::Result<()> {
        let cuts: Vec<(Stamp, Cut)> = self
            .logged
            .iter()
            .filter(|(_, batch)| !batch.done)
            .filter_map(|(stamp, batch)| batch.cut.map(|cut| (*stamp, cut)))
            .collect();
        for (stamp, cut) in cuts {
            let Some(place) = self.out.records.iter().position(|record| record.entry.stamp == stamp) else {
                continue;
            };
            let original = self.out.records.swap_remove(place);
            if self.finish_split(&original, cut)? {
                self.store.remove(original.tree, &original.name(), original.has_meta)?;
                self.store.sync_folders(std::iter::once(&original.entry.key))?;
                self.out.damaged.retain(|damaged| *damaged != stamp);
                self.out.done.push((stamp, original.entry.key.clone()));
            } else {
                self.out.records.push(original);
            }
        }
        Ok(())
    }

    fn finish_split(&mut self, original: &Record, cut: Cut) -> io::Result<bool> {
        let [rescued, _] = cut.halves;
        if cut.lines == 0 {
            // Sound members under a new name: written as a whole or not at all.
            return Ok(self.out.records.iter().any(|record| record.entry.stamp == rescued)
                || self.logged.get(&rescued).is_some_and(|batch| batch.done));
        }
        let bytes = self.store.read(original.tree, &original.name())?;
        let level = self.shared.level(None);
        let Ok(halves) = split::halves(&bytes, cut.lines, original.entry.class, level, &mut self.compressor)
        else {
            return Ok(false);
        };
        for (half, stamp) in halves.into_iter().zip(cut.halves) {
            self.out.records.retain(|record| record.entry.stamp != stamp);
            if self.logged.get(&stamp).is_some_and(|batch| batch.done) {
                continue;
            }
            let mut record = original.clone();
            record.entry.stamp = stamp;
            record.entry.lines = half.lines;
            record.entry.raw_bytes = half.raw;
            record.entry.file_bytes = half.bytes.len() as u64;
            self.shared.patiently(|| self.store.replace(record.tree, &record.name(), &half.bytes))?;
            if record.has_meta {
                drop(self.store.save_meta(record.tree, &record.name(), &Meta::of(&record.entry)));
            }
            self.out.records.push(record);
        }
        self.store.sync_folders(std::iter::once(&original.entry.key))?;
        Ok(true)
    }
}

/// Recovers the own folder in the background: publishes what is found, then removes the old segments.
pub fn recover_own(shared: &Shared, old: &[u32]) {
    let store = &shared.store;
    loop {
        match Recovery::new(shared, store, old.to_vec()).run() {
            Ok(recovered) => {
                shared.publish_recovered(recovered);
                shared.drop_old_segments(store, old);
                *shared.born.lock() = None;
                return;
            }
            Err(error) => {
                store.metrics.file_failures.inc();
                tracing::warn!(%error, "what earlier runs left in the spool cannot be read completely; trying again");
                if shared.abandoned.wait(Duration::from_secs(5)) {
                    return;
                }
            }
        }
    }
}
