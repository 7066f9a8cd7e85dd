//! What the end of a job changes: circuits open and close, batches wait or leave, DLQ entries return.

use std::time::{Duration, Instant, SystemTime};

use super::{Answer, Job, LOW, RETURN_MAX, Report, Schedule, Task, Then, chain};
use crate::{
    deliver::{
        circuit::{Circuit, Scope},
        dataset::{Place, Returning, Work},
        outcome,
    },
    ids::DatasetKey,
    spool::Failure,
};

impl Schedule {
    /// A job ended.
    pub fn finish(&mut self, id: u64, report: &Report, now: Instant, wall: SystemTime) {
        let Some(job) = self.jobs.remove(&id) else { return };
        let started = self.fresh.remove(&id).unwrap_or(now);
        let key = &job.key;
        if let Some(tenant) = self.tenants.get_mut(&key.tenant) {
            tenant.in_flight = tenant.in_flight.saturating_sub(1);
        }
        self.settle(&job, report, now);
        match &report.answer {
            Answer::Accepted => self.accepted(key, now, wall),
            Answer::Answered => self.close_holds(key, now, wall),
            Answer::Unavailable(failure, retry_after) => {
                self.unavailable(key, failure, *retry_after, started, now, wall);
            }
            Answer::Refused { tenant, failure } => self.refused(key, *tenant, failure, now, wall),
            Answer::NoToken(failure) => {
                self.open(&Scope::Tenant(key.tenant.clone()), key, failure, None, now, wall);
            }
            Answer::Nothing => {}
        }
        for scope in chain(key) {
            if let Some(at) = self.circuit(&scope).and_then(|circuit| circuit.wakes_at(&self.settings.pace)) {
                self.arm(&scope, at);
            }
        }
        self.list(key);
        self.list_tenant(&key.tenant);
        self.arm_dataset(key);
        self.forget_if_idle(key);
    }

    pub(super) fn settle(&mut self, job: &Job, report: &Report, now: Instant) {
        let later = now + self.settings.retry_interval;
        let wait = self.lonely_wait();
        let diverted = self.diverting(&job.key).is_some();
        let Some(dataset) = self.datasets.get_mut(&job.key) else { return };
        if report.buried {
            dataset.dlq.maybe = true;
            dataset.dlq.newer = true;
            dataset.dlq.lonely.get_or_insert(now + wait);
            if matches!(job.task, Task::Bury(..)) && !diverted {
                // The circuit closed meanwhile; this one came too late to be brought back with the others.
                dataset.dlq.returning = Some(Returning {
                    step: RETURN_MAX,
                    next: now + self.settings.pace.return_step,
                    fast: true,
                });
                dataset.dlq.cursor = None;
            }
        }
        if let Task::Upload(stamp) | Task::Bury(stamp, _) = job.task {
            dataset.running.remove(&stamp);
            if report.then == Then::Left {
                dataset.cooling.remove(&stamp);
            }
            if matches!(report.answer, Answer::Unavailable(..)) {
                dataset.unanswered = Some(stamp);
            }
            match report.then {
                Then::Again => drop(dataset.ready.insert(stamp)),
                Then::Later if matches!(report.answer, Answer::Unavailable(..)) => {
                    dataset.ready.insert(stamp);
                    dataset.cooling.insert(stamp, later);
                }
                Then::Later => dataset.wait(stamp, later),
                Then::Left | Then::Dlq { .. } => {}
            }
            if dataset.ready.len() < LOW {
                if dataset.more {
                    self.hungry.insert(job.key.clone());
                }
                if let Some(returning) = dataset.dlq.returning.as_mut().filter(|returning| returning.fast) {
                    returning.next = now;
                }
            }
            return;
        }
        dataset.dlq.work = Work::None;
        if let Then::Dlq { cursor, end, returned } = report.then {
            dataset.dlq.cursor = cursor.filter(|_| !end);
            let nothing = end && returned == 0 && matches!(job.task, Task::DlqProbe(None));
            if nothing && !dataset.dlq.newer && dataset.known() == 0 {
                // From beginning to end nothing that can return, and nothing else: not a dataset to remember.
                dataset.dlq.set_empty();
            }
            if end && returned == 0 {
                // Nothing found: a diverting circuit probes with the next batch instead.
                let tenant = self.tenants.get_mut(&job.key.tenant).and_then(|tenant| tenant.circuit.as_mut());
                for circuit in tenant.into_iter().chain(dataset.circuit.as_mut()) {
                    circuit.take_next = true;
                }
            }
            if matches!(job.task, Task::Return { .. }) {
                self.after_return(&job.key, end, returned, now + wait, now);
            }
        }
    }

