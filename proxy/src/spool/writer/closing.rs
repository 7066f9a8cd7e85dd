//! Batches are closed: one, those that are due, all of them.

use std::time::Instant;

use crossbeam_channel::Sender;

use super::{Writer, hand_tail_over};
use crate::{
    batch::StreamKey,
    spool::frame::{Header, Kind},
};

impl Writer {
    pub(super) fn close(&mut self, key: &StreamKey) {
        let Some(mut batch) = self.open.remove(key) else { return };
        self.due.remove(&(batch.due, key.clone()));
        self.tail_bytes -= hand_tail_over(&mut self.jobs, &mut batch);
        let totals = batch.totals();
        let header = Header::control(Kind::Close, batch.stamp(), totals.frames, totals.raw);
        self.frame(&header, &totals.encode());
        failpoint!("close.frame");
        self.closed.push((batch.file, totals));
    }

    pub(super) fn close_due(&mut self) {
        let now = Instant::now();
        while let Some((_, key)) = self.due.first().filter(|(at, _)| *at <= now).cloned() {
            self.close(&key);
        }
    }

    pub(super) fn close_all(&mut self, done: Sender<()>) {
        while let Ok(message) = self.messages.try_recv() {
            self.take(message);
        }
        let keys: Vec<StreamKey> = self.open.keys().cloned().collect();
        for key in keys {
            self.close(&key);
        }
        self.all_closed.push(done);
        self.settle_now();
    }
}
