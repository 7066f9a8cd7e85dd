//! A pod's answer as it comes over the wire: the members of `GET /api/v1/status` that the operator needs.
//!
//! Members may be missing (an older pod) and unknown ones are passed over (a newer one). What is no text that a status
//! may show is cut: a pod is not trusted with the size of what it makes the operator write.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{ErrorKind, InputError, InputReport, InputState, ReceiveBuffer, Said, Why};
use crate::key::ObjectKey;

/// Most characters of a text.
const LONGEST_TEXT: usize = 512;
/// Most texts of a list.
const MOST_TEXTS: usize = 32;
/// Most characters of an etag that is sent back.
const LONGEST_ETAG: usize = 64;

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    /// Names the state, for the next question; `None` when it is nothing to send back.
    pub etag: Option<String>,
    /// What it says, still without what needs the answers before it.
    pub said: Said,
    /// How full the spool is, in per cent.
    pub spool_percent: Option<u64>,
}

#[derive(Deserialize)]
struct Status {
    etag: String,
    config_hash: String,
    #[serde(default)]
    config_generation: u64,
    config_problem: Option<String>,
    #[serde(default)]
    inputs: Vec<Input>,
    #[serde(default)]
    problems: Vec<String>,
    spool: Option<Spool>,
}

#[derive(Deserialize)]
struct Input {
    name: String,
    #[serde(default)]
    hash: String,
    #[serde(default)]
    state: String,
    #[serde(default)]
    addresses: Vec<String>,
    error: Option<String>,
    error_kind: Option<String>,
    errno: Option<i32>,
    #[serde(default)]
    receive_buffer: u64,
    #[serde(default)]
    receive_buffer_wanted: u64,
    #[serde(default)]
    kernel_drops: u64,
}

#[derive(Deserialize)]
struct Spool {
    bytes: Option<u64>,
    limit_bytes: Option<u64>,
    /// Whether `tenants` has all of them.
    #[serde(default)]
    complete: bool,
    tenants: Option<BTreeMap<String, Tenant>>,
}

#[derive(Deserialize)]
struct Tenant {
    #[serde(default, rename = "open_bytes")]
    open: u64,
    #[serde(default, rename = "queue_bytes")]
    queue: u64,
    #[serde(default, rename = "dlq_bytes")]
    dlq: u64,
}

impl Tenant {
    fn bytes(&self) -> u64 {
        self.open.saturating_add(self.queue).saturating_add(self.dlq)
    }
}

impl Answer {
    /// Reads a body.
    pub fn read(body: &[u8]) -> Result<Self, Why> {
        let status: Status = serde_json::from_slice(body).map_err(|_| Why::Garbage)?;
        let fits =
            status.etag.len() <= LONGEST_ETAG && status.etag.bytes().all(|b| b.is_ascii_alphanumeric());
        let etag = (fits && !status.etag.is_empty()).then_some(status.etag);
        let spool_percent = status.spool.as_ref().and_then(|spool| {
            let (bytes, limit) = (spool.bytes?, spool.limit_bytes.filter(|limit| *limit > 0)?);
            u64::try_from(u128::from(bytes) * 100 / u128::from(limit)).ok()
        });
        let tenants = status.spool.filter(|spool| spool.complete).and_then(|spool| spool.tenants);
        let spooled = tenants.map(|tenants| {
            let all = tenants.into_iter().map(|(tenant, counts)| (tenant, counts.bytes()));
            all.filter(|(_, bytes)| *bytes > 0).collect()
        });
        let inputs = status.inputs.into_iter().filter_map(|input| {
            let key: ObjectKey = input.name.parse().ok()?;
            Some((key, input.report()))
        });
        let said = Said {
            document: cut(status.config_hash),
            generation: status.config_generation,
            document_problem: status.config_problem.map(cut),
            inputs: inputs.collect(),
            spooled,
            spool_nearly_full: false,
            problems: status.problems.into_iter().take(MOST_TEXTS).map(cut).collect(),
        };
        Ok(Self { etag, said, spool_percent })
    }
}

impl Input {
    fn report(&self) -> InputReport {
        let error = self.error.as_ref().map(|text| InputError {
            kind: kind(self.error_kind.as_deref().unwrap_or_default()),
            errno: self.errno.map(errno),
            text: cut(text.clone()),
        });
        InputReport {
            hash: cut(self.hash.clone()),
            state: state(&self.state),
            addresses: self.addresses.iter().take(MOST_TEXTS).cloned().map(cut).collect(),
            error,
            receive_buffer: (self.receive_buffer > 0).then_some(ReceiveBuffer {
                effective: self.receive_buffer,
                wanted: self.receive_buffer_wanted,
            }),
            kernel_drops: self.kernel_drops,
            losing: false,
        }
    }
}

