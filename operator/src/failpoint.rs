//! Places where a test makes the process die, one at every boundary between two steps of the pipeline.
//!
//! `BYTEFREEZER_FAILPOINT=name[:n]` aborts the process at the n-th passage (default 1), as sudden as SIGKILL. Without the
//! variable a passage is one comparison. They are in releases too: the operator holds nothing that a death could lose,
//! and the tests on a cluster run what is shipped.

use std::sync::{
    OnceLock,
    atomic::{AtomicU64, Ordering::Relaxed},
};

/// Every name, in the order of a pass.
pub const NAMES: &[&str] = &[
    "gathered",
    "arbitrated",
    "built",
    "applied.ServiceAccount",
    "applied.Secret",
    "applied.ConfigMap",
    "applied.NetworkPolicy",
    "applied.PodDisruptionBudget",
    "applied.Service",
    "applied.StatefulSet",
    "applied.DaemonSet",
    "removed.orphan",
    "applied",
    "acknowledged",
    "written.Proxy",
    "written.ProxyDataset",
];

struct Chosen {
    name: String,
    at: u64,
    passed: AtomicU64,
}

/// Dies here when this is the chosen one.
pub fn pass(name: &str) {
    static CHOSEN: OnceLock<Option<Chosen>> = OnceLock::new();
    let chosen = CHOSEN.get_or_init(|| {
        let text = std::env::var("BYTEFREEZER_FAILPOINT").ok()?;
        let (name, count) = text.split_once(':').unwrap_or((&text, "1"));
        Some(Chosen { name: name.to_owned(), at: count.parse().unwrap_or(1), passed: AtomicU64::new(0) })
    });
    let Some(chosen) = chosen else { return };
    if chosen.name == name && chosen.passed.fetch_add(1, Relaxed) + 1 == chosen.at {
        std::process::abort();
    }
}
