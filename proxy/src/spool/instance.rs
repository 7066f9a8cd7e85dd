//! Which `.instance-N` folder a process works in.

use std::{
    collections::HashSet,
    fs::{self, File, TryLockError},
    hash::{BuildHasher, RandomState},
    io::{self, ErrorKind},
    iter,
    path::{Path, PathBuf},
    time::SystemTime,
};

use serde::{Deserialize, Serialize};

use super::{
    disk::{Disk, RealDisk},
    store::missing_is_fine,
};

const PREFIX: &str = ".instance-";
/// What this program writes; it reads all before it.
const FORMAT: u32 = 2;

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Identity {
    format: u32,
    spool_id: u16,
    /// Where the id was drawn; older ones do not say it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    machine: Option<u32>,
}

/// A folder that is ours while this lives.
#[derive(Debug)]
pub struct Instance {
    /// The folder.
    pub folder: PathBuf,
    /// Low 16 bits of its stamps.
    pub spool_id: u16,
    lock: File,
}

impl Instance {
    /// Notes that it was used now; that is only a preference for the next start.
    fn touch(&self) {
        let _ = self.lock.set_modified(SystemTime::now());
    }
}

impl Drop for Instance {
    /// Closing alone would leave the lock to a child that another thread is just starting, until that one's exec.
    fn drop(&mut self) {
        let _ = self.lock.unlock();
    }
}

/// Takes the free folder that was used last, else the first free number.
pub fn claim(directory: &Path) -> io::Result<Instance> {
    RealDisk.make_dirs(directory)?;
    if let Some(above) = directory.parent() {
        // Somebody else's folder; where it may not be read the administrator made ours before.
        let _ = RealDisk.sync_dir(above);
    }
    for folder in existing(directory)? {
        if let Some(instance) = try_claim(&folder)? {
            instance.touch();
            // Whoever made it may have died before.
            RealDisk.sync_dir(directory)?;
            return Ok(instance);
        }
    }
    for number in 0..1000 {
        let folder = directory.join(format!("{PREFIX}{number}"));
        if folder.exists() {
            continue;
        }
        RealDisk.make_dirs(&folder)?;
        if let Some(instance) = try_claim(&folder)? {
            instance.touch();
            RealDisk.sync_dir(directory)?;
            return Ok(instance);
        }
    }
    Err(io::Error::other("a thousand instance folders are in use"))
}

/// Folders, the one used last first.
pub fn existing(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in RealDisk.list(directory)? {
        let number = entry.name.strip_prefix(PREFIX).and_then(|text| text.parse::<u32>().ok());
        if entry.folder
            && let Some(number) = number
        {
            let folder = directory.join(&entry.name);
            let used = fs::metadata(folder.join("LOCK")).and_then(|meta| meta.modified());
            found.push((std::cmp::Reverse(used.unwrap_or(SystemTime::UNIX_EPOCH)), number, folder));
        }
    }
    found.sort();
    Ok(found.into_iter().map(|(_, _, folder)| folder).collect())
}

/// Takes a folder unless somebody has it or its format is unknown.
pub fn try_claim(folder: &Path) -> io::Result<Option<Instance>> {
    let lock = fs::OpenOptions::new().write(true).create(true).truncate(false).open(folder.join("LOCK"))?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Ok(None),
        Err(TryLockError::Error(error)) => return Err(error),
    }
    let Some(format) = read_format(folder)? else {
        tracing::error!(folder = %folder.display(), "this spool folder was written by a newer version and is left alone; start that version again to deliver what it holds");
        return Ok(None);
    };
    Ok(Some(Instance { folder: folder.to_owned(), spool_id: format.spool_id, lock }))
}

