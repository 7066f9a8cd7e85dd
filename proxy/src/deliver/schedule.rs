//! Which batch goes next. A pure state machine: the clock is passed in, the spool's answers are handed in.
//!
//! Tenants take turns, datasets take turns inside a tenant, the oldest batch of a dataset goes first. A decision looks
//! only at the datasets at the heads of the rings: one that cannot go is parked at the circuit that stops it, and
//! comes back when that is due or closes. See [`super::circuit`] for what is open, `docs/delivery.md` for the rules.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    time::{Duration, Instant, SystemTime},
};

use super::{
    circuit::{Circuit, CircuitStatus, Jitter, Pace, Recent, Scope},
    dataset::{Dataset, Place, Tenant, Timer},
};
use crate::{
    ids::{DatasetKey, TenantId},
    spool::{Entry, Failure, Stamp, State},
    throttle::Throttle,
};

mod ends;
#[cfg(test)]
mod tests;
mod turns;

/// Uploads in flight in the whole process, as a multiple of those per tenant.
const PROCESS_CAP: usize = 16;
/// Stalled uploads allowed beside them, as a multiple of that.
const STALLED_CAP: usize = 4;
/// Ready batches below which the spool is asked for more.
const LOW: usize = 8;
/// Batches asked for beyond those known.
const PAGE: usize = 32;
/// Batches between two attempts, above which no further ones of that dataset are taken on.
const WAITING_MAX: usize = 1024;
/// Entries in one step of a return, at most.
const RETURN_MAX: usize = 32;

/// What the configuration says.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `receiver.upload_worker_count`.
    pub per_tenant: usize,
    /// `spooling.retry_interval_seconds`.
    pub retry_interval: Duration,
    /// `spooling.dlq_auto_retry`.
    pub auto_return: bool,
    /// What is no setting.
    pub pace: Pace,
}

/// Something to do.
#[derive(Debug, Clone)]
pub enum Task {
    /// Upload this batch.
    Upload(Stamp),
    /// Put it into the DLQ: its tenant or dataset is not accepted now.
    Bury(Stamp, Failure),
    /// Upload the next DLQ entry after this one that can pass.
    DlqProbe(Option<Stamp>),
    /// Take entries out of the DLQ.
    Return {
        /// Beginning after this one.
        after: Option<Stamp>,
        /// How many.
        limit: usize,
    },
}

/// A task with its dataset.
#[derive(Debug, Clone)]
pub struct Job {
    /// Number, growing.
    pub id: u64,
    /// Whose.
    pub key: DatasetKey,
    /// What.
    pub task: Task,
    /// A circuit is open: a failure of the kind that opened it is no attempt.
    pub probe: bool,
}

/// What a job learnt of the Receiver.
#[derive(Debug, Clone)]
pub enum Answer {
    /// It took a batch.
    Accepted,
    /// It is there, and said something about this batch alone.
    Answered,
    /// It, or the way to it, is down.
    Unavailable(Failure, Option<Duration>),
    /// It does not accept the tenant (or else the dataset).
    Refused {
        /// The tenant.
        tenant: bool,
        /// What it said.
        failure: Failure,
    },
    /// Nothing was sent: no token.
    NoToken(Failure),
    /// Nothing was sent.
    Nothing,
}

/// What became of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Then {
    /// It left queue and retry.
    Left,
    /// It may go again at once.
    Again,
    /// It may go again after `retry_interval`.
    Later,
    /// A pass over the DLQ.
    Dlq {
        /// The entry looked at last.
        cursor: Option<Stamp>,
        /// There are no further ones.
        end: bool,
        /// Entries that left the DLQ.
        returned: usize,
    },
}

/// The end of a job.
#[derive(Debug, Clone)]
pub struct Report {
    /// About the Receiver.
    pub answer: Answer,
    /// About the batch.
    pub then: Then,
    /// A batch entered the DLQ.
    pub buried: bool,
}

enum Gate {
    Free,
    Probe,
    Divert(Failure),
    Park(Scope, bool),
}

/// Every circuit that concerns a dataset.
fn chain(key: &DatasetKey) -> [Scope; 3] {
    [Scope::Receiver, Scope::Tenant(key.tenant.clone()), Scope::Dataset(key.clone())]
}

