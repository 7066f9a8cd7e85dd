//! The end of a round: write, sync, answer; and what keeps the log short.

use std::{
    collections::HashSet,
    io,
    sync::atomic::Ordering::Relaxed,
    time::{Duration, Instant},
};

use super::{Writer, hand_tail_over};
use crate::{
    ledger::Place,
    spool::{
        Stamp,
        checkpoint::Wanted,
        disk::is_full,
        filer::Job,
        frame::{Header, Kind},
        log::MAX_UNSYNCED,
    },
};

/// Between two attempts to write a broken log.
const REPAIR_EVERY: Duration = Duration::from_millis(if cfg!(test) { 20 } else { 1000 });

impl Writer {
    /// Writes the round; syncs when somebody waits or it is time.
    pub(super) fn settle(&mut self) {
        if self.log.broken() {
            if self.repair_at.is_none_or(|at| at <= Instant::now()) {
                self.settle_now();
            }
            return;
        }
        let waiting = !(self.acks.is_empty()
            && self.closed.is_empty()
            && self.splits.is_empty()
            && self.waiting.is_empty());
        let interval = self.shared.settings.load().sync_interval;
        let overdue = self.unsynced_since.is_some_and(|since| since.elapsed() >= interval);
        if waiting || overdue || self.log.unsynced() >= MAX_UNSYNCED || self.log.write().is_err() {
            self.settle_now();
        }
    }

    pub(super) fn settle_now(&mut self) {
        let first = if self.log.broken() { self.log.repair() } else { self.log.sync() };
        match first.or_else(|_| self.log.repair()) {
            Ok(()) => self.synced(),
            Err(error) => self.failed(&error),
        }
    }

    fn synced(&mut self) {
        self.unsynced_since = None;
        if self.repair_at.take().is_some() {
            self.shared.set_unwritable(self.stuck.clone());
            tracing::info!("the log can be written again");
        }
        for (ack, _) in self.acks.drain(..) {
            drop(ack.send(Ok(())));
        }
        failpoint!("log.acknowledged");
        for (answer, cut) in self.splits.drain(..) {
            let _ = answer.send(cut);
        }
        for done in self.waiting.drain(..) {
            let _ = done.send(());
        }
        for (stamp, job) in self.jobs.drain(..) {
            self.filer.send(stamp, job);
        }
        failpoint!("close.synced");
        for (file, totals) in self.closed.drain(..) {
            let stamp = file.name.stamp;
            self.filer.send(stamp, Job::Publish(file, totals));
        }
        for done in self.all_closed.drain(..) {
            self.filer.barrier(&done);
        }
        for chunk in std::mem::take(&mut self.held) {
            self.accept(chunk);
        }
    }

    /// Nothing is acknowledged. What was taken stays in its batches and is written when that is possible again, so it
    /// is counted as found there; the peer that is refused counts it as never accepted. Who names halves goes on
    /// waiting: the intent may be on the disk already, and the original must not be sent after that.
    fn failed(&mut self, error: &io::Error) {
        if self.repair_at.is_none() {
            tracing::warn!(%error, "the log cannot be written; nothing is acknowledged until it can");
        }
        if is_full(error) {
            self.shared.ask_for_space();
        }
        self.repair_at = Some(Instant::now() + REPAIR_EVERY);
        self.shared.set_unwritable(Some(error.to_string()));
        let refused = self.unwritable();
        for (ack, lines) in self.acks.drain(..) {
            let ledger = &self.shared.ledger;
            ledger.transfer(Place::Open, Place::Memory, lines);
            if ack.send(Err(refused.clone())).is_ok() {
                ledger.import(Place::Open, lines);
            } else {
                ledger.transfer(Place::Memory, Place::Open, lines);
            }
        }
    }

    /// The end comes while the log cannot be written.
    pub(super) fn give_up(&mut self) {
        let held: u64 = self.held.iter().map(|chunk| u64::from(chunk.lines)).sum();
        let unsynced = self.log.unsynced_lines();
        let lost = held + unsynced;
        if lost == 0 {
            return;
        }
        self.shared.ledger.give_up(Place::Memory, held);
        self.shared.ledger.give_up(Place::Open, unsynced);
        self.shared.given_up.store(lost, Relaxed);
        tracing::error!(
            events = lost,
            "events that nobody was told are safe could not be written to the log before the end and are lost; mend the disk before the next start"
        );
    }

    /// Keeps the log short, and a segment ahead: one thing at a time in the background.
    pub(super) fn trim(&mut self) {
        let bytes = self.log.bytes();
        // Here and not only at a sync: when the spool is full nothing is written, and removed segments must still
        // make room.
        self.shared.usage().log.store(bytes, Relaxed);
        let (log_limit, segment_bytes) = self.shared.limits.log();
        self.log.resize(segment_bytes);
        if self.checkpointer.busy() || self.log.broken() {
            return;
        }
        let segments = self.log.segments();
        let older = segments.len().saturating_sub(1);
        let unneeded: Vec<u32> =
            segments.iter().take(older).map(|s| s.number).take_while(|n| !self.live.needs(*n)).collect();
        let too_long = bytes > log_limit && older > 0;
        if too_long && !unneeded.is_empty() && !self.log.header_is_durable() {
            // Nothing but the header keeps them.
            self.settle_now();
        }
        let spare = self.log.wants_spare();
        if let Some((number, bytes)) = spare.filter(|_| !self.spare_failed) {
            self.checkpointer.prepare(number, bytes);
        } else if !unneeded.is_empty() && self.log.header_is_durable() {
            self.checkpointer.retire(unneeded, std::mem::take(&mut self.finished));
        } else if too_long && unneeded.is_empty() {
            self.checkpoint();
        }
        if let Some((number, bytes)) = spare.filter(|_| !self.checkpointer.busy()) {
            self.checkpointer.prepare(number, bytes);
        }
    }

    fn checkpoint(&mut self) {
        let segments = self.log.segments();
        let (Some(oldest), Some(newest)) = (segments.front().copied(), segments.back().copied()) else {
            return;
        };
        let wanted = self.live.in_segment(oldest.number);
        let stamps: HashSet<Stamp> = wanted.iter().map(|(stamp, _)| *stamp).collect();
        // Batches that need the log on.
        let mut go_on = HashSet::new();
        for batch in self.open.values_mut().filter(|batch| stamps.contains(&batch.stamp())) {
            self.tail_bytes -= hand_tail_over(&mut self.jobs, batch);
            go_on.insert(batch.stamp());
        }
        // Nobody knows when a cut that failed is made after all: its intent is written once more.
        for stamp in stamps {
            if let Some(cut) = self.splitting.get(&stamp).copied() {
                self.frame(&Header::control(Kind::Split, stamp, 0, 0), &cut.encode());
                go_on.insert(stamp);
            }
        }
        self.settle_now();
        if self.log.broken() {
            return;
        }
        let mut batches: Vec<Wanted> = Vec::new();
        for (stamp, file) in wanted {
            let needed = go_on.contains(&stamp).then_some(newest.number);
            match (file, needed) {
                (Some(file), needed) => batches.push((file, needed)),
                (None, Some(segment)) => self.live.move_to(stamp, segment),
                (None, None) => {}
            }
        }
        if !batches.is_empty() {
            self.checkpointer.make_durable(batches, &self.filer);
        }
    }
}
