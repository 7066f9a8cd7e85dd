//! The last step of a pass: statuses and events.

use std::{collections::BTreeMap, sync::Arc};

use bytefreezer_crds::{
    Proxy, ProxyDataset, ProxyDatasetStatus, ProxyStatus, conditions::Reason, proxy::WorkloadKind,
};
use futures_util::{StreamExt as _, stream};
use jiff::Timestamp;
use k8s_openapi::{
    api::core::v1::ObjectReference,
    apimachinery::pkg::apis::meta::v1::{Condition, ObjectMeta},
};
use kube::Resource;
use tokio::time::Instant;

use super::{
    desired::Desired,
    judge::{Judged, undecodable},
    memory::Memory,
    pass::{Context, PassError},
};
use crate::{
    acknowledge::PodReport,
    arbitrate::Listener,
    claims,
    events::is_worth,
    gather::{Authored, Detail, Gathered, Kind},
    key::ObjectKey,
    status::{
        Addresses, Count, DatasetFacts, DatasetOutcome, Finding, Pods, ProxyFacts, ProxyOutcome, Trouble,
        Write, Writer, dataset, proxy,
    },
};

/// Writes of one pass at a time.
const WRITES: usize = 8;

/// What the statuses of a Proxy and its datasets are made from.
struct Report<'a> {
    context: &'a Context,
    gathered: &'a Gathered,
    judged: &'a Judged,
    desired: Option<&'a Desired>,
    reports: &'a [PodReport],
    now: Timestamp,
}

/// Writes the statuses that are not there yet. Returns when to look again though nothing changes.
pub(super) async fn report(
    context: &Context,
    memory: &mut Memory,
    gathered: &Gathered,
    judged: &Judged,
    desired: Option<&Desired>,
    reports: &[PodReport],
    trouble: Option<Trouble>,
) -> Result<Option<Instant>, PassError> {
    let report = Report { context, gathered, judged, desired, reports, now: Timestamp::now() };
    let before = report.proxy_before(memory);
    let addresses = judged.proxy.as_ref().map_or_else(Addresses::default, |proxy| {
        let wanted = report.wanted(&before);
        let generation = gathered.own.proxy.as_ref().and_then(|row| row.metadata()?.generation);
        // Those of an older spec may be of another exposure.
        let known = if before.observed_generation == generation { &before.addresses[..] } else { &[] };
        Addresses::of(proxy, &gathered.owned, &gathered.pods, wanted, known)
    });
    let conflict = judged.refused.clone().filter(|_| !judged.runs && judged.proxy.is_some());
    let pods = Pods::of(&gathered.pods, reports, trouble.or(conflict));
    let outcomes = report.datasets(memory, &pods, &addresses);
    let count = count(judged, &outcomes);
    let (again, failed) = report.write_datasets(memory, outcomes).await;
    let proxy_again = report.write_proxy(memory, before, &pods, &addresses, count).await?;
    failed.map_or(Ok(()), Err)?;
    Ok([again, proxy_again].into_iter().flatten().min())
}

/// A dataset's status, with what it was.
struct DatasetChange<'a> {
    key: &'a ObjectKey,
    metadata: &'a ObjectMeta,
    before: ProxyDatasetStatus,
    outcome: DatasetOutcome,
    is_broken: bool,
}

impl<'a> Report<'a> {
    fn proxy_before(&self, memory: &Memory) -> ProxyStatus {
        let own = &self.gathered.own;
        let watched = own.proxy.as_ref().and_then(|row| row.object.as_ref()?.status.clone());
        let is_broken = own.proxy.as_ref().is_some_and(|row| row.broken.is_some());
        memory.proxy.now(&own.key, watched.unwrap_or_default(), is_broken)
    }

