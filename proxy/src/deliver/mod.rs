//! Delivery: from the spool's closed batches to the Receiver, and back from the DLQ. Rules: `docs/delivery.md`.
//!
//! ```text
//! spool.changed() -> schedule (pure: whose turn, circuits, back-off) -> job -> worker (upload, then tell the spool)
//!                        ^------------------- report --------------------------'
//! ```
//! One task owns the schedule's progress; each job is a task of its own, so nothing waits behind a slow upload.

#![deny(clippy::indexing_slicing)]

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use tokio::{
    sync::Notify,
    task::{JoinHandle, JoinSet},
};
use tokio_util::sync::CancellationToken;

mod body;
mod circuit;
mod client;
mod dataset;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
mod metrics;
mod outcome;
mod schedule;
#[cfg(test)]
mod tests;
mod timers;
mod token;
mod unsure;
mod worker;

pub use circuit::CircuitStatus;
pub use metrics::Totals;
pub use outcome::{can_pass, label};

use self::{
    circuit::Pace,
    client::Clients,
    metrics::{DeliverMetrics, ScopeLabel},
    schedule::{Answer, Report, Schedule, Settings, Then},
    token::TokenStore,
    unsure::Unsure,
    worker::{Link, Worker},
};
use crate::{
    config::{Config, Receiver, Spooling, Tokens},
    metrics::Metrics,
    spool::{SpoolHandle, State},
    vital::Vitals,
};

/// Time for jobs to write down their end after the grace.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// What delivery needs of the rest of the process.
#[derive(Debug)]
pub struct DeliverParts {
    /// Where to.
    pub receiver: Receiver,
    /// With what.
    pub tokens: Tokens,
    /// Attempts, intervals, return.
    pub spooling: Spooling,
    /// `{app}/{version}`.
    pub user_agent: String,
    /// Batches.
    pub spool: SpoolHandle,
    /// Registry.
    pub metrics: Arc<Metrics>,
    /// Told when delivery meets a defect.
    pub vitals: Vitals,
}

/// Running delivery.
#[derive(Debug)]
pub struct Deliverer {
    shared: Arc<Shared>,
    task: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Debug)]
struct Shared {
    schedule: Mutex<Schedule>,
    worker: Arc<Worker>,
    user_agent: String,
    pace: Pace,
    wake: Notify,
    draining: AtomicBool,
    drained: Notify,
}

impl Deliverer {
    /// Starts delivering what the spool holds.
    pub fn start(parts: DeliverParts) -> Self {
        Self::start_with(parts, Pace::default())
    }

    fn start_with(parts: DeliverParts, pace: Pace) -> Self {
        let clients = Clients::new(&parts.receiver, &parts.user_agent);
        if let Err(error) = clients.get() {
            tracing::warn!("batches wait: {error}");
        }
        let worker = Worker {
            spool: parts.spool,
            metrics: DeliverMetrics::new(&parts.metrics),
            link: ArcSwap::from_pointee(link(clients, &parts.receiver, &parts.spooling)),
            tokens: TokenStore::new(parts.tokens),
            cancel: CancellationToken::new(),
            sending: Mutex::default(),
            unsure: Unsure::default(),
            log: worker::BatchLog::default(),
        };
        let schedule = Schedule::new(settings(&parts.receiver, &parts.spooling, pace));
        let shared = Arc::new(Shared {
            schedule: Mutex::new(schedule),
            worker: Arc::new(worker),
            user_agent: parts.user_agent,
            pace,
            wake: Notify::new(),
            draining: AtomicBool::new(false),
            drained: Notify::new(),
        });
        let driver = Driver::new(Arc::clone(&shared));
        let task = tokio::spawn(async move {
            parts.vitals.watch("delivery", driver.run()).await;
        });
        Self { shared, task: Mutex::new(Some(task)) }
    }

    /// Goes on with another configuration; nothing that is known or running is lost. On an error all stays as it was.
    pub fn configure(&self, config: &Config) -> Result<(), String> {
        let shared = &self.shared;
        let clients = Clients::new(&config.receiver, &shared.user_agent);
        // Where delivery waits for the file already, the rest of the configuration need not wait, too.
        if let Err(error) = clients.get()
            && shared.worker.link.load().clients.get().is_ok()
        {
            return Err(error);
        }
        let before = shared.worker.link.swap(Arc::new(link(clients, &config.receiver, &config.spooling)));
        let elsewhere = shared.worker.tokens.configure(&config.tokens)
            || before.clients.base_url() != config.receiver.base_url;
        let settings = settings(&config.receiver, &config.spooling, shared.pace);
        shared.schedule.lock().configure(settings, elsewhere, Instant::now());
        shared.wake.notify_one();
        Ok(())
    }

    /// What does not work now.
    pub fn circuits(&self) -> Vec<CircuitStatus> {
        self.shared.schedule.lock().circuits(Instant::now(), SystemTime::now())
    }

