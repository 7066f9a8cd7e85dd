//! The file system as the spool uses it. Three users: the real one, memory (`spooling.enabled: false`), and the
//! crash model in the tests, which loses and reorders what was not synced.

use std::{
    fmt, fs,
    io::{self, Read, Seek},
    os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt},
    path::Path,
};

use rustix::fs::FallocateFlags;

/// A file open for reading.
pub trait Source: Read + Seek + Send {}
impl<T: Read + Seek + Send> Source for T {}

/// One name in a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Name; unreadable bytes are replaced.
    pub name: String,
    /// A folder.
    pub folder: bool,
    /// Length in bytes; 0 when it cannot be looked at.
    pub len: u64,
}

/// Bytes of the volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// In all.
    pub total: u64,
    /// To be had by this user.
    pub free: u64,
}

/// Whether a call failed for want of room: on the volume, or for this user.
pub fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// A file that stays open: a segment of the log.
pub trait DiskFile: Send + fmt::Debug {
    /// Writes all of `bytes` at `at`.
    fn write_at(&mut self, at: u64, bytes: &[u8]) -> io::Result<()>;
    /// Makes what was written durable.
    fn sync(&mut self) -> io::Result<()>;
}

/// What the spool needs of a file system.
pub trait Disk: Send + Sync + fmt::Debug {
    /// Makes a folder and those above it.
    fn make_dirs(&self, dir: &Path) -> io::Result<()>;
    /// Makes a new file with `size` bytes set aside; an error when the name exists.
    fn create(&self, path: &Path, size: u64) -> io::Result<Box<dyn DiskFile>>;
    /// Writes `bytes` at `at`; makes the file when there is none.
    fn write_at(&self, path: &Path, at: u64, bytes: &[u8]) -> io::Result<()>;
    /// Cuts a file.
    fn truncate(&self, path: &Path, len: u64) -> io::Result<()>;
    /// Opens for reading.
    fn open(&self, path: &Path) -> io::Result<Box<dyn Source>>;
    /// Makes a file's data and length durable.
    fn sync(&self, path: &Path) -> io::Result<()>;
    /// Writes the beginning of a file once more, which must be there, and makes it durable.
    fn write_again(&self, path: &Path, bytes: &[u8]) -> io::Result<()>;
    /// Makes a folder's names durable.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
    /// Gives a file another name, replacing what has it.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// What is in a folder, in no order; nothing when there is no such folder.
    fn list(&self, dir: &Path) -> io::Result<Vec<Listed>>;
    /// The volume's size.
    fn space(&self, dir: &Path) -> io::Result<Space>;

    /// All of a file.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.open(path)?.read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// Writes a whole file under another name, syncs it and renames it into place.
    fn replace(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(".tmp");
        let beside = path.with_file_name(name);
        match self.truncate(&beside, 0) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        self.write_at(&beside, 0, bytes)?;
        self.sync(&beside)?;
        failpoint!("replace.synced");
        self.rename(&beside, path)
    }
}

/// The operating system's.
#[derive(Debug, Default)]
pub struct RealDisk;

#[derive(Debug)]
struct RealFile(fs::File);

impl DiskFile for RealFile {
    fn write_at(&mut self, at: u64, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all_at(bytes, at)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.0.sync_data()
    }
}

impl Disk for RealDisk {
    fn make_dirs(&self, dir: &Path) -> io::Result<()> {
        fs::DirBuilder::new().recursive(true).mode(0o750).create(dir)
    }

    fn create(&self, path: &Path, size: u64) -> io::Result<Box<dyn DiskFile>> {
        let file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        match rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, size.max(1)) {
            // A file system that cannot set space aside finds out when it writes.
            Ok(()) | Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::INVAL) => {}
            Err(error) => {
                drop(fs::remove_file(path));
                return Err(error.into());
            }
        }
        Ok(Box::new(RealFile(file)))
    }

    fn write_at(&self, path: &Path, at: u64, bytes: &[u8]) -> io::Result<()> {
        let file = fs::OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path)?;
        file.write_all_at(bytes, at)
    }

    fn truncate(&self, path: &Path, len: u64) -> io::Result<()> {
        fs::OpenOptions::new().write(true).open(path)?.set_len(len)
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn Source>> {
        Ok(Box::new(fs::File::open(path)?))
    }

    fn sync(&self, path: &Path) -> io::Result<()> {
        fs::File::open(path)?.sync_data()
    }

    fn write_again(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let file = fs::OpenOptions::new().write(true).open(path)?;
        file.write_all_at(bytes, 0)?;
        file.sync_data()
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        fs::File::open(dir)?.sync_all()
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<Listed>> {
        let entries = match fs::read_dir(dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            other => other?,
        };
        let mut listed = Vec::new();
        for entry in entries {
            let entry = entry?;
            let (folder, len) = match entry.metadata() {
                Ok(meta) => (meta.is_dir(), meta.len()),
                // A name that vanished meanwhile is no error.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                // What cannot be looked at is there nevertheless: whoever opens it learns why.
                Err(_) => (entry.file_type().is_ok_and(|kind| kind.is_dir()), 0),
            };
            listed.push(Listed { name: entry.file_name().to_string_lossy().into_owned(), folder, len });
        }
        Ok(listed)
    }

    fn space(&self, dir: &Path) -> io::Result<Space> {
        let stat = rustix::fs::statvfs(dir)?;
        Ok(Space { total: stat.f_blocks * stat.f_frsize, free: stat.f_bavail * stat.f_frsize })
    }
}
