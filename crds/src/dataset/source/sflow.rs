//! `source.sflow`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{flows::Flows, udp::read_buffer_size};
use crate::values::Size;

/// Sampled packets and counters by sFlow version 5 over UDP.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Sflow {
    /// UDP port.
    #[serde(default = "port")]
    #[schemars(range(min = 1, max = 65535))]
    pub port: u16,
    #[serde(flatten)]
    #[allow(missing_docs)]
    pub flows: Flows,
    /// Whether counter samples (of interfaces, processors and so on) become lines.
    #[serde(default = "yes")]
    pub counters: bool,
    /// Whether notifications of packets that a switch dropped become lines.
    #[serde(default = "yes")]
    pub drops: bool,
    /// Whether the packet inside a tunnel (VXLAN, GRE, IP in IP) is parsed too.
    #[serde(default)]
    pub inner: bool,
    /// Receive buffer asked of the kernel for each socket. The node's net.core.rmem_max bounds it.
    #[serde(default = "read_buffer_size")]
    pub read_buffer_size: Size<1024, 1_073_741_824>,
}

const fn port() -> u16 {
    6343
}

const fn yes() -> bool {
    true
}
