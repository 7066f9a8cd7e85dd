//! Whose turn it is: rings of tenants and datasets, those parked at circuits, and timers that bring them back.

use std::{
    collections::VecDeque,
    ops::Bound,
    time::{Duration, Instant},
};

use super::{LOW, Schedule, Task};
use crate::{
    deliver::{
        circuit::{Circuit, Scope},
        dataset::{Place, Returning, Work},
        timers::Timer,
    },
    ids::{DatasetKey, TenantId},
};

impl Schedule {
    pub(super) fn list(&mut self, key: &DatasetKey) {
        let Some(dataset) = self.datasets.get_mut(key) else { return };
        if dataset.place == Place::Idle && (!dataset.ready.is_empty() || dataset.dlq.work == Work::Waits) {
            dataset.place = Place::Listed;
            if let Some(tenant) = self.tenants.get_mut(&key.tenant) {
                tenant.ring.push_back(key.clone());
            }
            self.list_tenant(&key.tenant);
        }
    }

    pub(super) fn list_tenant(&mut self, id: &TenantId) {
        if let Some(tenant) = self.tenants.get_mut(id)
            && !tenant.listed
            && !tenant.ring.is_empty()
        {
            tenant.listed = true;
            self.ring.push_back(id.clone());
        }
    }

    pub(super) fn park(&mut self, key: &DatasetKey, scope: &Scope, untried: bool) {
        let Some(circuit) = self.circuit_mut(scope) else { return };
        let queue = if untried { &mut circuit.untried } else { &mut circuit.parked };
        queue.push_back(key.clone());
        if let Some(dataset) = self.datasets.get_mut(key) {
            dataset.place = Place::Parked;
            // One that has a job running comes back when that ends.
            if dataset.running.is_empty() {
                self.arm_circuit(scope);
            }
        }
    }

    pub(super) fn unpark(&mut self, key: &DatasetKey) {
        if let Some(dataset) = self.datasets.get_mut(key) {
            dataset.place = Place::Idle;
        }
        self.list(key);
    }

    pub(super) fn circuit(&self, scope: &Scope) -> Option<&Circuit> {
        match scope {
            Scope::Receiver => self.receiver.as_ref(),
            Scope::Tenant(id) => self.tenants.get(id)?.circuit.as_ref(),
            Scope::Dataset(key) => self.datasets.get(key)?.circuit.as_ref(),
        }
    }

    pub(super) fn slot(&mut self, scope: &Scope) -> Option<&mut Option<Circuit>> {
        match scope {
            Scope::Receiver => Some(&mut self.receiver),
            Scope::Tenant(id) => self.tenants.get_mut(id).map(|tenant| &mut tenant.circuit),
            Scope::Dataset(key) => self.datasets.get_mut(key).map(|dataset| &mut dataset.circuit),
        }
    }

    pub(super) fn circuit_mut(&mut self, scope: &Scope) -> Option<&mut Circuit> {
        self.slot(scope)?.as_mut()
    }

    pub(super) fn arm(&mut self, scope: &Scope, at: Instant) {
        let timer = match scope {
            Scope::Receiver => Timer::Receiver,
            Scope::Tenant(id) => Timer::Tenant(id.clone()),
            Scope::Dataset(key) => Timer::Dataset(key.clone()),
        };
        self.timers.arm(timer, at);
    }

    pub(super) fn arm_circuit(&mut self, scope: &Scope) {
        if let Some(at) = self.circuit(scope).and_then(|circuit| circuit.wakes_at(&self.settings.pace)) {
            self.arm(scope, at);
        }
    }

    pub(super) fn arm_dataset(&mut self, key: &DatasetKey) {
        let Some(dataset) = self.datasets.get(key) else { return };
        let waiting = dataset.waiting.first().map(|(at, _)| *at);
        let dlq = (self.settings.auto_return && dataset.dlq.maybe && dataset.dlq.work == Work::None)
            .then_some(dataset.dlq.returning.map(|returning| returning.next).or(dataset.dlq.lonely))
            .flatten();
        let quiet = dataset.dlq.quiet_until;
        if let Some(at) = waiting.into_iter().chain(dlq).chain(quiet).min() {
            self.timers.arm(Timer::Dataset(key.clone()), at);
        }
    }

    pub(super) fn fire_timers(&mut self, now: Instant) {
        while let Some(timer) = self.timers.pop_due(now) {
            match timer {
                Timer::Receiver => self.circuit_fires(&Scope::Receiver, now),
                Timer::Tenant(id) => self.circuit_fires(&Scope::Tenant(id), now),
                Timer::Dataset(key) => {
                    self.circuit_fires(&Scope::Dataset(key.clone()), now);
                    self.dataset_fires(&key, now);
                }
            }
        }
    }

