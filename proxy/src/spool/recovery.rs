//! Reads what earlier runs left: segments and batch files. Rules: `docs/spool.md`, "Recovery".

use std::{collections::HashMap, io, path::PathBuf, time::Duration};

use crc32fast::Hasher;

use super::{
    Entry, Shared, Stamp, State,
    backlog::Record,
    files::{Layout, Name, Tree},
    frame::{Cut, Header, Kind, Opening, Totals, word},
    member::Compressor,
    meta::Meta,
    segment::{self, SegmentHeader},
    split,
    store::{Store, missing_is_fine},
    walk::{Piece, pieces, summary},
};
use crate::batch::{Class, MEMBER_MIN, StreamKey};

/// Tails of all batches together, before they are written.
const TAILS: usize = 16 << 20;

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

/// A batch that is put together from file and frames.
#[derive(Debug)]
struct Rebuild {
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
    first_ns: u64,
    totals: Option<Totals>,
    damaged: bool,
    gap: bool,
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

    fn find_files(&mut self) -> io::Result<()> {
        let mut foreign = 0;
        for tree in [Tree::Batches, Tree::Dlq] {
            let root = self.store.layout.tree(tree);
            for tenant in self.store.disk.list(&root)?.into_iter().filter(|entry| entry.folder) {
                let tenant_dir = root.join(&tenant.name);
                for dataset in self.store.disk.list(&tenant_dir)?.into_iter().filter(|entry| entry.folder) {
                    let folder = tenant_dir.join(&dataset.name);
                    foreign += self.find_in(tree, &folder)?;
                    self.folders.push(folder);
                }
            }
        }
        self.store.metrics.foreign.inc_by(foreign);
        if foreign > 0 {
            tracing::warn!(files = foreign, folder = %self.store.layout.root().display(), "there are files in the spool that are not batches; they are left alone");
        }
        Ok(())
    }

    fn find_in(&mut self, tree: Tree, folder: &std::path::Path) -> io::Result<i64> {
        let listed = self.store.disk.list(folder)?;
        let mut metas = Vec::new();
        let mut foreign = 0;
        for file in listed {
            let (stem, meta) = match (file.name.strip_suffix(".gz"), file.name.strip_suffix(".meta")) {
                (Some(stem), _) => (stem, false),
                (_, Some(stem)) => (stem, true),
                // Left behind by a crash in the middle of a replacement.
                _ if file.name.ends_with(".gz.tmp") || file.name.ends_with(".meta.tmp") => {
                    let of = file.name.split('.').next().and_then(Name::parse);
                    if of.is_some_and(|name| !self.is_live(name.stamp)) {
                        missing_is_fine(self.store.disk.remove(&folder.join(&file.name)))?;
                    }
                    continue;
                }
                _ => {
                    foreign += 1;
                    continue;
                }
            };
            let name = Name::parse(stem)
                .filter(|name| !file.folder && self.store.layout.folder(tree, &name.key) == folder);
            let Some(name) = name else {
                foreign += 1;
                continue;
            };
            if self.is_live(name.stamp) {
                continue;
            }
            if meta {
                metas.push(name);
            } else if let Some(other) = self
                .found
                .insert(name.stamp, Found { name: name.clone(), tree, len: file.len, has_meta: false })
            {
                // A rename is atomic, so somebody copied it. The one in the DLQ tree counts.
                tracing::warn!(batch = %name.data(), "a batch file is there twice; the copy outside the DLQ is set aside in quarantine");
                let bytes = self.store.read(other.tree, &other.name)?;
                self.store.quarantine(&other.name.data(), &bytes)?;
                self.store.remove(other.tree, &other.name, false)?;
            }
        }
        for name in metas {
            match self.found.get_mut(&name.stamp).filter(|found| found.tree == tree) {
                Some(found) => found.has_meta = true,
                None => self.store.remove_meta(tree, &name)?,
            }
        }
        Ok(foreign)
    }

    /// Decides about every batch: gone, whole in its file, or to be rebuilt.
    fn prepare(&mut self) -> io::Result<HashMap<Stamp, Rebuild>> {
        let found = std::mem::take(&mut self.found);
        for (stamp, file) in &found {
            match self.logged.get(stamp) {
                Some(batch) if batch.done => self.store.remove(file.tree, &file.name, file.has_meta)?,
                Some(batch) if batch.opening.is_some() || batch.first_offset.is_some() => {}
                _ => self.whole(file)?,
            }
        }
        let mut rebuilds = HashMap::new();
        for (stamp, batch) in &self.logged {
            if batch.done || (batch.opening.is_none() && batch.first_offset.is_none()) {
                continue;
            }
            match (found.get(stamp), &batch.opening) {
                (Some(file), _) => {
                    if let Some(rebuild) = self.sound_part(file, batch)? {
                        rebuilds.insert(*stamp, rebuild);
                    }
                }
                (None, Some(opening)) => {
                    let key = opening.key();
                    let name = Name { key: key.dataset.clone(), stamp: *stamp, hint: key.hint.clone() };
                    let mut rebuild = Rebuild::new(name, Tree::Batches, key);
                    rebuild.first_ns = opening.first_ns;
                    rebuild.totals = batch.totals;
                    rebuilds.insert(*stamp, rebuild);
                }
                // Delivered, unless the log lost its first frame.
                (None, None) => {}
            }
        }
        Ok(rebuilds)
    }