    pub(super) fn after_return(
        &mut self,
        key: &DatasetKey,
        end: bool,
        returned: usize,
        quiet: Instant,
        now: Instant,
    ) {
        let Some(dataset) = self.datasets.get_mut(key) else { return };
        let step = self.settings.pace.return_step;
        if end {
            dataset.dlq.quiet_until = Some(quiet);
            dataset.dlq.set_empty();
        } else if let Some(returning) = &mut dataset.dlq.returning {
            returning.step = if returned > 0 { (returning.step * 2).min(RETURN_MAX) } else { returning.step };
            // None came although there are some: the spool has no room for them now.
            returning.next = if returning.fast && returned > 0 { now } else { now + step };
        }
        self.hungry.insert(key.clone());
    }

    pub(super) fn accepted(&mut self, key: &DatasetKey, now: Instant, wall: SystemTime) {
        self.recent.record(key.tenant.clone(), now);
        if let Some(tenant) = self.tenants.get_mut(&key.tenant) {
            tenant.recent.record(key.clone(), now);
        }
        self.close_holds(key, now, wall);
        for scope in [Scope::Tenant(key.tenant.clone()), Scope::Dataset(key.clone())] {
            self.close(&scope, key, now, wall);
        }
        let step = self.settings.pace.return_step;
        if let Some(dataset) = self.datasets.get_mut(key)
            && dataset.dlq.maybe
            && dataset.dlq.returning.is_none()
            && dataset.dlq.quiet_until.is_none_or(|until| until <= now)
        {
            dataset.dlq.cursor = None;
            dataset.dlq.returning = Some(Returning { step: 1, next: now + step, fast: false });
        }
    }

    pub(super) fn close_holds(&mut self, key: &DatasetKey, now: Instant, wall: SystemTime) {
        for scope in chain(key) {
            if self.circuit(&scope).is_some_and(|circuit| !circuit.diverts()) {
                self.close(&scope, key, now, wall);
            }
        }
    }

    /// Closes a circuit thanks to an answer for `key`. Others that failed meanwhile prove themselves one by one.
    pub(super) fn close(&mut self, scope: &Scope, key: &DatasetKey, now: Instant, wall: SystemTime) {
        let Some(circuit) = self.slot(scope).and_then(Option::take) else { return };
        self.count(scope, -1);
        if let Some(suppressed) = self.log.closed.pass() {
            let reason = outcome::label(circuit.failure.reason);
            tracing::info!(%scope, reason, suppressed, "delivery works again");
        }
        if circuit.diverts() {
            self.bring_back(scope, now);
        } else {
            for failed in &circuit.failed {
                let own = match scope {
                    Scope::Receiver if failed.tenant != key.tenant => Scope::Tenant(failed.tenant.clone()),
                    Scope::Receiver | Scope::Tenant(_) if failed != key => Scope::Dataset(failed.clone()),
                    _ => continue,
                };
                let mut opened = self.opened(&circuit.failure, now, wall);
                opened.since = circuit.since;
                opened.not_before = circuit.not_before;
                opened.next_probe = now.max(circuit.not_before);
                opened.mark_failed(failed);
                if let Some(slot) = self.slot(&own)
                    && slot.is_none()
                {
                    *slot = Some(opened);
                    self.count(&own, 1);
                }
            }
        }
        for key in circuit.untried.iter().chain(&circuit.parked) {
            self.unpark(key);
        }
    }

    /// A diverting circuit closed: its batches come back.
    pub(super) fn bring_back(&mut self, scope: &Scope, now: Instant) {
        let keys: Vec<DatasetKey> = match scope {
            Scope::Receiver => return,
            Scope::Dataset(key) => vec![key.clone()],
            Scope::Tenant(id) => self
                .tenants
                .get(id)
                .map(|tenant| tenant.datasets.iter().cloned().collect())
                .unwrap_or_default(),
        };
        for key in keys {
            if let Some(dataset) = self.datasets.get_mut(&key)
                && dataset.dlq.maybe
            {
                dataset.dlq.cursor = None;
                dataset.dlq.returning = Some(Returning { step: RETURN_MAX, next: now, fast: true });
                self.arm_dataset(&key);
            }
        }
    }

