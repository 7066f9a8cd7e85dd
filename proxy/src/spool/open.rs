//! Opening and closing the spool: its threads, and what each starts with.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    thread::JoinHandle,
    time::Duration,
};

use arc_swap::ArcSwap;
use crossbeam_channel::{bounded, unbounded};
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::{
    Parts, Shared, SpoolHandle,
    backlog::Backlog,
    checkpoint::Checkpointer,
    disk::{Disk, RealDisk},
    filer::{Filer, TailBytes},
    files::Layout,
    import::{self, ImportMetrics},
    instance::{self, Instance},
    limits::{self, Flag, Limits},
    log::Log,
    memory_disk::MemoryDisk,
    metrics::{SpoolMetrics, Usage},
    recovery,
    stamps::Stamps,
    store::Store,
    thread, tool,
    worker::{Op, Worker},
    writer::{Message, Writer, now_ns},
};
use crate::throttle::Throttle;

/// Threads that compress tails and write files.
const LANES: usize = 2;

/// Why the spool cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    /// The folder cannot be used.
    #[error(
        "the spool folder {0} cannot be used: {1}; check that it exists, belongs to this user and has room"
    )]
    Folder(PathBuf, io::Error),
    /// A thread cannot be started.
    #[error("a thread of the spool cannot be started: {0}")]
    Thread(io::Error),
}

/// The running spool. Dropping it ends its threads after a last sync.
#[derive(Debug)]
pub struct Spool {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
    recovery: Option<JoinHandle<()>>,
    adoption: Option<JoinHandle<()>>,
    instance: Option<Instance>,
}

impl Spool {
    /// Takes a folder and begins intake; what earlier runs left is read in the background.
    pub fn open(parts: Parts) -> Result<Self, SpoolError> {
        if !parts.settings.enabled {
            tell_what_waits(&parts.settings.directory);
            let capacity = parts.memory.total() / 8 * 3;
            let disk = Arc::new(MemoryDisk::new(capacity));
            let layout = Layout::new(PathBuf::from("/memory"));
            let most = limits::most_batches(parts.memory.total());
            return Self::open_on(parts, disk, layout, instance::random_id(), None, most);
        }
        let directory = parts.settings.directory.clone();
        let claimed =
            instance::claim(&directory).map_err(|error| SpoolError::Folder(directory.clone(), error))?;
        let layout = Layout::new(claimed.folder.clone());
        let import_metrics = ImportMetrics::new(&parts.metrics);
        let most = limits::most_batches(parts.memory.total());
        let (disk, id) = (Arc::new(RealDisk), claimed.spool_id);
        let mut spool = Self::open_on(parts, disk, layout, id, Some(claimed), most)?;
        spool.threads.push(import::start(&spool.shared, directory.clone(), import_metrics)?);
        let shared = Arc::clone(&spool.shared);
        spool.adoption =
            Some(thread::start("spool-adopt", move || super::adopt::watch(&shared, &directory))?);
        Ok(spool)
    }

