//! What a dataset says about its batches.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::values::{NO_LIMIT, Seconds, Size, YEAR};

/// Limits of one dataset's batches; what is left out is taken from the Proxy.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct DatasetBatching {
    /// Most lines of a batch; 0 is no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 9_007_199_254_740_991_u64))]
    pub max_lines: Option<u64>,
    /// Most bytes of a batch, compressed; 0 means the Proxy's receiver.maxPayloadSize.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_bytes: Option<Size<0, NO_LIMIT>>,
    /// A batch is closed this long after its first line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Seconds<1, YEAR>>,
    /// Whether lines are compressed. false stores them; the body stays gzip.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compression_enabled: Option<bool>,
    /// Compression level at rest: 1 is fast, 9 is small.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 9))]
    pub compression_level: Option<u32>,
    /// Whether the level falls towards 1 while queues fill.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compression_adaptive: Option<bool>,
}
