//! `source.netflow`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    flows::{Exporting, Flows},
    udp::read_buffer_size,
};
use crate::values::Size;

/// Flow records by NetFlow 5, 7 and 9 over UDP.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Netflow {
    /// UDP port.
    #[serde(default = "port")]
    #[schemars(range(min = 1, max = 65535))]
    pub port: u16,
    #[serde(flatten)]
    #[allow(missing_docs)]
    pub flows: Flows,
    #[serde(flatten)]
    #[allow(missing_docs)]
    pub exporting: Exporting,
    /// Receive buffer asked of the kernel for each socket. The node's net.core.rmem_max bounds it.
    #[serde(default = "read_buffer_size")]
    pub read_buffer_size: Size<1024, 1_073_741_824>,
}

const fn port() -> u16 {
    2055
}
