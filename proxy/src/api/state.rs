//! What the API shows and can do; filled once by whoever starts the process.

use std::{
    fmt,
    sync::{Arc, atomic::AtomicBool},
    time::Instant,
};

use arc_swap::ArcSwap;
use futures_util::future::BoxFuture;
use jiff::Timestamp;
use tokio::sync::Semaphore;

use super::SpoolTrouble;
use crate::{
    config::{Config, RefusedInput},
    deliver::{CircuitStatus, Totals},
    inputs::{ExporterQuery, ExporterRow, InputStatus, ListenerStatus, senders::Senders},
    ledger::Ledger,
    metrics::Metrics,
    spool::SpoolHandle,
    vital::Vitals,
};

/// Requests that may wait for a change at a time.
const LONG_POLLS: usize = 32;

/// The configuration that runs.
#[derive(Debug, Clone)]
pub struct Running {
    /// The settings.
    pub config: Config,
    /// Names this configuration; the same text has the same hash.
    pub hash: String,
    /// 1 at start, one more with each reload.
    pub generation: u64,
    /// When it was applied.
    pub since: Timestamp,
    /// What of it does not run, with line and remedy: one text per input or key.
    pub left_out: Vec<String>,
    /// Its inputs that do not run as written.
    pub refused: Vec<RefusedInput>,
    /// Its keys that take effect at the next start: the process was started with other values.
    pub needs_restart: Vec<&'static str>,
}

/// What delivery has done since start, and what holds it up.
#[derive(Debug, Clone, Default)]
pub struct Delivery {
    /// Batches, bytes, failures.
    pub totals: Totals,
    /// Circuits that are open.
    pub circuits: Vec<CircuitStatus>,
}

type Ask<T> = Box<dyn Fn() -> T + Send + Sync>;
type Find<Q, T> = Box<dyn Fn(&Q) -> T + Send + Sync>;

/// Shared by all requests.
pub struct ApiState {
    /// The program's version.
    pub version: &'static str,
    /// The configuration that runs; swapped by a reload.
    pub running: Arc<ArcSwap<Running>>,
    /// Batches.
    pub spool: SpoolHandle,
    /// Events by place.
    pub ledger: Arc<Ledger>,
    /// Registry.
    pub metrics: Arc<Metrics>,
    /// Who sends.
    pub senders: Arc<Senders>,
    /// Inputs now.
    pub inputs: Ask<Vec<InputStatus>>,
    /// Listeners now.
    pub listeners: Ask<Vec<ListenerStatus>>,
    /// Exporters of flow records now.
    pub exporters: Find<ExporterQuery, Vec<ExporterRow>>,
    /// Delivery now.
    pub delivery: Ask<Delivery>,
    /// What the spool suffers from.
    pub spool_trouble: Ask<SpoolTrouble>,
    /// Why memory holds intake up, if so.
    pub memory_problem: Ask<Option<String>>,
    /// Why the configuration file as it is now does not run, if so.
    pub config_problem: Ask<Option<String>>,
    /// Reads the configuration again and applies it: the number of inputs, or why it was not applied.
    pub reload: Ask<BoxFuture<'static, Result<usize, String>>>,
    /// Whether the process is about to end its intake: it is not ready any more.
    pub leaving: AtomicBool,
    /// When the process started.
    pub started: Instant,
    /// Told when a port of the API meets a defect.
    pub vitals: Vitals,
    /// See [`LONG_POLLS`].
    pub long_polls: Arc<Semaphore>,
}

impl ApiState {
    /// Room for requests that wait.
    pub fn long_polls() -> Arc<Semaphore> {
        Arc::new(Semaphore::new(LONG_POLLS))
    }
}

impl fmt::Debug for ApiState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiState").field("version", &self.version).finish_non_exhaustive()
    }
}
