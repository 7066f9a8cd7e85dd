//! Data sets whose template is not known yet.
//!
//! Some routers send templates every 30 minutes. A set that comes before its template is kept as received, with what
//! its header said, and decoded when the template comes. What is kept is bounded in bytes and in age.

use std::collections::HashMap;

use super::clock::Clock;

/// How long a set waits, ns: twice the longest usual interval of templates.
pub const PATIENCE_NS: u64 = 3_600_000_000_000;
/// What a set takes beside its bytes.
const OVERHEAD: usize = 96;

/// What a set's datagram said and when it came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Origin {
    /// Receive time, Unix ns.
    pub received_ns: u64,
    /// The header's times.
    pub clock: Clock,
    /// The header's sequence number.
    pub sequence: u32,
}

/// A data set without its header.
#[derive(Debug, PartialEq, Eq)]
pub struct Set {
    /// Its datagram.
    pub origin: Origin,
    /// Its records, as yet uncounted.
    pub bytes: Box<[u8]>,
}

impl Set {
    /// Memory it takes.
    pub fn cost(&self) -> usize {
        self.bytes.len() + OVERHEAD
    }
}

/// The sets of one observation domain, by template.
#[derive(Debug, Default)]
pub struct Waiting {
    sets: HashMap<u16, Vec<Set>>,
}

impl Waiting {
    /// Keeps a set; returns what it costs.
    pub fn push(&mut self, template: u16, set: Set) -> usize {
        let cost = set.cost();
        self.sets.entry(template).or_default().push(set);
        cost
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.sets.is_empty()
    }

    /// The sets that waited for this template, in order of arrival.
    pub fn take(&mut self, template: u16) -> Vec<Set> {
        self.sets.remove(&template).unwrap_or_default()
    }

    /// Gives up what came before `since_ns`; returns how many sets and what they cost.
    pub fn expire(&mut self, since_ns: u64) -> (usize, usize) {
        let (mut sets, mut cost) = (0, 0);
        self.sets.retain(|_, waiting| {
            waiting.retain(|set| {
                let stays = set.origin.received_ns >= since_ns;
                if !stays {
                    sets += 1;
                    cost += set.cost();
                }
                stays
            });
            !waiting.is_empty()
        });
        (sets, cost)
    }

    /// Number of sets and what they cost.
    pub fn size(&self) -> (usize, usize) {
        let all = self.sets.values().flatten();
        all.fold((0, 0), |(sets, cost), set| (sets + 1, cost + set.cost()))
    }
}
