//! One budget for all bytes between sockets and spool, in KiB permits of a semaphore.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

const UNIT: usize = 1024;

/// The process's budget; clones share it.
#[derive(Debug, Clone)]
pub struct MemoryBudget {
    permits: Arc<Semaphore>,
    total: usize,
}

/// A share of the budget, given back on drop.
#[derive(Debug, Default)]
pub struct Reservation {
    held: Option<OwnedSemaphorePermit>,
}

impl Reservation {
    /// Adds another share of the same budget.
    pub fn merge(&mut self, other: Self) {
        match (&mut self.held, other.held) {
            (Some(held), Some(more)) if Arc::ptr_eq(held.semaphore(), more.semaphore()) => held.merge(more),
            (held @ None, more) => *held = more,
            (Some(_), _) => {}
        }
    }
}

impl MemoryBudget {
    /// A budget of `bytes`, at least 1 MiB.
    pub fn new(bytes: u64) -> Self {
        let total =
            usize::try_from(bytes).unwrap_or(usize::MAX).div_ceil(UNIT).clamp(1024, Semaphore::MAX_PERMITS);
        Self { permits: Arc::new(Semaphore::new(total)), total }
    }

    /// Waits for `bytes`. More than half the budget is reserved as half, so one large request cannot wait for ever.
    pub async fn reserve(&self, bytes: usize) -> Reservation {
        Reservation { held: Arc::clone(&self.permits).acquire_many_owned(self.units(bytes)).await.ok() }
    }

    /// `bytes` at once or `None`.
    pub fn try_reserve(&self, bytes: usize) -> Option<Reservation> {
        Arc::clone(&self.permits)
            .try_acquire_many_owned(self.units(bytes))
            .ok()
            .map(|permit| Reservation { held: Some(permit) })
    }

    /// Waits on a thread that is not one of the runtime's.
    pub fn reserve_blocking(&self, runtime: &tokio::runtime::Handle, bytes: usize) -> Reservation {
        match self.try_reserve(bytes) {
            Some(reservation) => reservation,
            None => runtime.block_on(self.reserve(bytes)),
        }
    }

    /// Bytes reserved now.
    pub fn used(&self) -> u64 {
        ((self.total - self.permits.available_permits().min(self.total)) * UNIT) as u64
    }

    /// Share that is reserved now, 0 to 1.
    pub fn fill(&self) -> f32 {
        self.used() as f32 / self.total() as f32
    }

    /// Bytes in all.
    pub fn total(&self) -> u64 {
        (self.total * UNIT) as u64
    }

    fn units(&self, bytes: usize) -> u32 {
        u32::try_from(bytes.div_ceil(UNIT).clamp(1, (self.total / 2).max(1))).unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_share_comes_back_when_it_is_dropped() {
        let budget = MemoryBudget::new(1 << 20);
        let first = budget.reserve(512 * 1024).await;
        let second = budget.try_reserve(512 * 1024);
        assert!(second.is_some());
        assert!(budget.try_reserve(1).is_none());
        assert_eq!(budget.used(), 1 << 20);
        drop(first);
        assert!(budget.try_reserve(1).is_some());
        assert_eq!(budget.used(), 512 * 1024);
    }

    #[tokio::test]
    async fn a_request_above_the_budget_gets_half_instead_of_waiting_for_ever() {
        let budget = MemoryBudget::new(1 << 20);
        let _big = budget.reserve(10 << 20).await;
        assert_eq!(budget.used(), 512 * 1024);
    }
}
