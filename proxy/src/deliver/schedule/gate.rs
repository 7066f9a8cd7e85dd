//! Whether a dataset may go, by the circuits above it.

use std::time::Instant;

use super::Schedule;
use crate::{
    deliver::circuit::{Circuit, Scope},
    ids::DatasetKey,
    spool::Failure,
};

/// What a dataset may do now.
pub(super) enum Gate {
    Free,
    Probe,
    Divert(Failure),
    Park(Scope, bool),
}

impl Schedule {
    pub(super) fn gate(&self, key: &DatasetKey, now: Instant) -> Gate {
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

    pub(super) fn diverting(&self, key: &DatasetKey) -> Option<&Circuit> {
        let tenant = self.tenants.get(&key.tenant).and_then(|tenant| tenant.circuit.as_ref());
        let dataset = self.datasets.get(key).and_then(|dataset| dataset.circuit.as_ref());
        tenant.into_iter().chain(dataset).find(|circuit| circuit.diverts())
    }

    pub(super) fn gate_holds(&self, key: &DatasetKey, now: Instant) -> Gate {
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
}
