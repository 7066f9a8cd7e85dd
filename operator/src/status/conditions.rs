//! Conditions before they are written, and what becomes of those that are there.

use bytefreezer_crds::conditions::{ConditionType, Reason};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

/// Longest message; the API server takes 32 KiB, readers less.
const LONGEST_MESSAGE: usize = 1024;

/// Whether something is the case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It is.
    True,
    /// It is not.
    False,
    /// Nobody can say.
    Unknown,
}

impl State {
    /// As Kubernetes writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        }
    }
}

/// One condition before it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What it is about.
    pub kind: ConditionType,
    /// Whether it is so.
    pub state: State,
    /// In one word.
    pub reason: Reason,
    /// In a sentence that says what to do.
    pub message: String,
}

impl Finding {
    /// All is well with `kind`, which is a positive one.
    pub fn good(kind: ConditionType) -> Self {
        let reason = match kind {
            ConditionType::Accepted => Reason::Accepted,
            ConditionType::ResolvedRefs => Reason::ResolvedRefs,
            ConditionType::Programmed => Reason::Programmed,
            _ => Reason::Ready,
        };
        Self { kind, state: State::True, reason, message: reason.meaning().to_owned() }
    }

    /// `kind` is not so.
    pub fn bad(kind: ConditionType, reason: Reason, message: impl Into<String>) -> Self {
        Self { kind, state: State::False, reason, message: message.into() }
    }

    /// Nobody can say whether `kind` is so.
    pub fn unknown(kind: ConditionType, reason: Reason, message: impl Into<String>) -> Self {
        Self { kind, state: State::Unknown, reason, message: message.into() }
    }

    /// A condition that is there while it is true, and bad. Its reason is its own name.
    pub fn warning(kind: ConditionType, message: impl Into<String>) -> Self {
        Self { kind, state: State::True, reason: Reason::Ready, message: message.into() }
    }

    /// The reason as it is written.
    pub fn reason(&self) -> String {
        if self.kind.is_positive() { self.reason.to_string() } else { self.kind.to_string() }
    }

    /// Whether it is good news.
    pub fn is_good(&self) -> bool {
        self.kind.is_positive() == (self.state == State::True)
    }
}

/// `Ready`: good when all are, else the first that is not.
pub fn ready(findings: &[Finding]) -> Finding {
    let positive = || findings.iter().filter(|finding| finding.kind.is_positive());
    let first = positive()
        .find(|finding| finding.state == State::False)
        .or_else(|| positive().find(|finding| finding.state == State::Unknown));
    first.map_or_else(
        || Finding::good(ConditionType::Ready),
        |finding| Finding { kind: ConditionType::Ready, ..finding.clone() },
    )
}

/// The conditions to write. The time of a transition stays while the status does.
pub fn conditions(
    before: &[Condition],
    findings: &[Finding],
    generation: Option<i64>,
    now: Timestamp,
) -> Vec<Condition> {
    let one = |finding: &Finding| {
        let (kind, status) = (finding.kind.to_string(), finding.state.as_str());
        let same = before.iter().find(|condition| condition.type_ == kind && condition.status == status);
        Condition {
            type_: kind,
            status: status.to_owned(),
            reason: finding.reason(),
            message: cut(&finding.message),
            observed_generation: generation,
            last_transition_time: same
                .map_or_else(|| Time(now), |condition| condition.last_transition_time.clone()),
        }
    };
    let order = ConditionType::ALL.iter();
    order.filter_map(|kind| findings.iter().find(|finding| finding.kind == *kind)).map(one).collect()
}

fn cut(message: &str) -> String {
    if message.len() <= LONGEST_MESSAGE {
        return message.to_owned();
    }
    let end = (0..=LONGEST_MESSAGE - 3).rev().find(|at| message.is_char_boundary(*at)).unwrap_or(0);
    format!("{}...", message.get(..end).unwrap_or_default())
}