    /// Lets go who may probe now.
    pub(super) fn circuit_fires(&mut self, scope: &Scope, now: Instant) {
        let Some(circuit) = self.circuit(scope) else { return };
        if circuit.diverts() {
            if circuit.due(now) {
                self.divert_probe(scope, now);
            }
            self.arm_circuit(scope);
            return;
        }
        let pace = self.settings.pace;
        let (due, untried_due) = (circuit.due(now), circuit.untried_due(now, &pace));
        let first = |queue: &VecDeque<DatasetKey>| queue.iter().position(|key| self.can_probe(key));
        let untried = if untried_due || due { first(&circuit.untried) } else { None };
        let parked = if due && untried.is_none() { first(&circuit.parked) } else { None };
        let freed = self.circuit_mut(scope).and_then(|circuit| {
            let untried = untried.and_then(|at| circuit.untried.remove(at));
            untried.or_else(|| parked.and_then(|at| circuit.parked.remove(at)))
        });
        if let Some(key) = freed {
            self.unpark(&key);
        }
        // Whoever was let go may be stopped elsewhere before it probes: somebody else tries then.
        if let Some(at) = self.circuit(scope).and_then(|circuit| circuit.wakes_at(&pace)) {
            self.arm(scope, if at > now { at } else { now + pace.probe_min });
        }
    }

    /// Whether a probe of this dataset would leave at once.
    fn can_probe(&self, key: &DatasetKey) -> bool {
        self.datasets.get(key).is_some_and(|dataset| dataset.running.is_empty()) && !self.is_busy(&key.tenant)
    }

    /// Whether a tenant has as many jobs as it may.
    pub(super) fn is_busy(&self, id: &TenantId) -> bool {
        self.tenants.get(id).is_some_and(|tenant| tenant.in_flight >= self.settings.per_tenant.max(1))
    }

    /// A probe of a diverting circuit: an entry of the DLQ, of another dataset each time.
    pub(super) fn divert_probe(&mut self, scope: &Scope, now: Instant) {
        let key = match scope {
            Scope::Receiver => None,
            Scope::Dataset(key) => Some(key.clone()),
            Scope::Tenant(id) => self.tenants.get_mut(id).and_then(|tenant| {
                let after = tenant
                    .probed
                    .as_ref()
                    .and_then(|last| tenant.datasets.range((Bound::Excluded(last), Bound::Unbounded)).next());
                let key = after.or_else(|| tenant.datasets.first()).cloned();
                tenant.probed.clone_from(&key);
                key
            }),
        };
        self.probe_started(scope, now);
        match key {
            Some(key) if self.settings.auto_return => self.queue_dlq_probe(key),
            _ => {
                if let Some(circuit) = self.circuit_mut(scope) {
                    circuit.take_next = true;
                }
            }
        }
    }

    /// An entry of the DLQ could not try now.
    pub(super) fn probe_later(&mut self, key: &DatasetKey, now: Instant) {
        let later = now + self.settings.pace.probe_max;
        if let Some(dataset) = self.datasets.get_mut(key) {
            dataset.dlq.lonely = Some(dataset.dlq.lonely.map_or(later, |at| at.min(later)));
        }
        self.arm_dataset(key);
    }

    /// All slots of the tenant are taken: the probe, without which the circuit stays open, has its dataset's next turn.
    pub(super) fn queue_for_turn(&mut self, key: &DatasetKey) {
        if let Some(dataset) = self.datasets.get_mut(key) {
            dataset.dlq.work = Work::Waits;
        }
        self.list(key);
    }

    pub(super) fn queue_dlq_probe(&mut self, key: DatasetKey) {
        if let Some(dataset) = self.datasets.get_mut(&key)
            && dataset.dlq.work == Work::None
        {
            dataset.dlq.work = Work::Goes;
            self.due.push_back((key, Task::DlqProbe(dataset.dlq.cursor)));
        }
    }

    pub(super) fn dataset_fires(&mut self, key: &DatasetKey, now: Instant) {
        let wait = self.lonely_wait();
        let Some(dataset) = self.datasets.get_mut(key) else { return };
        dataset.promote(now);
        if dataset.more && dataset.ready.len() < LOW {
            self.hungry.insert(key.clone());
        }
        let dlq = &mut dataset.dlq;
        dlq.quiet_until = dlq.quiet_until.filter(|until| *until > now);
        if self.settings.auto_return && dlq.maybe && dlq.work == Work::None {
            match dlq.returning {
                Some(returning) if returning.next <= now => {
                    // Not faster than what has returned gets away: the DLQ may hold more than the spool takes.
                    if dataset.ready.len() < LOW {
                        dlq.work = Work::Goes;
                        let task = Task::Return { after: dlq.cursor, limit: returning.step };
                        self.due.push_back((key.clone(), task));
                    } else {
                        dlq.returning =
                            Some(Returning { next: now + self.settings.pace.return_step, ..returning });
                    }
                }
                None if dlq.lonely.is_some_and(|at| at <= now) => {
                    dlq.lonely = Some(now + wait);
                    self.queue_dlq_probe(key.clone());
                }
                _ => {}
            }
        }
        self.list(key);
        self.arm_dataset(key);
        self.forget_if_idle(key);
    }

    /// No circuit is open: batches whose attempt opened one wait for their time like all that failed.
    pub(super) fn cool(&mut self, key: &DatasetKey, now: Instant) {
        if let Some(dataset) = self.datasets.get_mut(key)
            && !dataset.cooling.is_empty()
        {
            dataset.cool();
            dataset.promote(now);
            self.arm_dataset(key);
        }
    }

    pub(super) fn lonely_wait(&mut self) -> Duration {
        self.jitter.between(self.settings.pace.lonely_min, self.settings.pace.lonely_max)
    }
}
