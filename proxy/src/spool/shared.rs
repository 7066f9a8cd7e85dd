//! What the spool's threads and handles have in common.

use std::{
    fmt, io,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use crossbeam_channel::Sender;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::{
    LevelNow, Refused, Stamp,
    backlog::{Backlog, Origin},
    disk::is_full,
    filer::TailBytes,
    files::Name,
    limits::{Flag, Limits},
    metrics::{SpoolMetrics, Usage},
    recovery::{self, Recovered},
    store::Store,
    worker::Op,
    writer::Message,
};
use crate::{
    batch::{Class, Reservation},
    config::{Batching, Spooling},
    ledger::{Ledger, Place},
    throttle::Throttle,
};

/// Shared state. Locks in it are never held across I/O.
pub struct Shared {
    /// Files of the own folder.
    pub store: Store,
    /// Closed batches.
    pub backlog: Backlog,
    /// Settings; a reload replaces them.
    pub settings: ArcSwap<Spooling>,
    /// The book of events.
    pub ledger: Arc<Ledger>,
    /// Bytes in tails.
    pub tails: TailBytes,
    /// How many there may be.
    pub tail_budget: u64,
    /// What the Receiver takes at most; a reload may change it.
    pub max_payload: AtomicU64,
    /// Limits as they are now.
    pub limits: Limits,
    /// Batches of this process have the same id in their name and are above it.
    pub floor: Stamp,
    /// Set when what earlier runs left has been read, as far as it can be.
    pub recovered: Flag,
    /// Batches and folders of earlier runs that cannot be read.
    pub unreadable: AtomicU64,
    /// The same in folders of processes that are gone.
    pub unreadable_elsewhere: AtomicU64,
    /// Why a batch file cannot be written, if so.
    pub files_unwritable: Mutex<Option<String>>,
    /// Set when threads must not wait any longer.
    pub abandoned: Flag,
    /// Somebody asked for space.
    pub wants_space: AtomicBool,
    /// Lines that were lost at the end, since the log could not be written.
    pub given_up: AtomicU64,
    /// Intake has ended.
    pub stopping: AtomicBool,
    /// Woken when there may be room.
    pub room: Notify,
    /// For the log line about a full spool.
    pub told_full: Throttle,
    /// For the log line about data that is not taken.
    pub told_refused: Throttle,
    /// For the log line about evictions.
    pub told_evicted: Throttle,
    /// For the log line about the background thread's failures.
    pub told_sync: Throttle,
    pub(super) level_now: LevelNow,
    pub(super) unwritable: Mutex<Option<Refused>>,
    pub(super) is_unwritable: AtomicBool,
    pub(super) writer: Sender<Message>,
    pub(super) worker: Sender<Op>,
    pub(super) _reserved: Reservation,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("folder", &self.store.layout.root()).finish_non_exhaustive()
    }
}

impl Shared {
    /// Compression level now; see [`LevelNow`].
    pub fn level(&self, batching: Option<&Batching>) -> u32 {
        (self.level_now)(batching)
    }

    /// Metrics.
    pub fn metrics(&self) -> &SpoolMetrics {
        &self.store.metrics
    }

    /// Bytes.
    pub fn usage(&self) -> &Usage {
        &self.store.usage
    }

    /// Whether this process gave the name.
    pub fn made_here(&self, stamp: Stamp) -> bool {
        stamp > self.floor && stamp.id() == self.floor.id()
    }

    /// Whether data of this class would be taken now.
    pub fn has_room(&self, class: Class) -> bool {
        !self.is_full(class) && !self.is_unwritable.load(Relaxed) && !self.stopping.load(Relaxed)
    }

    /// Whether this class of data has reached its limit.
    pub fn is_full(&self, class: Class) -> bool {
        let limit = match class {
            Class::Acknowledged => self.limits.acknowledged(),
            Class::Unacknowledged => self.limits.unacknowledged(),
        };
        self.usage().spool() >= limit || self.usage().batches.load(Relaxed) >= self.limits.batches(class)
    }

    /// Whether the DLQ is beyond a limit of its own.
    pub fn dlq_is_over(&self) -> bool {
        let (usage, limits) = (self.usage(), &self.limits);
        usage.dlq.load(Relaxed) > limits.dlq() || usage.dlq_batches.load(Relaxed) > limits.dlq_batches()
    }

    /// Says that data of a class is not taken because the spool is full.
    pub fn tell_full(&self, class: Class) {
        if self.is_full(class) && self.told_refused.pass().is_some() {
            let (bytes, limit) = (self.usage().spool(), self.limits.acknowledged());
            let batches = self.usage().batches.load(Relaxed);
            let most_batches = self.limits.batches(Class::Acknowledged);
            tracing::warn!(
                ?class,
                bytes,
                limit,
                batches,
                most_batches,
                "the spool is full: HTTP answers 503, TCP waits, datagrams are refused; mend delivery, raise spooling.max_size_bytes, or, for more batches, limits.memory_bytes"
            );
        }
    }

