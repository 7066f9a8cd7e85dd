//! Finds batch files and decides what becomes of each.

use std::{
    collections::HashMap,
    io,
    path::{Path, PathBuf},
};

use super::{Found, Logged, Recovery, rebuild::Rebuild};
use crate::{
    batch::Class,
    spool::{
        Entry, Stamp, State,
        backlog::Record,
        files::{Name, Tree},
        stamps::LATEST_NS,
        store::{Store, missing_is_fine},
        walk::{Piece, pieces, summary},
    },
};

/// The highest stamp among the files of all batches.
pub fn newest_file(store: &Store) -> Option<u64> {
    let folders = |folder: PathBuf| {
        let listed = store.disk.list(&folder).unwrap_or_default();
        listed.into_iter().filter(|entry| entry.folder).map(move |entry| folder.join(entry.name))
    };
    let trees = [Tree::Batches, Tree::Dlq].map(|tree| store.layout.tree(tree));
    let datasets = trees.into_iter().flat_map(folders).flat_map(folders);
    let files = datasets.flat_map(|folder| store.disk.list(&folder).unwrap_or_default());
    let stamps = files.filter_map(|file| Some(Name::parse(file.name.split('.').next()?)?.stamp.0));
    // Later ones are none of ours.
    stamps.filter(|stamp| *stamp <= LATEST_NS).max()
}

