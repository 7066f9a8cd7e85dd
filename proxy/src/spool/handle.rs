//! The handle that inputs and delivery have.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{self, Read},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use crossbeam_channel::bounded;
use tokio::sync::oneshot;

use super::{
    Entry, Failure, Full, Refused, Shared, Stamp, State, TenantBytes, Totals, UsageNow,
    worker::{Answer, Op},
    writer::Message,
};
use crate::{
    batch::{Body, Chunk, Class},
    config::Spooling,
    ids::{DatasetKey, TenantId},
};

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
    pub(super) fn of(shared: &Arc<Shared>) -> Self {
        Self { shared: Arc::clone(shared), seen: AtomicU64::new(0) }
    }

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

    /// What each tenant has in the spool, open batches too.
    pub fn by_tenant(&self) -> BTreeMap<TenantId, TenantBytes> {
        self.shared.backlog.by_tenant()
    }

    /// Whether that is all there is, and no more: what earlier runs left has been read, and nothing was given up at the end.
    pub fn is_fully_known(&self) -> bool {
        self.shared.recovered.is_set()
            && self.shared.unreadable() == 0
            && self.shared.given_up.load(Relaxed) == 0
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
            batches: (usage.batches.load(Relaxed), self.shared.limits.batches(Class::Acknowledged)),
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
