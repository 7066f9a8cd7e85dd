//! Whether every ready pod has acknowledged what it shall do.
//!
//! A pod that restarts, is new or does not answer changes nothing until it has owed its acknowledgement for [`GRACE`];
//! what a pod says is wrong counts at once.

use bytefreezer_crds::conditions::{ConditionType, Reason};
use jiff::{SignedDuration, Timestamp};

use super::conditions::Finding;
use crate::{
    acknowledge::{ErrorKind, InputError, InputState, PodReport},
    key::ObjectKey,
};

/// How long a pod may owe an acknowledgement.
pub const GRACE: SignedDuration = SignedDuration::from_secs(30);

/// A pod that Kubernetes calls ready.
#[derive(Clone, Copy, Debug)]
pub struct ReadyPod<'a> {
    /// What it says.
    pub report: &'a PodReport,
    /// Since when it is ready.
    pub since: Timestamp,
}

/// What a pod shall have applied.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// Its hash.
    pub hash: &'a str,
    /// Since when it is wanted.
    pub since: Timestamp,
    /// Whether every ready pod had it when last looked at.
    pub was_programmed: bool,
}

/// What one pod did about it.
enum Answer {
    Done,
    Owes,
    Fault(Reason, String),
}

/// What is found, and when to look again though nothing changes.
pub type Programmed = (Finding, Option<Timestamp>);

/// Whether every ready pod listens for a dataset.
pub fn dataset(pods: &[ReadyPod<'_>], key: &ObjectKey, wanted: Wanted<'_>, now: Timestamp) -> Programmed {
    judge(pods, wanted, now, |report| {
        let Some(input) = report.input(key) else { return Answer::Owes };
        if let Some(error) = &input.error {
            return Answer::Fault(reason(error), described(error));
        }
        match input.state {
            _ if input.hash != wanted.hash => Answer::Owes,
            InputState::Listening | InputState::Paused => Answer::Done,
            InputState::Starting | InputState::Retrying | InputState::Rejected | InputState::Stopped => {
                Answer::Owes
            }
        }
    })
}

/// Whether every ready pod has applied the document.
pub fn document(pods: &[ReadyPod<'_>], wanted: Wanted<'_>, now: Timestamp) -> Programmed {
    judge(pods, wanted, now, |report| match &report.said {
        Some(said) if said.document == wanted.hash => Answer::Done,
        Some(said) => said
            .document_problem
            .clone()
            .map_or(Answer::Owes, |problem| Answer::Fault(Reason::NotSupportedByPod, problem)),
        None => Answer::Owes,
    })
}

fn judge(
    pods: &[ReadyPod<'_>],
    wanted: Wanted<'_>,
    now: Timestamp,
    answer: impl Fn(&PodReport) -> Answer,
) -> Programmed {
    const KIND: ConditionType = ConditionType::Programmed;
    if pods.is_empty() {
        return (Finding::unknown(KIND, Reason::NoReadyPods, "no pod of the Proxy is ready"), None);
    }
    let mut owing = Vec::new();
    for pod in pods {
        match answer(pod.report) {
            Answer::Done => (),
            Answer::Owes => owing.push(pod),
            Answer::Fault(reason, text) => {
                return (Finding::bad(KIND, reason, format!("{}: {text}", name(pod.report))), None);
            }
        }
    }
    let late = |pod: &&ReadyPod<'_>| now.duration_since(wanted.since.max(pod.since)) >= GRACE;
    let (late, early): (Vec<&ReadyPod<'_>>, Vec<&ReadyPod<'_>>) = owing.into_iter().partition(late);
    let again = early.iter().map(|pod| wanted.since.max(pod.since) + GRACE).min();
    if let Some(pod) = late.iter().find(|pod| pod.report.silence.is_some()) {
        let silence = pod.report.silence.as_ref().map(|silence| {
            format!("{} at {} does not answer: {}", name(pod.report), silence.address, silence.why)
        });
        return (Finding::unknown(KIND, Reason::ProxyUnreachable, silence.unwrap_or_default()), again);
    }
    let waiting = late.first().or(early.first());
    let Some(pod) = waiting.filter(|_| !(late.is_empty() && wanted.was_programmed)) else {
        return (Finding::good(KIND), again);
    };
    let message = format!("{} has not acknowledged yet", name(pod.report));
    (Finding::bad(KIND, Reason::Pending, message), again)
}

fn name(report: &PodReport) -> String {
    match &report.node {
        Some(node) => format!("pod {} on node {node}", report.pod),
        None => format!("pod {}", report.pod),
    }
}

fn reason(error: &InputError) -> Reason {
    match error.kind {
        ErrorKind::PortInUse | ErrorKind::NotPermitted | ErrorKind::AddressNotAvailable | ErrorKind::Bind => {
            Reason::PortUnavailable
        }
        ErrorKind::NotSupported => Reason::NotSupportedByPod,
        ErrorKind::Certificate | ErrorKind::Invalid | ErrorKind::Conflict | ErrorKind::Other => {
            Reason::Invalid
        }
    }
}

/// The kernel's name of the error and the pod's words.
pub fn described(error: &InputError) -> String {
    match &error.errno {
        Some(errno) if !error.text.contains(errno.as_str()) => format!("{errno}: {}", error.text),
        _ => error.text.clone(),
    }
}
