//! What is known of the exporters of all inputs.

use std::{
    collections::{HashMap, HashSet},
    path::PathBuf,
    sync::Arc,
};

use super::{FlowMemory, Memory, leftovers};
use crate::{
    config::{Input, Spooling},
    ids::DatasetKey,
    inputs::InputStats,
};

/// Folder beside the spool's own.
const FOLDER: &str = ".flows";

/// See the module.
#[derive(Debug)]
pub struct Memories {
    /// `None` where nothing outlives the process.
    folder: Option<PathBuf>,
    all: HashMap<DatasetKey, Memory>,
}

impl Memories {
    /// Nothing yet; files are beside the spool, those that none of these inputs needs for not much longer.
    pub fn new(spooling: &Spooling, inputs: &[Input]) -> Self {
        let folder = spooling.enabled.then(|| spooling.directory.join(FOLDER));
        if let Some(folder) = &folder {
            leftovers::remove(folder, inputs);
        }
        Self { folder, all: HashMap::new() }
    }

    /// That of an input, which goes on with its new settings; what files say when the input is new.
    pub fn of(&mut self, input: &Input, stats: &Arc<InputStats>) -> Option<Memory> {
        let known = self.all.remove(&input.key).and_then(|memory| memory.change(input));
        let memory = known.or_else(|| Memory::open(input, self.folder.as_deref(), stats))?;
        self.all.insert(input.key.clone(), memory.clone());
        Some(memory)
    }

    /// Forgets those of other inputs; returns those that have files.
    pub fn retain(&mut self, inputs: &[Input]) -> Vec<Arc<FlowMemory>> {
        let wanted: HashSet<_> = inputs.iter().map(|input| &input.key).collect();
        self.all.retain(|key, _| wanted.contains(key));
        let flows = self.all.values().filter_map(|memory| match memory {
            Memory::Flow(memory) => Some(Arc::clone(memory)),
            Memory::Sflow(_) => None,
        });
        flows.collect()
    }
}
