//! Which batches still need which segment.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

use super::{Stamp, open_batch::Building};

/// Batches with bytes that are in the log only, by the oldest segment that they need.
#[derive(Debug, Default)]
pub struct Live {
    batches: HashMap<Stamp, (u32, Option<Arc<Building>>)>,
    segments: BTreeMap<u32, HashSet<Stamp>>,
}

impl Live {
    /// A batch needs `segment` and those after it; an older need stays.
    pub fn add(&mut self, stamp: Stamp, file: Option<Arc<Building>>, segment: u32) {
        let (oldest, _) = self.batches.entry(stamp).or_insert((segment, file));
        self.segments.entry(*oldest).or_default().insert(stamp);
    }

    /// A batch needs nothing any more.
    pub fn remove(&mut self, stamp: Stamp) -> Option<Arc<Building>> {
        let (segment, file) = self.batches.remove(&stamp)?;
        if let Some(stamps) = self.segments.get_mut(&segment) {
            stamps.remove(&stamp);
            if stamps.is_empty() {
                self.segments.remove(&segment);
            }
        }
        file
    }

    /// A batch, if it is still here, needs only `segment` and those after it.
    pub fn move_to(&mut self, stamp: Stamp, segment: u32) {
        if self.batches.contains_key(&stamp) {
            let file = self.remove(stamp);
            self.add(stamp, file, segment);
        }
    }

    /// Whether anybody needs `segment` or one before it.
    pub fn needs(&self, segment: u32) -> bool {
        self.segments.first_key_value().is_some_and(|(oldest, _)| *oldest <= segment)
    }

    /// Batches that need `segment` or one before it, with their files where the log has bytes that those may lack.
    pub fn in_segment(&self, segment: u32) -> Vec<(Stamp, Option<Arc<Building>>)> {
        let stamps = self.segments.range(..=segment).flat_map(|(_, stamps)| stamps);
        stamps.filter_map(|stamp| Some((*stamp, self.batches.get(stamp)?.1.clone()))).collect()
    }
}
