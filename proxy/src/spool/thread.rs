//! Threads of the spool, and what a defect in one of them means.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    thread::{Builder, JoinHandle},
};

use super::SpoolError;

/// Starts a thread without which nothing is taken or kept. One that panics leaves half of a state behind that says what
/// is durable, so it cannot go on, and a process without it would refuse data for ever: the process ends at once, and
/// the next start goes on from what is synced.
pub fn essential(name: &str, run: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, SpoolError> {
    let thread = name.to_owned();
    start(name, move || {
        if survives(run).is_none() {
            // Not into the log: nobody would wait for it any more.
            eprintln!(
                "the thread {thread} failed: the process ends, and the next start goes on from what is synced"
            );
            std::process::abort();
        }
    })
}

/// Starts a thread that can end before the process does.
pub fn start(name: &str, run: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, SpoolError> {
    Builder::new().name(name.to_owned()).spawn(run).map_err(SpoolError::Thread)
}

/// What `run` returns, unless it panics; the panic hook has reported that.
pub fn survives<T>(run: impl FnOnce() -> T) -> Option<T> {
    catch_unwind(AssertUnwindSafe(run)).ok()
}
