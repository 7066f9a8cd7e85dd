//! What is said on the objects: pure functions from facts to the two statuses.
//!
//! - A status is a function of what was decided, applied and acknowledged. Times in it change only when a condition's
//!   status does; nothing in it changes by itself.
//! - Facts of single pods stand on the Proxy. A dataset says what is true for all of them, so a pod that restarts
//!   writes one object and not every dataset's.
//! - Positive conditions are always there; the others only while they are true.

mod addresses;
mod conditions;
mod dataset;
mod programmed;
mod proxy;
mod warnings;
mod write;

use std::collections::BTreeMap;

use bytefreezer_crds::conditions::Reason;
use jiff::Timestamp;

pub use addresses::Addresses;
pub use conditions::{Finding, State};
pub use dataset::{DatasetFacts, DatasetOutcome, dataset};
pub use programmed::{GRACE, ReadyPod};
pub use proxy::{Count, ProxyFacts, ProxyOutcome, proxy};
pub use write::{Write, Writer, Written};

use crate::{acknowledge::PodReport, gather};

/// A reason and a sentence.
pub type Trouble = (Reason, String);

/// What is the same for all datasets of a Proxy.
#[derive(Clone, Debug)]
pub struct Pods<'a> {
    /// Those that Kubernetes calls ready.
    pub ready: Vec<ReadyPod<'a>>,
    /// Why nothing can be programmed, whatever the pods say.
    pub trouble: Option<Trouble>,
}

impl<'a> Pods<'a> {
    /// Ready pods with what they say, in the order of their names.
    pub fn of(
        pods: &[std::sync::Arc<k8s_openapi::api::core::v1::Pod>],
        reports: &'a [PodReport],
        trouble: Option<Trouble>,
    ) -> Self {
        let since: BTreeMap<&str, Timestamp> = pods
            .iter()
            .filter_map(|pod| Some((pod.metadata.uid.as_deref()?, gather::ready_since(pod)?)))
            .collect();
        let ready = reports.iter().filter(|report| report.ready);
        let ready = ready.map(|report| ReadyPod {
            report,
            since: since.get(report.uid.as_str()).copied().unwrap_or(Timestamp::UNIX_EPOCH),
        });
        Self { ready: ready.collect(), trouble }
    }
}

#[cfg(test)]
mod tests;
