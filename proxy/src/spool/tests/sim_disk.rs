//! A disk that forgets: what was not synced may be lost or half written when the power fails, in any order, names
//! as well as bytes. A sync that fails drops what it should have kept, as Linux does.

use std::{
    collections::BTreeMap,
    io::{self, Cursor, ErrorKind},
    path::{Path, PathBuf},
    sync::Arc,
};

use parking_lot::Mutex;

use crate::spool::disk::{Disk, DiskFile, Listed, Source, Space};

/// What a call does, for faults.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Call {
    MakeDirs,
    Create,
    Write,
    Truncate,
    Open,
    Sync,
    SyncDir,
    Rename,
    Remove,
    List,
}

type Fault = Box<dyn FnMut(Call, &Path) -> Option<ErrorKind> + Send>;

#[derive(Debug, Clone)]
enum Change {
    Write(u64, Vec<u8>),
    Truncate(u64),
}

#[derive(Debug, Clone, Default)]
struct Inode {
    folder: bool,
    now: Vec<u8>,
    durable: Vec<u8>,
    pending: Vec<Change>,
}

#[derive(Debug, Clone)]
enum Naming {
    Set(PathBuf, usize),
    Unset(PathBuf),
    Rename(PathBuf, PathBuf, usize),
}

impl Naming {
    fn concerns(&self, dir: &Path) -> bool {
        match self {
            Self::Set(path, _) | Self::Unset(path) => path.parent() == Some(dir),
            Self::Rename(from, to, _) => from.parent() == Some(dir) || to.parent() == Some(dir),
        }
    }

    fn paths(&self) -> impl Iterator<Item = &Path> {
        let (first, second) = match self {
            Self::Set(path, _) | Self::Unset(path) => (path, None),
            Self::Rename(from, to, _) => (from, Some(to)),
        };
        std::iter::once(first.as_path()).chain(second.map(PathBuf::as_path))
    }

    fn apply(&self, names: &mut BTreeMap<PathBuf, usize>) {
        match self {
            Self::Set(path, inode) => drop(names.insert(path.clone(), *inode)),
            Self::Unset(path) => drop(names.remove(path)),
            Self::Rename(from, to, inode) => {
                if names.get(from) == Some(inode) {
                    names.remove(from);
                }
                names.insert(to.clone(), *inode);
            }
        }
    }
}

#[derive(Debug, Clone, Default)]
struct State {
    inodes: Vec<Inode>,
    names: BTreeMap<PathBuf, usize>,
    durable_names: BTreeMap<PathBuf, usize>,
    pending_names: Vec<Naming>,
    calls: u64,
    crash_at: Option<u64>,
    off: bool,
}

/// A source of chance.
#[derive(Debug, Clone)]
pub struct Chance(pub u64);

impl Chance {
    pub fn next(&mut self, below: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % below.max(1)
    }

    fn of_hundred(&mut self, percent: u64) -> bool {
        self.next(100) < percent
    }
}

/// The disk; clones are the same one.
#[derive(Clone, Default)]
pub struct SimDisk {
    state: Arc<Mutex<State>>,
    fault: Arc<Mutex<Option<Fault>>>,
    capacity: Option<u64>,
}

impl std::fmt::Debug for SimDisk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SimDisk")
    }
}

impl SimDisk {
    pub fn with_capacity(bytes: u64) -> Self {
        Self { capacity: Some(bytes), ..Self::default() }
    }

    /// The power fails at the n-th call from now.
    pub fn crash_after(&self, calls: u64) {
        let mut state = self.state.lock();
        state.crash_at = Some(state.calls + calls);
    }

    /// The power fails now, unless it has.
    pub fn power_off(&self) {
        self.state.lock().off = true;
    }

    pub fn is_off(&self) -> bool {
        self.state.lock().off
    }

    /// Makes calls fail for which `fault` gives a reason.
    pub fn set_fault(&self, fault: impl FnMut(Call, &Path) -> Option<ErrorKind> + Send + 'static) {
        *self.fault.lock() = Some(Box::new(fault));
    }

    pub fn heal(&self) {
        *self.fault.lock() = None;
    }

    /// Bytes in all files.
    pub fn used(&self) -> u64 {
        used(&self.state.lock())
    }

