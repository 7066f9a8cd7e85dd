//! Where the entries of a file are that wait, by what they wait for.

use std::collections::{HashMap, VecDeque};

use super::entry::BLOCK;
use crate::decode::flow::{Place, Source};

/// Most bytes of a file: blocks are counted in 32 bits.
pub const MOST: u64 = u32::MAX as u64 * BLOCK;
/// Most templates that are waited for at a time.
const PLACES: usize = 65_536;

/// See the module.
#[derive(Debug, Default)]
pub struct Index {
    places: HashMap<Place, Queue>,
    sources: HashMap<Source, usize>,
    len: usize,
}

/// Entries that wait for one template, in order.
#[derive(Debug, Default)]
struct Queue {
    /// Their first blocks.
    blocks: VecDeque<u32>,
    /// When the last one was received, Unix ns.
    newest_ns: u64,
}

impl Index {
    /// Whether one more may wait for this.
    pub fn admits(&self, place: &Place) -> bool {
        self.places.len() < PLACES || self.places.contains_key(place)
    }

    /// An entry at this byte.
    pub fn add(&mut self, place: &Place, at: u64, received_ns: u64) {
        let queue = self.places.entry(*place).or_default();
        queue.blocks.push_back((at / BLOCK) as u32);
        queue.newest_ns = queue.newest_ns.max(received_ns);
        *self.sources.entry(place.source).or_default() += 1;
        self.len += 1;
    }

    /// Where the first entry is that waits for this; it is no longer known then.
    pub fn take(&mut self, place: &Place) -> Option<u64> {
        let queue = self.places.get_mut(place)?;
        let block = queue.blocks.pop_front();
        if queue.blocks.is_empty() {
            self.places.remove(place);
        }
        let block = block?;
        self.subtract(&place.source, 1);
        Some(u64::from(block) * BLOCK)
    }

    /// What entries wait for.
    pub fn places(&self) -> Vec<Place> {
        self.places.keys().copied().collect()
    }

    /// Entries.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Entries that wait for this.
    pub fn count(&self, place: &Place) -> usize {
        self.places.get(place).map_or(0, |queue| queue.blocks.len())
    }

    /// Entries of an exporter.
    pub fn count_of(&self, source: &Source) -> usize {
        self.sources.get(source).copied().unwrap_or(0)
    }

    /// Forgets templates for which nothing was received since `since_ns`; returns whose entries, and how many.
    pub fn expire(&mut self, since_ns: u64) -> Vec<(Source, u64)> {
        let mut gone = Vec::new();
        self.places.retain(|place, queue| {
            let stays = queue.newest_ns >= since_ns;
            if !stays {
                gone.push((place.source, queue.blocks.len() as u64));
            }
            stays
        });
        for (source, entries) in &gone {
            self.subtract(source, *entries as usize);
        }
        gone
    }

    fn subtract(&mut self, source: &Source, entries: usize) {
        self.len = self.len.saturating_sub(entries);
        if let Some(count) = self.sources.get_mut(source) {
            *count = count.saturating_sub(entries);
            if *count == 0 {
                self.sources.remove(source);
            }
        }
    }
}
