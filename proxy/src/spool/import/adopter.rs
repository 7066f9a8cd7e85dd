//! Makes batches of old files.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    fs, io,
    path::{Path, PathBuf},
    sync::atomic::Ordering::Relaxed,
};

use super::{
    super::{
        Entry, Stamp, State,
        backlog::{Origin, Record},
        disk::{Disk, RealDisk},
        files::{Layout, Name},
        instance,
        member::Compressor,
        shared::Shared,
        store::missing_is_fine,
    },
    batch_file::{BatchFile, End, Written},
    journal::{Folder, Journal, Source},
    metrics::{Cause, ImportMetrics},
    old_files::{self, Plan},
};
use crate::{batch::Class, throttle::Throttle};

/// The thread's state.
#[derive(Debug)]
pub struct Adopter<'a> {
    pub(super) shared: &'a Shared,
    pub(super) folder: Folder,
    metrics: ImportMetrics,
    compressor: Compressor,
    pub(super) journals: HashMap<Name, Journal>,
    stamps: HashSet<Stamp>,
    pub(super) sources: HashMap<PathBuf, u64>,
    foreign: BTreeSet<PathBuf>,
    pub(super) incomplete: bool,
    told: Throttle,
    told_room: bool,
    sum: Sum,
}

#[derive(Debug, Default)]
struct Sum {
    batches: u64,
    files: u64,
    lines: u64,
    empty: u64,
    quarantined: u64,
}

impl<'a> Adopter<'a> {
    /// Of a locked folder.
    pub fn new(shared: &'a Shared, folder: Folder, metrics: ImportMetrics) -> Self {
        Self {
            shared,
            folder,
            metrics,
            compressor: Compressor::default(),
            journals: HashMap::new(),
            stamps: HashSet::new(),
            sources: HashMap::new(),
            foreign: BTreeSet::new(),
            incomplete: false,
            told: Throttle::default(),
            told_room: false,
            sum: Sum::default(),
        }
    }

    /// Takes up what an earlier run left: moves in batches that have a journal. False when it must be tried again.
    pub fn resume(&mut self) -> bool {
        let resumed = self.folder.load().and_then(|journals| {
            for journal in journals {
                let Some(name) = journal.name() else { continue };
                if self.folder.staged(&name).exists() {
                    self.bring_in(&name, &journal)?;
                }
                self.remember(name, journal);
            }
            Ok(())
        });
        if let Err(error) = &resumed {
            self.warn(self.folder.root(), error);
        }
        resumed.is_ok()
    }

    /// Adopts what is there and has room.
    pub fn pass(&mut self) {
        self.incomplete = false;
        let mut foreign = Vec::new();
        let directory = self.folder.directory.clone();
        match old_files::folders(&directory, &mut foreign) {
            Ok(folders) => {
                for folder in folders {
                    let known = |path: &Path, len| self.sources.get(path) == Some(&len);
                    let plans = old_files::plans(&directory, &folder, known, &mut foreign);
                    self.adopt_all(plans, &folder.path);
                }
            }
            Err(error) => self.fail(&directory, &error),
        }
        let new: Vec<PathBuf> =
            foreign.into_iter().filter(|path| self.foreign.insert(path.clone())).collect();
        for _ in &new {
            self.metrics.refuse(Cause::Foreign);
        }
        if !new.is_empty() {
            let some: Vec<_> = new.iter().take(20).map(|path| path.display().to_string()).collect();
            tracing::warn!(number = new.len(), some = ?some, "the spool directory holds files or folders that are no data of the old program under a legal tenant and dataset; they are left alone");
        }
    }

    fn adopt_all(&mut self, plans: io::Result<Vec<Plan>>, path: &Path) {
        match plans {
            Ok(plans) => {
                for plan in plans {
                    if self.shared.abandoned.is_set() {
                        self.incomplete = true;
                        return;
                    }
                    if let Err(error) = self.adopt(plan) {
                        self.fail(path, &error);
                    }
                }
            }
            Err(error) => self.fail(path, &error),
        }
    }

    /// One line about the first pass.
    pub fn sum_up(&self) {
        let Sum { batches, files, lines, empty, quarantined } = self.sum;
        if files + empty + quarantined > 0 {
            let waiting = self.incomplete;
            tracing::info!(
                batches,
                files,
                lines,
                empty,
                quarantined,
                foreign = self.foreign.len(),
                waiting,
                "an old spool was adopted; its files go when their batches are delivered"
            );
        }
    }

    /// Whether there are adopted batches, or files still to adopt.
    pub fn has_work(&self) -> bool {
        self.incomplete || !self.journals.is_empty()
    }

    /// Whether files had no room or could not be read.
    pub fn is_incomplete(&self) -> bool {
        self.incomplete
    }

