//! What inputs know of the exporters that send to them. It belongs to the input and not to its sockets or routes, so it
//! is shared by all of these and outlives each reload that keeps the input; templates outlive the process.
//!
//! ```text
//! <spool>/.flows/<tenant>/<dataset>.templates   what exporters have taught, written anew when it has changed
//! <spool>/.flows/<tenant>/<dataset>.waiting     records whose template has not come, beyond what memory holds
//! ```
//! Of a dataset that has no input any more they go at a start, a week after they were written.

mod flow;
mod keeper;
mod leftovers;
mod list;
mod memories;
mod waiting;

use std::{net::IpAddr, path::Path, sync::Arc};

use parking_lot::Mutex;

pub use flow::FlowMemory;
pub(super) use keeper::Keeper;
pub(super) use list::query;
pub use list::{ExporterQuery, ExporterRow};
pub(super) use memories::Memories;

use super::InputStats;
use crate::{
    config::{Input, Source},
    decode::{
        flow::{Summary, sequence::Tally},
        sflow::{self, agents::Agents},
    },
};

/// What an input knows of its exporters.
#[derive(Debug, Clone)]
pub enum Memory {
    /// Of NetFlow and IPFIX.
    Flow(Arc<FlowMemory>),
    /// Of sFlow.
    Sflow(Arc<SflowMemory>),
}

/// Agents of sFlow.
#[derive(Debug, Default)]
pub struct SflowMemory(Mutex<Agents>);

impl SflowMemory {
    /// Takes note of a datagram.
    pub fn note(&self, source: IpAddr, read: &sflow::Decoded, now_ns: u64) {
        self.0.lock().note(source, read, now_ns);
    }
}

impl Memory {
    /// For an input whose type has exporters; from and to files in `folder`, if there is one.
    pub fn open(input: &Input, folder: Option<&Path>, stats: &Arc<InputStats>) -> Option<Self> {
        match &input.source {
            Source::Netflow(source) | Source::Ipfix(source) => {
                let place = folder.map(|folder| folder.join(input.key.tenant.as_str()));
                let memory = FlowMemory::open(source, &input.key, place.as_deref(), Arc::clone(stats));
                Some(Self::Flow(Arc::new(memory)))
            }
            Source::Sflow(_) => Some(Self::Sflow(Arc::default())),
            Source::Udp(_) | Source::Tcp(_) | Source::Syslog(_) | Source::Http(_) | Source::Ebpf(_) => None,
        }
    }

    /// Goes on with other settings of the input; `None` when its type is another now.
    pub fn change(self, input: &Input) -> Option<Self> {
        match (&self, &input.source) {
            (Self::Flow(memory), Source::Netflow(source) | Source::Ipfix(source)) => {
                memory.change(source);
                Some(self)
            }
            (Self::Sflow(_), Source::Sflow(_)) => Some(self),
            _ => None,
        }
    }

    /// All exporters together.
    pub(super) fn summary(&self) -> Summary {
        match self {
            Self::Flow(memory) => memory.summary(),
            Self::Sflow(memory) => {
                let (exporters, sequence): (usize, Tally) = memory.0.lock().summary();
                Summary { exporters, sequence, ..Summary::default() }
            }
        }
    }
}
