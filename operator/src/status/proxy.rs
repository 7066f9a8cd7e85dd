//! The status of a `Proxy`.

use std::{collections::BTreeMap, sync::Arc};

use bytefreezer_crds::{
    ProxyStatus,
    conditions::{ConditionType, Reason},
    proxy::{DatasetCounts, FailedListener, PodStatus},
};
use jiff::Timestamp;

use super::{
    Addresses, Pods, Trouble,
    addresses::{self, MOST},
    conditions::{Finding, State, conditions, ready},
    dataset::was_programmed,
    programmed::{self, Wanted, described},
    warnings,
};
use crate::{
    acknowledge::PodReport,
    arbitrate::Listener,
    gather::{Kind, Owned},
    key::ObjectKey,
    validate::ValidatedProxy,
};

/// Most pods in a status.
const MOST_PODS: usize = 50;
/// Most failed listeners of a pod.
const MOST_LISTENERS: usize = 20;

/// How the datasets fare.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Those that take part.
    pub attached: usize,
    /// Those that every ready pod listens for.
    pub programmed: usize,
    /// Those that lost to another.
    pub conflicted: usize,
    /// The first that takes part and is not programmed, with the reason.
    pub behind: Option<(ObjectKey, Reason)>,
}

/// What is known of a Proxy.
#[derive(Clone, Debug)]
pub struct ProxyFacts<'a> {
    /// Generation of its spec.
    pub generation: Option<i64>,
    /// Its status so far.
    pub before: &'a ProxyStatus,
    /// The Proxy, when it can be read.
    pub proxy: Option<&'a ValidatedProxy>,
    /// Why it does not take part; `None` when it does.
    pub refused: Option<Trouble>,
    /// What is wrong with its own Secrets.
    pub unresolved: Option<Trouble>,
    /// Hash of the document, and since when it is wanted.
    pub hash: Option<(&'a str, Timestamp)>,
    /// What was built for it.
    pub owned: &'a BTreeMap<(Kind, String), Arc<Owned>>,
    /// How many pods there should be.
    pub wanted: usize,
    /// All its pods.
    pub reports: &'a [PodReport],
    /// What its datasets listen on.
    pub listeners: &'a BTreeMap<ObjectKey, Vec<Listener>>,
    /// Claims without a pod that hold data, in words.
    pub stranded: Option<String>,
    /// Claims that cannot grow, in words.
    pub not_grown: Option<String>,
    /// Its datasets.
    pub count: Count,
}

/// What a status is, and when it may change though nothing else does.
#[derive(Clone, Debug, PartialEq)]
pub struct ProxyOutcome {
    /// What to write.
    pub status: ProxyStatus,
    /// `Ready`, for an event.
    pub ready: Finding,
    /// Warnings, for events.
    pub warnings: Vec<Finding>,
    /// When to look again.
    pub again: Option<Timestamp>,
}

/// The status of a Proxy.
pub fn proxy(facts: &ProxyFacts<'_>, pods: &Pods<'_>, addresses: &Addresses, now: Timestamp) -> ProxyOutcome {
    let (programmed, again) = programmed(facts, pods, now);
    let mut findings = vec![accepted(facts), resolved(facts), programmed];
    let ready = complete(ready(&findings), facts, pods);
    findings.push(ready.clone());
    let warnings = warnings(facts);
    findings.extend(warnings.iter().cloned());
    let status = ProxyStatus {
        observed_generation: facts.generation,
        conditions: conditions(&facts.before.conditions, &findings, facts.generation, now),
        replicas: narrow(facts.wanted),
        ready_replicas: narrow(pods.ready.len()),
        addresses: addresses.hosts.iter().take(MOST).cloned().collect(),
        pods: pod_statuses(facts),
        datasets: DatasetCounts {
            attached: narrow(facts.count.attached),
            programmed: narrow(facts.count.programmed),
            conflicted: narrow(facts.count.conflicted),
        },
    };
    ProxyOutcome { status, ready, warnings, again }
}

fn narrow(count: usize) -> i32 {
    count.try_into().unwrap_or(i32::MAX)
}

fn accepted(facts: &ProxyFacts<'_>) -> Finding {
    match &facts.refused {
        None => Finding::good(ConditionType::Accepted),
        Some((reason, message)) => Finding::bad(ConditionType::Accepted, *reason, message.clone()),
    }
}

fn resolved(facts: &ProxyFacts<'_>) -> Finding {
    match (&facts.proxy, &facts.unresolved) {
        (None, _) => Finding::unknown(
            ConditionType::ResolvedRefs,
            Reason::Pending,
            "its Secrets are looked at once it is accepted",
        ),
        (Some(_), None) => Finding::good(ConditionType::ResolvedRefs),
        (Some(_), Some((reason, message))) => {
            Finding::bad(ConditionType::ResolvedRefs, *reason, message.clone())
        }
    }
}

