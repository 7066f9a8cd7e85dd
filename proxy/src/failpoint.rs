//! Places where a test makes the process die. They are in builds with debug assertions alone: nothing of it is in a
//! release.
//!
//! `BYTEFREEZER_FAILPOINT=name[:n[:panic]]` aborts the process at the n-th passage (default 1), or panics there. Operations
//! that fail without a crash are the business of a test's disk.

/// `failpoint!("name")` marks a step.
macro_rules! failpoint {
    ($name:literal) => {
        #[cfg(debug_assertions)]
        $crate::failpoint::pass($name);
    };
}

#[cfg(debug_assertions)]
struct Chosen {
    name: String,
    passage: u64,
    panics: bool,
}

#[cfg(debug_assertions)]
impl Chosen {
    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split(':');
        Some(Self {
            name: parts.next()?.to_owned(),
            passage: parts.next().map_or(1, |count| count.parse().unwrap_or(1)),
            panics: parts.next() == Some("panic"),
        })
    }
}

#[cfg(debug_assertions)]
pub(crate) fn pass(name: &str) {
    use std::sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    };
    static CHOSEN: OnceLock<Option<Chosen>> = OnceLock::new();
    static PASSED: AtomicU64 = AtomicU64::new(0);
    let chosen = CHOSEN.get_or_init(|| Chosen::parse(&std::env::var("BYTEFREEZER_FAILPOINT").ok()?));
    if let Some(chosen) = chosen
        && chosen.name == name
        && PASSED.fetch_add(1, Relaxed) + 1 == chosen.passage
    {
        assert!(!chosen.panics, "failpoint {name}");
        std::process::abort();
    }
}
