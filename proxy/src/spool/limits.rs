//! How much the spool may hold, and small helpers that bound waiting and talking.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use parking_lot::{Condvar, Mutex};

use super::disk::Space;
use crate::config::Spooling;

/// Smallest and largest segment.
const SEGMENT: (u64, u64) = (64 << 10, 64 << 20);
/// Longest log.
const LOG: u64 = 512 << 20;

/// Limits in bytes, as they are now.
#[derive(Debug, Default)]
pub struct Limits {
    spool: AtomicU64,
    dlq: AtomicU64,
}

impl Limits {
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
