//! Batches that the Receiver may have although it never said so.
//!
//! Such a batch goes on under its own name only. Were it cut in two because a limit of ours says so, its lines could
//! be at the Receiver under two names.

use std::collections::HashSet;

use parking_lot::Mutex;

use crate::spool::Stamp;

/// From this number on those that are gone are looked for, each time the number doubles.
const MANY: usize = 1024;

/// Batches sent whole without a 2xx.
#[derive(Debug)]
pub struct Unsure {
    /// Older ones are those of an earlier run, of which nobody knows what was under way when it ended.
    since: Stamp,
    stamps: Mutex<HashSet<Stamp>>,
}

impl Unsure {
    /// None yet but all older than `since`.
    pub fn new(since: Stamp) -> Self {
        Self { since, stamps: Mutex::default() }
    }

    /// Whether the Receiver may have it.
    pub fn contains(&self, stamp: Stamp) -> bool {
        stamp < self.since || self.stamps.lock().contains(&stamp)
    }

    /// It was sent whole. `exists` tells of those noted before whether they are still there.
    pub fn insert(&self, stamp: Stamp, exists: impl Fn(Stamp) -> bool) {
        let mut stamps = self.stamps.lock();
        if stamps.insert(stamp) && stamps.len() >= MANY && stamps.len().is_power_of_two() {
            stamps.retain(|stamp| exists(*stamp));
        }
    }

    /// It is at the Receiver for certain.
    pub fn remove(&self, stamp: Stamp) {
        self.stamps.lock().remove(&stamp);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_of_an_earlier_run_and_those_noted_are_unsure_and_their_number_stays_small() {
        let unsure = Unsure::new(Stamp(100));
        assert!(unsure.contains(Stamp(99)) && !unsure.contains(Stamp(100)));
        for n in 100..100_000 {
            unsure.insert(Stamp(n), |stamp| stamp.0 + 10 > n);
            assert!(unsure.contains(Stamp(n)));
        }
        assert!(unsure.stamps.lock().len() <= MANY);
        unsure.remove(Stamp(99_999));
        assert!(!unsure.contains(Stamp(99_999)));
    }
}
