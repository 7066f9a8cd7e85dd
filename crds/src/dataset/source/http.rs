//! `source.http`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    common::{DataFormat, Tls, hint_rules, member_rules},
    tcp::max_connections,
};
use crate::values::{Seconds, SecretKeyRef, Size, YEAR, rules};

fn path_rules() -> serde_json::Value {
    rules(&[
        (
            "self.matches('^/[A-Za-z0-9._~!$&()*+,;=:@/-]*$')",
            "is no path: write one such as /webhook, of letters, digits, -, _, . and /, or /hooks/ for everything below it",
        ),
        (
            "!self.contains('//') && !self.split('/').exists(p, p == '.' || p == '..')",
            "is no plain path: write it without //, . and ..",
        ),
        (
            "self != '/health' && !self.startsWith('/health/')",
            "belongs to the input's own health answer: write another path",
        ),
    ])
}

/// HTTP requests whose bodies are lines.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Http {
    /// TCP port.
    #[schemars(range(min = 1, max = 65535))]
    pub port: u16,
    /// Path that takes POST requests; one that ends in `/` takes everything below it.
    #[serde(default = "path")]
    #[schemars(length(min = 1, max = 256), extend("x-kubernetes-validations" = path_rules()))]
    pub path: String,
    /// Who may post. Left out: everybody among allowedSources.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auth: Option<Auth>,
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
    /// Largest body, after decompression.
    #[serde(default = "max_payload_size")]
    pub max_payload_size: Size<1024, 1_073_741_824>,
    /// Most lines of a body.
    #[serde(default = "max_lines_per_request")]
    #[schemars(range(min = 1, max = 4_294_967_295_u32))]
    pub max_lines_per_request: u32,
    /// How many times larger a body may become by decompression.
    #[serde(default = "max_compression_ratio")]
    #[schemars(range(min = 1, max = 100_000))]
    pub max_compression_ratio: u32,
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
    /// Longest time for a whole request.
    #[serde(default = "thirty_seconds")]
    pub read_timeout: Seconds<1, YEAR>,
    /// Longest time for a response.
    #[serde(default = "thirty_seconds")]
    pub write_timeout: Seconds<1, YEAR>,
    /// Longest time between two requests of a connection.
    #[serde(default = "idle_timeout")]
    pub idle_timeout: Seconds<1, YEAR>,
}

/// Who may post.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Auth {
    /// Token that clients send as `Authorization: Bearer`. Rotation needs no restart.
    pub token_secret_ref: SecretKeyRef,
}

fn path() -> String {
    "/webhook".to_owned()
}

fn max_payload_size() -> Size<1024, 1_073_741_824> {
    Size::new(1 << 20)
}

const fn max_lines_per_request() -> u32 {
    1000
}

const fn max_compression_ratio() -> u32 {
    100
}

fn thirty_seconds() -> Seconds<1, YEAR> {
    Seconds::new(30)
}

fn idle_timeout() -> Seconds<1, YEAR> {
    Seconds::new(120)
}
