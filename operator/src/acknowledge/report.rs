//! What pods say about themselves, as the last answer or the silence of each.
//!
//! - An acknowledgement belongs to (pod UID, hash of one input). It stands in the last answer and stays there while the pod
//!   is silent; it goes when the pod says otherwise, or goes itself.
//! - Nothing in a report changes by itself: counters are there for messages, what conditions are made of
//!   ([`InputReport::losing`], [`Said::spool_nearly_full`]) has hysteresis.

use std::{collections::BTreeMap, fmt};

use jiff::Timestamp;

use crate::key::ObjectKey;

/// One pod of a Proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodReport {
    /// Name of the pod.
    pub pod: String,
    /// Its UID: a pod of the same name with another UID owes everything anew.
    pub uid: String,
    /// Node it runs on.
    pub node: Option<String>,
    /// Whether Kubernetes calls it ready.
    pub ready: bool,
    /// What it last said; stays while it is silent.
    pub said: Option<Said>,
    /// Since when it does not answer, and why; `None` while it does.
    pub silence: Option<Silence>,
}

impl PodReport {
    /// Whether the pod has applied this content of the input.
    pub fn has_applied(&self, key: &ObjectKey, hash: &str) -> bool {
        self.input(key).is_some_and(|input| input.hash == hash)
    }

    /// What it last said about an input.
    pub fn input(&self, key: &ObjectKey) -> Option<&InputReport> {
        self.said.as_ref()?.inputs.get(key)
    }
}

/// An answer of a pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Said {
    /// Hash of the document that it has applied, as [`crate::convert::Rendered`] has it.
    pub document: String,
    /// Number of that document, counted since the pod started.
    pub generation: u64,
    /// Why it did not apply the document that it sees now; the one before goes on.
    pub document_problem: Option<String>,
    /// Inputs by dataset.
    pub inputs: BTreeMap<ObjectKey, InputReport>,
    /// Undelivered bytes by tenant, those without left out. `None`: the pod does not say, so every tenant may have some.
    pub spooled: Option<BTreeMap<String, u64>>,
    /// Whether the spool is nearly full: from 90 % on, until it is below 80 %.
    pub spool_nearly_full: bool,
    /// Everything that it finds wrong with itself.
    pub problems: Vec<String>,
}

/// One input of a pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InputReport {
    /// Hash of the entry that it has applied; empty when the pod does not say.
    pub hash: String,
    /// What it does.
    pub state: InputState,
    /// Where it listens: `udp 0.0.0.0:514`.
    pub addresses: Vec<String>,
    /// Why it does not listen, or not as configured.
    pub error: Option<InputError>,
    /// The receive buffer of its sockets; `None` for streams.
    pub receive_buffer: Option<ReceiveBuffer>,
    /// Datagrams that the kernel dropped since the pod started.
    pub kernel_drops: u64,
    /// Whether the kernel drops datagrams: from the answer that counts more of them, until five minutes without.
    pub losing: bool,
}

/// What an input does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum InputState {
    /// Not tried yet.
    #[default]
    Starting,
    /// Its sockets are open.
    Listening,
    /// They are open, and what arrives is dropped.
    Paused,
    /// They could not be opened; it tries again by itself.
    Retrying,
    /// It does not run, for what the error says.
    Rejected,
    /// It ended, or does what this operator does not know.
    Stopped,
}

/// Why an input does not listen, or not as configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InputError {
    /// The kind, for a reason.
    pub kind: ErrorKind,
    /// Name of the system's error, such as `EADDRINUSE`.
    pub errno: Option<String>,
    /// The pod's words, with what to do.
    pub text: String,
}

/// Kinds of errors of an input.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ErrorKind {
    /// Somebody else has the port.
    PortInUse,
    /// The pod may not bind it.
    NotPermitted,
    /// The node does not have the address.
    AddressNotAvailable,
    /// The pod's version does not know an option.
    NotSupported,
    /// The port cannot be opened for another reason of the system's.
    Bind,
    /// Its certificate cannot be used.
    Certificate,
    /// The pod does not take the entry; an older one may go on.
    Invalid,
    /// Another input of the pod has what it wants; an older entry may go on.
    Conflict,
    /// Anything else.
    #[default]
    Other,
}

/// The receive buffer of an input's sockets, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReceiveBuffer {
    /// What the kernel gives.
    pub effective: u64,
    /// What was asked for.
    pub wanted: u64,
}

impl ReceiveBuffer {
    /// Whether the kernel gives less than was asked for.
    pub fn is_too_small(self) -> bool {
        self.effective < self.wanted
    }
}

/// A pod that does not answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Silence {
    /// Since when: the first failure after the last answer, or when the pod was seen first.
    pub since: Timestamp,
    /// Where it was asked: address and port.
    pub address: String,
    /// Why.
    pub why: Why,
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why {
    /// It was not asked yet.
    NotAsked,
    /// It has no address yet.
    NoAddress,
    /// Nobody listens there.
    Refused,
    /// There is no way to that address.
    Unreachable,
    /// The connection broke.
    Broken,
    /// It took too long.
    Timeout,
    /// It does not show the Proxy's certificate.
    Tls,
    /// It does not take the Proxy's token.
    Unauthorized,
    /// It answered with another status of HTTP.
    Status(u16),
    /// The answer is none of a proxy's.
    Garbage,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotAsked => "it was not asked yet",
            Self::NoAddress => "it has no address yet",
            Self::Refused => "nobody listens there: look at the pod's log",
            Self::Unreachable => "there is no way to that address: look at the network between operator and pods",
            Self::Broken => "the connection broke: look at the pod's log",
            Self::Timeout => {
                "no answer in time: let the operator's pods reach this port through every NetworkPolicy and firewall"
            }
            Self::Tls => {
                "it shows another certificate than the Secret <proxy>-api has: if that Secret was made anew, restart the pod"
            }
            Self::Unauthorized => {
                "it does not take the read token of the Secret <proxy>-api: if that Secret was made anew, restart the pod"
            }
            Self::Status(code) => return write!(f, "it answers with status {code}: look at the pod's log"),
            Self::Garbage => "the answer is none of a proxy: look at what has this address and port",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_acknowledgement_is_of_one_content_and_outlives_silence() {
        let key = ObjectKey::new("net", "web");
        let input = InputReport { hash: "a".to_owned(), ..InputReport::default() };
        let mut report = PodReport {
            pod: "edge-0".to_owned(),
            uid: "1".to_owned(),
            node: None,
            ready: true,
            said: Some(Said { inputs: [(key.clone(), input)].into(), ..Said::default() }),
            silence: None,
        };
        assert!(report.has_applied(&key, "a"));
        assert!(!report.has_applied(&key, "b") && !report.has_applied(&ObjectKey::new("net", "other"), "a"));
        report.silence = Some(Silence {
            since: Timestamp::UNIX_EPOCH,
            address: "10.0.0.1:8008".to_owned(),
            why: Why::Timeout,
        });
        assert!(report.has_applied(&key, "a"));
    }
}
