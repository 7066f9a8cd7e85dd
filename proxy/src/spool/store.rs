//! What happens to single batch files of one instance folder.

use std::{
    collections::{BTreeSet, HashSet},
    ffi::OsString,
    io::{self, ErrorKind},
    path::{Path, PathBuf},
    sync::Arc,
};

use parking_lot::Mutex;

use super::{
    disk::{Disk, Source},
    files::{Layout, Name, Tree},
    meta::Meta,
    metrics::{SpoolMetrics, Usage},
    walk::{Piece, pieces},
};
use crate::ids::DatasetKey;

/// A disk, a folder on it, and the books about it.
#[derive(Debug, Clone)]
pub struct Store {
    /// The file system.
    pub disk: Arc<dyn Disk>,
    /// The folder.
    pub layout: Layout,
    /// Metrics.
    pub metrics: Arc<SpoolMetrics>,
    /// Bytes.
    pub usage: Arc<Usage>,
    /// Folders whose own names are known to be durable.
    durable: Arc<Mutex<HashSet<PathBuf>>>,
    /// Names of files whose last sync failed.
    doubtful: Arc<Mutex<HashSet<OsString>>>,
}

impl Store {
    /// Of a folder on a disk.
    pub fn new(disk: Arc<dyn Disk>, layout: Layout, metrics: Arc<SpoolMetrics>, usage: Arc<Usage>) -> Self {
        Self { disk, layout, metrics, usage, durable: Arc::default(), doubtful: Arc::default() }
    }

    /// Writes `bytes` at `at` of a batch's data file; makes the folders when they are missing.
    pub fn write(&self, tree: Tree, name: &Name, at: u64, bytes: &[u8]) -> io::Result<()> {
        let path = self.layout.data(tree, name);
        failpoint!("file.write");
        self.with_folder(&path, || self.disk.write_at(&path, at, bytes))?;
        failpoint!("file.written");
        Ok(())
    }

    /// Makes the first `len` bytes of a batch's file durable. A system that could not write them says so once and takes them
    /// for written then: after a failure they are written again from memory, as long as that still has what was meant.
    pub fn sync_data(&self, path: &Path, len: u64) -> io::Result<()> {
        self.sync_or(path, || self.write_again(path, len))
    }

    /// The same for a segment of an earlier run, which is as it is.
    pub fn sync_segment(&self, path: &Path) -> io::Result<()> {
        self.sync_or(path, || self.disk.write_again(path, &self.disk.read(path)?))
    }

    fn sync_or(&self, path: &Path, write_again: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        let name = path.file_name().unwrap_or_default().to_owned();
        let doubtful = self.doubtful.lock().contains(&name);
        let synced = if doubtful { write_again() } else { self.disk.sync(path) };
        match &synced {
            Ok(()) => _ = self.doubtful.lock().remove(&name),
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(_) => _ = self.doubtful.lock().insert(name),
        }
        synced
    }

    fn write_again(&self, path: &Path, len: u64) -> io::Result<()> {
        let mut bytes = self.disk.read(path)?;
        bytes.truncate(usize::try_from(len).unwrap_or(usize::MAX));
        if bytes.len() as u64 != len || pieces(&bytes).iter().any(|piece| matches!(piece, Piece::Bad { .. }))
        {
            return Err(io::Error::other("a batch file is not as it was written; the log is kept for it"));
        }
        self.disk.write_again(path, &bytes)
    }

    /// Opens a batch's data.
    pub fn open(&self, tree: Tree, name: &Name) -> io::Result<Box<dyn Source>> {
        self.disk.open(&self.layout.data(tree, name))
    }

    /// All of a batch's data.
    pub fn read(&self, tree: Tree, name: &Name) -> io::Result<Vec<u8>> {
        self.disk.read(&self.layout.data(tree, name))
    }

    /// Replaces a batch's data as a whole.
    pub fn replace(&self, tree: Tree, name: &Name, bytes: &[u8]) -> io::Result<()> {
        let path = self.layout.data(tree, name);
        self.with_folder(&path, || self.disk.replace(&path, bytes))
    }