impl Recovery<'_> {
    pub(super) fn find_files(&mut self) {
        let mut foreign = 0;
        for tree in [Tree::Batches, Tree::Dlq] {
            for tenant in self.folders_in(&self.store.layout.tree(tree)) {
                for dataset in self.folders_in(&tenant) {
                    foreign += self.find_in(tree, &dataset);
                }
            }
        }
        if self.only.is_some() {
            return;
        }
        // Folders are looked at again every 30 s: only a change is worth a line.
        if self.store.metrics.foreign.set(foreign) != foreign && foreign > 0 {
            tracing::warn!(files = foreign, folder = %self.store.layout.root().display(), "there are files in the spool that are not batches; they are left alone");
        }
    }

    fn folders_in(&mut self, folder: &Path) -> Vec<PathBuf> {
        match self.store.disk.list(folder) {
            Ok(listed) => {
                let folders = listed.into_iter().filter(|entry| entry.folder);
                folders.map(|entry| folder.join(entry.name)).collect()
            }
            Err(error) => {
                self.leave_folder(folder, &error);
                Vec::new()
            }
        }
    }

    fn find_in(&mut self, tree: Tree, folder: &Path) -> i64 {
        let listed = match self.store.disk.list(folder) {
            Ok(listed) => listed,
            Err(error) => {
                self.leave_folder(folder, &error);
                return 0;
            }
        };
        self.folders.push(folder.to_owned());
        let mut metas = Vec::new();
        let mut foreign = 0;
        let mut before: Option<Name> = None;
        for file in listed {
            let (stem, meta) = match (file.name.strip_suffix(".gz"), file.name.strip_suffix(".meta")) {
                (Some(stem), _) => (stem, false),
                (_, Some(stem)) => (stem, true),
                // Left behind by a crash in the middle of a replacement.
                _ if file.name.ends_with(".gz.tmp") || file.name.ends_with(".meta.tmp") => {
                    let of = file.name.split('.').next().and_then(Name::parse);
                    if of.is_some_and(|name| !self.is_live_in(name.stamp, folder)) {
                        self.clear(&folder.join(&file.name));
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
            let Some(mut name) = name else {
                foreign += 1;
                continue;
            };
            // Ids are held once for all that have the same.
            if let Some(before) = &before {
                name.key = before.key.clone();
                name.hint =
                    Some(&before.hint).filter(|hint| **hint == name.hint).unwrap_or(&name.hint).clone();
            }
            before = Some(name.clone());
            if self.is_live_in(name.stamp, folder) {
                continue;
            }
            if meta {
                metas.push(name);
            } else if let Some(other) =
                self.found.insert(name.stamp, Found { name: name.clone(), tree, has_meta: false })
            {
                // A rename is atomic, so somebody copied it. The one in the DLQ tree counts.
                tracing::warn!(batch = %name.data(), "a batch file is there twice; the copy outside the DLQ is set aside in quarantine");
                let aside = self
                    .store
                    .read(other.tree, &other.name)
                    .and_then(|bytes| self.store.quarantine(&other.name.data(), &bytes))
                    .and_then(|()| self.store.remove(other.tree, &other.name, false));
                if let Err(error) = aside {
                    self.leave(name.stamp, &self.store.layout.data(other.tree, &other.name), &error);
                }
            }
        }
        for name in metas {
            match self.found.get_mut(&name.stamp).filter(|found| found.tree == tree) {
                Some(found) => found.has_meta = true,
                None => self.clear(&self.store.layout.meta(tree, &name)),
            }
        }
        foreign
    }

    /// Removes what is of no use; where that fails it is tried at the next start.
    fn clear(&self, path: &Path) {
        if let Err(error) = missing_is_fine(self.store.disk.remove(path)) {
            self.store.metrics.file_failures.inc();
            tracing::warn!(path = %path.display(), %error, "a file without use cannot be removed");
        }
    }

    /// Decides about every batch: gone, whole in its file, to be rebuilt, or left for later.
    pub(super) fn prepare(&mut self) -> HashMap<Stamp, Rebuild> {
        let found = std::mem::take(&mut self.found);
        for (stamp, file) in &found {
            let settled = match self.logged.get(stamp) {
                _ if self.out.unreadable.contains(*stamp) => Ok(()),
                Some(batch) if batch.done => self.store.remove(file.tree, &file.name, file.has_meta),
                Some(batch) if batch.opening.is_some() || batch.first_offset.is_some() => Ok(()),
                _ => self.whole(file),
            };
            if let Err(error) = settled {
                self.leave(*stamp, &self.store.layout.data(file.tree, &file.name), &error);
            }
        }
        let mut rebuilds = HashMap::new();
        for (stamp, batch) in std::mem::take(&mut self.logged) {
            let has_frames = batch.opening.is_some() || batch.first_offset.is_some();
            if !batch.done && has_frames && !self.out.unreadable.contains(stamp) {
                match self.rebuild(stamp, found.get(&stamp), &batch) {
                    Ok(Some(rebuild)) => drop(rebuilds.insert(stamp, rebuild)),
                    Ok(None) => {}
                    Err((path, error)) => self.leave(stamp, &path, &error),
                }
            }
            self.logged.insert(stamp, batch);
        }
        self.retract();
        rebuilds.retain(|stamp, _| !self.out.unreadable.contains(*stamp));
        rebuilds
    }

    /// What a batch with frames is put together from; nothing when it was delivered.
    fn rebuild(
        &self,
        stamp: Stamp,
        file: Option<&Found>,
        batch: &Logged,
    ) -> Result<Option<Rebuild>, (PathBuf, io::Error)> {
        if let Some(file) = file {
            let path = || self.store.layout.data(file.tree, &file.name);
            return self.sound_part(file, batch).map(Some).map_err(|error| (path(), error));
        }
        let unread = |path: PathBuf| (path, io::Error::other("its folder cannot be read"));
        let Some(opening) = &batch.opening else {
            // Delivered, unless the log lost its first frame or its file is where nobody could look.
            let hidden = self.out.unreadable.has_folders();
            return if hidden { Err(unread(self.store.layout.root().to_owned())) } else { Ok(None) };
        };
        let key = opening.key();
        let folders = [Tree::Batches, Tree::Dlq].map(|tree| self.store.layout.folder(tree, &key.dataset));
        if let Some(folder) = folders.into_iter().find(|folder| self.out.unreadable.covers(folder)) {
            return Err(unread(folder));
        }
        let name = Name { key: key.dataset.clone(), stamp, hint: key.hint.clone() };
        let mut rebuild = Rebuild::new(name, Tree::Batches, key);
        rebuild.first_ns = opening.first_ns;
        rebuild.totals = batch.totals;
        Ok(Some(rebuild))
    }

    /// A batch of which the log says nothing: it was synced as a whole.
    fn whole(&mut self, file: &Found) -> io::Result<()> {
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
        for info in found.iter().filter_map(Piece::info) {
            class = info.class;
            lines += u64::from(info.lines);
            raw += u64::from(info.raw_len);
        }
        self.push(file, class, lines, raw, bytes.len() as u64);
        self.out.damaged.push(file.name.stamp);
        Ok(())
    }

    pub(super) fn push(&mut self, file: &Found, class: Class, lines: u64, raw: u64, bytes: u64) {
        let mut entry = Entry {
            stamp: file.name.stamp,
            key: file.name.key.clone(),
            hint: file.name.hint.clone(),
            class,
            lines,
            raw_bytes: raw,
            file_bytes: bytes,
            state: State::of(file.tree, file.has_meta),
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
}
