//! Which batch goes next. A pure state machine: the clock is passed in, the spool's answers are handed in.
//!
//! Tenants take turns, datasets take turns inside a tenant, the oldest batch of a dataset goes first. A decision looks
//! only at the datasets at the heads of the rings: one that cannot go is parked at the circuit that stops it, and
//! comes back when that is due or closes. See [`super::circuit`] for what is open, `docs/delivery.md` for the rules.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    time::{Instant, SystemTime},
};

use super::{
    circuit::{Circuit, CircuitStatus, Jitter, Recent, Scope},
    dataset::{Dataset, Place, Tenant, Work},
    timers::Timers,
};
use crate::{
    ids::{DatasetKey, TenantId},
    spool::{Entry, State},
    throttle::Throttle,
};

mod ends;
mod gate;
mod job;
#[cfg(test)]
mod tests;
mod turns;

use gate::Gate;
pub use job::{Answer, Job, Report, Settings, Task, Then};

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
    timers: Timers,
    hungry: BTreeSet<DatasetKey>,
    jobs: HashMap<u64, Job>,
    fresh: BTreeMap<u64, Instant>,
    next_id: u64,
    recent: Recent<TenantId>,
    open: [i64; 3],
    log: Log,
}

/// One line per kind and interval: a circuit may open and close with every batch of a healthy tenant beside a dead one.
#[derive(Debug, Default)]
struct Log {
    receiver: Throttle,
    tenant: Throttle,
    dataset: Throttle,
    closed: Throttle,
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
            timers: Timers::default(),
            hungry: BTreeSet::new(),
            jobs: HashMap::new(),
            fresh: BTreeMap::new(),
            next_id: 0,
            recent: Recent::default(),
            open: [0; 3],
            log: Log::default(),
        }
    }

    /// New settings. All that is known stays; circuits probe at once, since the cause may be mended. `elsewhere`: the
    /// address or a token is another one, so what the Receiver asked for (`Retry-After`) does not hold any more.
    pub fn configure(&mut self, settings: Settings, elsewhere: bool, now: Instant) {
        self.settings = settings;
        let mut scopes = vec![Scope::Receiver];
        scopes.extend(self.tenants.keys().cloned().map(Scope::Tenant));
        scopes.extend(self.datasets.keys().cloned().map(Scope::Dataset));
        for scope in scopes {
            if let Some(circuit) = self.circuit_mut(&scope) {
                if elsewhere {
                    circuit.not_before = now;
                }
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
        if !dlq {
            dataset.dlq.set_empty();
        }
        let lonely = dlq && !dataset.dlq.maybe && dataset.dlq.lonely.is_none();
        dataset.dlq.maybe |= dlq;
        dataset.dlq.newer |= dlq;
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
        let timer = self.timers.first();
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
            dataset.dlq.work = Work::None;
            if self.is_busy(&key.tenant) {
                if self.diverting(&key).is_some() {
                    self.queue_for_turn(&key);
                } else {
                    self.probe_later(&key, now);
                }
                continue;
            }
            // Only what holds matters: a diverting circuit is what such a probe is for.
            match self.gate_holds(&key, now) {
                Gate::Park(..) => self.probe_later(&key, now),
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
            if self.is_busy(&id) {
                continue;
            }
            let Some(key) = self.tenants.get_mut(&id).and_then(|tenant| tenant.ring.pop_front()) else {
                continue;
            };
            self.list_tenant(&id);
            let Some(dataset) = self.datasets.get_mut(&key) else { continue };
            dataset.place = Place::Idle;
            if dataset.dlq.work == Work::Waits {
                dataset.dlq.work = Work::None;
                self.queue_dlq_probe(key.clone());
                self.list(&key);
                match self.next_due(now) {
                    None => continue,
                    job => return job,
                }
            }
            let gate = self.gate(&key, now);
            if matches!(gate, Gate::Free) {
                self.cool(&key, now);
            }
            let probe = matches!(gate, Gate::Probe);
            let Some(stamp) = self.datasets.get(&key).and_then(|dataset| dataset.choose(probe)) else {
                continue;
            };
            let task = match gate {
                Gate::Park(scope, untried) => {
                    self.park(&key, &scope, untried);
                    continue;
                }
                Gate::Divert(failure) => Task::Bury(stamp, failure),
                Gate::Probe | Gate::Free => Task::Upload(stamp),
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
                Task::DlqProbe(_) | Task::Return { .. } => {
                    dataset.dlq.work = Work::Goes;
                    dataset.dlq.newer = false;
                }
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
