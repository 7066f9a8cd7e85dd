//! Removes old files when their batches are gone.

use std::{collections::HashSet, fs, io, path::Path};

use super::{
    super::{
        disk::{Disk, RealDisk},
        files::{Name, Tree},
        store::missing_is_fine,
    },
    adopter::Adopter,
    journal::Source,
};

/// Longest name of a file.
const NAME_MAX: usize = 255;

/// A path as a name; of a long one the end.
fn label(path: &Path) -> String {
    let name = path.to_string_lossy().replace('/', "+");
    let from = name.ceil_char_boundary(name.len().saturating_sub(NAME_MAX));
    name.get(from..).unwrap_or_default().to_owned()
}

impl Adopter<'_> {
    /// Removes the old files of batches that are gone.
    pub fn settle(&mut self) {
        let gone: Vec<Name> = self
            .journals
            .keys()
            .filter(|name| self.shared.backlog.get(name.stamp).is_none_or(|record| record.name() != **name))
            .cloned()
            .collect();
        for name in gone {
            if self.folder.staged(&name).exists() {
                // The move failed before; it is due again.
                let Some(journal) = self.journals.get(&name) else { continue };
                if let Err(error) = self.bring_in(&name, journal) {
                    self.warn(self.folder.root(), &error);
                }
                continue;
            }
            if let Err(error) = self.settle_one(&name) {
                self.warn(self.folder.root(), &error);
            }
        }
    }

    fn settle_one(&mut self, name: &Name) -> io::Result<()> {
        // Twice: it may just move from one instance's folder to another's.
        if self.is_somewhere(name)? || self.is_somewhere(name)? {
            return Ok(());
        }
        let Some(journal) = self.journals.get(name) else { return Ok(()) };
        if self.is_quarantined(name)? {
            tracing::warn!(batch = %name.data(), "an adopted batch was damaged on the disk; it is made again of its old files under a new name");
            self.incomplete = true;
        } else {
            let mut folders = HashSet::new();
            for source in &journal.sources {
                self.dispose(source)?;
                failpoint!("import.source");
                folders.extend(source.path.parent().map(|folder| self.folder.directory.join(folder)));
            }
            for folder in folders {
                missing_is_fine(RealDisk.sync_dir(&folder))?;
            }
            failpoint!("import.sources");
        }
        self.folder.remove(journal)?;
        for source in &journal.sources {
            self.sources.remove(&source.path);
        }
        self.journals.remove(name);
        Ok(())
    }

    /// An old file goes, with its metadata. One that is not as it was read stays.
    pub(super) fn dispose(&self, source: &Source) -> io::Result<()> {
        let path = self.folder.directory.join(&source.path);
        match fs::metadata(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Ok(meta) if meta.len() != source.len => {
                tracing::warn!(file = %source.path.display(), "an old file changed after it was adopted; it stays, and is adopted again at the next start");
                return Ok(());
            }
            Ok(_) => {}
            Err(error) => return Err(error),
        }
        if source.damaged {
            let quarantine = self.shared.store.layout.quarantine();
            RealDisk.make_dirs(&quarantine)?;
            RealDisk.rename(&path, &quarantine.join(label(&source.path)))?;
            RealDisk.sync_dir(&quarantine)?;
            self.shared.metrics().quarantined.inc();
        } else {
            missing_is_fine(RealDisk.remove(&path))?;
        }
        if path.extension().is_some_and(|extension| extension == "gz") {
            missing_is_fine(RealDisk.remove(&path.with_extension("meta")))?;
        }
        Ok(())
    }

    fn is_somewhere(&self, name: &Name) -> io::Result<bool> {
        for layout in self.layouts()? {
            for tree in [Tree::Batches, Tree::Dlq] {
                // What cannot be looked at may be there.
                if layout.data(tree, name).try_exists()? {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_path_is_a_name_that_a_folder_takes() {
        assert_eq!(label(Path::new("acme/web/queue/a.gz")), "acme+web+queue+a.gz");
        let long =
            Path::new(&"t".repeat(100)).join("ü".repeat(60)).join("queue").join("b".repeat(80) + ".gz");
        let name = label(&long);
        assert!(name.len() <= NAME_MAX && name.len() > NAME_MAX - 2);
        assert!(name.ends_with(&("b".repeat(80) + ".gz")));
    }
}