    /// How many pods there should be.
    fn wanted(&self, before: &ProxyStatus) -> usize {
        let Some(proxy) = &self.judged.proxy else { return usize::try_from(before.replicas).unwrap_or(0) };
        let count = match proxy.spec.workload.kind {
            WorkloadKind::StatefulSet => proxy.replicas(),
            WorkloadKind::DaemonSet => {
                let set = self.gathered.owned.get(&(Kind::DaemonSet, proxy.key.name.clone()));
                match set.map(|set| &set.detail) {
                    Some(Detail::Nodes(nodes)) => *nodes,
                    _ => 0,
                }
            }
        };
        if self.judged.runs { usize::try_from(count).unwrap_or(0) } else { 0 }
    }

    fn datasets(&self, memory: &Memory, pods: &Pods<'_>, addresses: &Addresses) -> Vec<DatasetChange<'a>> {
        let present = self.gathered.own.datasets.iter().filter(|(_, row)| !row.is_leaving());
        let one = |(key, row): &'a (ObjectKey, Arc<Authored<ProxyDataset>>)| {
            let metadata = row.metadata()?;
            let watched = row.object.as_ref().and_then(|object| object.status.clone());
            let is_broken = row.broken.is_some();
            let before = memory.datasets.now(key, watched.unwrap_or_default(), is_broken);
            let admitted = self.judged.admitted.get(key);
            let facts = DatasetFacts {
                key,
                generation: metadata.generation,
                before: &before,
                refused: self.judged.rejected.get(key).cloned(),
                broken: undecodable(row),
                unresolved: self.desired.and_then(|desired| desired.datasets.get(key).cloned()),
                listeners: admitted.map_or(&[], |claimant| &claimant.listeners),
                hash: memory.entries.get(key).and_then(|entry| entry.get()),
            };
            let outcome = dataset(&facts, pods, addresses, self.now);
            Some(DatasetChange { key, metadata, before, outcome, is_broken })
        };
        present.filter_map(one).collect()
    }

    /// One failure does not keep the others from being written.
    async fn write_datasets(
        &self,
        memory: &mut Memory,
        changes: Vec<DatasetChange<'_>>,
    ) -> (Option<Instant>, Option<PassError>) {
        let mut again = changes.iter().filter_map(|change| at(change.outcome.again, self.now)).min();
        let mut failed = None;
        let is_there = |key: &ObjectKey| changes.iter().any(|change| change.key == key);
        if memory.datasets.len() > changes.len() {
            memory.datasets.retain(is_there);
        }
        let mut due = Vec::new();
        for change in changes {
            match Writer::is_due(&memory.datasets, change.key, &change.before, &change.outcome.status) {
                Ok(()) => due.push(change),
                Err(Write::Later(at)) => again = again.into_iter().chain([at]).min(),
                Err(_) => (),
            }
        }
        let writes: Vec<_> = due.into_iter().map(|change| write(&self.context.writer, change)).collect();
        let mut writes = stream::iter(writes).buffer_unordered(WRITES);
        while let Some((change, write)) = writes.next().await {
            match write {
                Ok(Write::Gone) => (),
                Ok(_) => {
                    let DatasetChange { key, metadata, before, outcome, .. } = change;
                    self.tell::<ProxyDataset>(metadata, &before.conditions, [&outcome.ready]);
                    memory.datasets.note(key, outcome.status);
                }
                Err(error) => failed = Some(PassError::Status(change.key.clone(), Box::new(error))),
            }
        }
        (again, failed)
    }

