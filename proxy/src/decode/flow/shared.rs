//! The exporters of an input, for all threads that decode its datagrams.
//!
//! An exporter is always in the same part, so threads meet only where their exporters do. Each part has its share of
//! the limits: one exporter cannot take what waits, or what is kept, from all others.

use std::hash::{BuildHasher, RandomState};

use parking_lot::Mutex;

use super::{
    exporters::{Exporters, Report, Source, Transport},
    outcome::Outcome,
    persist,
    rules::{Limits, Rules},
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
        let limits = rules.limits;
        let limits = Limits {
            exporters: limits.exporters.div_ceil(PARTS),
            fields: limits.fields.div_ceil(PARTS),
            waiting: limits.waiting / PARTS,
            ..limits
        };
        let part = || Mutex::new(Exporters::new(Rules { limits, ..rules }));
        Self { parts: std::array::from_fn(|_| part()), hasher: RandomState::new() }
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

    /// See [`Exporters::forget`].
    pub fn forget(&self, source: &Source) {
        if let Some(part) = self.part(source) {
            part.lock().forget(source);
        }
    }

    /// Every exporter, in order of its address.
    pub fn reports(&self) -> Vec<Report> {
        let mut all: Vec<_> = self.parts.iter().flat_map(|part| part.lock().reports()).collect();
        all.sort_unstable_by_key(|report| report.source);
        all
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
