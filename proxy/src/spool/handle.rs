//! Opening and closing the spool, and the handle that inputs and delivery have.

use std::{
    collections::BTreeSet,
    io::{self, Read},
    path::PathBuf,
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
use tokio::sync::{Notify, oneshot};

use super::{
    Entry, Failure, Full, Parts, Refused, Shared, Stamp, State, Totals, UsageNow,
    backlog::Backlog,
    checkpoint::Checkpointer,
    disk::{Disk, RealDisk},
    filer::Filer,
    files::Layout,
    import::{self, ImportMetrics},
    instance::{self, Instance},
    limits::{Flag, Limits},
    log::Log,
    memory_disk::MemoryDisk,
    metrics::{SpoolMetrics, Usage},
    recovery,
    stamps::Stamps,
    store::Store,
    thread,
    worker::{Answer, Op, Worker},
    writer::{Message, Writer, now_ns},
};
use crate::{
    batch::{Body, Chunk, Class},
    config::Spooling,
    ids::DatasetKey,
    throttle::Throttle,
};

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
            let capacity = parts.memory.total() / 8 * 3;
            let disk = Arc::new(MemoryDisk::new(capacity));
            let layout = Layout::new(PathBuf::from("/memory"));
            return Self::open_on(parts, disk, layout, instance::random_id(), None);
        }
        let directory = parts.settings.directory.clone();
        let claimed =
            instance::claim(&directory).map_err(|error| SpoolError::Folder(directory.clone(), error))?;
        let layout = Layout::new(claimed.folder.clone());
        let import_metrics = ImportMetrics::new(&parts.metrics);
        let mut spool = Self::open_on(parts, Arc::new(RealDisk), layout, claimed.spool_id, Some(claimed))?;
        spool.threads.push(import::start(&spool.shared, directory.clone(), import_metrics)?);
        let shared = Arc::clone(&spool.shared);
        spool.adoption =
            Some(thread::start("spool-adopt", move || super::adopt::watch(&shared, &directory))?);
        Ok(spool)
    }

    /// The same on any disk.
    pub(super) fn open_on(
        parts: Parts,
        disk: Arc<dyn Disk>,
        layout: Layout,
        spool_id: u16,
        instance: Option<Instance>,
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
        let limits = Limits::default();
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
            tails: super::filer::TailBytes::default(),
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
        SpoolHandle { shared: Arc::clone(&self.shared), seen: AtomicU64::new(0) }
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
            tracing::warn!("not all batches could be closed in time; the next start closes them");
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

/// A handle to the running spool; clones share it.
#[derive(Debug)]
pub struct SpoolHandle {
    shared: Arc<Shared>,
    /// Version of the backlog that [`SpoolHandle::changed`] reported last, per clone.
    seen: AtomicU64,
}

impl Clone for SpoolHandle {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared), seen: AtomicU64::new(self.seen.load(Relaxed)) }
    }
}

impl SpoolHandle {
    /// Hands a chunk over from a decoder thread. Unacknowledged data makes room by moving its like to the DLQ.
    pub fn submit_blocking(&self, chunk: Chunk) -> Result<(), Refused> {
        let class = chunk.stream.key.class;
        if !self.shared.has_room(class) && class == Class::Unacknowledged {
            self.ready()?;
            let (done, made) = bounded(1);
            if self.shared.worker.send(Op::MakeRoom(done)).is_ok() {
                let _ = made.recv();
            }
        }
        self.admit(class)?;
        self.send(chunk);
        Ok(())
    }

    /// Hands a chunk over and waits while the spool is full (TCP: the sender is slowed down). No durability yet.
    pub async fn submit(&self, chunk: Chunk) -> Result<(), Refused> {
        self.room(chunk.stream.key.class).await?;
        self.send(chunk);
        Ok(())
    }

    /// Waits until data of this class would be taken; fails at the end only.
    pub async fn room(&self, class: Class) -> Result<(), Refused> {
        loop {
            let room = self.shared.room.notified();
            match self.admit(class) {
                Err(Refused::Full | Refused::Unwritable(_)) => {}
                outcome => return outcome,
            }
            // Room also comes without a notice, when files are removed by others.
            drop(tokio::time::timeout(Duration::from_millis(100), room).await);
        }
    }

    /// Returns once all chunks are in the log and synced; refuses at once when full (HTTP: 503).
    pub async fn commit(&self, chunks: Vec<Chunk>) -> Result<(), Refused> {
        let Some(first) = chunks.first() else { return Ok(()) };
        self.admit(first.stream.key.class)?;
        let (ack, answer) = oneshot::channel();
        for chunk in &chunks {
            self.count_incoming(chunk);
        }
        self.shared.tell_writer(Message::Commit(chunks, ack));
        answer.await.unwrap_or(Err(Refused::Stopping))
    }

    /// Whether data of this class would be taken now.
    pub fn has_room(&self, class: Class) -> bool {
        self.shared.tell_full(class);
        self.shared.has_room(class)
    }

    /// Datasets that have batches in queue or retry, or in the DLQ.
    pub fn datasets(&self) -> Vec<DatasetKey> {
        self.shared.backlog.datasets()
    }

    /// Datasets with a change since the last call, for one caller: delivery.
    pub fn take_touched(&self) -> BTreeSet<DatasetKey> {
        self.shared.backlog.take_touched()
    }

    /// Oldest batches of a dataset in the given states, at most `limit`, from `after` (exclusive) on.
    pub fn entries(
        &self,
        key: &DatasetKey,
        states: &[State],
        after: Option<Stamp>,
        limit: usize,
    ) -> Vec<Entry> {
        self.shared.backlog.entries(key, states, after, limit)
    }

    /// Sums per dataset of all batches in a state.
    pub fn totals(&self, state: State) -> Vec<(DatasetKey, Totals)> {
        self.shared.backlog.totals(state)
    }

