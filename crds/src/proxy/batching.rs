//! How lines become batches.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::values::{NO_LIMIT, Seconds, Size, YEAR};

/// How lines become batches: whichever limit is reached first closes one.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Batching {
    /// Most lines of a batch; 0 is no limit.
    #[schemars(range(min = 0, max = 9_007_199_254_740_991_u64))]
    pub max_lines: u64,
    /// Most bytes of a batch, compressed; 0 means receiver.maxPayloadSize.
    pub max_bytes: Size<0, NO_LIMIT>,
    /// A batch is closed this long after its first line.
    pub timeout: Seconds<1, YEAR>,
    /// Whether lines are compressed. false stores them; the body stays gzip.
    pub compression_enabled: bool,
    /// Compression level at rest: 1 is fast, 9 is small.
    #[schemars(range(min = 1, max = 9))]
    pub compression_level: u32,
    /// Whether the level falls towards 1 while queues fill.
    pub compression_adaptive: bool,
}

impl Default for Batching {
    fn default() -> Self {
        Self {
            max_lines: 0,
            max_bytes: Size::new(1 << 20),
            timeout: Seconds::new(30),
            compression_enabled: true,
            compression_level: 6,
            compression_adaptive: true,
        }
    }
}
