//! `source.syslog`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    common::{Oversize, Protocol, Tls, datagrams, tls_needs_tcp},
    tcp::{max_connections, max_line_size, read_timeout},
    udp::read_buffer_size,
};
use crate::values::{Cidr, Seconds, Size, YEAR};

/// Syslog over UDP, TCP or TLS.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = tls_needs_tcp()))]
pub struct Syslog {
    /// Port, of UDP, TCP or both.
    #[schemars(range(min = 1, max = 65535))]
    pub port: u16,
    /// UDP: one message per datagram. TCP: octet counting or newlines, found out per connection.
    #[serde(default = "datagrams")]
    #[schemars(length(min = 1, max = 2), extend("x-kubernetes-list-type" = "set"))]
    pub protocols: Vec<Protocol>,
    /// Serve the TCP port over TLS (RFC 5425).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,
    /// Which format is tried. Auto: RFC 5424, then RFC 3164, then the line as it is. Rfc3164 and Rfc5424: that one, then
    /// the line as it is.
    #[serde(default)]
    pub mode: SyslogMode,
    /// Whether the line as it came is kept in a member `raw`: Drop never, Keep always, OnFailure when it was not
    /// understood completely.
    #[serde(default)]
    pub raw: KeepRaw,
    /// Time zone of senders that write none, such as `Europe/Berlin`.
    #[serde(default = "timezone")]
    #[schemars(length(min = 1, max = 64))]
    pub timezone: String,
    /// The same for some senders; the longest prefix wins.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 64),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["source"])
    )]
    pub timezones: Vec<SourceZone>,
    /// UDP: receive buffer asked of the kernel for each socket. The node's net.core.rmem_max bounds it.
    #[serde(default = "read_buffer_size")]
    pub read_buffer_size: Size<1024, 1_073_741_824>,
    /// TCP: most open connections.
    #[serde(default = "max_connections")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub max_connections: u32,
    /// TCP: of these, most of one address (of one /64 with IPv6). Default: an address that holds a quarter of maxConnections
    /// gets none of the last quarter, or of the last sixteenth while nobody else has any. Behind a balancer
    /// without PROXY protocol set it to maxConnections.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub max_connections_per_source: Option<u32>,
    /// TCP: silence after which a connection is closed; 0s is never.
    #[serde(default = "read_timeout")]
    pub read_timeout: Seconds<0, YEAR>,
    /// TCP: longest message.
    #[serde(default = "max_line_size")]
    pub max_line_size: Size<64, 10_485_759>,
    /// TCP: what happens with a longer message, which is counted either way. Cut keeps its beginning, Drop keeps nothing
    /// of it, Close closes the connection.
    #[serde(default)]
    pub oversize: Oversize,
}

fn timezone() -> String {
    "UTC".to_owned()
}

/// Which syslog format is tried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum SyslogMode {
    /// RFC 5424, then RFC 3164, then the line as it is.
    #[default]
    Auto,
    /// RFC 3164, then the line as it is.
    Rfc3164,
    /// RFC 5424, then the line as it is.
    Rfc5424,
}

/// Whether the line as it came is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum KeepRaw {
    /// Never.
    #[default]
    Drop,
    /// Always.
    Keep,
    /// When it was not understood completely.
    OnFailure,
}

/// A time zone for some senders.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SourceZone {
    /// Senders, as an address or CIDR.
    pub source: Cidr,
    /// Their time zone, such as `Europe/Berlin`.
    #[schemars(length(min = 1, max = 64))]
    pub timezone: String,
}
