//! Conditions of a Proxy that are there while they are true: what a network team must know.

use std::collections::BTreeMap;

use bytefreezer_crds::conditions::ConditionType;

use super::conditions::Finding;
use crate::{
    acknowledge::{PodReport, ReceiveBuffer},
    key::ObjectKey,
};

/// Most names in one message.
const MOST_NAMES: usize = 5;

/// What the pods say of kernel and spool.
pub(super) fn of_pods(reports: &[PodReport]) -> Vec<Finding> {
    [receive_buffer(reports), packet_loss(reports), spool(reports)].into_iter().flatten().collect()
}

/// The receive buffer that falls shortest of what was wanted.
fn receive_buffer(reports: &[PodReport]) -> Option<Finding> {
    let mut small: BTreeMap<&str, (u64, ReceiveBuffer, &ObjectKey)> = BTreeMap::new();
    for report in reports {
        for (key, input) in report.said.iter().flat_map(|said| &said.inputs) {
            let Some(buffer) = input.receive_buffer.filter(|buffer| buffer.is_too_small()) else { continue };
            let node = report.node.as_deref().unwrap_or(&report.pod);
            let worst = small.entry(node).or_insert((buffer.wanted, buffer, key));
            if buffer.wanted > worst.0 {
                *worst = (buffer.wanted, buffer, key);
            }
        }
    }
    let (wanted, buffer, key) = small.values().max_by_key(|(wanted, ..)| *wanted)?;
    let nodes = names(small.keys().map(|node| (*node).to_owned()));
    Some(Finding::warning(
        ConditionType::ReceiveBufferTooSmall,
        format!(
            "the kernel gives {} bytes of the {wanted} that {key} asks for, on {nodes}: run `sysctl -w \
             net.core.rmem_max={wanted}` on the nodes",
            buffer.effective
        ),
    ))
}

fn packet_loss(reports: &[PodReport]) -> Option<Finding> {
    let losing = reports.iter().flat_map(|report| {
        let inputs = report.said.iter().flat_map(|said| &said.inputs);
        inputs.filter(|(_, input)| input.losing).map(|(key, _)| format!("{key} in pod {}", report.pod))
    });
    let losing: Vec<String> = losing.collect();
    (!losing.is_empty()).then(|| {
        let message = format!(
            "the kernel drops datagrams of {}: raise readBufferSize and net.core.rmem_max, CPU or the number of pods",
            names(losing)
        );
        Finding::warning(ConditionType::PacketLoss, message)
    })
}

fn spool(reports: &[PodReport]) -> Option<Finding> {
    let full =
        reports.iter().filter(|report| report.said.as_ref().is_some_and(|said| said.spool_nearly_full));
    let full: Vec<String> = full.map(|report| report.pod.clone()).collect();
    (!full.is_empty()).then(|| {
        let message = format!(
            "the spool of {} is nearly full: look at the Receiver first, then raise spool.size",
            names(full)
        );
        Finding::warning(ConditionType::SpoolNearlyFull, message)
    })
}

/// Some names, in order, and how many more.
pub(super) fn names(all: impl IntoIterator<Item = String>) -> String {
    let mut all: Vec<String> = all.into_iter().collect();
    all.sort_unstable();
    let more = all.len().saturating_sub(MOST_NAMES);
    all.truncate(MOST_NAMES);
    let text = all.join(", ");
    if more == 0 { text } else { format!("{text} and {more} more") }
}