/// The schedule.
#[derive(Debug)]
pub struct Schedule {
    settings: Settings,
    jitter: Jitter,
    receiver: Option<Circuit>,
    tenants: HashMap<TenantId, Tenant>,
    datasets: HashMap<DatasetKey, Dataset>,
    ring: VecDeque<TenantId>,
    due: VecDeque<(DatasetKey, Task)>,
    timers: BTreeSet<(Instant, Timer)>,
    hungry: BTreeSet<DatasetKey>,
    jobs: HashMap<u64, Job>,
    fresh: BTreeMap<u64, Instant>,
    next_id: u64,
    recent: Recent<TenantId>,
    open: [i64; 3],
    log: Log,
}

/// One line per kind in this time: a circuit may open and close with every batch of a healthy tenant beside a dead one.
const LOG_EVERY: Duration = Duration::from_secs(10);

#[derive(Debug)]
struct Log {
    receiver: Throttle,
    tenant: Throttle,
    dataset: Throttle,
    closed: Throttle,
}

impl Default for Log {
    fn default() -> Self {
        let throttle = || Throttle::new(LOG_EVERY);
        Self { receiver: throttle(), tenant: throttle(), dataset: throttle(), closed: throttle() }
    }
}

impl Log {
    fn opened(&self, scope: &Scope) -> Option<u64> {
        match scope {
            Scope::Receiver => self.receiver.pass(),
            Scope::Tenant(_) => self.tenant.pass(),
            Scope::Dataset(_) => self.dataset.pass(),
        }
    }
}

