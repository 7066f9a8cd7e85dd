//! What makes room: batches move to the DLQ, and entries of the DLQ go.

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Instant,
};

use super::{AT_ONCE, TICK, Worker};
use crate::{
    batch::Class,
    ledger::Place,
    spool::{Failure, Reason, metrics::weight},
};

impl Worker {
    pub(super) fn make_room(&mut self) {
        let shared = Arc::clone(&self.shared);
        let usage = shared.usage();
        let limit = shared.limits.unacknowledged();
        let goal = limit - (limit / 64).min(4 << 20);
        let most = shared.limits.batches(Class::Unacknowledged);
        let fewer = most - most / 64;
        let batches = || usage.batches.load(Relaxed);
        // Where something else fills the spool, moving all of it would be in vain.
        let (number, bytes) = shared.backlog.evictable();
        if usage.spool().saturating_sub(goal) > bytes || batches().saturating_sub(fewer) > number {
            return;
        }
        let message = Arc::<str>::from("the spool was full; moved to make room for newer data");
        let mut moved = 0;
        while (usage.spool() >= goal || batches() >= fewer)
            && (moved < AT_ONCE || shared.is_full(Class::Unacknowledged))
            && let Some(stamp) = self.shared.backlog.next_to_bury()
        {
            let failure = Failure { reason: Reason::SpoolFull, status: None, message: Arc::clone(&message) };
            let before = usage.files.load(Relaxed);
            if self.bury(stamp, failure).is_err() || usage.files.load(Relaxed) >= before {
                break;
            }
            moved += 1;
            self.shrink_dlq();
        }
        if moved > 0 && self.shared.told_full.pass().is_some() {
            tracing::warn!(
                batches = moved,
                "the spool is full: oldest unacknowledged batches were moved to the DLQ"
            );
        }
    }

    pub(super) fn shrink_dlq(&mut self) {
        while self.shared.dlq_is_over() && self.evict("limit", false).is_some() {}
    }

    /// The volume is full; whatever the limit says, the DLQ gives way. Once a second, so that the writers can try.
    pub(super) fn free_space(&mut self) {
        if self.freed_at.is_some_and(|at| at.elapsed() < TICK) {
            return;
        }
        self.freed_at = Some(Instant::now());
        self.shared.wants_space.store(false, Relaxed);
        let goal = (self.shared.limits.dlq() / 16).clamp(256 << 10, 64 << 20);
        let mut freed = 0;
        while freed < goal
            && let Some(bytes) = self.evict("volume_full", true)
        {
            freed += bytes;
        }
    }

    /// Returns what that frees.
    fn evict(&mut self, cause: &'static str, of_volume: bool) -> Option<u64> {
        let stamp = self.shared.backlog.next_to_evict(of_volume)?;
        let record = self.finish(stamp, Place::Evicted).ok()?;
        let entry = &record.entry;
        self.shared.metrics().evict(entry.class, cause);
        if entry.class == Class::Acknowledged {
            tracing::error!(batch = %entry.file_name(), lines = entry.lines, cause, "acknowledged data was evicted from the DLQ and is lost; mend delivery, raise dlq_max_size_bytes, or give the spool more of a volume (the DLQ has 30 % of it)");
        } else if self.shared.told_evicted.pass().is_some() {
            tracing::error!(batch = %entry.file_name(), lines = entry.lines, cause, "unacknowledged data was evicted from the DLQ and is lost");
        }
        Some(weight(entry.file_bytes))
    }
}
