//! Operations on closed batches: one thread, one after the other, so that a batch has one owner at a time.
//!
//! What the index says follows even where the disk refuses: a `.meta` that cannot be written or a file that cannot be
//! moved is reported and costs nothing until the next start.

mod cut;
mod room;

use std::{
    collections::HashMap,
    io::{self, ErrorKind},
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use tokio::sync::oneshot;

use super::{
    Failure, Reason, Shared, Stamp, State,
    backlog::Record,
    files::Tree,
    frame::Cut,
    member::Compressor,
    meta::{self, Meta},
    thread,
    walk::{Piece, pieces},
    writer::Message,
};
use crate::ledger::Place;

const TICK: Duration = Duration::from_secs(1);
/// Batches that are moved in one go, so that others have their turn.
const AT_ONCE: usize = 64;

/// Answer to an operation.
pub type Answer = oneshot::Sender<io::Result<Option<[Stamp; 2]>>>;

/// What can be done.
#[derive(Debug)]
pub enum Op {
    /// See [`super::SpoolHandle::delivered`].
    Delivered(Stamp, Answer),
    /// See [`super::SpoolHandle::failed`].
    Failed(Stamp, Failure, Answer),
    /// See [`super::SpoolHandle::bury`].
    Bury(Stamp, Failure, Answer),
    /// See [`super::SpoolHandle::revive`].
    Revive(Stamp, Answer),
    /// See [`super::SpoolHandle::delete`].
    Delete(Stamp, Answer),
    /// See [`super::SpoolHandle::quarantine`].
    Quarantine(Stamp, String, Answer),
    /// See [`super::SpoolHandle::split`].
    Split(Stamp, Answer),
    /// Move unacknowledged batches to the DLQ until their class has room.
    MakeRoom(Sender<()>),
    /// The volume is full: delete from the DLQ.
    FreeSpace,
    /// End.
    Stop,
}

/// The thread's state.
#[derive(Debug)]
pub struct Worker {
    shared: Arc<Shared>,
    ops: Receiver<Op>,
    compressor: Compressor,
    next_tick: Instant,
    next_cleanup: Instant,
    freed_at: Option<Instant>,
    /// Batches that are being cut: the names of the halves stand in the log and stay the same in every attempt.
    cuts: HashMap<Stamp, Cut>,
    /// Batches that are gone and whose file could not be removed yet.
    unremoved: Vec<Record>,
}

impl Worker {
    /// A worker for `ops`.
    pub fn new(shared: Arc<Shared>, ops: Receiver<Op>) -> Self {
        let now = Instant::now();
        Self {
            shared,
            ops,
            compressor: Compressor::default(),
            next_tick: now,
            next_cleanup: now + TICK,
            freed_at: None,
            cuts: HashMap::new(),
            unremoved: Vec::new(),
        }
    }

    /// Runs until [`Op::Stop`].
    pub fn run(mut self) {
        loop {
            match self.ops.recv_deadline(self.next_tick) {
                Ok(Op::Stop) | Err(RecvTimeoutError::Disconnected) => return,
                // A defect that one batch brings out is that batch's; who asked gets no answer and tries again later.
                Ok(op) => drop(thread::survives(|| self.perform(op))),
                Err(RecvTimeoutError::Timeout) => {}
            }
            if self.next_tick <= Instant::now() {
                self.tick();
            }
        }
    }

    fn perform(&mut self, op: Op) {
        match op {
            Op::Delivered(stamp, answer) => {
                let finished = self.finish(stamp, Place::Delivered).map(|record| {
                    let (key, lines) = (&record.entry.key, record.entry.lines);
                    self.shared.metrics().deliver(key.tenant.as_str(), key.dataset.as_str(), lines);
                    None
                });
                drop(answer.send(finished));
            }
            Op::Delete(stamp, answer) => drop(answer.send(self.finish(stamp, Place::Deleted).map(|_| None))),
            Op::Failed(stamp, failure, answer) => {
                drop(answer.send(self.failed(stamp, failure).map(|()| None)));
            }
            Op::Bury(stamp, failure, answer) => {
                let buried = self.bury(stamp, failure);
                self.shrink_dlq();
                drop(answer.send(buried.map(|()| None)));
            }
            Op::Revive(stamp, answer) => drop(answer.send(self.revive(stamp).map(|()| None))),
            Op::Quarantine(stamp, why, answer) => {
                drop(answer.send(self.quarantine(stamp, &why).map(|()| None)));
            }
            Op::Split(stamp, answer) => drop(answer.send(self.split(stamp))),
            Op::MakeRoom(done) => {
                self.make_room();
                let _ = done.send(());
            }
            Op::FreeSpace => self.free_space(),
            Op::Stop => {}
        }
        self.shared.room.notify_waiters();
    }

    fn record(&self, stamp: Stamp) -> io::Result<Record> {
        self.shared
            .backlog
            .get(stamp)
            .ok_or_else(|| io::Error::new(ErrorKind::NotFound, format!("there is no batch {:019}", stamp.0)))
    }

    /// The batch leaves the spool.
    fn finish(&mut self, stamp: Stamp, to: Place) -> io::Result<Record> {
        let record = self.record(stamp)?;
        self.shared.backlog.remove(stamp, Some(to));
        if let Some(cut) = self.cuts.remove(&stamp) {
            self.remove_halves(&record, cut);
            if to == Place::Delivered
                && let Err(error) = self.forget_cut(&record)
            {
                tracing::warn!(batch = %record.entry.file_name(), %error, "a batch that was to be cut was delivered whole; its halves are sent, too, if the process dies now");
            }
        }
        let removed = self.shared.store.remove(record.tree, &record.name(), record.has_meta);
        failpoint!("done.unlinked");
        match removed {
            Ok(()) => self.shared.tell_writer(Message::Done(stamp, record.entry.key.clone())),
            // A file that stays needs the log as before: it may never have been synced, and would come back shorter.
            Err(error) => self.remove_later(&record, &error),
        }
        Ok(record)
    }

    fn failed(&self, stamp: Stamp, failure: Failure) -> io::Result<()> {
        let changed = self.shared.backlog.update(stamp, |record| {
            let entry = &mut record.entry;
            entry.attempts = entry.attempts.saturating_add(1);
            entry.last_attempt = Some(SystemTime::now());
            entry.failure = Some(short(failure));
            if entry.state == State::Queue {
                entry.state = State::Retry;
            }
            record.has_meta = true;
        });
        let Some(record) = changed else { return self.record(stamp).map(|_| ()) };
        drop(self.shared.store.save_meta(record.tree, &record.name(), &Meta::of(&record.entry)));
        Ok(())
    }

    fn bury(&self, stamp: Stamp, failure: Failure) -> io::Result<()> {
        let mut record = self.record(stamp)?;
        record.entry.failure = Some(short(failure));
        record.entry.last_attempt = Some(SystemTime::now());
        self.relocate(record, State::Dlq, Tree::Dlq);
        Ok(())
    }

    fn revive(&self, stamp: Stamp) -> io::Result<()> {
        let mut record = self.record(stamp)?;
        if record.entry.state != State::Dlq {
            return Err(io::Error::new(ErrorKind::InvalidInput, "the batch is not in the DLQ"));
        }
        record.entry.attempts = 0;
        self.relocate(record, State::Retry, Tree::Batches);
        Ok(())
    }

    /// Metadata first, then the file, then the old metadata.
    fn relocate(&self, record: Record, state: State, tree: Tree) {
        let store = &self.shared.store;
        let name = record.name();
        let saved = store.save_meta(tree, &name, &Meta::of(&record.entry)).is_ok();
        let mut now_in = tree;
        if record.tree != tree {
            if let Err(error) = store.move_data(&name, record.tree, tree) {
                self.shared.metrics().file_failures.inc();
                tracing::warn!(batch = %record.entry.file_name(), %error, "a batch file cannot be moved; it counts as moved until the next start");
                now_in = record.tree;
            } else if record.has_meta {
                drop(store.remove_meta(record.tree, &name));
            }
        }
        let (attempts, last, failure) =
            (record.entry.attempts, record.entry.last_attempt, record.entry.failure);
        self.shared.backlog.update(record.entry.stamp, |record| {
            record.entry.attempts = attempts;
            record.entry.last_attempt = last;
            record.entry.failure = failure;
            record.entry.state = state;
            record.tree = now_in;
            record.has_meta = saved || (record.has_meta && now_in == tree);
        });
    }

    /// Bad members go to quarantine; the rest lives on under a new name, because a name never gets shorter.
    fn quarantine(&mut self, stamp: Stamp, why: &str) -> io::Result<()> {
        let record = self.record(stamp)?;
        let store = self.shared.store.clone();
        let name = record.name();
        let bytes = match store.read(record.tree, &name) {
            Err(error) if error.kind() == ErrorKind::NotFound && self.volume_is_there() => {
                return self.write_off(&record);
            }
            other => other?,
        };
        let found = pieces(&bytes);
        let part = |piece: &Piece| bytes.get(piece.at()).unwrap_or_default();
        let sound: Vec<&Piece> = found.iter().filter(|p| matches!(p, Piece::Sound { .. })).collect();
        let rest: Vec<u8> = sound.iter().flat_map(|piece| part(piece)).copied().collect();
        let some_are_bad = sound.len() < found.len();
        let (mut lines, mut raw) = (0, 0);
        for piece in &sound {
            if let Piece::Sound { info, .. } = piece {
                lines += u64::from(info.lines);
                raw += u64::from(info.raw_len);
            }
        }
        if !some_are_bad && (lines, rest.len() as u64) == (record.entry.lines, record.entry.file_bytes) {
            return Err(io::Error::other("the file is sound now, though it was read otherwise before"));
        }
        if rest.is_empty() || !some_are_bad {
            store.quarantine(&name.data(), &bytes)?;
            let lines = record.entry.lines;
            self.finish(stamp, Place::Quarantined)?;
            self.shared.metrics().quarantined_lines.inc_by(lines);
            tracing::error!(batch = %record.entry.file_name(), lines, why, "a batch cannot be trusted and was set aside in quarantine; it is not sent");
            return Ok(());
        }
        for piece in found.iter().filter(|p| matches!(p, Piece::Bad { .. })) {
            store.quarantine(&format!("{}.{}.bad", name.data(), piece.at().start), part(piece))?;
        }
        let Cut { halves: [new, _], .. } = self.name_halves(&record, 0)?;
        let mut after = record.clone();
        after.entry.stamp = new;
        after.entry.lines = lines;
        after.entry.raw_bytes = raw;
        after.entry.file_bytes = rest.len() as u64;
        store.replace(record.tree, &after.name(), &rest)?;
        store.sync_folders(std::iter::once(&record.entry.key))?;
        if after.has_meta {
            drop(store.save_meta(after.tree, &after.name(), &Meta::of(&after.entry)));
        }
        let lost = record.entry.lines.saturating_sub(lines);
        self.shared.backlog.update(stamp, |record| record.entry.lines = record.entry.lines.min(lines));
        self.replace_original(&record, vec![after]);
        self.shared.metrics().quarantined_lines.inc_by(lost);
        tracing::error!(batch = %record.entry.file_name(), lines = lost, why, "members of a batch are damaged and were set aside in quarantine; the rest is sent");
        Ok(())
    }

    /// A file that is gone is not the same as a volume that is gone: then the log is gone too.
    fn volume_is_there(&self) -> bool {
        let store = &self.shared.store;
        store.disk.list(&store.layout.log()).is_ok_and(|segments| !segments.is_empty())
    }

    /// Somebody removed the file. What is left of it in quarantine is its name: whoever has its lines elsewhere, as adoption
    /// does, must not take it for delivered.
    fn write_off(&mut self, record: &Record) -> io::Result<()> {
        let lines = record.entry.lines;
        self.shared.store.quarantine(&record.name().data(), &[])?;
        self.finish(record.entry.stamp, Place::Quarantined)?;
        self.shared.metrics().quarantined_lines.inc_by(lines);
        tracing::error!(batch = %record.entry.file_name(), lines, "the file of a batch is gone; its lines are lost and count as quarantined");
        Ok(())
    }

    fn tick(&mut self) {
        let now = Instant::now();
        self.next_tick = now + TICK;
        self.shared.measure_volume();
        self.shared.metrics().log_bytes.set(self.shared.usage().whole_log() as i64);
        self.shared.backlog.observe_age();
        let unremoved = std::mem::take(&mut self.unremoved);
        self.unremoved =
            unremoved.into_iter().filter(|record| self.remove_for_good(record).is_err()).collect();
        if now >= self.next_cleanup {
            let settings = self.shared.settings.load();
            if settings.max_age.is_some_and(|age| self.bury_older_than(age)) {
                self.next_tick = now;
            } else {
                self.next_cleanup = now + settings.cleanup_interval;
            }
            self.shrink_dlq();
        }
        self.shared.room.notify_waiters();
    }

    /// Some of them; whether there are more.
    fn bury_older_than(&self, age: Duration) -> bool {
        let days = age.as_secs() / 86_400;
        let message = Arc::<str>::from(format!("not delivered within {days} days (max_age_days)"));
        let due = self.shared.backlog.older_than(age, AT_ONCE);
        for stamp in &due {
            let failure = Failure { reason: Reason::Age, status: None, message: Arc::clone(&message) };
            drop(self.bury(*stamp, failure));
        }
        due.len() == AT_ONCE
    }
}

fn short(mut failure: Failure) -> Failure {
    let cut = meta::cut(&failure.message);
    if cut.len() < failure.message.len() {
        failure.message = cut.into();
    }
    failure
}
