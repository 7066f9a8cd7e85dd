//! The writer: one thread that owns the log and all open batches.
//!
//! Each round takes what is queued, appends frames, closes what is due, and syncs once when somebody waits for it or
//! the interval has passed.

mod closing;
mod pressure;
mod settle;

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    sync::{Arc, atomic::Ordering::Relaxed},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use crossbeam_channel::{Receiver, Sender, select};
use tokio::sync::oneshot;

use super::{
    Refused, Shared, Stamp,
    checkpoint::{Answer, Checkpointer},
    filer::{Filer, Job},
    frame::{Cut, Header, Kind, Opening, Totals},
    live::Live,
    log::{Log, MAX_UNSYNCED},
    metrics::Usage,
    open_batch::{Building, OpenBatch},
    stamps::Stamps,
};
use crate::{
    batch::{Body, Chunk, StreamKey},
    ids::DatasetKey,
    ledger::Place,
};

/// Bytes taken in one round.
const ROUND: usize = MAX_UNSYNCED;
/// Between two looks whether the disk has recovered.
const LOOK_AGAIN: Duration = Duration::from_millis(100);
/// Answer to a commit.
pub type Ack = oneshot::Sender<Result<(), Refused>>;

/// What the writer is asked to do.
#[derive(Debug)]
pub enum Message {
    /// Lines nobody waits for.
    Chunk(Chunk),
    /// Lines somebody waits for.
    Commit(Vec<Chunk>, Ack),
    /// A batch is finished and its file removed.
    Done(Stamp, DatasetKey),
    /// Name the halves of a batch and sync the intent.
    Split(Stamp, u64, Sender<Cut>),
    /// Answer when what was said so far is synced.
    Sync(Sender<()>),
    /// Close all batches, sync, answer when all are in the backlog.
    CloseAll(Sender<()>),
    /// Sync and end.
    Stop,
}

/// The thread's state.
#[derive(Debug)]
pub struct Writer {
    shared: Arc<Shared>,
    messages: Receiver<Message>,
    log: Log,
    stamps: Stamps,
    filer: Filer,
    checkpointer: Checkpointer,
    live: Live,
    open: HashMap<StreamKey, OpenBatch>,
    due: BTreeSet<(Instant, StreamKey)>,
    /// Bytes in tails of open batches.
    tail_bytes: usize,
    /// Bytes for batch files, handed over once their frames are synced: a file is never ahead of the log, so that one
    /// without frames is known to be whole.
    jobs: Vec<(Stamp, Job)>,
    acks: Vec<(Ack, u64)>,
    closed: Vec<(Arc<Building>, Totals)>,
    splits: Vec<(Sender<Cut>, Cut)>,
    /// Who waits for a sync and nothing else.
    waiting: Vec<Sender<()>>,
    /// Batches that are being cut, until they are finished.
    splitting: HashMap<Stamp, Cut>,
    /// Who waits for all batches to be closed.
    all_closed: Vec<Sender<()>>,
    /// Datasets with batches finished since segments were last removed.
    finished: HashSet<DatasetKey>,
    unsynced_since: Option<Instant>,
    repair_at: Option<Instant>,
    held: Vec<Chunk>,
    /// Why the background could not shorten the log the last time.
    background_failure: Option<String>,
    /// No segment could be made ahead: what shortens the log comes first, since that may be what makes the room.
    spare_failed: bool,
    /// Why nothing is acknowledged although the log can be written.
    stuck: Option<String>,
    stopped: bool,
}

impl Writer {
    /// Takes everything the thread needs.
    pub fn new(
        shared: Arc<Shared>,
        messages: Receiver<Message>,
        log: Log,
        stamps: Stamps,
        filer: Filer,
        checkpointer: Checkpointer,
    ) -> Self {
        Self {
            shared,
            messages,
            log,
            stamps,
            filer,
            checkpointer,
            live: Live::default(),
            open: HashMap::new(),
            due: BTreeSet::new(),
            tail_bytes: 0,
            jobs: Vec::new(),
            acks: Vec::new(),
            closed: Vec::new(),
            splits: Vec::new(),
            waiting: Vec::new(),
            splitting: HashMap::new(),
            all_closed: Vec::new(),
            finished: HashSet::new(),
            unsynced_since: None,
            repair_at: None,
            held: Vec::new(),
            background_failure: None,
            spare_failed: false,
            stuck: None,
            stopped: false,
        }
    }

