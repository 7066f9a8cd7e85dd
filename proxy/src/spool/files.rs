//! Names and places of files, built from typed identifiers only.

use std::path::{Path, PathBuf};

use super::{Entry, Stamp, State};
use crate::ids::{DatasetKey, Hint};

/// Which of the two trees a batch's data file is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tree {
    /// `batches/`: queue and retry.
    Batches,
    /// `dlq/`.
    Dlq,
}

impl State {
    /// Where a batch's data is tells its state.
    pub(super) fn of(tree: Tree, has_meta: bool) -> Self {
        match (tree, has_meta) {
            (Tree::Dlq, _) => Self::Dlq,
            (Tree::Batches, true) => Self::Retry,
            (Tree::Batches, false) => Self::Queue,
        }
    }
}

/// What a batch file's name says.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Name {
    /// Owner.
    pub key: DatasetKey,
    /// Name within the spool.
    pub stamp: Stamp,
    /// What the lines are.
    pub hint: Hint,
}

impl Name {
    /// Of an entry.
    pub fn of(entry: &Entry) -> Self {
        Self { key: entry.key.clone(), stamp: entry.stamp, hint: entry.hint.clone() }
    }

    /// Reads `{tenant}--{dataset}--{19 digits}--{hint}` without an ending.
    pub fn parse(stem: &str) -> Option<Self> {
        let mut parts = stem.split("--");
        let key = DatasetKey { tenant: parts.next()?.parse().ok()?, dataset: parts.next()?.parse().ok()? };
        let digits =
            parts.next().filter(|text| text.len() == 19 && text.bytes().all(|b| b.is_ascii_digit()))?;
        let name = Self { key, stamp: Stamp(digits.parse().ok()?), hint: parts.next()?.parse().ok()? };
        parts.next().is_none().then_some(name)
    }

    fn stem(&self) -> String {
        format!("{}--{}--{:019}--{}", self.key.tenant, self.key.dataset, self.stamp.0, self.hint)
    }

    /// The data file's name.
    pub fn data(&self) -> String {
        self.stem() + ".gz"
    }

    /// The metadata file's name.
    pub fn meta(&self) -> String {
        self.stem() + ".meta"
    }
}

/// One `.instance-N` folder.
#[derive(Debug, Clone)]
pub struct Layout {
    root: PathBuf,
}

impl Layout {
    /// Of the folder `root`.
    pub fn new(root: PathBuf) -> Self {
        Self { root }
    }

    /// The folder itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where segments are.
    pub fn log(&self) -> PathBuf {
        self.root.join("log")
    }

    /// One segment.
    pub fn segment(&self, number: u32) -> PathBuf {
        self.root.join("log").join(format!("{number:010}.seg"))
    }

    /// The number in a segment's name.
    pub fn segment_number(name: &str) -> Option<u32> {
        let digits = name.strip_suffix(".seg")?;
        let plain = digits.len() == 10 && digits.bytes().all(|byte| byte.is_ascii_digit());
        plain.then(|| digits.parse().ok())?
    }

    /// Root of a tree.
    pub fn tree(&self, tree: Tree) -> PathBuf {
        self.root.join(match tree {
            Tree::Batches => "batches",
            Tree::Dlq => "dlq",
        })
    }

    /// Folder of a dataset in a tree.
    pub fn folder(&self, tree: Tree, key: &DatasetKey) -> PathBuf {
        self.tree(tree).join(key.tenant.as_str()).join(key.dataset.as_str())
    }

    /// A batch's data.
    pub fn data(&self, tree: Tree, name: &Name) -> PathBuf {
        self.folder(tree, &name.key).join(name.data())
    }

    /// A batch's metadata.
    pub fn meta(&self, tree: Tree, name: &Name) -> PathBuf {
        self.folder(tree, &name.key).join(name.meta())
    }

    /// Where untrustworthy bytes go.
    pub fn quarantine(&self) -> PathBuf {
        self.root.join("quarantine")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_reads_back_and_others_are_refused() {
        let name = Name::parse("acme--web-logs--1767225600000000000--ndjson").unwrap();
        assert_eq!(name.data(), "acme--web-logs--1767225600000000000--ndjson.gz");
        assert_eq!(Name::parse(name.meta().strip_suffix(".meta").unwrap()), Some(name));
        for bad in [
            "",
            "a--b--1--c",
            "a--b--1767225600000000000--c--d",
            "..--b--1767225600000000000--c",
            "a--b--176722560000000000x--c",
        ] {
            assert_eq!(Name::parse(bad), None, "{bad}");
        }
        assert_eq!(Layout::segment_number("0000000007.seg"), Some(7));
        assert_eq!(Layout::segment_number("7.seg"), None);
        assert_eq!(Layout::segment_number("+000000007.seg"), None);
    }
}