    fn adopt(&mut self, mut plan: Plan) -> io::Result<()> {
        if self.moved(&plan)? {
            return Ok(());
        }
        if !self.has_room(&plan) {
            self.incomplete = true;
            if !std::mem::replace(&mut self.told_room, true) {
                tracing::warn!(
                    "the spool has no room for more of the old spool; the rest waits in its old files"
                );
            }
            return Ok(());
        }
        plan.name.stamp = self.free_stamp(&plan.name)?;
        let mut staged = self.folder.staged(&plan.name);
        let mut empty = Vec::new();
        let (written, end) = self.write(&staged, &mut plan, &mut empty).inspect_err(|_| {
            drop(RealDisk.remove(&staged));
        })?;
        failpoint!("import.staged");
        if written.lines == 0 || end == End::Damaged {
            missing_is_fine(RealDisk.remove(&staged))?;
            return self.nothing_in(&plan, &empty, end);
        }
        let torn = end == End::Torn;
        if torn {
            // Under its own name all of it may have been sent, and a name never gets shorter.
            plan.name.stamp.0 = plan.name.stamp.0.wrapping_add(1);
            plan.name.stamp = self.free_stamp(&plan.name)?;
            let whole = std::mem::replace(&mut staged, self.folder.staged(&plan.name));
            RealDisk.rename(&whole, &staged)?;
        }
        for source in &mut plan.sources {
            source.damaged = torn;
        }
        let sources = plan.sources.iter().chain(&empty).cloned().collect();
        let meta = plan.meta.as_deref().map(|path| super::old_meta::read(&self.folder.directory.join(path)));
        let mut journal = Journal::new(&plan.name, plan.state == State::Dlq, meta, sources);
        (journal.lines, journal.raw_bytes, journal.file_bytes) = (written.lines, written.raw, written.len);
        RealDisk.sync_dir(self.folder.root())?;
        self.folder.save(&journal)?;
        failpoint!("import.journal");
        // From here on the batch is there, whatever happens to this attempt.
        self.remember(plan.name.clone(), journal.clone());
        self.count(&plan, &empty, written.lines);
        if let Err(error) = self.bring_in(&plan.name, &journal) {
            self.warn(&staged, &error);
        }
        if torn {
            self.told_damaged(&plan, Cause::Torn);
            for source in &plan.sources {
                self.dispose(source)?;
            }
        }
        Ok(())
    }

    /// Writes the batch. Empty messages are told apart.
    fn write(
        &mut self,
        staged: &Path,
        plan: &mut Plan,
        empty: &mut Vec<Source>,
    ) -> io::Result<(Written, End)> {
        let level = self.shared.level(None);
        let directory = &self.folder.directory;
        let mut batch = BatchFile::create(staged, &mut self.compressor, level, plan.name.stamp.0)?;
        let mut end = End::Whole;
        let mut taken = Vec::with_capacity(plan.sources.len());
        for mut source in std::mem::take(&mut plan.sources) {
            let path = directory.join(&source.path);
            if source.len == 0 {
                empty.push(source);
                continue;
            }
            if plan.gzip {
                end = batch.inflate(&path)?;
            } else {
                // A message that vanished was never ours; one that grew since is taken as it is now.
                let message = match fs::read(&path) {
                    Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                    other => other?,
                };
                source.len = message.len() as u64;
                batch.push(&message)?;
                batch.end_line();
            }
            taken.push(source);
        }
        plan.sources = taken;
        Ok((batch.finish()?, end))
    }

    /// There is no line to deliver: what is empty goes, what cannot be read is kept.
    fn nothing_in(&mut self, plan: &Plan, empty: &[Source], end: End) -> io::Result<()> {
        let mut nothing = empty.to_vec();
        if end == End::Whole {
            nothing.extend(plan.sources.iter().cloned());
        } else {
            self.told_damaged(plan, if end == End::Torn { Cause::Torn } else { Cause::Damaged });
            for source in &plan.sources {
                self.dispose(&Source { damaged: true, ..source.clone() })?;
            }
        }
        for source in &nothing {
            self.metrics.refuse(Cause::Empty);
            self.sum.empty += 1;
            tracing::info!(file = %source.path.display(), "an old file without a line was removed");
            self.dispose(source)?;
        }
        Ok(())
    }

    fn told_damaged(&mut self, plan: &Plan, cause: Cause) {
        for source in &plan.sources {
            self.metrics.refuse(cause);
            self.sum.quarantined += 1;
            let file = source.path.display();
            if cause == Cause::Torn {
                tracing::error!(%file, "a batch of the old program is cut off; its whole lines are delivered, the file goes to quarantine");
            } else {
                tracing::error!(%file, "a batch of the old program does not match its checksum; it goes to quarantine and is not sent");
            }
        }
    }

    fn count(&mut self, plan: &Plan, empty: &[Source], lines: u64) {
        self.metrics.files.inc_by(plan.sources.len() as u64);
        self.metrics.events.inc_by(lines);
        self.sum.batches += 1;
        self.sum.files += plan.sources.len() as u64;
        self.sum.lines += lines;
        self.sum.empty += empty.len() as u64;
        for source in empty {
            self.metrics.refuse(Cause::Empty);
            tracing::info!(file = %source.path.display(), "an old file without a line goes with its neighbours");
        }
    }

