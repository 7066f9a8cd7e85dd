//! Batches that the Receiver may have although it never said so.
//!
//! Such a batch goes on under its own name only. Were it cut in two because a limit of ours says so, its lines could
//! be at the Receiver under two names.

use std::collections::HashSet;

use parking_lot::Mutex;

use crate::spool::Stamp;

/// From this number on those that are gone are looked for, each time the number doubles.
const MANY: usize = 1024;

/// Batches of this process that were sent whole without a 2xx.
#[derive(Debug, Default)]
pub struct Unsure(Mutex<HashSet<Stamp>>);

impl Unsure {
    /// Whether the Receiver may have it.
    pub fn contains(&self, stamp: Stamp) -> bool {
        self.0.lock().contains(&stamp)
    }

    /// It was sent whole. `exists` tells of those noted before whether they are still there.
    pub fn insert(&self, stamp: Stamp, exists: impl Fn(Stamp) -> bool) {
        let mut stamps = self.0.lock();
        if stamps.insert(stamp) && stamps.len() >= MANY && stamps.len().is_power_of_two() {
            stamps.retain(|stamp| exists(*stamp));
        }
    }

    /// It is at the Receiver for certain.
    pub fn remove(&self, stamp: Stamp) {
        self.0.lock().remove(&stamp);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_noted_are_unsure_and_their_number_stays_small() {
        let unsure = Unsure::default();
        for n in 100..100_000 {
            unsure.insert(Stamp(n), |stamp| stamp.0 + 10 > n);
            assert!(unsure.contains(Stamp(n)) && !unsure.contains(Stamp(n + 1)));
        }
        assert!(unsure.0.lock().len() <= MANY);
        unsure.remove(Stamp(99_999));
        assert!(!unsure.contains(Stamp(99_999)));
    }
}
