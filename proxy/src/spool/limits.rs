//! How much the spool may hold, and small helpers that bound waiting and talking.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use parking_lot::{Condvar, Mutex};

use super::disk::Space;
use crate::{batch::Class, config::Spooling};

/// Smallest and largest segment.
const SEGMENT: (u64, u64) = (64 << 10, 64 << 20);
/// Longest log.
const LOG: u64 = 512 << 20;

/// Limits in bytes, as they are now.
#[derive(Debug, Default)]
pub struct Limits {
    spool: AtomicU64,
    dlq: AtomicU64,
    batches: u64,
}

/// How many batches the index may hold, in the DLQ and outside it each: memory for it is beside the budget, where there are
/// some 100 MB, and grows by a quarter of it.
pub fn most_batches(memory_bytes: u64) -> u64 {
    65_536 + memory_bytes / 4096
}

impl Limits {
    /// None yet but that of the number of batches.
    pub fn new(batches: u64) -> Self {
        Self { batches, ..Self::default() }
    }

    /// Number of batches outside the DLQ for this class of data, as of the bytes.
    pub fn batches(&self, class: Class) -> u64 {
        match class {
            Class::Acknowledged => self.batches,
            Class::Unacknowledged => self.batches / 4 * 3,
        }
    }

    /// Number of batches in the DLQ.
    pub fn dlq_batches(&self) -> u64 {
        self.batches
    }

    /// The configured ones, but no more than their share of the volume: `used` is what we hold of it.
    pub fn update(&self, settings: &Spooling, space: Option<Space>, used: u64) {
        let volume = space.map_or(u64::MAX, |space| space.free.saturating_add(used));
        self.spool.store(settings.max_size_bytes.min(volume / 10 * 6), Relaxed);
        self.dlq.store(settings.dlq_max_size_bytes.unwrap_or(u64::MAX).min(volume / 10 * 3), Relaxed);
    }

    /// For acknowledged data: all of it.
    pub fn acknowledged(&self) -> u64 {
        self.spool.load(Relaxed)
    }

    /// For data nobody was told is safe: three quarters.
    pub fn unacknowledged(&self) -> u64 {
        self.spool.load(Relaxed) / 4 * 3
    }

    /// For the DLQ.
    pub fn dlq(&self) -> u64 {
        self.dlq.load(Relaxed)
    }

    /// Bound of the log and length of a segment.
    pub fn log(&self) -> (u64, u64) {
        let log = (self.acknowledged() / 8).min(LOG);
        let segment = (log / 4).clamp(SEGMENT.0, SEGMENT.1);
        (log.max(4 * segment), segment)
    }
}

/// A flag one can wait for.
#[derive(Debug, Default)]
pub struct Flag {
    set: Mutex<bool>,
    changed: Condvar,
}

impl Flag {
    /// Sets it for good.
    pub fn set(&self) {
        *self.set.lock() = true;
        self.changed.notify_all();
    }

    /// Whether it is set.
    pub fn is_set(&self) -> bool {
        *self.set.lock()
    }

    /// Waits for it; true when it is set.
    pub fn wait(&self, most: Duration) -> bool {
        let mut set = self.set.lock();
        self.changed.wait_while_for(&mut set, |set| !*set, most);
        *set
    }
}
