//! The status of a `ProxyDataset`.

use bytefreezer_crds::{
    ProxyDatasetStatus,
    conditions::{ConditionType, Reason},
};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use super::{
    Addresses, Pods, Trouble,
    conditions::{Finding, State, conditions, ready},
    programmed::{self, Wanted},
};
use crate::{arbitrate::Listener, key::ObjectKey};

/// What is known of a dataset.
#[derive(Clone, Debug)]
pub struct DatasetFacts<'a> {
    /// The object.
    pub key: &'a ObjectKey,
    /// Generation of its spec.
    pub generation: Option<i64>,
    /// Its status so far.
    pub before: &'a ProxyDatasetStatus,
    /// Why it does not take part; `None` when it does.
    pub refused: Option<Trouble>,
    /// Why it cannot be read now; what it last held goes on.
    pub broken: Option<String>,
    /// What is wrong with its Secrets.
    pub unresolved: Option<Trouble>,
    /// What it listens on.
    pub listeners: &'a [Listener],
    /// Hash of its entry in the document, and since when it is wanted.
    pub hash: Option<(&'a str, Timestamp)>,
}

/// What a status is, and when it may change though nothing else does.
#[derive(Clone, Debug, PartialEq)]
pub struct DatasetOutcome {
    /// What to write.
    pub status: ProxyDatasetStatus,
    /// Whether every ready pod listens for it.
    pub is_programmed: bool,
    /// `Ready`, for an event.
    pub ready: Finding,
    /// When to look again.
    pub again: Option<Timestamp>,
}

/// The status of a dataset.
pub fn dataset(
    facts: &DatasetFacts<'_>,
    pods: &Pods<'_>,
    addresses: &Addresses,
    now: Timestamp,
) -> DatasetOutcome {
    let (programmed, again) = programmed(facts, pods, now);
    let mut findings = vec![accepted(facts), resolved(facts), programmed];
    let ready = ready(&findings);
    let is_programmed =
        findings.iter().any(|one| one.kind == ConditionType::Programmed && one.state == State::True);
    findings.push(ready.clone());
    let takes_part = facts.refused.is_none();
    let status = ProxyDatasetStatus {
        observed_generation: facts.generation,
        conditions: conditions(&facts.before.conditions, &findings, facts.generation, now),
        addresses: if takes_part { addresses.of_listeners(facts.listeners) } else { Vec::new() },
    };
    DatasetOutcome { status, is_programmed, ready, again }
}

fn accepted(facts: &DatasetFacts<'_>) -> Finding {
    if let Some(broken) = &facts.broken {
        return Finding::bad(ConditionType::Accepted, Reason::Undecodable, broken.clone());
    }
    match &facts.refused {
        None => Finding::good(ConditionType::Accepted),
        // Its Proxy is not accepted itself.
        Some((Reason::Pending, message)) => {
            Finding::unknown(ConditionType::Accepted, Reason::Pending, message.clone())
        }
        Some((reason, message)) => Finding::bad(ConditionType::Accepted, *reason, message.clone()),
    }
}

fn resolved(facts: &DatasetFacts<'_>) -> Finding {
    match (&facts.refused, &facts.unresolved) {
        (Some(_), _) => Finding::unknown(
            ConditionType::ResolvedRefs,
            Reason::Pending,
            "its Secrets are looked at once it is accepted",
        ),
        (None, None) => Finding::good(ConditionType::ResolvedRefs),
        (None, Some((reason, message))) => {
            Finding::bad(ConditionType::ResolvedRefs, *reason, message.clone())
        }
    }
}

fn programmed(facts: &DatasetFacts<'_>, pods: &Pods<'_>, now: Timestamp) -> programmed::Programmed {
    const KIND: ConditionType = ConditionType::Programmed;
    if let Some((reason, _)) = &facts.refused {
        return (Finding::bad(KIND, *reason, "no pod listens for it, since it is not accepted"), None);
    }
    if let Some((reason, message)) = &pods.trouble {
        return (Finding::unknown(KIND, *reason, message.clone()), None);
    }
    let Some((hash, since)) = facts.hash else {
        return (Finding::bad(KIND, Reason::Pending, "it is not in a document yet"), None);
    };
    let was_programmed = was_programmed(&facts.before.conditions, facts.generation);
    programmed::dataset(&pods.ready, facts.key, Wanted { hash, since, was_programmed }, now)
}

/// Whether every ready pod had this generation.
pub(super) fn was_programmed(before: &[Condition], generation: Option<i64>) -> bool {
    before.iter().any(|condition| {
        condition.type_ == ConditionType::Programmed.to_string()
            && condition.status == "True"
            && condition.observed_generation == generation
    })
}
