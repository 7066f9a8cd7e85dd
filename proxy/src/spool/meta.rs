//! What stands beside a batch file that failed: attempts, reason, times. JSON, written to another name and renamed.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::{Entry, Failure, Reason};

/// Longest message kept.
const MAX_MESSAGE: usize = 1024;

/// The content of a `.meta` file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Meta {
    /// Failed uploads.
    pub attempts: u32,
    /// Why the last one failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// HTTP status.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// For people.
    #[serde(default)]
    pub message: String,
    /// End of the last attempt or move, Unix nanoseconds.
    #[serde(default)]
    pub at_ns: u64,
}

impl Meta {
    /// Of an entry.
    pub fn of(entry: &Entry) -> Self {
        let failure = entry.failure.as_ref();
        let at = entry.last_attempt.and_then(|at| at.duration_since(UNIX_EPOCH).ok());
        Self {
            attempts: entry.attempts,
            reason: failure.map(|failure| failure.reason),
            status: failure.and_then(|failure| failure.status),
            message: failure.map(|failure| failure.message.to_string()).unwrap_or_default(),
            at_ns: at.map_or(0, |at| at.as_nanos() as u64),
        }
    }

    /// As bytes.
    pub fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// From bytes; `None` when torn.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok()
    }

    /// Puts what is known into an entry.
    pub fn apply(self, entry: &mut Entry) {
        entry.attempts = self.attempts;
        entry.last_attempt = at(self.at_ns);
        let message = self.message.into();
        entry.failure = self.reason.map(|reason| Failure { reason, status: self.status, message });
    }
}

fn at(ns: u64) -> Option<SystemTime> {
    (ns > 0).then(|| UNIX_EPOCH + Duration::from_nanos(ns))
}

/// Cuts a message at a character boundary.
pub fn cut(message: &str) -> &str {
    message.get(..message.floor_char_boundary(MAX_MESSAGE)).unwrap_or(message)
}
