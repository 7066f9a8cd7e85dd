//! A file for sets of records whose template has not come and that have no room in memory.
//!
//! ```text
//! file   "BFWAIT" version:2, zeros up to 64, entry*
//! entry  length:4 crc:4 | address:16 port:2 version:2 domain:4 template:2 count:2
//!        received:8 export:8 uptime:4 sequence:4 | taken:1, zeros up to 64, records, zeros up to a multiple of 64
//! ```
//! All numbers are big-endian, IPv4 addresses IPv4-mapped; `crc` (CRC-32, IEEE) is of what stands between the bars and
//! of the records. Entries are only appended, and marked when they are taken; once none is left the file starts anew.
//! Where they are is known in memory, and is read from the file at a start. Nothing is synced but at the end of the
//! process: a power cut loses what waits, as it loses any datagram that has not reached the log.

mod entry;
mod index;

use std::{
    fs::{File, OpenOptions, TryLockError},
    io,
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::PathBuf,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::{Duration, Instant},
};

use parking_lot::Mutex;

use self::{entry::BLOCK, index::Index};
use crate::{
    decode::flow::{Overflow, Place, Set, Source},
    spool::{Disk, RealDisk},
    throttle::Throttle,
};

/// Start of a file, with its version.
const MAGIC: &[u8; 8] = b"BFWAIT\x00\x01";
/// Pause before a file that cannot be had is tried again.
const PAUSE: Duration = Duration::from_secs(30);
/// After so many bytes it is asked anew whether the volume has room.
const LOOK: u64 = 1 << 20;
/// It takes at most one part in so many of what is free on the volume: the spool and its DLQ may take nine tenths.
const SHARE: u64 = 20;

/// See the module.
#[derive(Debug)]
pub struct WaitingFile {
    path: PathBuf,
    limit: AtomicU64,
    state: Mutex<State>,
    troubles: Throttle,
}

#[derive(Debug, Default)]
struct State {
    file: Option<File>,
    /// When the file may be tried again.
    again: Option<Instant>,
    /// Where the next entry goes.
    end: u64,
    /// From where on it is asked whether the volume has room.
    look_at: u64,
    index: Index,
    /// Whether there are entries of another process that were not reported yet.
    found: bool,
    /// Sets that could not be read back and were not reported yet.
    lost: u64,
}

impl WaitingFile {
    /// At `path`, with at most `limit` bytes. Nothing is opened yet.
    pub fn new(path: PathBuf, limit: u64) -> Self {
        Self { path, limit: AtomicU64::new(limit), state: Mutex::default(), troubles: Throttle::default() }
    }

    /// What is there already stays.
    pub fn set_limit(&self, limit: u64) {
        self.limit.store(limit, Relaxed);
    }

    /// Reads what another process left, once that is to be had; what came before `since_ns` is given up. Returns what
    /// the rest waits for.
    pub fn find(&self, since_ns: u64) -> Vec<Place> {
        let mut state = self.state.lock();
        if state.file.is_none() && self.path.exists() {
            self.open(&mut state);
        }
        if !std::mem::take(&mut state.found) {
            return Vec::new();
        }
        state.lost += state.give_up(since_ns).iter().map(|(_, sets)| sets).sum::<u64>();
        state.index.places()
    }

    /// How many sets wait.
    pub fn len(&self) -> usize {
        self.state.lock().index.len()
    }

    /// Sets that could not be read back, since the last call.
    pub fn take_lost(&self) -> u64 {
        std::mem::take(&mut self.state.lock().lost)
    }

    /// Gives up what came before `since_ns`; returns whose, and how many.
    pub fn expire(&self, since_ns: u64) -> Vec<(Source, u64)> {
        self.state.lock().give_up(since_ns)
    }

    /// Makes it durable.
    pub fn sync(&self) {
        if let Some(file) = &self.state.lock().file
            && let Err(error) = file.sync_data()
        {
            self.trouble("cannot be synced", &error);
        }
    }

    /// Whether the file is open; makes it when there is none.
    fn open(&self, state: &mut State) -> bool {
        if state.file.is_some() {
            return true;
        }
        if state.again.is_some_and(|again| Instant::now() < again) {
            return false;
        }
        state.again = Some(Instant::now() + PAUSE);
        match self.try_open(state) {
            Ok(()) => true,
            Err(error) => {
                self.trouble("cannot be had", &error);
                false
            }
        }
    }