    /// What it came to since start.
    pub fn totals(&self) -> Totals {
        self.shared.worker.metrics.totals()
    }

    /// Goes on until nothing closed is left or the grace is over, then ends. What is left stays in the spool.
    pub async fn stop(&self, grace: Duration) {
        self.shared.draining.store(true, Ordering::Release);
        self.shared.wake.notify_one();
        let task = self.task.lock().take();
        // One that met a defect drains nothing any more.
        if task.as_ref().is_some_and(|task| !task.is_finished()) {
            let _ = tokio::time::timeout(grace, self.shared.drained.notified()).await;
        }
        self.shared.worker.cancel.cancel();
        if let Some(task) = task {
            let _ = task.await;
        }
    }
}

impl Drop for Deliverer {
    fn drop(&mut self) {
        self.shared.worker.cancel.cancel();
    }
}

fn link(clients: Clients, receiver: &Receiver, spooling: &Spooling) -> Link {
    Link { clients, max_payload_size: receiver.max_payload_size, retry_attempts: spooling.retry_attempts }
}

fn settings(receiver: &Receiver, spooling: &Spooling, pace: Pace) -> Settings {
    Settings {
        per_tenant: receiver.upload_worker_count,
        retry_interval: spooling.retry_interval,
        auto_return: spooling.dlq_auto_retry,
        pace,
    }
}

/// The task that turns the schedule.
struct Driver {
    shared: Arc<Shared>,
    jobs: JoinSet<Report>,
    ids: HashMap<tokio::task::Id, u64>,
    /// The spool changed since the last look at it.
    stale: bool,
}

impl Driver {
    fn new(shared: Arc<Shared>) -> Self {
        Self { shared, jobs: JoinSet::new(), ids: HashMap::new(), stale: true }
    }

    async fn run(mut self) {
        let shared = Arc::clone(&self.shared);
        let cancel = shared.worker.cancel.clone();
        for key in shared.worker.spool.datasets() {
            shared.schedule.lock().touch(key);
        }
        loop {
            let draining = shared.draining.load(Ordering::Acquire);
            if std::mem::take(&mut self.stale) || draining {
                self.look();
            }
            self.start_jobs();
            failpoint!("deliver.turn");
            if draining && shared.schedule.lock().is_empty() {
                shared.drained.notify_one();
            }
            let wakes_at = shared.schedule.lock().wakes_at();
            tokio::select! {
                () = cancel.cancelled() => break,
                Some(ended) = self.jobs.join_next_with_id(), if !self.jobs.is_empty() => self.ended(ended),
                () = shared.worker.spool.changed() => self.stale = true,
                () = shared.wake.notified() => {}
                () = sleep_until(wakes_at) => {}
            }
            while let Some(ended) = self.jobs.try_join_next_with_id() {
                self.ended(ended);
            }
        }
        let rest = async { while self.jobs.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(LAST_WORDS, rest).await;
    }

    /// Asks the spool about the datasets that changed.
    fn look(&self) {
        let touched = self.shared.worker.spool.take_touched();
        let mut schedule = self.shared.schedule.lock();
        for key in touched {
            schedule.touch(key);
        }
    }

    fn refill(&self) {
        let spool = &self.shared.worker.spool;
        let hungry = self.shared.schedule.lock().take_hungry();
        for (key, limit) in hungry {
            let entries = spool.entries(&key, &[State::Queue, State::Retry], None, limit);
            let dlq = !spool.entries(&key, &[State::Dlq], None, 1).is_empty();
            let mut schedule = self.shared.schedule.lock();
            schedule.load(&key, &entries, limit, dlq, Instant::now(), SystemTime::now());
        }
    }

    fn start_jobs(&mut self) {
        loop {
            self.refill();
            let job = self.shared.schedule.lock().next(Instant::now());
            let Some(job) = job else { break };
            let id = job.id;
            let worker = Arc::clone(&self.shared.worker);
            let handle = self.jobs.spawn(async move { worker.run(&job).await });
            self.ids.insert(handle.id(), id);
        }
        let counts = self.shared.schedule.lock().open_circuits();
        for (scope, open) in ["receiver", "tenant", "dataset"].into_iter().zip(counts) {
            self.shared.worker.metrics.circuits.get_or_create(&ScopeLabel { scope }).set(open);
        }
    }

    fn ended(&mut self, ended: Result<(tokio::task::Id, Report), tokio::task::JoinError>) {
        let (task, report) = match ended {
            Ok(ended) => ended,
            Err(error) => {
                tracing::warn!(%error, "a delivery task failed; its batch is tried again");
                let report = Report { answer: Answer::Nothing, then: Then::Later, buried: false };
                (error.id(), report)
            }
        };
        if let Some(id) = self.ids.remove(&task) {
            self.shared.schedule.lock().finish(id, &report, Instant::now(), SystemTime::now());
        }
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}