    /// A batch of which the log says nothing: it was synced as a whole.
    fn whole(&mut self, file: &Found) -> io::Result<()> {
        if file.len == 0 {
            return self.store.remove(file.tree, &file.name, file.has_meta);
        }
        let found = summary(&mut *self.store.open(file.tree, &file.name)?)?;
        if let Some(sum) = found {
            self.push(file, sum.first.class, sum.lines, sum.raw, sum.bytes);
            return Ok(());
        }
        let bytes = self.store.read(file.tree, &file.name)?;
        let (mut class, mut lines, mut raw) = (Class::Acknowledged, 0, 0);
        let found = pieces(&bytes);
        if found.iter().all(|piece| matches!(piece, Piece::Bad { .. })) {
            return self.set_aside(file, 0);
        }
        for piece in found {
            let info = match piece {
                Piece::Sound { info, .. } => Some(info),
                Piece::Bad { info, .. } => info,
            };
            if let Some(info) = info {
                class = info.class;
                lines += u64::from(info.lines);
                raw += u64::from(info.raw_len);
            }
        }
        self.push(file, class, lines, raw, file.len);
        self.out.damaged.push(file.name.stamp);
        Ok(())
    }

    fn push(&mut self, file: &Found, class: Class, lines: u64, raw: u64, bytes: u64) {
        let mut entry = Entry {
            stamp: file.name.stamp,
            key: file.name.key.clone(),
            hint: file.name.hint.clone(),
            class,
            lines,
            raw_bytes: raw,
            file_bytes: bytes,
            state: match (file.tree, file.has_meta) {
                (Tree::Dlq, _) => State::Dlq,
                (Tree::Batches, true) => State::Retry,
                (Tree::Batches, false) => State::Queue,
            },
            attempts: 0,
            last_attempt: None,
            failure: None,
        };
        if file.has_meta
            && let Some(meta) = self.store.load_meta(file.tree, &file.name)
        {
            meta.apply(&mut entry);
        }
        self.out.records.push(Record { entry, tree: file.tree, has_meta: file.has_meta });
    }

    /// What of a file can be relied on; the rest is cut off when the log has it.
    fn sound_part(&self, file: &Found, batch: &Logged) -> io::Result<Option<Rebuild>> {
        let bytes = self.store.read(file.tree, &file.name)?;
        let found = pieces(&bytes);
        let class = found.iter().find_map(|piece| match piece {
            Piece::Sound { info, .. } => Some(info.class),
            Piece::Bad { .. } => None,
        });
        let key = match (&batch.opening, class) {
            (Some(opening), _) => opening.key(),
            (None, Some(class)) => {
                StreamKey { dataset: file.name.key.clone(), hint: file.name.hint.clone(), class }
            }
            // Never synced, and its first frame is gone: it was delivered.
            (None, None) => {
                self.store.remove(file.tree, &file.name, file.has_meta)?;
                return Ok(None);
            }
        };
        let mut rebuild = Rebuild::new(file.name.clone(), file.tree, key);
        rebuild.has_meta = file.has_meta;
        rebuild.totals = batch.totals;
        let last_sound = found.iter().rposition(|piece| matches!(piece, Piece::Sound { .. }));
        for (index, piece) in found.iter().enumerate() {
            match piece {
                Piece::Sound { at, info, raw_crc } => {
                    rebuild.first_ns = if rebuild.len == 0 { info.first_ns } else { rebuild.first_ns };
                    rebuild.len = at.end as u64;
                    rebuild.count(info.lines, info.raw_len, *raw_crc);
                }
                Piece::Bad { at, info } => {
                    let log_reaches_back = batch.first_offset.is_some_and(|first| first <= rebuild.raw);
                    if log_reaches_back || last_sound.is_none_or(|last| index > last) {
                        break;
                    }
                    // The length of what is lost: from the header, else from the trailer.
                    let lost = bytes.get(at.clone()).unwrap_or_default();
                    let raw_len = info.map_or_else(
                        || word(lost, lost.len().saturating_sub(4)).unwrap_or(0),
                        |info| info.raw_len,
                    );
                    rebuild.raw += u64::from(raw_len);
                    rebuild.lines += info.map_or(0, |info| u64::from(info.lines));
                    rebuild.damaged = true;
                }
            }
        }
        if rebuild.len < file.len {
            self.store.disk.truncate(&self.store.layout.data(file.tree, &file.name), rebuild.len)?;
        }
        Ok(Some(rebuild))
    }

