//! The exporters of an input, for all threads that decode its datagrams.
//!
//! An exporter is always in the same part, so threads meet only where their exporters do. Each part has its share of
//! the limits: one exporter cannot take what waits, or what is kept, from all others.

use std::{
    hash::{BuildHasher, RandomState},
    sync::Arc,
};

use parking_lot::Mutex;

use super::{
    exporters::{Exporters, Source, Transport},
    outcome::Outcome,
    persist,
    report::{Report, Summary},
    rules::{Limits, Rules},
    waiting::{Overflow, Place},
};
use crate::decode::ReceiveTime;

/// Parts, a power of two.
const PARTS: usize = 8;

/// See the module.
#[derive(Debug)]
pub struct Shared {
    parts: [Mutex<Exporters>; PARTS],
    hasher: RandomState,
}

impl Shared {
    /// No exporter yet.
    pub fn new(rules: Rules) -> Self {
        let rules = of_a_part(rules);
        let part = || Mutex::new(Exporters::new(rules));
        Self { parts: std::array::from_fn(|_| part()), hasher: RandomState::new() }
    }

    /// The same, where sets that have no room in memory wait in `overflow`.
    pub fn overflowing(rules: Rules, overflow: &Arc<dyn Overflow>) -> Self {
        let rules = of_a_part(rules);
        let part = || Mutex::new(Exporters::new(rules).overflowing(Arc::clone(overflow)));
        Self { parts: std::array::from_fn(|_| part()), hasher: RandomState::new() }
    }

    /// See [`Exporters::set_rules`].
    pub fn set_rules(&self, rules: Rules) {
        let rules = of_a_part(rules);
        self.parts.iter().for_each(|part| part.lock().set_rules(rules));
    }

    /// See [`Exporters::push`].
    pub fn push(
        &self,
        datagram: &[u8],
        source: Source,
        transport: Transport,
        now: &ReceiveTime,
        out: &mut Vec<u8>,
    ) -> Outcome {
        let source = Source { address: source.address.to_canonical(), ..source };
        match self.part(&source) {
            Some(part) => part.lock().push(datagram, source, transport, now, out),
            None => Outcome::default(),
        }
    }

    /// See [`Exporters::resume`].
    pub fn resume(&self, source: Source, now: &ReceiveTime, out: &mut Vec<u8>) -> Outcome {
        let source = Source { address: source.address.to_canonical(), ..source };
        self.part(&source).map_or_else(Outcome::default, |part| part.lock().resume(source, now, out))
    }

    /// See [`Exporters::forget`].
    pub fn forget(&self, source: &Source) -> usize {
        self.part(source).map_or(0, |part| part.lock().forget(source))
    }

    /// See [`Exporters::spill`].
    pub fn spill(&self) -> usize {
        self.parts.iter().map(|part| part.lock().spill()).sum()
    }

    /// See [`Exporters::recall`].
    pub fn recall(&self, place: &Place) {
        if let Some(part) = self.part(&place.source) {
            part.lock().recall(place);
        }
    }

    /// See [`Exporters::note_lost`].
    pub fn note_lost(&self, source: &Source, sets: u64) {
        if let Some(part) = self.part(source) {
            part.lock().note_lost(source, sets);
        }
    }

    /// Every exporter, in order of its address.
    pub fn reports(&self) -> Vec<Report> {
        let mut all: Vec<_> = self.parts.iter().flat_map(|part| part.lock().reports()).collect();
        all.sort_unstable_by_key(|report| report.source);
        all
    }

    /// All exporters together.
    pub fn summary(&self) -> Summary {
        let mut sum = Summary::default();
        for part in &self.parts {
            let Summary { exporters, templates, waiting, sequence } = part.lock().summary();
            sum.exporters += exporters;
            sum.templates += templates;
            sum.waiting += waiting;
            sum.sequence += sequence;
        }
        sum
    }

    /// What exporters have taught, as a file (see `persist`), and the generation that this is.
    pub fn save(&self) -> (u64, Vec<u8>) {
        let (mut generation, mut file) = (0, Vec::new());
        persist::begin(&mut file);
        for part in &self.parts {
            let part = part.lock();
            generation += part.generation();
            part.save(&mut file);
        }
        (generation, file)
    }

    /// Goes up whenever there is something new to save.
    pub fn generation(&self) -> u64 {
        self.parts.iter().map(|part| part.lock().generation()).sum()
    }

    /// Takes back what was saved, as far as it can be read; returns whether that is all of it.
    pub fn restore(&self, file: &[u8]) -> bool {
        let mut entries = persist::entries(file);
        for (key, content) in &mut entries {
            if let Some(part) = self.part(&key.source) {
                part.lock().restore(&key, content);
            }
        }
        !entries.is_damaged
    }

    fn part(&self, source: &Source) -> Option<&Mutex<Exporters>> {
        self.parts.get(self.hasher.hash_one(source) as usize % PARTS)
    }
}

/// The share of a part.
fn of_a_part(rules: Rules) -> Rules {
    let limits = rules.limits;
    let limits = Limits {
        exporters: limits.exporters.div_ceil(PARTS),
        fields: limits.fields.div_ceil(PARTS),
        waiting: limits.waiting / PARTS,
        ..limits
    };
    Rules { limits, ..rules }
}