    /// One batch.
    pub fn entry(&self, stamp: Stamp) -> Option<Entry> {
        self.shared.backlog.get(stamp).map(|record| record.entry)
    }

    /// Whether this process gave a batch its name, so that nobody else can have sent it. Not so for what earlier runs left
    /// and for what was taken over from another instance, whatever the clocks said.
    pub fn made_here(&self, stamp: Stamp) -> bool {
        self.shared.made_here(stamp)
    }

    /// Bytes and limits now.
    pub fn usage(&self) -> UsageNow {
        let usage = self.shared.usage();
        UsageNow {
            log_bytes: usage.whole_log(),
            batch_bytes: usage.files.load(Relaxed),
            dlq_bytes: usage.dlq.load(Relaxed),
            limit_bytes: self.shared.limits.acknowledged(),
            dlq_limit_bytes: self.shared.limits.dlq(),
            unwritable: self.shared.unwritable().and_then(|refused| match refused {
                Refused::Unwritable(why) => Some(why),
                _ => None,
            }),
            files_unwritable: self.shared.files_unwritable.lock().clone(),
            unreadable: self.shared.unreadable(),
            full: Full {
                acknowledged: self.shared.is_full(Class::Acknowledged),
                unacknowledged: self.shared.is_full(Class::Unacknowledged),
            },
        }
    }

    /// Resolves when a batch was closed, returned or moved since the last call on this clone.
    pub async fn changed(&self) {
        let mut version = self.shared.backlog.version();
        loop {
            let now = *version.borrow_and_update();
            if self.seen.swap(now, Relaxed) != now || version.changed().await.is_err() {
                return;
            }
        }
    }

    /// The bytes of a batch (gzip), for reading from the start. A batch's file may move meanwhile; the reader stays good.
    pub fn open(&self, stamp: Stamp) -> io::Result<Box<dyn Read + Send>> {
        let missing =
            || io::Error::new(io::ErrorKind::NotFound, format!("there is no batch {:019}", stamp.0));
        let mut error = missing();
        // Once more if the file moved between the look-up and the opening.
        for _ in 0..3 {
            let record = self.shared.backlog.get(stamp).ok_or_else(missing)?;
            match self.shared.store.open(record.tree, &record.name()) {
                Ok(file) => return Ok(Box::new(file)),
                Err(failed) => error = failed,
            }
        }
        Err(error)
    }

    /// The Receiver has it: the file goes.
    pub async fn delivered(&self, stamp: Stamp) -> io::Result<()> {
        self.operate(|answer| Op::Delivered(stamp, answer)).await.map(|_| ())
    }

    /// An attempt failed: one more in `attempts`, state retry.
    pub async fn failed(&self, stamp: Stamp, failure: Failure) -> io::Result<()> {
        self.operate(|answer| Op::Failed(stamp, failure, answer)).await.map(|_| ())
    }

    /// Into the DLQ, with its reason. `attempts` stays as it is.
    pub async fn bury(&self, stamp: Stamp, failure: Failure) -> io::Result<()> {
        self.operate(|answer| Op::Bury(stamp, failure, answer)).await.map(|_| ())
    }

    /// Out of the DLQ into retry, with `attempts` 0.
    pub async fn revive(&self, stamp: Stamp) -> io::Result<()> {
        self.operate(|answer| Op::Revive(stamp, answer)).await.map(|_| ())
    }

    /// A person deletes a DLQ entry.
    pub async fn delete(&self, stamp: Stamp) -> io::Result<()> {
        self.operate(|answer| Op::Delete(stamp, answer)).await.map(|_| ())
    }

    /// A batch whose members do not match their CRC: bad members are set aside, counted, never sent. What is sound
    /// lives on as a batch with a new name.
    pub async fn quarantine(&self, stamp: Stamp, why: String) -> io::Result<()> {
        self.operate(|answer| Op::Quarantine(stamp, why, answer)).await.map(|_| ())
    }

    /// Cuts a batch in two after a 413; `None` when it has one line only.
    pub async fn split(&self, stamp: Stamp) -> io::Result<Option<[Stamp; 2]>> {
        self.operate(|answer| Op::Split(stamp, answer)).await
    }

    /// Takes over settings that can change while running: all but `enabled` and `directory`. `max_payload` holds for
    /// what comes from now on.
    pub fn configure(&self, settings: Spooling, max_payload: u64) {
        self.shared.max_payload.store(max_payload, Relaxed);
        self.shared.settings.store(Arc::new(settings));
        self.shared.measure_volume();
    }

    async fn operate(&self, op: impl FnOnce(Answer) -> Op) -> io::Result<Option<[Stamp; 2]>> {
        let (answer, done) = oneshot::channel();
        drop(self.shared.worker.send(op(answer)));
        done.await.unwrap_or_else(|_| Err(io::Error::other("the spool is closed")))
    }

    fn ready(&self) -> Result<(), Refused> {
        if self.shared.stopping.load(Relaxed) {
            return Err(Refused::Stopping);
        }
        self.shared.unwritable().map_or(Ok(()), Err)
    }

    fn admit(&self, class: Class) -> Result<(), Refused> {
        self.ready()?;
        self.shared.tell_full(class);
        if self.shared.has_room(class) { Ok(()) } else { Err(Refused::Full) }
    }

    fn send(&self, chunk: Chunk) {
        self.count_incoming(&chunk);
        self.shared.tell_writer(Message::Chunk(chunk));
    }

    fn count_incoming(&self, chunk: &Chunk) {
        let (Body::Raw(bytes) | Body::Member(bytes)) = &chunk.body;
        self.shared.usage().incoming.fetch_add(bytes.len() as u64, Relaxed);
    }
}
