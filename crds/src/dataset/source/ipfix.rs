//! `source.ipfix`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    common::{Protocol, Tls, datagrams, tls_needs_tcp},
    flows::{Exporting, Flows},
    tcp::max_connections,
    udp::read_buffer_size,
};
use crate::values::{Seconds, Size, YEAR};

/// Flow records by IPFIX over UDP, TCP or TLS.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = tls_needs_tcp()))]
pub struct Ipfix {
    /// Port, of UDP, TCP or both.
    #[serde(default = "port")]
    #[schemars(range(min = 1, max = 65535))]
    pub port: u16,
    /// UDP: exporters repeat their templates. TCP: each connection has its own.
    #[serde(default = "datagrams")]
    #[schemars(length(min = 1, max = 2), extend("x-kubernetes-list-type" = "set"))]
    pub protocols: Vec<Protocol>,
    /// Serve the TCP port over TLS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,
    #[serde(flatten)]
    #[allow(missing_docs)]
    pub flows: Flows,
    #[serde(flatten)]
    #[allow(missing_docs)]
    pub exporting: Exporting,
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
    /// TCP: silence after which a connection is closed; 0s is never, since an exporter may have nothing to tell for long.
    #[serde(default = "read_timeout")]
    pub read_timeout: Seconds<0, YEAR>,
}

const fn port() -> u16 {
    4739
}

fn read_timeout() -> Seconds<0, YEAR> {
    Seconds::new(0)
}
