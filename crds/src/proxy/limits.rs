//! Memory, threads and logs of a pod.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::values::{NO_LIMIT, Size};

/// What bounds memory and threads of a pod.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Limits {
    /// One budget for all bytes between sockets and spool.
    pub memory: Size<1_048_576, NO_LIMIT>,
    /// Rows of the table of senders.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub max_senders: u32,
    /// Receiver and decoder pairs of UDP. Default: the number of cores, at most 8.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 64))]
    pub receive_threads: Option<u32>,
}

impl Default for Limits {
    fn default() -> Self {
        Self { memory: Size::new(64 << 20), max_senders: 10_000, receive_threads: None }
    }
}

/// What the pods log.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Logging {
    /// Least severe level that is written. WARN means that something is wrong but nothing is lost, ERROR that data is
    /// lost. Changes without a restart.
    pub level: LogLevel,
    /// Shape of a log line: Json or Console, which is text for people.
    pub encoding: LogEncoding,
}

/// Level of a log line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum LogLevel {
    /// Everything.
    Debug,
    /// What an operator wants to see.
    #[default]
    Info,
    /// Something is wrong, nothing is lost.
    Warn,
    /// Data is lost.
    Error,
}

/// Shape of a log line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum LogEncoding {
    /// One JSON object a line.
    #[default]
    Json,
    /// Text for people.
    Console,
}
