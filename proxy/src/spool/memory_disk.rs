//! A disk in memory, for `spooling.enabled: false`.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{self, Cursor, ErrorKind},
    path::{Path, PathBuf},
    sync::Arc,
};

use parking_lot::Mutex;

use super::disk::{Disk, DiskFile, Listed, Source, Space};

type Data = Arc<Mutex<Vec<u8>>>;

/// Files in memory, at most `capacity` bytes.
#[derive(Debug)]
pub struct MemoryDisk {
    files: Mutex<BTreeMap<PathBuf, Data>>,
    folders: Mutex<BTreeSet<PathBuf>>,
    capacity: u64,
}

impl MemoryDisk {
    /// An empty disk.
    pub fn new(capacity: u64) -> Self {
        Self { files: Mutex::default(), folders: Mutex::default(), capacity }
    }

    fn used(&self) -> u64 {
        self.files.lock().values().map(|data| data.lock().len() as u64).sum()
    }

    fn get(&self, path: &Path) -> io::Result<Data> {
        self.files.lock().get(path).cloned().ok_or_else(|| ErrorKind::NotFound.into())
    }
}

fn put(data: &Data, at: u64, bytes: &[u8]) {
    let mut data = data.lock();
    let start = at as usize;
    let end = start + bytes.len();
    if data.len() < end {
        data.resize(end, 0);
    }
    if let Some(place) = data.get_mut(start..end) {
        place.copy_from_slice(bytes);
    }
}

#[derive(Debug)]
struct MemoryFile(Data);

impl DiskFile for MemoryFile {
    fn write_at(&mut self, at: u64, bytes: &[u8]) -> io::Result<()> {
        put(&self.0, at, bytes);
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Disk for MemoryDisk {
    fn make_dirs(&self, dir: &Path) -> io::Result<()> {
        self.folders.lock().extend(dir.ancestors().map(Path::to_owned));
        Ok(())
    }

    fn create(&self, path: &Path, _size: u64) -> io::Result<Box<dyn DiskFile>> {
        let mut files = self.files.lock();
        if files.contains_key(path) {
            return Err(ErrorKind::AlreadyExists.into());
        }
        let data = Data::default();
        files.insert(path.to_owned(), Arc::clone(&data));
        Ok(Box::new(MemoryFile(data)))
    }

    fn write_at(&self, path: &Path, at: u64, bytes: &[u8]) -> io::Result<()> {
        if !path.parent().is_some_and(|dir| self.folders.lock().contains(dir)) {
            return Err(ErrorKind::NotFound.into());
        }
        if self.used() + bytes.len() as u64 > self.capacity {
            return Err(ErrorKind::StorageFull.into());
        }
        let data = Arc::clone(self.files.lock().entry(path.to_owned()).or_default());
        put(&data, at, bytes);
        Ok(())
    }

    fn truncate(&self, path: &Path, len: u64) -> io::Result<()> {
        self.get(path)?.lock().truncate(len as usize);
        Ok(())
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn Source>> {
        let data = self.get(path)?.lock().clone();
        Ok(Box::new(Cursor::new(data)))
    }

    fn sync(&self, path: &Path) -> io::Result<()> {
        self.get(path).map(|_| ())
    }

    fn write_again(&self, path: &Path, _bytes: &[u8]) -> io::Result<()> {
        self.sync(path)
    }

    fn sync_dir(&self, _dir: &Path) -> io::Result<()> {
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut files = self.files.lock();
        let data = files.remove(from).ok_or(ErrorKind::NotFound)?;
        files.insert(to.to_owned(), data);
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.files.lock().remove(path).map(|_| ()).ok_or_else(|| ErrorKind::NotFound.into())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<Listed>> {
        let name = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let folders = self.folders.lock();
        let mut listed: Vec<_> = folders
            .iter()
            .filter(|path| path.parent() == Some(dir))
            .map(|path| Listed { name: name(path), folder: true, len: 0 })
            .collect();
        let files = self.files.lock();
        listed.extend(
            files.iter().filter(|(path, _)| path.parent() == Some(dir)).map(|(path, data)| Listed {
                name: name(path),
                folder: false,
                len: data.lock().len() as u64,
            }),
        );
        Ok(listed)
    }

    fn space(&self, _dir: &Path) -> io::Result<Space> {
        Ok(Space { total: self.capacity, free: self.capacity.saturating_sub(self.used()) })
    }
}