    /// Why nothing can be written, if so.
    pub fn unwritable(&self) -> Option<Refused> {
        if self.is_unwritable.load(Relaxed) { self.unwritable.lock().clone() } else { None }
    }

    /// The log can, or cannot, be written.
    pub fn set_unwritable(&self, why: Option<String>) {
        self.is_unwritable.store(why.is_some(), Relaxed);
        *self.unwritable.lock() = why.map(Refused::Unwritable);
        self.room.notify_waiters();
    }

    /// Batches and folders of earlier runs that cannot be read now.
    pub fn unreadable(&self) -> u64 {
        self.unreadable.load(Relaxed) + self.unreadable_elsewhere.load(Relaxed)
    }

    /// Takes them over into the metric.
    pub fn show_unreadable(&self) {
        self.metrics().unreadable.set(self.unreadable() as i64);
    }

    /// Sends to the writer; after its end nobody listens, and nothing needs to be said.
    pub fn tell_writer(&self, message: Message) {
        drop(self.writer.send(message));
    }

    /// The volume is full: the worker shall delete from the DLQ.
    pub fn ask_for_space(&self) {
        self.wants_space.store(true, Relaxed);
        drop(self.worker.send(Op::FreeSpace));
    }

    /// Runs a file operation again and again while it fails; gives up at the end of the process.
    pub fn patiently(&self, name: &Name, mut run: impl FnMut() -> io::Result<()>) -> io::Result<()> {
        let mut told: Option<Instant> = None;
        loop {
            let Err(error) = run() else {
                if told.is_some() {
                    *self.files_unwritable.lock() = None;
                }
                return Ok(());
            };
            self.metrics().file_failures.inc();
            *self.files_unwritable.lock() = Some(format!("{}: {error}", name.data()));
            if told.is_none_or(|told| told.elapsed() > Duration::from_mins(1)) {
                tracing::warn!(batch = %name.data(), %error, "a batch file cannot be written; trying again every second, its lines are safe in the log");
                told = Some(Instant::now());
            }
            if is_full(&error) {
                self.ask_for_space();
            }
            if self.abandoned.wait(Duration::from_secs(1)) {
                return Err(error);
            }
        }
    }

    /// Reads the volume's size and sets the limits from it.
    pub fn measure_volume(&self) {
        let usage = self.usage();
        let used = usage.spool() + usage.dlq.load(Relaxed);
        let space = self.store.disk.space(self.store.layout.root()).ok();
        self.limits.update(&self.settings.load(), space, used);
    }

    /// Shows recovered batches to delivery.
    pub fn publish_recovered(&self, recovered: Recovered) {
        let Recovered { records, damaged, done, quarantined, .. } = recovered;
        if quarantined > 0 {
            self.ledger.import(Place::Quarantined, quarantined);
            self.metrics().quarantined_lines.inc_by(quarantined);
        }
        let found = records.len();
        for record in records {
            self.metrics().recovered.inc();
            self.backlog.insert(record, Origin::Found);
        }
        for (stamp, key) in done {
            self.tell_writer(Message::Done(stamp, key));
        }
        for stamp in damaged {
            let (answer, _) = tokio::sync::oneshot::channel();
            drop(self.worker.send(Op::Quarantine(stamp, "found damaged at start".to_owned(), answer)));
        }
        if found > 0 {
            tracing::info!(batches = found, "batches of earlier runs were found in the spool");
        }
    }

    /// Removes segments that nobody needs, however often that fails; gives up at the end of the process.
    pub fn remove_patiently(&self, store: &Store, mut segments: Vec<u32>) {
        while !segments.is_empty() && !self.abandoned.wait(recovery::AGAIN) {
            segments = self.drop_old_segments(store, &segments, &[]);
        }
    }

    /// Removes segments whose batches are all durable in files or finished, from the front; those behind them are `kept`.
    /// Returns what is there afterwards.
    pub fn drop_old_segments(&self, store: &Store, gone: &[u32], kept: &[u32]) -> Vec<u32> {
        let mut left = gone;
        while let Some((number, rest)) = left.split_first() {
            let path = store.layout.segment(*number);
            failpoint!("recovery.drop");
            let removed = recovery::remove_segment(store, *number);
            failpoint!("recovery.dropped");
            if let Err(error) = removed {
                tracing::warn!(path = %path.display(), %error, "a log segment of an earlier run cannot be removed; trying again");
                break;
            }
            left = rest;
        }
        let left: Vec<u32> = left.iter().chain(kept).copied().collect();
        store.usage.old_log.store(recovery::segment_bytes(store, &left), Relaxed);
        self.room.notify_waiters();
        left
    }
}
