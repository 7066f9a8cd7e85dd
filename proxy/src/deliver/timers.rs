//! Timers by what they are for. Each has one moment, the earliest it was armed for: whoever it wakes works out anew
//! what comes next and arms it again, so a later moment need not be kept.

use std::{
    collections::{BTreeSet, HashMap, hash_map},
    time::Instant,
};

use crate::ids::{DatasetKey, TenantId};

/// What a timer is for.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Timer {
    /// The Receiver's circuit.
    Receiver,
    /// A tenant's circuit.
    Tenant(TenantId),
    /// All that a dataset waits for.
    Dataset(DatasetKey),
}

/// Those that are armed.
#[derive(Debug, Default)]
pub struct Timers {
    order: BTreeSet<(Instant, Timer)>,
    moments: HashMap<Timer, Instant>,
}

impl Timers {
    /// Wakes at `at`, unless it does so earlier.
    pub fn arm(&mut self, timer: Timer, at: Instant) {
        match self.moments.entry(timer.clone()) {
            hash_map::Entry::Occupied(armed) if *armed.get() <= at => return,
            hash_map::Entry::Occupied(mut armed) => {
                let later = armed.insert(at);
                self.order.remove(&(later, timer.clone()));
            }
            hash_map::Entry::Vacant(free) => drop(free.insert(at)),
        }
        self.order.insert((at, timer));
    }

    /// The earliest moment.
    pub fn first(&self) -> Option<Instant> {
        self.order.first().map(|(at, _)| *at)
    }

    /// Takes out one that is due.
    pub fn pop_due(&mut self, now: Instant) -> Option<Timer> {
        if self.first()? > now {
            return None;
        }
        let (_, timer) = self.order.pop_first()?;
        self.moments.remove(&timer);
        Some(timer)
    }
}