    /// The same on any disk, with at most so many batches in the DLQ and outside it each.
    pub(super) fn open_on(
        parts: Parts,
        disk: Arc<dyn Disk>,
        layout: Layout,
        spool_id: u16,
        instance: Option<Instance>,
        most_batches: u64,
    ) -> Result<Self, SpoolError> {
        let metrics = Arc::new(SpoolMetrics::new(&parts.metrics));
        let usage = Arc::new(Usage::default());
        let store = Store::new(disk, layout, Arc::clone(&metrics), Arc::clone(&usage));
        let folder_error = |error| SpoolError::Folder(store.layout.root().to_owned(), error);
        store.disk.make_dirs(&store.layout.log()).map_err(folder_error)?;
        store.disk.sync_dir(store.layout.root()).map_err(folder_error)?;

        let old = recovery::segments(&store).map_err(folder_error)?;
        let newest =
            old.iter().filter_map(|number| recovery::header(&store, *number)).map(|h| h.reserved).max();
        // A log that was lost with its reserved stamp, on a volume that was full: then the files say what was used.
        let newest = newest.or_else(|| recovery::newest_file(&store));
        let stamps = Stamps::new(spool_id, newest.unwrap_or(0), now_ns());

        let old_log = recovery::segment_bytes(&store, &old);
        usage.old_log.store(old_log, Relaxed);
        let limits = Limits::new(most_batches);
        limits.update(&parts.settings, store.disk.space(store.layout.root()).ok(), old_log);
        let (log_limit, segment_bytes) = limits.log();
        // Otherwise recovery does it beside intake.
        if old_log > 2 * log_limit {
            recovery::trim(&store, &old);
        }
        // Never more than half for good: a single large body may need the other half.
        let total = parts.memory.total();
        let (tail_budget, memory_disk) =
            if parts.settings.enabled { (total / 4, 0) } else { (total / 8, total / 8 * 3) };
        let reserved = parts.memory.set_aside((tail_budget + memory_disk) as usize);
        let (writer, messages) = unbounded();
        let (worker, ops) = unbounded();
        let shared = Arc::new(Shared {
            backlog: Backlog::new(Arc::clone(&parts.ledger), metrics, usage),
            store,
            settings: ArcSwap::from_pointee(parts.settings),
            ledger: parts.ledger,
            tails: TailBytes::default(),
            tail_budget,
            max_payload: AtomicU64::new(parts.max_payload),
            limits,
            floor: stamps.floor(),
            recovered: Flag::default(),
            unreadable: AtomicU64::new(0),
            unreadable_elsewhere: AtomicU64::new(0),
            files_unwritable: Mutex::new(None),
            abandoned: Flag::default(),
            wants_space: AtomicBool::new(false),
            given_up: AtomicU64::new(0),
            stopping: AtomicBool::new(false),
            room: Notify::new(),
            told_full: Throttle::default(),
            told_refused: Throttle::default(),
            told_evicted: Throttle::default(),
            told_sync: Throttle::default(),
            level_now: parts.level,
            unwritable: Mutex::new(None),
            is_unwritable: AtomicBool::new(false),
            writer,
            worker,
            _reserved: reserved,
        });
        let number = old.last().map_or(1, |last| last + 1);
        let log = Log::begin(shared.store.clone(), number, segment_bytes, &stamps);
        let filer = Filer::start(&shared, LANES)?;
        let checkpointer = Checkpointer::start(&shared)?;
        let writing = Writer::new(Arc::clone(&shared), messages, log, stamps, filer, checkpointer);
        let working = Worker::new(Arc::clone(&shared), ops);
        let for_recovery = Arc::clone(&shared);
        let threads = vec![
            thread::essential("spool-work", move || working.run())?,
            thread::essential("spool-write", move || writing.run())?,
        ];
        let recovering = thread::start("spool-recover", move || recovery::recover_own(&for_recovery, old))?;
        Ok(Self { shared, threads, recovery: Some(recovering), adoption: None, instance })
    }

    /// A handle; clones share the spool.
    pub fn handle(&self) -> SpoolHandle {
        SpoolHandle::of(&self.shared)
    }

    /// Ends intake: open batches are closed and synced, and are in the backlog when this returns in time. Delivery
    /// can go on.
    pub async fn close(&self, within: Duration) {
        self.shared.stopping.store(true, Relaxed);
        self.shared.room.notify_waiters();
        let (done, written) = bounded(LANES);
        self.shared.tell_writer(Message::CloseAll(done));
        let wait = move || {
            let deadline = std::time::Instant::now() + within;
            (0..LANES).all(|_| written.recv_deadline(deadline).is_ok())
        };
        if !tokio::task::spawn_blocking(wait).await.unwrap_or(false) {
            tracing::warn!(
                "not all batches could be closed in time; the next start closes what the log has of them"
            );
        }
    }

    #[cfg(test)]
    pub(super) fn shared_for_tests(&self) -> &Shared {
        &self.shared
    }

    /// Whether what earlier runs left has been read, as far as it can be.
    pub fn recovery_ended(&self) -> bool {
        self.shared.recovered.is_set()
    }

    /// Waits until what earlier runs left has been read, as far as it can be.
    pub async fn recovered(&self) {
        let shared = Arc::clone(&self.shared);
        let wait = move || while !shared.recovered.wait(Duration::from_hours(1)) {};
        drop(tokio::task::spawn_blocking(wait).await);
    }

    /// Whether what it holds ends with the process (`spooling.enabled: false`).
    pub fn in_memory(&self) -> bool {
        self.instance.is_none()
    }
}

/// The spool is in memory: whatever a folder holds is not delivered.
fn tell_what_waits(directory: &Path) {
    for folder in instance::existing(directory).unwrap_or_default() {
        let (batches, events) = match tool::waiting(&folder) {
            Ok((0, _)) => continue,
            Ok((batches, events)) => (batches.to_string(), events.to_string()),
            Err(error) => (format!("unknown: {error}"), "unknown".to_owned()),
        };
        tracing::error!(folder = %folder.display(), batches, events, "spooling.enabled is false: what earlier runs left in the spool is not delivered until it is true again");
    }
}

impl Drop for Spool {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Relaxed);
        self.shared.abandoned.set();
        drop(self.shared.worker.send(Op::Stop));
        for thread in [self.recovery.take(), self.adoption.take()].into_iter().flatten() {
            drop(thread.join());
        }
        let mut threads = self.threads.drain(..);
        // The worker first: what it finished the writer notes down.
        drop(threads.next().map(JoinHandle::join));
        self.shared.tell_writer(Message::Stop);
        for thread in threads {
            drop(thread.join());
        }
    }
}
