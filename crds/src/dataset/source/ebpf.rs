//! `source.ebpf`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{common::member_rules, udp::read_buffer_size};
use crate::values::Size;

/// JSON objects of eBPF agents over UDP.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Ebpf {
    /// UDP port.
    #[serde(default = "port")]
    #[schemars(range(min = 1, max = 65535))]
    pub port: u16,
    /// Member that receives the sender's address. Default: none, objects stay as they are.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64), extend("x-kubernetes-validations" = member_rules()))]
    pub source_field: Option<String>,
    /// Receive buffer asked of the kernel for each socket. The node's net.core.rmem_max bounds it.
    #[serde(default = "read_buffer_size")]
    pub read_buffer_size: Size<1024, 1_073_741_824>,
}

const fn port() -> u16 {
    2056
}
