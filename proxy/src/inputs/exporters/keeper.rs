//! The task that writes down what exporters have taught.

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::{
    runtime::Handle,
    task::{JoinHandle, spawn_blocking},
    time::sleep,
};
use tokio_util::sync::CancellationToken;

use super::FlowMemory;

/// How often it looks for what is new.
const EVERY: Duration = Duration::from_secs(3);

/// See the module. It ends with [`Keeper::stop`].
#[derive(Debug)]
pub struct Keeper {
    kept: Arc<Mutex<Vec<Arc<FlowMemory>>>>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Keeper {
    /// With nothing to keep yet.
    pub fn start(runtime: &Handle) -> Self {
        let (kept, stop) = (Arc::default(), CancellationToken::new());
        let task = runtime.spawn(run(Arc::clone(&kept), stop.clone()));
        Self { kept, stop, task }
    }

    /// What is kept from now on; what is not any more is written down for the last time.
    pub async fn set(&self, memories: Vec<Arc<FlowMemory>>) {
        let before = std::mem::replace(&mut *self.kept.lock(), memories.clone());
        let gone = before.into_iter().filter(|one| !memories.iter().any(|other| Arc::ptr_eq(one, other)));
        finish(gone.collect()).await;
    }

    /// Writes everything down and ends.
    pub async fn stop(self) {
        self.stop.cancel();
        let _ = self.task.await;
        let last = std::mem::take(&mut *self.kept.lock());
        finish(last).await;
    }
}

async fn run(kept: Arc<Mutex<Vec<Arc<FlowMemory>>>>, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = sleep(EVERY) => {}
        }
        let now = kept.lock().clone();
        if !now.is_empty() {
            // One that panics is tried again with the rest.
            let _ = spawn_blocking(move || now.iter().for_each(|memory| memory.keep())).await;
        }
    }
}

async fn finish(memories: Vec<Arc<FlowMemory>>) {
    if !memories.is_empty() {
        let _ = spawn_blocking(move || memories.iter().for_each(|memory| memory.finish())).await;
    }
}
