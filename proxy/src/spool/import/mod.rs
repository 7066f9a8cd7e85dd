//! Takes over what the old program left in the spool directory: single messages in `raw/`, batches in `queue/`,
//! `retry/` and `dlq/`. Steps and crash table: `docs/spool.md`, "Adopting an old spool".
//!
//! A batch of ours is made in `<directory>/.import/`, a journal says which old files it holds, and only then it moves
//! among the batches. The old files go when the batch is gone, so until then one can go back.

mod adopter;
pub(super) mod batch_file;
#[cfg(any(test, feature = "fuzzing"))]
pub(super) mod fuzzing;
mod journal;
mod metrics;
pub(super) mod old_files;
mod old_meta;
mod settle;
#[cfg(test)]
mod tests;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    thread::JoinHandle,
    time::Duration,
};

use adopter::Adopter;
use journal::Folder;
pub use metrics::ImportMetrics;

use super::{SpoolError, shared::Shared, thread};

/// How often a thread looks whether it is to end while it waits for recovery.
const STEP: Duration = Duration::from_millis(200);
/// How long another process that adopts has before we ask again.
const OTHERS_TURN: Duration = Duration::from_secs(30);
/// How often batches that are gone are looked for.
const SETTLE: Duration = Duration::from_secs(1);
/// Passes of settling between two looks at files that had no room or could not be read.
const AGAIN: u32 = 5;

/// Starts the thread. It waits for recovery, so that a batch made before a crash is found before it is looked for.
pub fn start(
    shared: &Arc<Shared>,
    directory: PathBuf,
    metrics: ImportMetrics,
) -> Result<JoinHandle<()>, SpoolError> {
    let shared = Arc::clone(shared);
    thread::start("spool-import", move || {
        while !shared.recovered.is_set() {
            if shared.abandoned.wait(STEP) {
                return;
            }
        }
        if thread::survives(|| run(&shared, &directory, metrics)).is_none() {
            tracing::error!(directory = %directory.display(), "the adoption of an old spool failed; its files stay, and the next start tries again");
        }
    })
}

fn run(shared: &Shared, directory: &Path, metrics: ImportMetrics) {
    if !Folder::exists(directory) && !old_files::any(directory) {
        return;
    }
    let folder = loop {
        match Folder::lock(directory) {
            Ok(Some(folder)) => break folder,
            Ok(None) => {}
            Err(error) => {
                tracing::warn!(directory = %directory.display(), %error, "an old spool cannot be adopted yet; trying again");
            }
        }
        if shared.abandoned.wait(OTHERS_TURN) {
            return;
        }
    };
    let mut adopter = Adopter::new(shared, folder, metrics);
    while !adopter.resume() {
        if shared.abandoned.wait(SETTLE * AGAIN) {
            return;
        }
    }
    adopter.pass();
    adopter.sum_up();
    let mut turn = 0;
    while adopter.has_work() {
        if shared.abandoned.wait(SETTLE) {
            return;
        }
        adopter.settle();
        turn = (turn + 1) % AGAIN;
        if turn == 0 && adopter.is_incomplete() {
            adopter.pass();
        }
    }
}