    /// What is on the disk after the power failed: each unsynced change survives with a chance of `percent`.
    pub fn after_power_cut(&self, chance: &mut Chance, percent: u64) -> Self {
        let mut state = self.state.lock().clone();
        let mut names = state.durable_names.clone();
        for naming in &state.pending_names {
            if chance.of_hundred(percent) {
                naming.apply(&mut names);
            }
        }
        for inode in &mut state.inodes {
            let mut data = inode.durable.clone();
            for change in &inode.pending {
                match change {
                    Change::Write(at, bytes) => {
                        // In sectors, each on its own.
                        for (number, sector) in bytes.chunks(512).enumerate() {
                            if chance.of_hundred(percent) {
                                put(&mut data, at + number as u64 * 512, sector);
                            }
                        }
                    }
                    Change::Truncate(len) => {
                        if chance.of_hundred(percent) {
                            data.truncate(*len as usize);
                        }
                    }
                }
            }
            inode.now.clone_from(&data);
            inode.durable = data;
            inode.pending.clear();
        }
        state.names = names;
        // A folder that lost its name lost what is in it.
        let alive = |names: &BTreeMap<PathBuf, usize>, path: &Path| {
            path.ancestors()
                .skip(1)
                .filter(|dir| *dir != Path::new("/") && !dir.as_os_str().is_empty())
                .all(|dir| names.contains_key(dir))
        };
        let all = state.names.clone();
        state.names.retain(|path, _| alive(&all, path));
        state.durable_names.clone_from(&state.names);
        state.pending_names.clear();
        state.crash_at = None;
        state.off = false;
        Self { state: Arc::new(Mutex::new(state)), fault: Arc::default(), capacity: self.capacity }
    }

    /// A file's bytes, whether the power is on or not.
    pub fn peek(&self, path: &Path) -> Vec<u8> {
        let state = self.state.lock();
        state.inodes[state.names[path]].now.clone()
    }

    pub fn paths(&self) -> Vec<PathBuf> {
        let state = self.state.lock();
        state
            .names
            .iter()
            .filter(|(_, inode)| !state.inodes[**inode].folder)
            .map(|(path, _)| path.clone())
            .collect()
    }

    fn call(&self, call: Call, path: &Path) -> io::Result<parking_lot::MutexGuard<'_, State>> {
        if let Some(fault) = self.fault.lock().as_mut()
            && let Some(kind) = fault(call, path)
        {
            if call == Call::Sync {
                // What the sync should have kept is clean in memory and never written.
                let mut state = self.state.lock();
                if let Some(inode) = state.names.get(path).copied() {
                    state.inodes[inode].pending.clear();
                }
            }
            return Err(kind.into());
        }
        let mut state = self.state.lock();
        state.calls += 1;
        if state.crash_at.is_some_and(|at| state.calls >= at) {
            state.off = true;
        }
        if state.off { Err(io::Error::other("the power is off")) } else { Ok(state) }
    }

    fn write_inode(&self, state: &mut State, inode: usize, at: u64, bytes: &[u8]) -> io::Result<()> {
        let grows = (at + bytes.len() as u64).saturating_sub(state.inodes[inode].now.len() as u64);
        if self.capacity.is_some_and(|capacity| used(state) + grows > capacity) {
            return Err(ErrorKind::StorageFull.into());
        }
        let inode = &mut state.inodes[inode];
        put(&mut inode.now, at, bytes);
        inode.pending.push(Change::Write(at, bytes.to_vec()));
        Ok(())
    }
}

fn used(state: &State) -> u64 {
    state.names.values().map(|inode| state.inodes[*inode].now.len() as u64).sum()
}

fn put(data: &mut Vec<u8>, at: u64, bytes: &[u8]) {
    let end = at as usize + bytes.len();
    if data.len() < end {
        data.resize(end, 0);
    }
    data[at as usize..end].copy_from_slice(bytes);
}

fn find(state: &State, path: &Path) -> io::Result<usize> {
    state.names.get(path).copied().ok_or_else(|| ErrorKind::NotFound.into())
}

struct SimFile {
    disk: SimDisk,
    inode: usize,
    path: PathBuf,
}

impl std::fmt::Debug for SimFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SimFile")
    }
}

impl DiskFile for SimFile {
    fn write_at(&mut self, at: u64, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.disk.call(Call::Write, &self.path)?;
        // Set aside at creation, so it cannot run out of room.
        let inode = &mut state.inodes[self.inode];
        put(&mut inode.now, at, bytes);
        inode.pending.push(Change::Write(at, bytes.to_vec()));
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        let mut state = self.disk.call(Call::Sync, &self.path)?;
        sync(&mut state, self.inode);
        Ok(())
    }
}

fn sync(state: &mut State, inode: usize) {
    let inode = &mut state.inodes[inode];
    let mut data = std::mem::take(&mut inode.durable);
    for change in inode.pending.drain(..) {
        match change {
            Change::Write(at, bytes) => put(&mut data, at, &bytes),
            Change::Truncate(len) => data.truncate(len as usize),
        }
    }
    inode.durable = data;
}

