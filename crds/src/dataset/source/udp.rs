//! `source.udp`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::common::{DataFormat, hint_rules, member_rules};
use crate::values::Size;

/// Datagrams of one or more lines each.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Udp {
    /// UDP port.
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
    /// Receive buffer asked of the kernel for each socket. The node's net.core.rmem_max bounds it.
    #[serde(default = "read_buffer_size")]
    pub read_buffer_size: Size<1024, 1_073_741_824>,
}

pub(super) fn read_buffer_size() -> Size<1024, 1_073_741_824> {
    Size::new(8 << 20)
}