    /// Removes data, then metadata.
    pub fn remove(&self, tree: Tree, name: &Name, has_meta: bool) -> io::Result<()> {
        failpoint!("file.remove");
        missing_is_fine(self.disk.remove(&self.layout.data(tree, name)))?;
        failpoint!("file.removed");
        if has_meta { self.remove_meta(tree, name) } else { Ok(()) }
    }

    /// Removes metadata.
    pub fn remove_meta(&self, tree: Tree, name: &Name) -> io::Result<()> {
        missing_is_fine(self.disk.remove(&self.layout.meta(tree, name)))
    }

    /// Puts metadata beside a batch.
    pub fn save_meta(&self, tree: Tree, name: &Name, meta: &Meta) -> io::Result<()> {
        let path = self.layout.meta(tree, name);
        failpoint!("meta.write");
        let saved = self.with_folder(&path, || self.disk.replace(&path, &meta.encode()));
        failpoint!("meta.written");
        if let Err(error) = &saved {
            self.metrics.file_failures.inc();
            tracing::warn!(path = %path.display(), %error, "metadata of a batch cannot be written; its attempts and reason are known until the next start only");
        }
        saved
    }

    /// Metadata of a batch; `None` when there is none or it cannot be read.
    pub fn load_meta(&self, tree: Tree, name: &Name) -> Option<Meta> {
        Meta::decode(&self.disk.read(&self.layout.meta(tree, name)).ok()?)
    }

    /// Moves data to the other tree.
    pub fn move_data(&self, name: &Name, from: Tree, to: Tree) -> io::Result<()> {
        let path = self.layout.data(to, name);
        self.make_durable_folder(&self.layout.folder(to, &name.key))?;
        failpoint!("file.rename");
        self.disk.rename(&self.layout.data(from, name), &path)?;
        failpoint!("file.renamed");
        Ok(())
    }

    /// A file that is durable must not move into a folder that may vanish in a power cut.
    pub fn make_durable_folder(&self, folder: &Path) -> io::Result<()> {
        if self.durable.lock().contains(folder) {
            return Ok(());
        }
        self.disk.make_dirs(folder)?;
        for above in folder.ancestors().skip(1).take_while(|dir| dir.starts_with(self.layout.root())) {
            self.disk.sync_dir(above)?;
        }
        self.durable.lock().insert(folder.to_owned());
        Ok(())
    }

    /// Makes the names of a dataset's batches durable in both trees, and the folders above.
    pub fn sync_folders<'a>(&self, keys: impl Iterator<Item = &'a DatasetKey>) -> io::Result<()> {
        let mut folders = BTreeSet::new();
        for key in keys {
            for tree in [Tree::Batches, Tree::Dlq] {
                let folder = self.layout.folder(tree, key);
                let above = folder.ancestors().take_while(|dir| dir.starts_with(self.layout.root()));
                folders.extend(above.map(Path::to_owned).collect::<Vec<PathBuf>>());
            }
        }
        // Deepest first, so that a name is durable only when what it names is.
        for folder in folders.iter().rev() {
            missing_is_fine(self.disk.sync_dir(folder))?;
        }
        Ok(())
    }

    /// Keeps bytes that cannot be trusted, under `label`.
    pub fn quarantine(&self, label: &str, bytes: &[u8]) -> io::Result<()> {
        let folder = self.layout.quarantine();
        self.disk.make_dirs(&folder)?;
        let path = folder.join(label);
        self.disk.replace(&path, bytes)?;
        self.disk.sync_dir(&folder)?;
        self.metrics.quarantined.inc();
        Ok(())
    }

    fn with_folder<T>(&self, path: &Path, mut run: impl FnMut() -> io::Result<T>) -> io::Result<T> {
        match run() {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                self.disk.make_dirs(path.parent().unwrap_or(self.layout.root()))?;
                run()
            }
            other => other,
        }
    }
}

/// A name that is gone already needs no removal or sync.
pub fn missing_is_fine(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        other => other,
    }
}