    /// Runs until [`Message::Stop`].
    pub fn run(mut self) {
        // A log that could not be begun is reported without waiting for the first message.
        self.settle();
        while !self.stopped {
            self.receive();
            self.close_due();
            self.settle();
            self.trim();
        }
        if self.log.broken() {
            self.give_up();
        }
        self.checkpointer.stop();
        self.filer.stop();
    }

    fn receive(&mut self) {
        if self.holds_back() {
            if let Ok(answer) = self.checkpointer.answers.recv_timeout(Duration::from_millis(5)) {
                self.answered(answer);
            }
            return;
        }
        let mut wait =
            self.wake_at().map_or(Duration::from_hours(1), |at| at.saturating_duration_since(Instant::now()));
        if self.stuck.is_some() {
            // Nobody says when the file could be written after all.
            wait = wait.min(LOOK_AGAIN);
        }
        let mut next = None;
        select! {
            recv(self.messages) -> message => match message {
                Ok(message) => next = Some(message),
                Err(_) => self.stopped = true,
            },
            recv(self.checkpointer.answers) -> answer => {
                if let Ok(answer) = answer {
                    self.answered(answer);
                }
            },
            default(wait) => {}
        }
        while let Some(message) = next {
            self.take(message);
            let more = !self.stopped && self.log.unsynced() < ROUND;
            next = if more { self.messages.try_recv().ok() } else { None };
        }
    }

    fn answered(&mut self, answer: Answer) {
        self.checkpointer.finished();
        match answer {
            Answer::Durable(batches) => {
                self.background_failure = None;
                for (stamp, needed_from) in batches {
                    match needed_from {
                        Some(segment) => self.live.move_to(stamp, segment),
                        // One that is being cut needs the log for its intent.
                        None if self.splitting.contains_key(&stamp) => {}
                        None => drop(self.live.remove(stamp)),
                    }
                }
            }
            Answer::Retired(last) => {
                self.background_failure = None;
                self.log.forget_up_to(last);
            }
            Answer::Prepared(number, file) => {
                self.spare_failed = false;
                self.log.add_spare(number, file);
            }
            Answer::Failed(None) => self.spare_failed = true,
            Answer::Failed(why) => self.background_failure = why,
        }
    }

    /// When something must happen although nothing arrives.
    fn wake_at(&self) -> Option<Instant> {
        let due = self.due.first().map(|(at, _)| *at);
        let sync = self.unsynced_since.map(|since| since + self.shared.settings.load().sync_interval);
        let sync = if self.repair_at.is_some() { None } else { sync };
        [due, sync, self.repair_at].into_iter().flatten().min()
    }

    fn take(&mut self, message: Message) {
        match message {
            Message::Chunk(chunk) if self.log.broken() => self.held.push(chunk),
            Message::Chunk(chunk) => self.accept(chunk),
            Message::Commit(chunks, ack) => self.commit(chunks, ack),
            Message::Done(stamp, key) => {
                self.frame(&Header::control(Kind::Done, stamp, 0, 0), &[]);
                self.live.remove(stamp);
                self.finished.insert(key);
                self.splitting.remove(&stamp);
            }
            Message::Split(stamp, lines, answer) => {
                let halves = [self.stamp(), self.stamp()];
                let cut = Cut { halves, lines };
                let segment = self.frame(&Header::control(Kind::Split, stamp, 0, 0), &cut.encode());
                self.live.add(stamp, None, segment);
                self.splitting.insert(stamp, cut);
                self.splits.push((answer, cut));
            }
            Message::Sync(done) => self.waiting.push(done),
            Message::CloseAll(done) => self.close_all(done),
            Message::Stop => {
                self.settle_now();
                self.stopped = true;
            }
        }
    }

    fn commit(&mut self, chunks: Vec<Chunk>, ack: Ack) {
        let lines = chunks.iter().map(|chunk| u64::from(chunk.lines)).sum();
        if self.log.broken() || self.stuck.is_some() {
            for chunk in &chunks {
                self.leave_incoming(chunk);
            }
            if ack.send(Err(self.unwritable())).is_err() {
                self.shared.ledger.unaccept(lines);
            }
            return;
        }
        for chunk in chunks {
            self.accept(chunk);
        }
        self.acks.push((ack, lines));
    }

