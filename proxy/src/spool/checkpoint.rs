//! Shortens the log in the background: syncs batch files so that segments are not needed, and removes segments.

use std::{
    collections::HashSet,
    io,
    sync::{Arc, atomic::Ordering::Relaxed},
    thread::JoinHandle,
    time::Duration,
};

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};

use super::{
    Shared, SpoolError, Stamp, disk::DiskFile, filer::Filer, files::Tree, open_batch::Building,
    store::missing_is_fine, thread,
};
use crate::ids::DatasetKey;

/// A batch to make durable, and the segment from which on it needs the log afterwards (open batches).
pub type Wanted = (Arc<Building>, Option<u32>);

/// What the thread has done.
#[derive(Debug)]
pub enum Answer {
    /// The batches are durable in their files; they need the log from the given segment on, or not at all.
    Durable(Vec<(Stamp, Option<u32>)>),
    /// Segments up to this one are gone.
    Retired(u32),
    /// A segment to go on in, without a header yet.
    Prepared(u32, Box<dyn DiskFile>),
    /// Something failed and was reported; why the log could not be shortened, if it was that.
    Failed(Option<String>),
}

#[derive(Debug)]
enum Work {
    /// Make a segment ahead of time.
    Prepare { number: u32, bytes: u64 },
    /// Make batches durable.
    Batches { batches: Vec<Wanted>, written: Receiver<()>, lanes: usize },
    /// Remove segments, once the removal of finished batches' files is durable: else such a file could come back
    /// without its frames, and shorter.
    Retire { segments: Vec<u32>, folders: HashSet<DatasetKey> },
}

/// The thread, and whether it works.
#[derive(Debug)]
pub struct Checkpointer {
    work: Sender<Work>,
    /// Where answers come in.
    pub answers: Receiver<Answer>,
    thread: JoinHandle<()>,
    busy: bool,
    preparing: bool,
}

impl Checkpointer {
    /// Starts the thread.
    pub fn start(shared: &Arc<Shared>) -> Result<Self, SpoolError> {
        let (work, jobs) = unbounded();
        let (answer, answers) = unbounded();
        let shared = Arc::clone(shared);
        let thread = thread::essential("spool-sync", move || run(&shared, &jobs, &answer))?;
        Ok(Self { work, answers, thread, busy: false, preparing: false })
    }

    /// Whether something is under way.
    pub fn busy(&self) -> bool {
        self.busy
    }

    /// Whether that makes the log shorter.
    pub fn shortens(&self) -> bool {
        self.busy && !self.preparing
    }

    /// The writer has the answer.
    pub fn finished(&mut self) {
        self.busy = false;
        self.preparing = false;
    }

    /// Makes batches durable; all their bytes have been handed to the filer.
    pub fn make_durable(&mut self, batches: Vec<Wanted>, filer: &Filer) {
        let (done, written) = bounded(16);
        let lanes = filer.barrier(&done);
        self.busy = self.work.send(Work::Batches { batches, written, lanes }).is_ok();
    }

    /// Removes segments, oldest first; `folders` are those of batches finished since the last time.
    pub fn retire(&mut self, segments: Vec<u32>, folders: HashSet<DatasetKey>) {
        self.busy = self.work.send(Work::Retire { segments, folders }).is_ok();
    }

    /// Makes a segment ahead of time.
    pub fn prepare(&mut self, number: u32, bytes: u64) {
        self.busy = self.work.send(Work::Prepare { number, bytes }).is_ok();
        self.preparing = self.busy;
    }

    /// Ends the thread.
    pub fn stop(self) {
        drop(self.work);
        drop(self.thread.join());
    }
}

fn run(shared: &Shared, jobs: &Receiver<Work>, answer: &Sender<Answer>) {
    // Folders whose sync failed are owed until it succeeds.
    let mut owed = HashSet::new();
    for work in jobs {
        let shortens = !matches!(work, Work::Prepare { .. });
        let result = match work {
            Work::Prepare { number, bytes } => {
                prepare(shared, number, bytes).map(|file| Answer::Prepared(number, file))
            }
            Work::Batches { batches, written, lanes } => {
                let arrived = (0..lanes).all(|_| written.recv().is_ok());
                if !arrived || shared.abandoned.is_set() {
                    return;
                }
                make_durable(shared, &batches).map(|()| {
                    shared.metrics().checkpointed.inc_by(batches.len() as u64);
                    shared.metrics().checkpoints.inc();
                    Answer::Durable(batches.iter().map(|(file, needed)| (file.name.stamp, *needed)).collect())
                })
            }
            Work::Retire { segments, folders } => {
                owed.extend(folders);
                retire(shared, &segments, &mut owed).map(Answer::Retired)
            }
        };
        failpoint!("checkpoint.synced");
        let done = result.unwrap_or_else(|error| {
            shared.metrics().file_failures.inc();
            if shared.told_sync.pass().is_some() {
                tracing::warn!(%error, "the log cannot be shortened or prolonged in the background now; trying again");
            }
            shared.abandoned.wait(Duration::from_secs(1));
            Answer::Failed(shortens.then(|| error.to_string()))
        });
        if answer.send(done).is_err() {
            return;
        }
    }
}

fn prepare(shared: &Shared, number: u32, bytes: u64) -> io::Result<Box<dyn DiskFile>> {
    let store = &shared.store;
    let path = store.layout.segment(number);
    let file = store.disk.create(&path, bytes)?;
    if let Err(error) = store.disk.sync_dir(&store.layout.log()) {
        let _ = store.disk.remove(&path);
        return Err(error);
    }
    failpoint!("segment.prepared");
    Ok(file)
}

fn make_durable(shared: &Shared, batches: &[Wanted]) -> io::Result<()> {
    let store = &shared.store;
    failpoint!("checkpoint.begin");
    // A file may move to the other tree meanwhile; one that is in neither was delivered.
    for (file, _) in batches {
        for tree in [Tree::Batches, Tree::Dlq, Tree::Batches] {
            let len = file.len.load(Relaxed);
            missing_is_fine(store.sync_data(&store.layout.data(tree, &file.name), len))?;
        }
    }
    failpoint!("checkpoint.files");
    let keys: HashSet<&DatasetKey> = batches.iter().map(|(file, _)| &file.name.key).collect();
    store.sync_folders(keys.into_iter())
}

fn retire(shared: &Shared, segments: &[u32], owed: &mut HashSet<DatasetKey>) -> io::Result<u32> {
    let store = &shared.store;
    store.sync_folders(owed.iter())?;
    owed.clear();
    failpoint!("retire.folders");
    let mut last = 0;
    for number in segments {
        missing_is_fine(store.disk.remove(&store.layout.segment(*number)))?;
        failpoint!("retire.removed");
        store.disk.sync_dir(&store.layout.log())?;
        failpoint!("retire.synced");
        shared.metrics().segments_removed.inc();
        last = *number;
    }
    Ok(last)
}