    fn try_open(&self, state: &mut State) -> io::Result<()> {
        if let Some(folder) = self.path.parent() {
            RealDisk.make_dirs(folder)?;
        }
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&self.path)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(io::Error::other("another process has it")),
            Err(TryLockError::Error(error)) => return Err(error),
        }
        let mut magic = [0; MAGIC.len()];
        let is_ours = file.read_exact_at(&mut magic, 0).is_ok() && magic == *MAGIC;
        if is_ours {
            let found = entry::read_all(&file)?;
            let cut = file.metadata()?.len().saturating_sub(found.end);
            if cut > 0 || found.damaged > 0 {
                tracing::warn!(path = %self.path.display(), entries = found.damaged, bytes_at_the_end = cut,
                    "records that waited for their template are damaged and lost; the rest waits on");
            }
            (state.index, state.end) = (found.index, found.end);
            state.lost += found.damaged;
            state.found = true;
        } else {
            file.set_len(0)?;
            file.write_all_at(MAGIC, 0)?;
            state.end = BLOCK;
        }
        file.set_len(state.end)?;
        (state.file, state.again) = (Some(file), None);
        Ok(())
    }

    /// Whether so many bytes more are within the limit and its share of the volume.
    fn has_room(&self, state: &mut State, bytes: u64) -> bool {
        let end = state.end + bytes;
        if end > self.limit.load(Relaxed).min(index::MOST) {
            return false;
        }
        if end > state.look_at {
            let folder = self.path.parent().unwrap_or(&self.path);
            if !RealDisk.space(folder).is_ok_and(|space| end <= space.free.saturating_add(state.end) / SHARE)
            {
                return false;
            }
            state.look_at = end + LOOK;
        }
        true
    }

    fn trouble(&self, what: &str, error: &io::Error) {
        if let Some(left_out) = self.troubles.pass() {
            tracing::warn!(path = %self.path.display(), %error, left_out,
                "the file for records that wait for their template {what}; without it they are lost once \
                 `max_waiting_bytes` are full");
        }
    }
}

impl Drop for WaitingFile {
    /// As `spool::instance` has it.
    fn drop(&mut self) {
        if let Some(file) = &self.state.get_mut().file {
            let _ = file.unlock();
        }
    }
}

impl State {
    fn give_up(&mut self, since_ns: u64) -> Vec<(Source, u64)> {
        let gone = self.index.expire(since_ns);
        self.start_anew();
        gone
    }

    /// When nothing waits any more, what is left of the file is of no use.
    fn start_anew(&mut self) {
        if self.index.len() == 0
            && self.end > BLOCK
            && let Some(file) = &self.file
            && file.set_len(BLOCK).is_ok()
        {
            (self.end, self.look_at) = (BLOCK, 0);
        }
    }

    /// The entry there, marked as taken.
    fn take(&self, at: u64) -> io::Result<Set> {
        let file = self.file.as_ref().ok_or(io::ErrorKind::NotFound)?;
        let set = entry::read(file, at)?;
        entry::mark_taken(file, at)?;
        Ok(set)
    }
}

impl Overflow for WaitingFile {
    fn keep(&self, place: &Place, set: &Set) -> bool {
        let bytes = entry::encode(place, set);
        let length = bytes.len() as u64;
        let mut state = self.state.lock();
        if !state.index.admits(place) || !self.open(&mut state) || !self.has_room(&mut state, length) {
            return false;
        }
        let at = state.end;
        let written = match &state.file {
            Some(file) => file.write_all_at(&bytes, at),
            None => return false,
        };
        if let Err(error) = written {
            self.trouble("cannot be written", &error);
            return false;
        }
        state.index.add(place, at, set.origin.received_ns);
        state.end += length;
        true
    }

    fn take(&self, place: &Place) -> Option<Set> {
        let mut state = self.state.lock();
        while let Some(at) = state.index.take(place) {
            match state.take(at) {
                Ok(set) => {
                    state.start_anew();
                    return Some(set);
                }
                Err(error) => {
                    state.lost += 1;
                    self.trouble("cannot be read", &error);
                }
            }
        }
        state.start_anew();
        None
    }

    fn count(&self, place: &Place) -> usize {
        self.state.lock().index.count(place)
    }

    fn count_of(&self, source: &Source) -> usize {
        self.state.lock().index.count_of(source)
    }
}

#[cfg(test)]
mod tests;