    async fn write_proxy(
        &self,
        memory: &mut Memory,
        before: ProxyStatus,
        pods: &Pods<'_>,
        addresses: &Addresses,
        count: Count,
    ) -> Result<Option<Instant>, PassError> {
        let own = &self.gathered.own;
        let Some(row) = own.proxy.as_ref().filter(|row| !row.is_leaving()) else { return Ok(None) };
        let Some(metadata) = row.metadata() else { return Ok(None) };
        let listeners: BTreeMap<ObjectKey, Vec<Listener>> = self
            .judged
            .admitted
            .iter()
            .map(|(key, claimant)| (key.clone(), claimant.listeners.clone()))
            .collect();
        let facts = ProxyFacts {
            generation: metadata.generation,
            before: &before,
            proxy: self.judged.proxy.as_ref(),
            refused: self.judged.refused.clone(),
            unresolved: self.desired.and_then(|desired| desired.unresolved.clone()),
            hash: memory.document.get(),
            owned: &self.gathered.owned,
            wanted: self.wanted(&before),
            reports: self.reports,
            listeners: &listeners,
            stranded: self.stranded(),
            not_grown: memory.growth.message(),
            count,
        };
        let ProxyOutcome { status, ready, warnings, again } = proxy(&facts, pods, addresses, self.now);
        let again = at(again, self.now);
        match Writer::is_due(&memory.proxy, &own.key, &before, &status) {
            Err(Write::Later(at)) => return Ok(again.into_iter().chain([at]).min()),
            Err(_) => return Ok(again),
            Ok(()) => (),
        }
        let write = self.context.writer.write::<Proxy, _>(&own.key, &status, row.broken.is_some()).await;
        write.map_err(|error| PassError::Status(own.key.clone(), Box::new(error)))?;
        self.tell::<Proxy>(metadata, &before.conditions, warnings.iter().chain([&ready]));
        memory.proxy.note(&own.key, status);
        Ok(again)
    }

    /// Judges the volume claims; takes numbers of an earlier life away.
    fn stranded(&self) -> Option<String> {
        let proxy = self.judged.proxy.as_ref()?;
        let replicas = match proxy.spec.workload.kind {
            WorkloadKind::StatefulSet => u32::try_from(proxy.replicas()).unwrap_or(0),
            WorkloadKind::DaemonSet => 0,
        };
        let claims = self.gathered.claims.iter().map(|(name, claim)| (name.as_str(), &claim.annotations));
        let judgement = claims::judge(&proxy.key.name, replicas, claims, &self.gathered.pods);
        self.context.keeper.forget(&proxy.key.namespace, &judgement.outdated);
        judgement.message()
    }

    /// Makes events of conditions that changed.
    fn tell<'f, K: Resource<DynamicType = ()>>(
        &self,
        metadata: &ObjectMeta,
        before: &[Condition],
        findings: impl IntoIterator<Item = &'f Finding>,
    ) {
        for finding in findings {
            let kind = finding.kind.to_string();
            let known = before.iter().find(|condition| condition.type_ == kind);
            let is_same = known.is_some_and(|condition| {
                condition.status == finding.state.as_str() && condition.reason == finding.reason()
            });
            if !is_same && is_worth(known.map(|condition| condition.status.as_str()), finding) {
                self.context.events.found(reference::<K>(metadata), finding);
            }
        }
    }
}

async fn write<'c>(
    writer: &Writer,
    change: DatasetChange<'c>,
) -> (DatasetChange<'c>, Result<Write, kube::Error>) {
    let write = writer.write::<ProxyDataset, _>(change.key, &change.outcome.status, change.is_broken).await;
    (change, write)
}

fn reference<K: Resource<DynamicType = ()>>(metadata: &ObjectMeta) -> ObjectReference {
    ObjectReference {
        api_version: Some(K::api_version(&()).into_owned()),
        kind: Some(K::kind(&()).into_owned()),
        name: metadata.name.clone(),
        namespace: metadata.namespace.clone(),
        uid: metadata.uid.clone(),
        resource_version: metadata.resource_version.clone(),
        ..ObjectReference::default()
    }
}

fn count(judged: &Judged, changes: &[DatasetChange<'_>]) -> Count {
    let behind = changes
        .iter()
        .find(|change| judged.admitted.contains_key(change.key) && !change.outcome.is_programmed);
    let lost = |(reason, _): &&Trouble| matches!(reason, Reason::Conflicted | Reason::HostPortConflict);
    Count {
        attached: judged.admitted.len(),
        programmed: changes.iter().filter(|change| change.outcome.is_programmed).count(),
        conflicted: judged.rejected.values().filter(lost).count(),
        behind: behind.map(|change| (change.key.clone(), change.outcome.ready.reason)),
    }
}

/// A time of the calendar as one of the runtime's clock.
fn at(time: Option<Timestamp>, now: Timestamp) -> Option<Instant> {
    let left = time?.duration_since(now);
    Some(Instant::now() + left.try_into().unwrap_or_default())
}
