//! Data sets whose template is not known yet.
//!
//! Some routers send templates every 30 minutes. A set that comes before its template is kept as received, with what
//! its header said, and decoded when the template comes. What is kept in memory is bounded in bytes and in age; beyond,
//! an [`Overflow`] may take it.

use std::{
    collections::{HashMap, VecDeque},
    fmt,
};

use super::{clock::Clock, exporters::Source};

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
    /// The header's count.
    pub count: u16,
}

/// A data set without its header.
#[derive(Debug, Clone, PartialEq, Eq)]
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

/// What a set waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Place {
    /// Whose.
    pub source: Source,
    /// 9 or 10.
    pub version: u16,
    /// Observation domain.
    pub domain: u32,
    /// Number of the template.
    pub template: u16,
}

/// Where sets wait that have no room in memory.
pub trait Overflow: Send + Sync + fmt::Debug {
    /// Keeps a set; `false` when it cannot.
    fn keep(&self, place: &Place, set: &Set) -> bool;
    /// Takes back the set that was kept first of those that wait for this.
    fn take(&self, place: &Place) -> Option<Set>;
    /// How many wait for this.
    fn count(&self, place: &Place) -> usize;
    /// How many sets of an exporter wait.
    fn count_of(&self, source: &Source) -> usize;
}

/// The sets of one observation domain, by template.
#[derive(Debug, Default)]
pub struct Waiting {
    sets: HashMap<u16, VecDeque<Set>>,
}

impl Waiting {
    /// Keeps a set; returns what it costs.
    pub fn push(&mut self, template: u16, set: Set) -> usize {
        let cost = set.cost();
        self.sets.entry(template).or_default().push_back(set);
        cost
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.sets.is_empty()
    }

    /// Whether sets wait for this template.
    pub fn has(&self, template: u16) -> bool {
        self.sets.contains_key(&template)
    }

    /// The set that came first of those that wait for this template.
    pub fn take(&mut self, template: u16) -> Option<Set> {
        let waiting = self.sets.get_mut(&template)?;
        let set = waiting.pop_front();
        if waiting.is_empty() {
            self.sets.remove(&template);
        }
        set
    }

    /// Every set with the template it waits for.
    pub fn iter(&self) -> impl Iterator<Item = (u16, &Set)> {
        self.sets.iter().flat_map(|(template, sets)| sets.iter().map(|set| (*template, set)))
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
        self.iter().fold((0, 0), |(sets, cost), (_, set)| (sets + 1, cost + set.cost()))
    }
}