impl Disk for SimDisk {
    fn make_dirs(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.call(Call::MakeDirs, dir)?;
        let mut above: Vec<_> =
            dir.ancestors().filter(|dir| *dir != Path::new("/")).map(Path::to_owned).collect();
        above.reverse();
        for dir in above {
            if !state.names.contains_key(&dir) {
                state.inodes.push(Inode { folder: true, ..Inode::default() });
                let inode = state.inodes.len() - 1;
                state.names.insert(dir.clone(), inode);
                // The root of the world is somebody else's.
                if dir.parent() == Some(Path::new("/")) {
                    state.durable_names.insert(dir, inode);
                } else {
                    state.pending_names.push(Naming::Set(dir, inode));
                }
            }
        }
        Ok(())
    }

    fn create(&self, path: &Path, size: u64) -> io::Result<Box<dyn DiskFile>> {
        let mut state = self.call(Call::Create, path)?;
        find(&state, path.parent().unwrap())?;
        if state.names.contains_key(path) {
            return Err(ErrorKind::AlreadyExists.into());
        }
        if self.capacity.is_some_and(|capacity| used(&state) + size > capacity) {
            return Err(ErrorKind::StorageFull.into());
        }
        let zeros = vec![0; size as usize];
        state.inodes.push(Inode { now: zeros.clone(), durable: zeros, ..Inode::default() });
        let inode = state.inodes.len() - 1;
        state.names.insert(path.to_owned(), inode);
        state.pending_names.push(Naming::Set(path.to_owned(), inode));
        Ok(Box::new(SimFile { disk: self.clone(), inode, path: path.to_owned() }))
    }

    fn write_at(&self, path: &Path, at: u64, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.call(Call::Write, path)?;
        find(&state, path.parent().unwrap())?;
        let inode = if let Ok(inode) = find(&state, path) {
            inode
        } else {
            state.inodes.push(Inode::default());
            let inode = state.inodes.len() - 1;
            state.names.insert(path.to_owned(), inode);
            state.pending_names.push(Naming::Set(path.to_owned(), inode));
            inode
        };
        self.write_inode(&mut state, inode, at, bytes)
    }

    fn truncate(&self, path: &Path, len: u64) -> io::Result<()> {
        let mut state = self.call(Call::Truncate, path)?;
        let inode = find(&state, path)?;
        let inode = &mut state.inodes[inode];
        inode.now.truncate(len as usize);
        inode.pending.push(Change::Truncate(len));
        Ok(())
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn Source>> {
        let state = self.call(Call::Open, path)?;
        let inode = find(&state, path)?;
        Ok(Box::new(Cursor::new(state.inodes[inode].now.clone())))
    }

    fn sync(&self, path: &Path) -> io::Result<()> {
        let mut state = self.call(Call::Sync, path)?;
        let inode = find(&state, path)?;
        sync(&mut state, inode);
        Ok(())
    }

    fn write_again(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.call(Call::Write, path)?;
        let inode = find(&state, path)?;
        self.write_inode(&mut state, inode, 0, bytes)?;
        drop(state);
        self.sync(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.call(Call::SyncDir, dir)?;
        find(&state, dir)?;
        let state = &mut *state;
        // A rename takes what was done before with both its names along.
        let mut taken = vec![false; state.pending_names.len()];
        let mut names: Vec<PathBuf> = Vec::new();
        for (index, naming) in state.pending_names.iter().enumerate().rev() {
            if naming.concerns(dir) || naming.paths().any(|path| names.iter().any(|name| name == path)) {
                taken[index] = true;
                names.extend(naming.paths().map(Path::to_owned));
            }
        }
        let mut later = Vec::new();
        for (naming, taken) in std::mem::take(&mut state.pending_names).into_iter().zip(taken) {
            if taken { naming.apply(&mut state.durable_names) } else { later.push(naming) }
        }
        state.pending_names = later;
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.call(Call::Rename, to)?;
        let inode = find(&state, from)?;
        find(&state, to.parent().unwrap())?;
        state.names.remove(from);
        state.names.insert(to.to_owned(), inode);
        state.pending_names.push(Naming::Rename(from.to_owned(), to.to_owned(), inode));
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.call(Call::Remove, path)?;
        find(&state, path)?;
        state.names.remove(path);
        state.pending_names.push(Naming::Unset(path.to_owned()));
        Ok(())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<Listed>> {
        let state = self.call(Call::List, dir)?;
        let in_dir = state.names.iter().filter(|(path, _)| path.parent() == Some(dir));
        Ok(in_dir
            .map(|(path, inode)| Listed {
                name: path.file_name().unwrap().to_string_lossy().into_owned(),
                folder: state.inodes[*inode].folder,
                len: state.inodes[*inode].now.len() as u64,
            })
            .collect())
    }

    fn space(&self, _dir: &Path) -> io::Result<Space> {
        let capacity = self.capacity.unwrap_or(1 << 40);
        Ok(Space { total: capacity, free: capacity.saturating_sub(self.used()) })
    }
}
