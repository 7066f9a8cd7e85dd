//! Cutting a batch in two: the intent with the names of the halves first, then the halves, then the original goes.

use std::{io, sync::atomic::Ordering::Relaxed, time::Duration};

use crossbeam_channel::{Receiver, RecvTimeoutError, bounded};

use super::Worker;
use crate::spool::{
    Stamp,
    backlog::{Origin, Record},
    files::{Name, Tree},
    frame::Cut,
    meta::Meta,
    split,
    writer::Message,
};

impl Worker {
    pub(super) fn split(&mut self, stamp: Stamp) -> io::Result<Option<[Stamp; 2]>> {
        let record = self.record(stamp)?;
        let store = self.shared.store.clone();
        let bytes = store.read(record.tree, &record.name())?;
        let Some(lines) = split::middle(&bytes)? else { return Ok(None) };
        let cut = self.name_halves(&record, lines)?;
        let level = self.shared.level(None);
        let halves = split::halves(&bytes, lines, record.entry.class, level, &mut self.compressor)?;
        let records: Vec<Record> = halves
            .iter()
            .zip(cut.halves)
            .map(|(half, stamp)| {
                let mut after = record.clone();
                after.entry.stamp = stamp;
                after.entry.lines = half.lines;
                after.entry.raw_bytes = half.raw;
                after.entry.file_bytes = half.bytes.len() as u64;
                after
            })
            .collect();
        failpoint!("split.intent");
        for (half, after) in halves.iter().zip(&records) {
            store.replace(after.tree, &after.name(), &half.bytes)?;
            failpoint!("split.half");
            if after.has_meta {
                drop(store.save_meta(after.tree, &after.name(), &Meta::of(&after.entry)));
            }
        }
        store.sync_folders(std::iter::once(&record.entry.key))?;
        failpoint!("split.synced");
        self.replace_original(&record, records);
        Ok(Some(cut.halves))
    }

    /// What took a batch's place is durable: the batch goes, for good before anybody can forget the intent.
    pub(super) fn replace_original(&mut self, record: &Record, by: Vec<Record>) {
        self.shared.backlog.remove(record.entry.stamp, None);
        for after in by {
            self.shared.backlog.insert(after, Origin::Half);
        }
        self.cuts.remove(&record.entry.stamp);
        if let Err(error) = self.remove_for_good(record) {
            self.remove_later(record, &error);
        }
    }

    pub(super) fn remove_later(&mut self, record: &Record, error: &io::Error) {
        self.shared.metrics().file_failures.inc();
        tracing::warn!(batch = %record.entry.file_name(), %error, "the file of a batch that is finished, or was cut, cannot be removed; trying again every second");
        self.unremoved.push(record.clone());
    }

    pub(super) fn remove_for_good(&self, record: &Record) -> io::Result<()> {
        let store = &self.shared.store;
        store.remove(record.tree, &record.name(), record.has_meta)?;
        failpoint!("split.removed");
        store.sync_folders(std::iter::once(&record.entry.key))?;
        failpoint!("split.done");
        self.shared.tell_writer(Message::Done(record.entry.stamp, record.entry.key.clone()));
        Ok(())
    }

    /// What an attempt to cut left behind.
    pub(super) fn remove_halves(&self, original: &Record, cut: Cut) {
        let store = &self.shared.store;
        for stamp in cut.halves {
            let name = Name { stamp, ..original.name() };
            for tree in [Tree::Batches, Tree::Dlq] {
                if let Err(error) = store.remove(tree, &name, true) {
                    self.shared.metrics().file_failures.inc();
                    tracing::warn!(batch = %name.data(), %error, "a half of a batch cannot be removed; it would be sent again at the next start");
                }
            }
        }
    }

    /// Waits until the intent is synced, however long the log cannot be written.
    pub(super) fn name_halves(&mut self, record: &Record, lines: u64) -> io::Result<Cut> {
        let stamp = record.entry.stamp;
        if let Some(cut) = self.cuts.get(&stamp).copied() {
            self.remove_halves(record, cut);
            if cut.lines == lines {
                return Ok(cut);
            }
        }
        let (answer, named) = bounded(1);
        self.shared.tell_writer(Message::Split(stamp, lines, answer));
        let cut = self.wait_for(&named)?;
        self.cuts.insert(stamp, cut);
        // Space may have been made of this very batch.
        self.record(stamp).map(|_| cut)
    }

    /// The halves are gone, and the batch is as good as gone, before anything that comes back could bring the cut back.
    pub(super) fn forget_cut(&mut self, record: &Record) -> io::Result<()> {
        self.shared.store.sync_folders(std::iter::once(&record.entry.key))?;
        self.shared.tell_writer(Message::Done(record.entry.stamp, record.entry.key.clone()));
        let (done, synced) = bounded(1);
        self.shared.tell_writer(Message::Sync(done));
        self.wait_for(&synced)
    }

    /// The writer answers after its next sync.
    fn wait_for<T>(&mut self, answer: &Receiver<T>) -> io::Result<T> {
        loop {
            match answer.recv_timeout(Duration::from_millis(100)) {
                Ok(said) => return Ok(said),
                Err(RecvTimeoutError::Timeout) if !self.shared.abandoned.is_set() => {}
                Err(_) => return Err(io::Error::other("the spool is closing")),
            }
            // This thread is also the one that makes space for the log.
            if self.shared.wants_space.load(Relaxed) {
                self.free_space();
            }
        }
    }
}
