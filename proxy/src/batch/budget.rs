//! One budget for all bytes between sockets and spool, in KiB permits of semaphores.
//!
//! ```text
//! | half lines 3/8 | whole lines 3/8 | acknowledged 1/4 |
//! ```
//! Streams and UDP wait for memory, so each has a part it waits for, and nobody waits in a circle: a half line waits,
//! for a limited time, for the first part; a whole line waits for the second while its connection may hold some of
//! the first; whoever holds some of the second waits for nothing but the spool. Acknowledged data never waits. It
//! takes what is free anywhere, and its own part is there whatever else piles up.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::Relaxed},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

const UNIT: usize = 1024;
/// Parts in the order of [`EIGHTHS`].
const HALF_LINES: usize = 0;
const WHOLE_LINES: usize = 1;
const ACKNOWLEDGED: usize = 2;
/// Eighths of the budget that each part has.
const EIGHTHS: [usize; 3] = [3, 3, 2];

/// The process's budget; clones share it.
#[derive(Debug, Clone)]
pub struct MemoryBudget {
    parts: Arc<[Arc<Semaphore>; 3]>,
    /// Units that were set aside.
    aside: Arc<AtomicUsize>,
    total: usize,
}

/// A share of the budget, given back on drop.
#[derive(Debug, Default)]
pub struct Reservation {
    held: [Option<OwnedSemaphorePermit>; 3],
}

impl Reservation {
    fn of(part: usize, permit: Option<OwnedSemaphorePermit>) -> Self {
        let mut share = Self::default();
        if let Some(held) = share.held.get_mut(part) {
            *held = permit;
        }
        share
    }

    /// Adds another share of the same budget.
    pub fn merge(&mut self, other: Self) {
        for (held, more) in self.held.iter_mut().zip(other.held) {
            match (held, more) {
                (Some(held), Some(more)) if Arc::ptr_eq(held.semaphore(), more.semaphore()) => {
                    held.merge(more);
                }
                (held @ None, more) => *held = more,
                (Some(_), _) => {}
            }
        }
    }

    /// Gives back what `bytes` do not need.
    pub fn shrink_to(&mut self, bytes: usize) {
        let mut spare = (self.bytes() / UNIT).saturating_sub(bytes.div_ceil(UNIT));
        for permit in self.held.iter_mut().flatten() {
            let units = spare.min(permit.num_permits());
            drop(permit.split(units));
            spare -= units;
        }
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        self.held.iter().flatten().map(|permit| permit.num_permits() * UNIT).sum()
    }
}

impl MemoryBudget {
    /// A budget of `bytes`, at least 1 MiB.
    pub fn new(bytes: u64) -> Self {
        let most = Semaphore::MAX_PERMITS.min(u32::MAX as usize);
        let total = usize::try_from(bytes).unwrap_or(usize::MAX).div_ceil(UNIT).clamp(1024, most);
        let total = total.next_multiple_of(8);
        let parts = EIGHTHS.map(|eighths| Arc::new(Semaphore::new(total / 8 * eighths)));
        Self { parts: Arc::new(parts), aside: Arc::default(), total }
    }

    /// Takes `bytes` from all parts alike, for good or until [`Self::give_back`]; all who call this get half of everything
    /// at most.
    pub fn set_aside(&self, bytes: usize) -> Reservation {
        let wanted = bytes.div_ceil(UNIT).min(self.total / 2);
        let before = self.aside.fetch_add(wanted, Relaxed);
        let units = wanted.min((self.total / 2).saturating_sub(before));
        let mut share = Reservation::default();
        for (part, eighths) in EIGHTHS.into_iter().enumerate() {
            if let Some(more) = self.take(part, units / 8 * eighths) {
                share.merge(more);
            }
        }
        self.aside.fetch_sub(wanted - share.bytes() / UNIT, Relaxed);
        share
    }

    /// Ends what [`Self::set_aside`] began.
    pub fn give_back(&self, share: Reservation) {
        self.aside.fetch_sub(share.bytes() / UNIT, Relaxed);
        drop(share);
    }

    /// `bytes` for acknowledged data at once or `None`. More than half the budget is reserved as half.
    pub fn try_reserve(&self, bytes: usize) -> Option<Reservation> {
        let mut missing = bytes.div_ceil(UNIT).clamp(1, self.total / 2);
        let mut share = Reservation::default();
        for part in [ACKNOWLEDGED, WHOLE_LINES, HALF_LINES] {
            let units = missing.min(self.part(part).available_permits());
            if let Some(more) = self.take(part, units) {
                share.merge(more);
                missing -= units;
            }
        }
        (missing == 0).then_some(share)
    }

    /// Makes `share` as large as `bytes` of lines need that are complete and unacknowledged; false when there is not
    /// enough now.
    #[must_use]
    pub fn grow_whole(&self, share: &mut Reservation, bytes: usize) -> bool {
        let missing = self.units(bytes).saturating_sub(share.bytes() / UNIT);
        if missing > 0 {
            let Some(more) = self.take(WHOLE_LINES, missing) else { return false };
            share.merge(more);
        }
        true
    }

    /// Waits for `bytes` for lines that are complete and unacknowledged. Whoever waits holds nothing of this part.
    pub async fn reserve_whole(&self, bytes: usize) -> Reservation {
        self.wait(WHOLE_LINES, self.units(bytes)).await
    }

    /// The same on a thread that is not one of the runtime's.
    pub fn reserve_blocking(&self, runtime: &tokio::runtime::Handle, bytes: usize) -> Reservation {
        let mut share = Reservation::default();
        if self.grow_whole(&mut share, bytes) { share } else { runtime.block_on(self.reserve_whole(bytes)) }
    }

