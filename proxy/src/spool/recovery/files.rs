//! Finds batch files and decides what becomes of each.

use std::{collections::HashMap, io, path::Path};

use super::{Found, Recovery, rebuild::Rebuild};
use crate::{
    batch::Class,
    spool::{
        Entry, Stamp, State,
        backlog::Record,
        files::{Name, Tree},
        store::missing_is_fine,
        walk::{Piece, pieces, summary},
    },
};

impl Recovery<'_> {
    pub(super) fn find_files(&mut self) -> io::Result<()> {
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

    fn find_in(&mut self, tree: Tree, folder: &Path) -> io::Result<i64> {
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
    pub(super) fn prepare(&mut self) -> io::Result<HashMap<Stamp, Rebuild>> {
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

    pub(super) fn push(&mut self, file: &Found, class: Class, lines: u64, raw: u64, bytes: u64) {
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
}