    fn remember(&mut self, name: Name, journal: Journal) {
        self.stamps.insert(name.stamp);
        self.sources.extend(journal.sources.iter().map(|source| (source.path.clone(), source.len)));
        self.journals.insert(name, journal);
    }

    /// Moves a batch that has a journal among the others and shows it to delivery. Metadata first, as in every move.
    pub(super) fn bring_in(&self, name: &Name, journal: &Journal) -> io::Result<()> {
        let store = &self.shared.store;
        let (staged, tree) = (self.folder.staged(name), journal.tree());
        if self.shared.backlog.get(name.stamp).is_some_and(|record| record.name() == *name) {
            return missing_is_fine(RealDisk.remove(&staged));
        }
        let place = store.layout.folder(tree, &name.key);
        RealDisk.make_dirs(&place)?;
        for folder in place.ancestors().skip(1).take_while(|dir| dir.starts_with(store.layout.root())) {
            RealDisk.sync_dir(folder)?;
        }
        let has_meta = journal.meta.as_ref().is_some_and(|meta| store.save_meta(tree, name, meta).is_ok());
        RealDisk.rename(&staged, &store.layout.data(tree, name))?;
        failpoint!("import.moved");
        // It is here whatever that says: a power cut may bring it back to where it was, with its journal.
        let synced = RealDisk.sync_dir(&place).and_then(|()| RealDisk.sync_dir(self.folder.root()));
        let mut entry = Entry {
            stamp: name.stamp,
            key: name.key.clone(),
            hint: name.hint.clone(),
            class: Class::Acknowledged,
            lines: journal.lines,
            raw_bytes: journal.raw_bytes,
            file_bytes: journal.file_bytes,
            state: State::of(tree, journal.meta.is_some()),
            attempts: 0,
            last_attempt: None,
            failure: None,
        };
        if let Some(meta) = journal.meta.clone() {
            meta.apply(&mut entry);
        }
        self.shared.backlog.insert(Record { entry, tree, has_meta }, Origin::Found);
        failpoint!("import.visible");
        synced
    }

    /// The old program ran meanwhile and moved the file of a batch that we have: then it is a source of that.
    fn moved(&mut self, plan: &Plan) -> io::Result<bool> {
        let Some(journal) = self.journals.get_mut(&plan.name).filter(|_| plan.gzip) else { return Ok(false) };
        let (Some(new), Some(old)) = (plan.sources.first(), journal.sources.first_mut()) else {
            return Ok(false);
        };
        if new.len != old.len || self.folder.directory.join(&old.path).exists() {
            return Ok(false);
        }
        self.sources.remove(&old.path);
        old.path.clone_from(&new.path);
        self.sources.insert(new.path.clone(), new.len);
        let journal = journal.clone();
        self.folder.save(&journal)?;
        Ok(true)
    }

    /// Its own stamp, unless another batch has it or a damaged one of that name is in quarantine.
    fn free_stamp(&self, wanted: &Name) -> io::Result<Stamp> {
        let mut name = wanted.clone();
        while self.stamps.contains(&name.stamp)
            || self.shared.backlog.get(name.stamp).is_some()
            || self.is_quarantined(&name)?
        {
            name.stamp.0 = name.stamp.0.wrapping_add(1);
        }
        Ok(name.stamp)
    }

    fn has_room(&self, plan: &Plan) -> bool {
        let (usage, limits) = (self.shared.usage(), &self.shared.limits);
        match plan.state {
            State::Dlq => {
                usage.dlq.load(Relaxed).saturating_add(plan.bytes()) <= limits.dlq()
                    && usage.dlq_batches.load(Relaxed) < limits.dlq_batches()
            }
            _ => {
                usage.spool().saturating_add(plan.bytes()) <= limits.unacknowledged()
                    && usage.batches.load(Relaxed) < limits.batches(Class::Unacknowledged)
            }
        }
    }

    /// All instances' folders.
    pub(super) fn layouts(&self) -> io::Result<Vec<Layout>> {
        Ok(instance::existing(&self.folder.directory)?.into_iter().map(Layout::new).collect())
    }

    /// Whether something of this batch is in quarantine.
    pub(super) fn is_quarantined(&self, name: &Name) -> io::Result<bool> {
        let data = name.data();
        for layout in self.layouts()? {
            if RealDisk.list(&layout.quarantine())?.iter().any(|file| file.name.starts_with(&data)) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn fail(&mut self, path: &Path, error: &io::Error) {
        self.incomplete = true;
        self.warn(path, error);
    }

    /// Reports what will be tried again.
    pub(super) fn warn(&self, path: &Path, error: &io::Error) {
        self.shared.metrics().file_failures.inc();
        if self.told.pass().is_some() {
            tracing::warn!(path = %path.display(), %error, "part of an old spool cannot be adopted yet; trying again");
        }
    }
}