    /// Waits until `share` is as large as a line of `bytes` needs that is not complete. Others may wait likewise and
    /// hold a share already, so the caller gives up after a time.
    pub async fn grow_half(&self, share: &mut Reservation, bytes: usize) {
        let missing = self.units(bytes).saturating_sub(share.bytes() / UNIT);
        if missing > 0 {
            share.merge(self.wait(HALF_LINES, missing).await);
        }
    }

    /// Bytes reserved now.
    pub fn used(&self) -> u64 {
        let free: usize = self.parts.iter().map(|part| part.available_permits()).sum();
        (self.total.saturating_sub(free) * UNIT) as u64
    }

    /// Share that is reserved now, 0 to 1, of what was not set aside.
    pub fn fill(&self) -> f32 {
        let aside = (self.aside.load(Relaxed) * UNIT) as u64;
        self.used().saturating_sub(aside) as f32 / self.total().saturating_sub(aside) as f32
    }

    /// Share of the part for whole lines that is reserved now. When it is 1, lines wait; acknowledged data is refused at
    /// the earliest then.
    pub fn fill_of_lines(&self) -> f32 {
        let free = self.part(WHOLE_LINES).available_permits();
        1.0 - free as f32 / (self.total / 8 * EIGHTHS[WHOLE_LINES]) as f32
    }

    /// Bytes in all.
    pub fn total(&self) -> u64 {
        (self.total * UNIT) as u64
    }

    fn part(&self, part: usize) -> &Arc<Semaphore> {
        let [half, whole, acknowledged] = &*self.parts;
        match part {
            HALF_LINES => half,
            WHOLE_LINES => whole,
            _ => acknowledged,
        }
    }

    fn take(&self, part: usize, units: usize) -> Option<Reservation> {
        let permit = Arc::clone(self.part(part)).try_acquire_many_owned(units as u32).ok()?;
        Some(Reservation::of(part, Some(permit)))
    }

    async fn wait(&self, part: usize, units: usize) -> Reservation {
        let permit = Arc::clone(self.part(part)).acquire_many_owned(units as u32).await;
        Reservation::of(part, permit.ok())
    }

    /// One request takes at most half of a part, which is there even when half of everything is set aside: it cannot
    /// wait for ever.
    fn units(&self, bytes: usize) -> usize {
        bytes.div_ceil(UNIT).clamp(1, self.total * 3 / 16)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_share_comes_back_when_it_is_dropped() {
        let budget = MemoryBudget::new(1 << 20);
        let first = budget.try_reserve(512 * 1024).unwrap();
        let second = budget.try_reserve(512 * 1024);
        assert!(second.is_some());
        assert!(budget.try_reserve(1).is_none() && !budget.grow_whole(&mut Reservation::default(), 1));
        assert_eq!((budget.used(), first.bytes()), (1 << 20, 512 * 1024));
        drop(first);
        assert!(budget.try_reserve(1).is_some());
        assert_eq!(budget.used(), 512 * 1024);
    }

    #[test]
    fn a_share_becomes_as_small_as_what_it_is_for() {
        let budget = MemoryBudget::new(1 << 20);
        let mut share = budget.try_reserve(512 * 1024).unwrap();
        share.shrink_to(600 * 1024);
        assert_eq!((share.bytes(), budget.used()), (512 * 1024, 512 * 1024));
        share.shrink_to(10 * 1024 + 1);
        assert_eq!((share.bytes(), budget.used()), (11 * 1024, 11 * 1024));
        drop(share);
        assert_eq!(budget.used(), 0);
    }

    #[tokio::test]
    async fn a_request_above_the_budget_gets_half_instead_of_waiting_for_ever() {
        let budget = MemoryBudget::new(1 << 20);
        let _aside = budget.set_aside(1 << 20);
        assert_eq!(budget.used(), 512 * 1024);
        let (mut half, whole) = (Reservation::default(), budget.reserve_whole(10 << 20).await);
        budget.grow_half(&mut half, 10 << 20).await;
        assert_eq!((half.bytes(), whole.bytes()), (192 * 1024, 192 * 1024));
        assert_eq!(budget.try_reserve(128 * 1024).map(|share| share.bytes()), Some(128 * 1024));
    }

    #[test]
    fn all_that_is_set_aside_is_half_at_most() {
        let budget = MemoryBudget::new(1 << 20);
        let aside = [300, 300, 300].map(|kib| budget.set_aside(kib * 1024));
        assert_eq!(aside.each_ref().map(|share| share.bytes() / 1024), [296, 216, 0]);
        assert!(budget.used() <= 512 * 1024);
        assert!(budget.fill() < f32::EPSILON);
        let _lines = budget.try_reserve(256 * 1024);
        assert!((budget.fill() - 0.5).abs() < 0.02, "{}", budget.fill());
        let [first, _, _] = aside;
        budget.give_back(first);
        assert_eq!(budget.set_aside(300 * 1024).bytes() / 1024, 296);
    }

    #[tokio::test]
    async fn what_unacknowledged_data_waits_for_leaves_acknowledged_data_its_part() {
        let budget = MemoryBudget::new(1 << 20);
        let _whole = (budget.reserve_whole(192 * 1024).await, budget.reserve_whole(192 * 1024).await);
        let mut waiting = std::pin::pin!(budget.reserve_whole(1));
        assert!(futures_util::poll!(waiting.as_mut()).is_pending());
        let mut half = Reservation::default();
        budget.grow_half(&mut half, 192 * 1024).await;
        budget.grow_half(&mut half, 100 * 1024).await;
        assert_eq!(half.bytes(), 192 * 1024);
        assert!(budget.try_reserve(256 * 1024).is_some());
    }
}