    fn replay(&mut self, rebuilds: &mut HashMap<Stamp, Rebuild>) -> io::Result<()> {
        let mut compressor = std::mem::take(&mut self.compressor);
        let mut failure = None;
        let mut tails = 0;
        let mut unattributed: HashMap<Stamp, Vec<u8>> = HashMap::new();
        self.each_segment(|_, found| {
            for frame in &found.frames {
                if failure.is_some() || !matches!(frame.header.kind, Kind::Raw | Kind::Member) {
                    continue;
                }
                let Some(batch) = rebuilds.get_mut(&frame.header.stamp) else {
                    if self.lost_its_name(frame.header.stamp) {
                        unattributed.entry(frame.header.stamp).or_default().extend_from_slice(frame.payload);
                    }
                    continue;
                };
                let before = batch.tail.len();
                if let Err(error) = self.replay_frame(batch, &frame.header, frame.payload, &mut compressor) {
                    failure = Some(error);
                }
                tails = tails + batch.tail.len() - before.min(tails + batch.tail.len());
                if tails > TAILS {
                    for batch in rebuilds.values_mut() {
                        if let Err(error) = self.write_tail(batch, &mut compressor) {
                            failure = Some(error);
                        }
                    }
                    tails = 0;
                }
            }
        })?;
        if let Some(error) = failure {
            return Err(error);
        }
        for batch in rebuilds.values_mut() {
            self.write_tail(batch, &mut compressor)?;
        }
        for (stamp, bytes) in unattributed {
            tracing::error!(
                batch = stamp.0,
                bytes = bytes.len(),
                "the log lost the name of a batch; its bytes are in quarantine"
            );
            self.store.quarantine(&format!("{:019}.frames", stamp.0), &bytes)?;
        }
        self.compressor = compressor;
        Ok(())
    }

    /// Whether a batch without name and file is the victim of damage and not just delivered.
    fn lost_its_name(&self, stamp: Stamp) -> bool {
        let known = self.logged.get(&stamp).is_some_and(|batch| !batch.done && batch.opening.is_none());
        known && self.damage_from.is_some_and(|oldest| stamp.0 > oldest)
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
        self.shared.patiently(|| self.store.write(batch.tree, &batch.name, batch.len, bytes))?;
        batch.len += bytes.len() as u64;
        Ok(())
    }

    /// Checks totals, makes files durable.
    fn finish(&mut self, rebuilds: HashMap<Stamp, Rebuild>) -> io::Result<()> {
        let mut keys = std::collections::HashSet::new();
        for (stamp, batch) in rebuilds {
            if batch.lines == 0 {
                self.store.remove(batch.tree, &batch.name, batch.has_meta)?;
                continue;
            }
            let file = Found {
                name: batch.name.clone(),
                tree: batch.tree,
                len: batch.len,
                has_meta: batch.has_meta,
            };
            if !batch.damaged && batch.totals.is_some_and(|totals| !batch.matches(totals)) {
                self.set_aside(&file, batch.totals.map_or(batch.lines, |totals| totals.lines))?;
                continue;
            }
            if batch.gap {
                tracing::error!(batch = %batch.name.data(), "lines are missing in the middle of a batch: the log was damaged there; the others are sent");
            }
            self.shared
                .patiently(|| self.store.disk.sync(&self.store.layout.data(batch.tree, &batch.name)))?;
            keys.insert(batch.name.key.clone());
            self.push(&file, batch.key.class, batch.lines, batch.raw, batch.len);
            if batch.damaged {
                self.out.damaged.push(stamp);
            }
        }
        self.store.sync_folders(keys.iter())
    }

    fn set_aside(&mut self, file: &Found, lines: u64) -> io::Result<()> {
        let bytes = self.store.read(file.tree, &file.name)?;
        self.store.quarantine(&file.name.data(), &bytes)?;
        self.store.remove(file.tree, &file.name, file.has_meta)?;
        self.out.quarantined += lines;
        self.out.done.push((file.name.stamp, file.name.key.clone()));
        tracing::error!(batch = %file.name.data(), lines, "a batch is damaged or not what its close frame says; it was set aside in quarantine and is not sent");
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

impl Rebuild {
    fn new(name: Name, tree: Tree, key: StreamKey) -> Self {
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