impl Schedule {
    /// An empty one.
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            jitter: Jitter::default(),
            receiver: None,
            tenants: HashMap::new(),
            datasets: HashMap::new(),
            ring: VecDeque::new(),
            due: VecDeque::new(),
            timers: BTreeSet::new(),
            hungry: BTreeSet::new(),
            jobs: HashMap::new(),
            fresh: BTreeMap::new(),
            next_id: 0,
            recent: Recent::default(),
            open: [0; 3],
            log: Log::default(),
        }
    }

    /// New settings. All that is known stays; circuits probe at once, since the cause may be mended.
    pub fn configure(&mut self, settings: Settings, now: Instant) {
        self.settings = settings;
        let mut scopes = vec![Scope::Receiver];
        scopes.extend(self.tenants.keys().cloned().map(Scope::Tenant));
        scopes.extend(self.datasets.keys().cloned().map(Scope::Dataset));
        for scope in scopes {
            if let Some(circuit) = self.circuit_mut(&scope) {
                circuit.next_probe = now.max(circuit.not_before);
                self.arm(&scope, now);
            }
        }
        let tenants: Vec<_> = self.tenants.keys().cloned().collect();
        for tenant in tenants {
            self.list_tenant(&tenant);
        }
    }

    /// The spool may hold something new of this dataset.
    pub fn touch(&mut self, key: DatasetKey) {
        self.hungry.insert(key);
    }

    /// Datasets whose entries are wanted, with the number to ask for.
    pub fn take_hungry(&mut self) -> Vec<(DatasetKey, usize)> {
        let hungry = std::mem::take(&mut self.hungry);
        hungry
            .into_iter()
            .filter_map(|key| {
                let Some(dataset) = self.datasets.get_mut(&key) else { return Some((key, PAGE)) };
                dataset.more = true;
                let wanted = dataset.ready.len() < LOW && dataset.waiting.len() < WAITING_MAX;
                wanted.then(|| (key, dataset.known() + PAGE))
            })
            .collect()
    }

    /// The oldest entries of a dataset in queue and retry, as many as were asked for or all, and whether its DLQ
    /// holds any.
    pub fn load(
        &mut self,
        key: &DatasetKey,
        entries: &[Entry],
        asked: usize,
        dlq: bool,
        now: Instant,
        wall: SystemTime,
    ) {
        if entries.is_empty() && !dlq && !self.datasets.contains_key(key) {
            return;
        }
        let interval = self.settings.retry_interval;
        let dataset = self.datasets.entry(key.clone()).or_default();
        dataset.more = entries.len() >= asked;
        for entry in entries.iter().filter(|entry| entry.state != State::Dlq) {
            if dataset.knows(entry.stamp) {
                continue;
            }
            let waited = entry.last_attempt.filter(|_| entry.attempts > 0).map_or(interval, |last| {
                // A clock that stepped back is no reason to wait longer than the interval.
                wall.duration_since(last).unwrap_or_default()
            });
            match interval.checked_sub(waited).filter(|rest| !rest.is_zero()) {
                Some(rest) => dataset.wait(entry.stamp, now + rest),
                None => drop(dataset.ready.insert(entry.stamp)),
            }
        }
        let lonely = dlq && !dataset.dlq.maybe && dataset.dlq.lonely.is_none();
        dataset.dlq.maybe |= dlq;
        if lonely {
            let wait = self.lonely_wait();
            if let Some(dataset) = self.datasets.get_mut(key) {
                dataset.dlq.lonely = Some(now + wait);
            }
        }
        self.tenants.entry(key.tenant.clone()).or_default().datasets.insert(key.clone());
        self.list(key);
        self.arm_dataset(key);
        self.forget_if_idle(key);
    }

    /// Whether nothing is left to upload.
    pub fn is_empty(&self) -> bool {
        self.jobs.is_empty()
            && self.hungry.is_empty()
            && self.datasets.values().all(|dataset| dataset.known() == 0 && !dataset.more)
    }

    /// When to call [`Self::next`] again although nothing happened.
    pub fn wakes_at(&self) -> Option<Instant> {
        let timer = self.timers.first().map(|(at, _)| *at);
        let slot = self.fresh.first_key_value().map(|(_, started)| *started + self.settings.pace.stalled);
        timer.into_iter().chain(slot.filter(|_| self.fresh.len() >= self.cap())).min()
    }

    /// The next job, `None` when nothing can be done now.
    pub fn next(&mut self, now: Instant) -> Option<Job> {
        self.fire_timers(now);
        while let Some((_, started)) = self.fresh.first_key_value()
            && *started + self.settings.pace.stalled <= now
        {
            self.fresh.pop_first();
        }
        let stalled = self.jobs.len() - self.fresh.len();
        if self.fresh.len() >= self.cap() || stalled >= self.cap() * STALLED_CAP {
            return None;
        }
        self.next_due(now).or_else(|| self.next_upload(now))
    }

    fn cap(&self) -> usize {
        self.settings.per_tenant.max(1) * PROCESS_CAP
    }

    fn next_due(&mut self, now: Instant) -> Option<Job> {
        while let Some((key, task)) = self.due.pop_front() {
            let Some(dataset) = self.datasets.get_mut(&key) else { continue };
            if !matches!(task, Task::DlqProbe(_)) {
                return Some(self.start(key, task, false, now));
            }
            dataset.dlq.busy = false;
            // Only what holds matters: a diverting circuit is what such a probe is for.
            match self.gate_holds(&key, now) {
                Gate::Park(..) => {}
                gate => {
                    let diverted = self.diverting(&key).is_some();
                    let probe = diverted || matches!(gate, Gate::Probe);
                    return Some(self.start(key, task, probe, now));
                }
            }
        }
        None
    }

    fn next_upload(&mut self, now: Instant) -> Option<Job> {
        while let Some(id) = self.ring.pop_front() {
            let Some(tenant) = self.tenants.get_mut(&id) else { continue };
            tenant.listed = false;
            if tenant.in_flight >= self.settings.per_tenant.max(1) {
                continue;
            }
            let Some(key) = tenant.ring.pop_front() else { continue };
            self.list_tenant(&id);
            let Some(dataset) = self.datasets.get_mut(&key) else { continue };
            dataset.place = Place::Idle;
            let gate = self.gate(&key, now);
            if matches!(gate, Gate::Free) {
                self.cool(&key, now);
            }
            let Some(stamp) = self.datasets.get(&key).and_then(|dataset| dataset.ready.first().copied())
            else {
                continue;
            };
            let (task, probe) = match gate {
                Gate::Park(scope, untried) => {
                    self.park(&key, &scope, untried);
                    continue;
                }
                Gate::Divert(failure) => (Task::Bury(stamp, failure), false),
                Gate::Probe => (Task::Upload(stamp), true),
                Gate::Free => (Task::Upload(stamp), false),
            };
            let job = self.start(key.clone(), task, probe, now);
            self.list(&key);
            return Some(job);
        }
        None
    }

    fn start(&mut self, key: DatasetKey, task: Task, probe: bool, now: Instant) -> Job {
        if probe {
            for scope in chain(&key) {
                self.probe_started(&scope, now);
            }
        }
        if let Some(dataset) = self.datasets.get_mut(&key) {
            match &task {
                Task::Upload(stamp) | Task::Bury(stamp, _) => {
                    dataset.ready.remove(stamp);
                    dataset.running.insert(*stamp);
                }
                Task::DlqProbe(_) | Task::Return { .. } => dataset.dlq.busy = true,
            }
            if dataset.ready.len() < LOW && dataset.more {
                self.hungry.insert(key.clone());
            }
        }
        if let Some(tenant) = self.tenants.get_mut(&key.tenant) {
            tenant.in_flight += 1;
        }
        self.next_id += 1;
        let job = Job { id: self.next_id, key, task, probe };
        self.jobs.insert(job.id, job.clone());
        self.fresh.insert(job.id, now);
        job
    }

    fn probe_started(&mut self, scope: &Scope, now: Instant) {
        let (pace, spread) = (self.settings.pace, self.jitter.spread());
        if let Some(circuit) = self.circuit_mut(scope) {
            circuit.probe_started(now, &pace, spread);
            circuit.take_next = false;
        }
    }

    fn gate(&self, key: &DatasetKey, now: Instant) -> Gate {
        if let Some(circuit) = self.diverting(key) {
            let idle = self.datasets.get(key).is_some_and(|dataset| dataset.running.is_empty());
            return if circuit.take_next && idle {
                match self.gate_holds(key, now) {
                    Gate::Free => Gate::Probe,
                    gate => gate,
                }
            } else {
                Gate::Divert(circuit.failure.clone())
            };
        }
        self.gate_holds(key, now)
    }

    fn diverting(&self, key: &DatasetKey) -> Option<&Circuit> {
        let tenant = self.tenants.get(&key.tenant).and_then(|tenant| tenant.circuit.as_ref());
        let dataset = self.datasets.get(key).and_then(|dataset| dataset.circuit.as_ref());
        tenant.into_iter().chain(dataset).find(|circuit| circuit.diverts())
    }

    fn gate_holds(&self, key: &DatasetKey, now: Instant) -> Gate {
        let Some(dataset) = self.datasets.get(key) else { return Gate::Free };
        let tenant = self.tenants.get(&key.tenant).and_then(|tenant| tenant.circuit.as_ref());
        let chain = [
            (dataset.circuit.as_ref(), Scope::Dataset(key.clone())),
            (tenant, Scope::Tenant(key.tenant.clone())),
            (self.receiver.as_ref(), Scope::Receiver),
        ];
        let mut gate = Gate::Free;
        for (circuit, scope) in chain {
            let Some(circuit) = circuit.filter(|circuit| !circuit.diverts()) else { continue };
            let untried = match scope {
                Scope::Receiver => !circuit.failed_tenants.contains(&key.tenant),
                Scope::Tenant(_) => !circuit.failed.contains(key) && now >= circuit.not_before,
                Scope::Dataset(_) => false,
            };
            let may = circuit.due(now) || (untried && circuit.untried_due(now, &self.settings.pace));
            if !dataset.running.is_empty() || !may {
                return Gate::Park(scope, untried);
            }
            gate = Gate::Probe;
        }
        gate
    }

    /// Number of open circuits: Receiver, tenants, datasets.
    pub fn open_circuits(&self) -> [i64; 3] {
        self.open
    }

    /// Open circuits, widest first.
    pub fn circuits(&self, now: Instant, wall: SystemTime) -> Vec<CircuitStatus> {
        let receiver = self.receiver.iter().map(|circuit| (Scope::Receiver, circuit));
        let tenants = self.tenants.iter().filter_map(|(id, tenant)| {
            tenant.circuit.as_ref().map(|circuit| (Scope::Tenant(id.clone()), circuit))
        });
        let datasets = self.datasets.iter().filter_map(|(key, dataset)| {
            dataset.circuit.as_ref().map(|circuit| (Scope::Dataset(key.clone()), circuit))
        });
        let mut open: Vec<_> = receiver.chain(tenants).chain(datasets).collect();
        open.sort_by(|a, b| a.0.cmp(&b.0));
        open.iter().map(|(scope, circuit)| circuit.status(scope, now, wall)).collect()
    }
}
