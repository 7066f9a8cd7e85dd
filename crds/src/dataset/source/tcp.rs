//! `source.tcp`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::common::{DataFormat, Oversize, Tls, hint_rules, member_rules};
use crate::values::{Seconds, Size, YEAR};

/// Connections that carry lines.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Tcp {
    /// TCP port.
    #[schemars(range(min = 1, max = 65535))]
    pub port: u16,
    /// What the lines are called downstream: ndjson, raw, csv, apache and so on. Default: raw.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32), extend("x-kubernetes-validations" = hint_rules()))]
    pub data_hint: Option<String>,
    /// Auto passes JSON objects through and puts any other line into an envelope; Ndjson passes every line through; Text
    /// puts every line into an envelope.
    #[serde(default)]
    pub data_format: DataFormat,
    /// Member that receives the sender's address in JSON lines passed through. Default: none, lines stay as they are.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64), extend("x-kubernetes-validations" = member_rules()))]
    pub source_field: Option<String>,
    /// Serve the port over TLS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,
    /// Most open connections.
    #[serde(default = "max_connections")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub max_connections: u32,
    /// Of these, most of one address (of one /64 with IPv6). Default: an address that holds a quarter of maxConnections
    /// gets none of the last quarter, or of the last sixteenth while nobody else has any. Behind a balancer
    /// without PROXY protocol set it to maxConnections.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub max_connections_per_source: Option<u32>,
    /// Silence after which a connection is closed; 0s is never.
    #[serde(default = "read_timeout")]
    pub read_timeout: Seconds<0, YEAR>,
    /// Longest line.
    #[serde(default = "max_line_size")]
    pub max_line_size: Size<64, 10_485_759>,
    /// What happens with a longer line, which is counted either way. Cut keeps its beginning, Drop keeps nothing of it,
    /// Close closes the connection.
    #[serde(default)]
    pub oversize: Oversize,
    /// Its first byte ends a line; `\n`, `\r`, `\t` and `\0` may be written with a backslash.
    #[serde(default = "delimiter")]
    #[schemars(length(min = 1, max = 8))]
    pub delimiter: String,
}

pub(super) const fn max_connections() -> u32 {
    1000
}

pub(super) fn read_timeout() -> Seconds<0, YEAR> {
    Seconds::new(300)
}

pub(super) fn max_line_size() -> Size<64, 10_485_759> {
    Size::new(1 << 20)
}

fn delimiter() -> String {
    "\n".to_owned()
}