fn state(word: &str) -> InputState {
    match word {
        "starting" => InputState::Starting,
        "listening" => InputState::Listening,
        "paused" => InputState::Paused,
        "retrying" => InputState::Retrying,
        "rejected" => InputState::Rejected,
        _ => InputState::Stopped,
    }
}

fn kind(word: &str) -> ErrorKind {
    match word {
        "in_use" => ErrorKind::PortInUse,
        "permission" => ErrorKind::NotPermitted,
        "address" => ErrorKind::AddressNotAvailable,
        "certificate" => ErrorKind::Certificate,
        "bind" => ErrorKind::Bind,
        "not_supported" => ErrorKind::NotSupported,
        "invalid" => ErrorKind::Invalid,
        "conflict" => ErrorKind::Conflict,
        _ => ErrorKind::Other,
    }
}

/// Name of a system's error, for those that an input can meet.
fn errno(number: i32) -> String {
    let name = match number {
        1 => "EPERM",
        12 => "ENOMEM",
        13 => "EACCES",
        24 => "EMFILE",
        97 => "EAFNOSUPPORT",
        98 => "EADDRINUSE",
        99 => "EADDRNOTAVAIL",
        105 => "ENOBUFS",
        _ => return format!("errno {number}"),
    };
    name.to_owned()
}

/// At most [`LONGEST_TEXT`] characters, none of them a control character.
fn cut(text: String) -> String {
    if text.len() <= LONGEST_TEXT && !text.contains(char::is_control) {
        return text;
    }
    text.chars().map(|one| if one.is_control() { ' ' } else { one }).take(LONGEST_TEXT).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_answer_of_today_is_read_whole() {
        let body = json!({
            "etag": "00ff", "config_hash": "abc", "config_generation": 3, "uptime_seconds": 5, "problems": ["one"],
            "spool": {"bytes": 95, "limit_bytes": 100, "dlq_bytes": 3, "complete": true, "tenants": {
                "acme": {"open_bytes": 1, "queue_bytes": 2, "dlq_bytes": 3}, "empty": {"open_bytes": 0}}},
            "inputs": [
                {"name": "net/web", "hash": "h1", "state": "listening", "addresses": ["udp 0.0.0.0:514"],
                 "receive_buffer": 10, "receive_buffer_wanted": 20, "kernel_drops": 7},
                {"name": "net/tls", "hash": "h2", "state": "retrying", "error": "port 1 is taken", "error_kind": "in_use", "errno": 98},
                {"name": "of the file's own", "state": "listening"},
            ],
        });
        let answer = Answer::read(body.to_string().as_bytes()).unwrap();
        assert_eq!(answer.etag.as_deref(), Some("00ff"));
        assert_eq!(answer.spool_percent, Some(95));
        let said = answer.said;
        assert_eq!((said.document.as_str(), said.generation), ("abc", 3));
        assert_eq!(said.spooled, Some([("acme".to_owned(), 6)].into()));
        assert_eq!(said.inputs.len(), 2);
        let web = &said.inputs[&ObjectKey::new("net", "web")];
        assert_eq!((web.hash.as_str(), web.state, web.kernel_drops), ("h1", InputState::Listening, 7));
        assert!(web.receive_buffer.unwrap().is_too_small());
        let error = said.inputs[&ObjectKey::new("net", "tls")].error.clone().unwrap();
        assert_eq!((error.kind, error.errno.as_deref()), (ErrorKind::PortInUse, Some("EADDRINUSE")));
    }

    #[test]
    fn while_a_pod_still_reads_its_spool_any_tenant_may_have_something() {
        let body = br#"{"etag":"1","config_hash":"abc","spool":{"bytes":1,"limit_bytes":2,"complete":false,"tenants":{}}}"#;
        assert_eq!(Answer::read(body).unwrap().said.spooled, None);
    }

    #[test]
    fn an_older_pod_says_less() {
        let said =
            Answer::read(br#"{"etag":"1","config_hash":"abc","inputs":[{"name":"net/web"}]}"#).unwrap().said;
        assert_eq!(said.spooled, None);
        assert_eq!(said.inputs[&ObjectKey::new("net", "web")].hash, "");
    }

    #[test]
    fn what_is_sent_back_or_shown_is_bounded() {
        let long = "x".repeat(100_000);
        let body = json!({"etag": format!("a&wait=0&b={long}"), "config_hash": long, "problems": vec![format!("a\n{long}"); 100]});
        let answer = Answer::read(body.to_string().as_bytes()).unwrap();
        assert_eq!(answer.etag, None);
        assert_eq!(answer.said.problems.len(), 32);
        assert!(answer.said.problems.iter().all(|text| text.starts_with("a x") && text.len() == 512));
    }

    #[test]
    fn anything_else_is_garbage() {
        for body in ["", "{}", "[]", "null", r#"{"etag":1,"config_hash":"a"}"#, "<html>"] {
            assert_eq!(Answer::read(body.as_bytes()), Err(Why::Garbage), "{body}");
        }
    }
}