    fn accept(&mut self, chunk: Chunk) {
        if chunk.lines == 0 {
            self.leave_incoming(&chunk);
            return;
        }
        let key = chunk.stream.key.clone();
        let max_payload = self.shared.max_payload.load(Relaxed);
        if self.open.get(&key).is_some_and(|batch| batch.has_no_room_for(&chunk, max_payload)) {
            self.close(&key);
        }
        if !self.open.contains_key(&key) {
            self.begin(&key, &chunk);
        }
        let Some(batch) = self.open.get_mut(&key) else { return };
        let before = batch.due;
        if batch.adopt(&chunk.stream) {
            self.due.remove(&(before, key.clone()));
            self.due.insert((batch.due, key.clone()));
        }
        let header = batch.add(&chunk);
        let lines = u64::from(chunk.lines);
        match chunk.body {
            Body::Raw(raw) => {
                Usage::take(&self.shared.usage().incoming, raw.len() as u64);
                self.log.append(&header, &raw);
                if batch.tail.raw.is_empty() {
                    batch.tail.first_ns = chunk.first_ns;
                }
                batch.tail.lines += chunk.lines;
                batch.tail.raw.extend_from_slice(&raw);
                self.tail_bytes += raw.len();
                self.shared.tails.add(raw.len());
                if batch.tail.raw.len() >= batch.tail_limit() {
                    self.tail_bytes -= hand_tail_over(&mut self.jobs, batch);
                }
            }
            Body::Member(member) => {
                self.log.append(&header, &member);
                self.tail_bytes -= hand_tail_over(&mut self.jobs, batch);
                batch.file.under_way.fetch_add(member.len() as u64, Relaxed);
                let job = Job::Member(Arc::clone(&batch.file), member, chunk.memory);
                self.jobs.push((header.stamp, job));
            }
        }
        self.shared.ledger.transfer(Place::Memory, Place::Open, lines);
        if batch.is_full(max_payload) {
            self.close(&key);
        }
        self.unsynced_since.get_or_insert_with(Instant::now);
        if self.tail_bytes as u64 > self.shared.tail_budget {
            self.shrink_tails();
        }
    }

    fn begin(&mut self, key: &StreamKey, chunk: &Chunk) {
        let batch = OpenBatch::new(self.stamp(), chunk, Instant::now(), now_ns());
        let opening = Opening::new(key, chunk.first_ns).encode();
        let segment = self.frame(&Header::control(Kind::Open, batch.stamp(), 0, 0), &opening);
        self.live.add(batch.stamp(), Some(Arc::clone(&batch.file)), segment);
        self.shared.backlog.begin(&batch.file);
        self.due.insert((batch.due, key.clone()));
        self.open.insert(key.clone(), batch);
    }

    /// Largest tails first, down to three quarters of the budget.
    fn shrink_tails(&mut self) {
        let mut sizes: Vec<(usize, StreamKey)> = self
            .open
            .iter()
            .filter(|(_, batch)| !batch.tail.raw.is_empty())
            .map(|(key, batch)| (batch.tail.raw.len(), key.clone()))
            .collect();
        sizes.sort_unstable_by_key(|(size, _)| std::cmp::Reverse(*size));
        for (_, key) in sizes {
            if self.tail_bytes as u64 <= self.shared.tail_budget / 4 * 3 {
                break;
            }
            if let Some(batch) = self.open.get_mut(&key) {
                self.tail_bytes -= hand_tail_over(&mut self.jobs, batch);
            }
        }
    }

    fn frame(&mut self, header: &Header, payload: &[u8]) -> u32 {
        self.unsynced_since.get_or_insert_with(Instant::now);
        self.log.append(header, payload)
    }

    fn stamp(&mut self) -> Stamp {
        let stamp = self.stamps.next(now_ns());
        if let Some(reserved) = self.stamps.renew() {
            self.log.reserve(reserved);
        }
        self.log.newest_stamp(stamp.0);
        stamp
    }

    fn leave_incoming(&self, chunk: &Chunk) {
        let (Body::Raw(bytes) | Body::Member(bytes)) = &chunk.body;
        Usage::take(&self.shared.usage().incoming, bytes.len() as u64);
    }

    fn unwritable(&self) -> Refused {
        self.shared.unwritable().unwrap_or(Refused::Unwritable("no segment".to_owned()))
    }
}

/// Turns the tail into a job for the filer; returns its length.
fn hand_tail_over(jobs: &mut Vec<(Stamp, Job)>, batch: &mut OpenBatch) -> usize {
    let len = batch.tail.raw.len();
    if len > 0 {
        let tail = std::mem::take(&mut batch.tail);
        batch.file.under_way.fetch_add(len as u64, Relaxed);
        jobs.push((batch.stamp(), Job::Tail(Arc::clone(&batch.file), tail, batch.stream())));
    }
    len
}

/// The wall clock in Unix nanoseconds.
pub fn now_ns() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos() as u64
}