fn read_format(folder: &Path) -> io::Result<Option<Identity>> {
    let path = folder.join("FORMAT");
    let here = machine();
    let mut spool_id = None;
    match fs::read(&path) {
        Ok(bytes) => match serde_json::from_slice::<Identity>(&bytes) {
            Ok(format) if format.format > FORMAT => return Ok(None),
            Ok(format) if format.format == FORMAT && format.machine == Some(here) => return Ok(Some(format)),
            // From here on it is nothing for an older version; a copy on another machine gives names of its own.
            Ok(other) => {
                spool_id = Some(other.spool_id).filter(|_| other.machine.is_none_or(|there| there == here));
            }
            Err(error) if serde_json::from_slice::<serde_json::Value>(&bytes).is_ok() => {
                tracing::warn!(path = %path.display(), %error, "unknown spool format");
                return Ok(None);
            }
            // Torn; segments and files say all that matters.
            Err(_) => {}
        },
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let spool_id = spool_id.unwrap_or_else(|| unused_id(folder));
    let format = Identity { format: FORMAT, spool_id, machine: Some(here) };
    RealDisk.replace(&path, &serde_json::to_vec(&format)?)?;
    RealDisk.sync_dir(folder)?;
    Ok(Some(format))
}

/// What tells this machine, or container, from one that was made of the same image.
fn machine() -> u32 {
    let marks =
        ["/etc/machine-id", "/proc/sys/kernel/hostname"].map(|path| fs::read(path).unwrap_or_default());
    crc32c::crc32c(&marks.concat())
}

/// The next process in the folder draws another id.
pub fn forget_id(disk: &dyn Disk, folder: &Path) -> io::Result<()> {
    missing_is_fine(disk.remove(&folder.join("FORMAT")))?;
    disk.sync_dir(folder)
}

/// An id that no folder beside this one has: with the same one, two processes could give two batches one name.
fn unused_id(folder: &Path) -> u16 {
    let used = folder.parent().map(ids).unwrap_or_default();
    iter::repeat_with(random_id).find(|id| !used.contains(id)).unwrap_or_default()
}

fn ids(directory: &Path) -> HashSet<u16> {
    let id_of = |folder: PathBuf| {
        let text = fs::read(folder.join("FORMAT")).ok()?;
        Some(serde_json::from_slice::<Identity>(&text).ok()?.spool_id)
    };
    existing(directory).unwrap_or_default().into_iter().filter_map(id_of).collect()
}

/// A random id.
pub fn random_id() -> u16 {
    random() as u16
}

/// A random number: the standard library's hash maps are seeded with one.
pub fn random() -> u64 {
    RandomState::new().hash_one(0_u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_processes_get_two_folders_and_the_last_used_one_is_taken_again() {
        let dir = tempfile::tempdir().unwrap();
        let first = claim(dir.path()).unwrap();
        let second = claim(dir.path()).unwrap();
        assert_ne!(first.folder, second.folder);
        let (folder, id) = (second.folder.clone(), second.spool_id);
        drop(first);
        fs::File::options()
            .write(true)
            .open(dir.path().join(".instance-0/LOCK"))
            .unwrap()
            .set_modified(SystemTime::UNIX_EPOCH)
            .unwrap();
        drop(second);
        let again = claim(dir.path()).unwrap();
        assert_eq!((&again.folder, again.spool_id), (&folder, id));
    }

    #[test]
    fn the_ids_of_folders_beside_it_are_known_and_not_drawn() {
        let dir = tempfile::tempdir().unwrap();
        let claims = [(); 3].map(|()| claim(dir.path()).unwrap());
        let drawn: HashSet<u16> = claims.iter().map(|claim| claim.spool_id).collect();
        assert_eq!(ids(dir.path()), drawn);
        assert_eq!(drawn.len(), 3);
    }

    #[test]
    fn a_newer_format_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        drop(claim(dir.path()).unwrap());
        let format = dir.path().join(".instance-0/FORMAT");
        fs::write(&format, r#"{"format":3,"spool_id":1}"#).unwrap();
        let other = claim(dir.path()).unwrap();
        assert!(other.folder.ends_with(".instance-1"));
        assert_eq!(fs::read_to_string(&format).unwrap(), r#"{"format":3,"spool_id":1}"#);
    }

    #[test]
    fn an_older_format_becomes_ours_and_keeps_its_id() {
        let dir = tempfile::tempdir().unwrap();
        drop(claim(dir.path()).unwrap());
        let format = dir.path().join(".instance-0/FORMAT");
        fs::write(&format, r#"{"format":1,"spool_id":17}"#).unwrap();
        assert_eq!(claim(dir.path()).unwrap().spool_id, 17);
        let now: Identity = serde_json::from_slice(&fs::read(&format).unwrap()).unwrap();
        assert_eq!((now.format, now.spool_id, now.machine), (2, 17, Some(machine())));
    }

    #[test]
    fn a_copy_on_another_machine_draws_an_id_of_its_own() {
        let dir = tempfile::tempdir().unwrap();
        let before = claim(dir.path()).unwrap().spool_id;
        assert_eq!(claim(dir.path()).unwrap().spool_id, before);
        let there = Identity { format: 2, spool_id: before, machine: Some(!machine()) };
        fs::write(dir.path().join(".instance-0/FORMAT"), serde_json::to_vec(&there).unwrap()).unwrap();
        let copied = claim(dir.path()).unwrap().spool_id;
        assert_ne!(copied, before);
        assert_eq!(claim(dir.path()).unwrap().spool_id, copied);
    }
}
