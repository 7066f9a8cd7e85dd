//! The volume.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::values::{Days, Milliseconds, ObjectName, Seconds, Size, YEAR, rules};

/// Smallest volume: below it the log alone would need more than its share.
pub const LEAST_SIZE: u64 = 256 << 20;
/// Largest volume.
pub const MOST_SIZE: u64 = 1 << 50;
/// Least room for queue or dead letters.
pub const LEAST_SHARE: u64 = 1 << 20;

fn spool_rules() -> serde_json::Value {
    rules(&[(
        "(has(self.maxSize) ? quantity(self.maxSize).asInteger() * 10 : quantity(self.size).asInteger() * 6) + \
         (has(self.dlqMaxSize) ? quantity(self.dlqMaxSize).asInteger() * 10 : quantity(self.size).asInteger() * 3) \
         <= quantity(self.size).asInteger() * 9",
        "maxSize (default 60 % of size) and dlqMaxSize (default 30 %) together take more than 90 % of size: \
         lower one of them or raise size",
    )])
}

fn path_rules() -> serde_json::Value {
    rules(&[(
        "self.startsWith('/') && size(self) > 1 && !self.contains('//') && !self.split('/').exists(p, p == '.' || p == '..')",
        "is no absolute path: write one such as /var/lib/bytefreezer, without . and ..",
    )])
}

/// What is not delivered yet.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-validations" = spool_rules()))]
pub struct Spool {
    /// Size of each pod's volume; for a DaemonSet, what a pod may use of its node's disk. Volumes grow when this does,
    /// where their class can grow; they never shrink.
    pub size: Size<LEAST_SIZE, MOST_SIZE>,
    /// Class of the volume claims. Default: the cluster's default class. StatefulSet only; cannot be changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub storage_class_name: Option<ObjectName>,
    /// Folder of the nodes, below which each Proxy has one of its own. Default `/var/lib/bytefreezer`. DaemonSet only;
    /// cannot be changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256), extend("x-kubernetes-validations" = path_rules()))]
    pub host_path: Option<String>,
    /// Most bytes of undelivered batches. Default: 60 % of size. When it is reached, senders that can wait are made to
    /// wait, and UDP's oldest batches go to the dead-letter queue.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_size: Option<Size<LEAST_SHARE, MOST_SIZE>>,
    /// Most bytes of the dead-letter queue. Default: 30 % of size. When it is reached, its oldest entries are deleted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dlq_max_size: Option<Size<LEAST_SHARE, MOST_SIZE>>,
    /// Failed uploads of a batch before it goes to the dead-letter queue; 0 sends it there at the first failure.
    #[schemars(range(min = 0, max = 4_294_967_295_u32))]
    pub retry_attempts: u32,
    /// Least time between two attempts of one batch.
    pub retry_interval: Seconds<1, YEAR>,
    /// How often age and dead-letter limits are applied.
    pub cleanup_interval: Seconds<1, YEAR>,
    /// Older batches go to the dead-letter queue. Whole days; 0s is never.
    pub max_age: Days<0, 36_500>,
    /// Longest time a line without acknowledgement (UDP, TCP) waits until it is safe on disk.
    pub sync_interval: Milliseconds<1, 60_000>,
    /// Whether dead letters whose cause can pass (network, tokens, unknown datasets) return by themselves.
    pub dlq_auto_retry: bool,
}

impl Default for Spool {
    fn default() -> Self {
        Self {
            size: Size::new(20 << 30),
            storage_class_name: None,
            host_path: None,
            max_size: None,
            dlq_max_size: None,
            retry_attempts: 5,
            retry_interval: Seconds::new(60),
            cleanup_interval: Seconds::new(300),
            max_age: Days::new(0),
            sync_interval: Milliseconds::new(200),
            dlq_auto_retry: true,
        }
    }
}
