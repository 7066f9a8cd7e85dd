//! What recovery cannot read or mend now. The rest is published without it, and it is tried again later.

use std::{
    collections::{BTreeSet, HashMap},
    io,
    path::{Path, PathBuf},
};

use super::{Stamp, disk::Disk};

/// Batches and folders that are left for later.
#[derive(Debug, Clone, Default)]
pub struct Unreadable {
    batches: HashMap<Stamp, PathBuf>,
    folders: BTreeSet<PathBuf>,
}

impl Unreadable {
    /// A batch is left for later, and why.
    pub fn note(&mut self, stamp: Stamp, path: &Path, error: &io::Error) {
        if self.batches.insert(stamp, path.to_owned()).is_none() {
            tracing::warn!(path = %path.display(), %error, "a batch cannot be recovered now; it is kept and tried again, the others go on");
        }
    }

    /// A folder is left for later, and why.
    pub fn note_folder(&mut self, folder: &Path, error: &io::Error) {
        if self.folders.insert(folder.to_owned()) {
            tracing::warn!(path = %folder.display(), %error, "a folder of the spool cannot be read now; what it holds is kept and tried again, the others go on");
        }
    }

    /// A batch shares the fate of another one that is left for later.
    pub fn join(&mut self, stamp: Stamp, other: Stamp) {
        if let Some(path) = self.batches.get(&other).cloned() {
            self.batches.entry(stamp).or_insert(path);
        }
    }

    /// Whether a batch is left for later.
    pub fn contains(&self, stamp: Stamp) -> bool {
        self.batches.contains_key(&stamp)
    }

    /// Whether something in `folder` may be left for later.
    pub fn covers(&self, folder: &Path) -> bool {
        self.folders.iter().any(|unread| folder.starts_with(unread))
    }

    /// Whether there are folders of which nothing is known.
    pub fn has_folders(&self) -> bool {
        !self.folders.is_empty()
    }

    /// The batches.
    pub fn stamps(&self) -> impl Iterator<Item = Stamp> {
        self.batches.keys().copied()
    }

    /// Batches and folders.
    pub fn len(&self) -> usize {
        self.batches.len() + self.folders.len()
    }

    /// Nothing is left.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether another attempt may get further: a file or folder is readable, or gone.
    pub fn may_have_changed(&self, disk: &dyn Disk) -> bool {
        let gone = |error: &io::Error| error.kind() == io::ErrorKind::NotFound;
        let batch = |path: &Path| disk.read(path).as_ref().map_or_else(gone, |_| true);
        let folder = |path: &Path| disk.list(path).is_ok();
        self.folders.iter().any(|path| folder(path))
            || self.batches.values().any(|path| !self.covers(path) && batch(path))
    }
}
