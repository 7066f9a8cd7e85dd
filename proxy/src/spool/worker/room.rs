//! What makes room: batches move to the DLQ, and entries of the DLQ go.

use std::{sync::atomic::Ordering::Relaxed, time::Instant};

use super::{TICK, Worker};
use crate::{
    ledger::Place,
    spool::{Failure, Reason},
};

impl Worker {
    pub(super) fn make_room(&mut self) {
        let limit = self.shared.limits.unacknowledged();
        let goal = limit - (limit / 64).min(4 << 20);
        // Where something else fills the spool, moving all of it would be in vain.
        if self.shared.usage().spool().saturating_sub(goal) > self.shared.backlog.evictable_bytes() {
            return;
        }
        let mut moved = 0_u64;
        while self.shared.usage().spool() >= goal
            && let Some(stamp) = self.shared.backlog.next_to_bury()
        {
            let failure = Failure {
                reason: Reason::SpoolFull,
                status: None,
                message: "the spool was full; moved to make room for newer data".to_owned(),
            };
            let before = self.shared.usage().files.load(Relaxed);
            if self.bury(stamp, failure).is_err() || self.shared.usage().files.load(Relaxed) >= before {
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
        while self.shared.usage().dlq.load(Relaxed) > self.shared.limits.dlq() && self.evict("limit") {}
    }

    /// The volume is full; whatever the limit says, the DLQ gives way. Once a second, so that the writers can try.
    pub(super) fn free_space(&mut self) {
        if self.freed_at.is_some_and(|at| at.elapsed() < TICK) {
            return;
        }
        self.freed_at = Some(Instant::now());
        self.shared.wants_space.store(false, Relaxed);
        let held = self.shared.usage().dlq.load(Relaxed);
        let goal = held.saturating_sub((self.shared.limits.dlq() / 16).clamp(256 << 10, 64 << 20));
        while self.evict("volume_full") && self.shared.usage().dlq.load(Relaxed) > goal {}
    }

    fn evict(&mut self, cause: &'static str) -> bool {
        let Some(stamp) = self.shared.backlog.next_to_evict() else { return false };
        let Ok(record) = self.finish(stamp, Place::Evicted) else { return false };
        let entry = &record.entry;
        self.shared.metrics().evict(entry.class, cause);
        if entry.class == crate::batch::Class::Acknowledged {
            tracing::error!(batch = %entry.file_name(), lines = entry.lines, cause, "acknowledged data was evicted from the DLQ and is lost; raise dlq_max_size_bytes or mend delivery");
        } else if self.shared.told_evicted.pass().is_some() {
            tracing::error!(batch = %entry.file_name(), lines = entry.lines, cause, "unacknowledged data was evicted from the DLQ and is lost");
        }
        true
    }
}
