//! `<directory>/.import/`: a batch on its way in, and for each adopted batch which old files it holds.
//!
//! The folder belongs to the directory and not to an instance, because batches may move between instances. One process
//! at a time works in it.

use std::{
    fs::{self, File, TryLockError},
    io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::super::{
    disk::{Disk, RealDisk},
    files::{Name, Tree},
    meta::Meta,
    store::missing_is_fine,
};

/// An old file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// Where, from the spool directory on: the directory may be moved.
    pub path: PathBuf,
    /// Length when it was read.
    pub len: u64,
    /// Goes to quarantine instead of being removed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub damaged: bool,
}

/// An adopted batch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Journal {
    batch: String,
    /// It belongs in the DLQ.
    pub dlq: bool,
    /// Lines.
    pub lines: u64,
    /// Bytes before compression.
    pub raw_bytes: u64,
    /// Bytes of the file.
    pub file_bytes: u64,
    /// What is known of earlier attempts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub meta: Option<Meta>,
    /// What it holds.
    pub sources: Vec<Source>,
}

impl Journal {
    /// Of a new batch, without numbers.
    pub fn new(name: &Name, dlq: bool, meta: Option<Meta>, sources: Vec<Source>) -> Self {
        Self { batch: stem(name), dlq, lines: 0, raw_bytes: 0, file_bytes: 0, meta, sources }
    }

    /// From bytes; `None` when torn, or of no batch.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice::<Self>(bytes).ok().filter(|journal| journal.name().is_some())
    }

    /// The batch's name.
    pub fn name(&self) -> Option<Name> {
        Name::parse(&self.batch)
    }

    /// Where it goes first.
    pub fn tree(&self) -> Tree {
        if self.dlq { Tree::Dlq } else { Tree::Batches }
    }
}

fn stem(name: &Name) -> String {
    name.data().trim_end_matches(".gz").to_owned()
}

/// The locked folder.
#[derive(Debug)]
pub struct Folder {
    /// The spool directory.
    pub directory: PathBuf,
    root: PathBuf,
    _lock: File,
}

impl Folder {
    /// Whether there may be journals of an earlier run.
    pub fn exists(directory: &Path) -> bool {
        directory.join(".import").exists()
    }

    /// Takes the lock; `None` when another process has it.
    pub fn lock(directory: &Path) -> io::Result<Option<Self>> {
        let root = directory.join(".import");
        RealDisk.make_dirs(&root)?;
        RealDisk.sync_dir(directory)?;
        let lock = File::options().write(true).create(true).truncate(false).open(root.join("LOCK"))?;
        match lock.try_lock() {
            Ok(()) => Ok(Some(Self { directory: directory.to_owned(), root, _lock: lock })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    /// Where a batch is made.
    pub fn staged(&self, name: &Name) -> PathBuf {
        self.root.join(name.data())
    }

    /// The folder as such.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Writes a journal durably.
    pub fn save(&self, journal: &Journal) -> io::Result<()> {
        RealDisk.replace(&self.path(journal), &serde_json::to_vec(journal)?)?;
        RealDisk.sync_dir(&self.root)
    }

    /// The batch and its old files are gone.
    pub fn remove(&self, journal: &Journal) -> io::Result<()> {
        missing_is_fine(RealDisk.remove(&self.path(journal)))
    }

    /// Reads all journals, and removes batches that were begun and never got one.
    pub fn load(&self) -> io::Result<Vec<Journal>> {
        let mut journals = Vec::new();
        let mut staged = Vec::new();
        for file in RealDisk.list(&self.root)? {
            let path = self.root.join(&file.name);
            let ending = path.extension().and_then(|ending| ending.to_str());
            if matches!(ending, Some("gz" | "tmp")) {
                staged.push(path);
            } else if ending == Some("json") {
                match Journal::decode(&fs::read(&path)?).filter(|journal| self.path(journal) == path) {
                    Some(journal) => journals.push(journal),
                    None => set_apart(&path)?,
                }
            }
        }
        for path in staged {
            let wanted = journals.iter().filter_map(Journal::name).any(|name| self.staged(&name) == path);
            if !wanted {
                missing_is_fine(RealDisk.remove(&path))?;
            }
        }
        Ok(journals)
    }

    fn path(&self, journal: &Journal) -> PathBuf {
        self.root.join(format!("{}.json", journal.batch))
    }
}

fn set_apart(path: &Path) -> io::Result<()> {
    tracing::warn!(path = %path.display(), "a journal of the adoption cannot be read; the old files it named are adopted again, so their lines may arrive twice");
    RealDisk.rename(path, &path.with_extension("json.bad"))
}