fn programmed(facts: &ProxyFacts<'_>, pods: &Pods<'_>, now: Timestamp) -> programmed::Programmed {
    const KIND: ConditionType = ConditionType::Programmed;
    if let Some((reason, message)) = &pods.trouble {
        return (Finding::bad(KIND, *reason, message.clone()), None);
    }
    let Some((hash, since)) = facts.hash else {
        return (Finding::bad(KIND, Reason::Pending, "there is no document yet"), None);
    };
    if facts.wanted == 0 {
        return (Finding::unknown(KIND, Reason::NoReadyPods, "no pods are asked for"), None);
    }
    let was_programmed = was_programmed(&facts.before.conditions, facts.generation);
    programmed::document(&pods.ready, Wanted { hash, since, was_programmed }, now)
}

/// `Ready` of a Proxy: the conditions, all pods, and all datasets that take part.
fn complete(ready: Finding, facts: &ProxyFacts<'_>, pods: &Pods<'_>) -> Finding {
    const KIND: ConditionType = ConditionType::Ready;
    if ready.state != State::True {
        return ready;
    }
    let (there, wanted) = (pods.ready.len(), facts.wanted);
    if there < wanted {
        let reason = if there == 0 { Reason::NoReadyPods } else { Reason::Pending };
        return Finding::bad(KIND, reason, format!("{there} of {wanted} pods are ready"));
    }
    match &facts.count.behind {
        Some((key, reason)) => {
            let behind = facts.count.attached - facts.count.programmed;
            Finding::bad(
                KIND,
                *reason,
                format!("{behind} of {} datasets are not programmed, {key} for one", facts.count.attached),
            )
        }
        None => ready,
    }
}

fn warnings(facts: &ProxyFacts<'_>) -> Vec<Finding> {
    let mut warnings = warnings::of_pods(facts.reports);
    if let Some(proxy) = facts.proxy {
        let lost = addresses::source_is_lost(proxy, facts.owned);
        warnings.extend(lost.map(|text| Finding::warning(ConditionType::SourceIPNotPreserved, text)));
        let exceed = addresses::ports_exceed(proxy, facts.owned);
        warnings.extend(exceed.map(|text| Finding::warning(ConditionType::PortsExceedLoadBalancer, text)));
    }
    let stranded = facts.stranded.clone();
    warnings.extend(stranded.map(|text| Finding::warning(ConditionType::SpoolStranded, text)));
    let not_grown = facts.not_grown.clone();
    warnings.extend(not_grown.map(|text| Finding::warning(ConditionType::SpoolNotGrown, text)));
    warnings
}

/// Those that deviate first, then by name.
fn pod_statuses(facts: &ProxyFacts<'_>) -> Vec<PodStatus> {
    let one = |report: &PodReport| {
        let has_document = match (&report.said, facts.hash) {
            (Some(said), Some((hash, _))) => said.document == hash,
            _ => false,
        };
        let before = facts.before.pods.iter().find(|pod| pod.name == report.pod);
        let status = PodStatus {
            name: report.pod.clone(),
            node: report.node.clone(),
            generation: if has_document {
                facts.generation
            } else {
                before.filter(|_| report.said.is_some()).and_then(|pod| pod.generation)
            },
            failed_listeners: failed_listeners(facts, report),
        };
        let deviates = !report.ready || !has_document || !status.failed_listeners.is_empty();
        (!deviates, status)
    };
    let mut all: Vec<(bool, PodStatus)> = facts.reports.iter().map(one).collect();
    all.sort_by(|(a, one), (b, other)| (a, &one.name).cmp(&(b, &other.name)));
    all.truncate(MOST_PODS);
    all.into_iter().map(|(_, status)| status).collect()
}

fn failed_listeners(facts: &ProxyFacts<'_>, report: &PodReport) -> Vec<FailedListener> {
    let inputs = report.said.iter().flat_map(|said| &said.inputs);
    let failed = inputs.filter_map(|(key, input)| {
        let error = described(input.error.as_ref()?);
        let listeners = facts.listeners.get(key).into_iter().flat_map(|listeners| listeners.iter());
        let listeners: Vec<String> =
            listeners.map(|listener| format!("{}/{}", listener.port, listener.transport)).collect();
        let listener = if listeners.is_empty() { key.to_string() } else { listeners.join(", ") };
        Some(FailedListener { listener, error })
    });
    failed.take(MOST_LISTENERS).collect()
}