    pub(super) fn unavailable(
        &mut self,
        key: &DatasetKey,
        failure: &Failure,
        retry_after: Option<Duration>,
        started: Instant,
        now: Instant,
        wall: SystemTime,
    ) {
        if let Some(dataset) = self.datasets.get_mut(key) {
            dataset.dlq.returning = None;
        }
        let since =
            now.checked_sub(self.settings.pace.evidence).map_or(started, |recent| recent.min(started));
        let (tenant_scope, dataset_scope) = (Scope::Tenant(key.tenant.clone()), Scope::Dataset(key.clone()));
        let siblings =
            self.tenants.get(&key.tenant).is_some_and(|tenant| tenant.recent.others_since(key, since));
        let scope = if siblings {
            dataset_scope.clone()
        } else if self.recent.others_since(&key.tenant, since) {
            tenant_scope.clone()
        } else {
            Scope::Receiver
        };
        for open in [Scope::Receiver, tenant_scope, dataset_scope] {
            if open == scope || self.circuit(&open).is_some_and(|circuit| !circuit.diverts()) {
                self.open(&open, key, failure, retry_after, now, wall);
            }
        }
    }

    pub(super) fn refused(
        &mut self,
        key: &DatasetKey,
        tenant: bool,
        failure: &Failure,
        now: Instant,
        wall: SystemTime,
    ) {
        self.close_holds(key, now, wall);
        let tenant_scope = Scope::Tenant(key.tenant.clone());
        let scope = if tenant {
            tenant_scope
        } else {
            // The Receiver looks at tenant and token first: they are in order.
            self.close(&tenant_scope, key, now, wall);
            Scope::Dataset(key.clone())
        };
        if let Some(dataset) = self.datasets.get_mut(key) {
            dataset.dlq.returning = None;
        }
        self.open(&scope, key, failure, None, now, wall);
    }

    pub(super) fn open(
        &mut self,
        scope: &Scope,
        key: &DatasetKey,
        failure: &Failure,
        retry_after: Option<Duration>,
        now: Instant,
        wall: SystemTime,
    ) {
        let fresh = self.opened(failure, now, wall);
        let open = self.circuit(scope);
        let was_closed = open.is_none();
        if open.is_none_or(|open| open.diverts() != fresh.diverts()) {
            if let Some(suppressed) = self.log.opened(scope) {
                tracing::warn!(
                    %scope,
                    reason = outcome::label(failure.reason),
                    message = &*failure.message,
                    diverts = fresh.diverts(),
                    suppressed,
                    "delivery does not work; batches are kept"
                );
            }
            let Some(slot) = self.slot(scope) else { return };
            let waiting = slot.replace(fresh).map(|old| (old.untried, old.parked)).unwrap_or_default();
            if was_closed {
                self.count(scope, 1);
            }
            for key in waiting.0.iter().chain(&waiting.1) {
                self.unpark(key);
            }
        }
        if let Some(circuit) = self.circuit_mut(scope) {
            circuit.mark_failed(key);
            circuit.failed_again(failure.clone(), retry_after, now);
        }
        self.arm_circuit(scope);
    }

    pub(super) fn opened(&mut self, failure: &Failure, now: Instant, wall: SystemTime) -> Circuit {
        Circuit::open(failure.clone(), now, wall, &self.settings.pace, self.jitter.spread())
    }

    pub(super) fn count(&mut self, scope: &Scope, change: i64) {
        let [receiver, tenants, datasets] = &mut self.open;
        *match scope {
            Scope::Receiver => receiver,
            Scope::Tenant(_) => tenants,
            Scope::Dataset(_) => datasets,
        } += change;
    }

    pub(super) fn forget_if_idle(&mut self, key: &DatasetKey) {
        if !self.datasets.get(key).is_some_and(|dataset| dataset.is_idle() && dataset.place == Place::Idle) {
            return;
        }
        let dataset = self.datasets.remove(key);
        if dataset.is_some_and(|dataset| dataset.circuit.is_some()) {
            self.count(&Scope::Dataset(key.clone()), -1);
        }
        let Some(tenant) = self.tenants.get_mut(&key.tenant) else { return };
        tenant.datasets.remove(key);
        if tenant.datasets.is_empty() && tenant.in_flight == 0 && !tenant.listed {
            let tenant = self.tenants.remove(&key.tenant);
            if tenant.is_some_and(|tenant| tenant.circuit.is_some()) {
                self.count(&Scope::Tenant(key.tenant.clone()), -1);
            }
        }
    }
}
