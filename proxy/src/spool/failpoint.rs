//! Places where a test makes the process die. They are in builds with debug assertions alone: nothing of it is in a
//! release.
//!
//! `BYTEFREEZER_FAILPOINT=name[:n]` aborts the process at the n-th passage (default 1). Operations that fail without a
//! crash are the business of a test's disk.

/// `failpoint!("name")` marks a step of the spool.
macro_rules! failpoint {
    ($name:literal) => {
        #[cfg(debug_assertions)]
        $crate::spool::failpoint::pass($name);
    };
}

#[cfg(debug_assertions)]
pub(super) fn pass(name: &str) {
    use std::sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    };
    static CHOSEN: OnceLock<Option<(String, u64)>> = OnceLock::new();
    static PASSED: AtomicU64 = AtomicU64::new(0);
    let chosen = CHOSEN.get_or_init(|| {
        let text = std::env::var("BYTEFREEZER_FAILPOINT").ok()?;
        let (name, count) = text.split_once(':').unwrap_or((&text, "1"));
        Some((name.to_owned(), count.parse().unwrap_or(1)))
    });
    if let Some((chosen, count)) = chosen
        && chosen == name
        && PASSED.fetch_add(1, Relaxed) + 1 == *count
    {
        std::process::abort();
    }
}
