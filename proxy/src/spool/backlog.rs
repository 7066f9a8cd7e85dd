//! Closed batches, and which are open: an index in memory, one lock, never held across I/O.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Arc, atomic::Ordering::Relaxed},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use parking_lot::Mutex;
use tokio::sync::watch;

use super::{
    Entry, Stamp, State, TenantBytes, Totals,
    files::{Name, Tree},
    metrics::{SpoolMetrics, Usage, weight},
    open_batch::Building,
};
use crate::{
    batch::Class,
    ids::{DatasetKey, TenantId},
    ledger::{Ledger, Place},
};

/// A batch as the index holds it.
#[derive(Debug, Clone)]
pub struct Record {
    /// What others see.
    pub entry: Entry,
    /// Where its data file is.
    pub tree: Tree,
    /// Whether a `.meta` was written for it.
    pub has_meta: bool,
}

impl Record {
    /// Its file name.
    pub fn name(&self) -> Name {
        Name::of(&self.entry)
    }

    fn evictable(&self) -> bool {
        self.entry.state != State::Dlq && self.entry.class == Class::Unacknowledged
    }
}

/// How a batch came into the backlog.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// Closed by the writer: its lines were open, its bytes are counted.
    Closed,
    /// Found in the folder.
    Found,
    /// A half of another one: neither lines nor bytes are new to the ledger.
    Half,
}

/// Batches of a dataset in one state, with their sums: nobody who asks for those walks over all of them.
#[derive(Debug, Default)]
struct Batches {
    records: BTreeMap<Stamp, Record>,
    bytes: u64,
    lines: u64,
}

impl Batches {
    fn insert(&mut self, record: Record) {
        self.bytes += record.entry.file_bytes;
        self.lines += record.entry.lines;
        self.records.insert(record.entry.stamp, record);
    }

    fn remove(&mut self, stamp: Stamp) -> Option<Record> {
        let record = self.records.remove(&stamp)?;
        self.bytes = self.bytes.saturating_sub(record.entry.file_bytes);
        self.lines = self.lines.saturating_sub(record.entry.lines);
        Some(record)
    }

    fn totals(&self) -> Totals {
        Totals {
            batches: self.records.len() as u64,
            bytes: self.bytes,
            lines: self.lines,
            oldest: self.records.keys().next().copied(),
            newest: self.records.keys().next_back().copied(),
        }
    }
}

#[derive(Debug, Default)]
struct Dataset {
    states: [Batches; 3],
    evictable: BTreeSet<Stamp>,
    evictable_bytes: u64,
}

impl Dataset {
    fn of(&self, state: State) -> &Batches {
        let [queue, retry, dlq] = &self.states;
        match state {
            State::Queue => queue,
            State::Retry => retry,
            State::Dlq => dlq,
        }
    }

    fn of_mut(&mut self, state: State) -> &mut Batches {
        let [queue, retry, dlq] = &mut self.states;
        match state {
            State::Queue => queue,
            State::Retry => retry,
            State::Dlq => dlq,
        }
    }

    fn is_empty(&self) -> bool {
        self.states.iter().all(|batches| batches.records.is_empty())
    }
}

#[derive(Debug, Default)]
struct Index {
    datasets: BTreeMap<DatasetKey, Dataset>,
    places: HashMap<Stamp, (DatasetKey, State)>,
    /// Datasets with a change that delivery has not seen.
    touched: BTreeSet<DatasetKey>,
    /// The DLQ in the order of eviction.
    dlq: BTreeSet<(Class, Stamp)>,
    /// Batches that the writer has begun and that are not in here yet.
    open: HashMap<Stamp, Arc<Building>>,
}

impl Index {
    fn put(&mut self, record: Record) {
        let (stamp, state) = (record.entry.stamp, record.entry.state);
        if state == State::Dlq {
            self.dlq.insert((record.entry.class, stamp));
        }
        self.places.insert(stamp, (record.entry.key.clone(), state));
        self.touched.insert(record.entry.key.clone());
        let dataset = self.datasets.entry(record.entry.key.clone()).or_default();
        if record.evictable() {
            dataset.evictable.insert(stamp);
            dataset.evictable_bytes += weight(record.entry.file_bytes);
        }
        dataset.of_mut(state).insert(record);
    }

    fn take(&mut self, stamp: Stamp) -> Option<Record> {
        let (key, state) = self.places.remove(&stamp)?;
        let dataset = self.datasets.get_mut(&key)?;
        let record = dataset.of_mut(state).remove(stamp)?;
        self.touched.insert(key.clone());
        if record.evictable() {
            dataset.evictable.remove(&stamp);
            dataset.evictable_bytes = dataset.evictable_bytes.saturating_sub(weight(record.entry.file_bytes));
        }
        if dataset.is_empty() {
            self.datasets.remove(&key);
        }
        self.dlq.remove(&(record.entry.class, stamp));
        Some(record)
    }

    fn get(&self, stamp: Stamp) -> Option<&Record> {
        let (key, state) = self.places.get(&stamp)?;
        self.datasets.get(key)?.of(*state).records.get(&stamp)
    }
}

/// The index with its books.
#[derive(Debug)]
pub struct Backlog {
    index: Mutex<Index>,
    version: watch::Sender<u64>,
    ledger: Arc<Ledger>,
    metrics: Arc<SpoolMetrics>,
    usage: Arc<Usage>,
}

impl State {
    fn place(self) -> Place {
        match self {
            Self::Queue => Place::Queued,
            Self::Retry => Place::Retry,
            Self::Dlq => Place::Dlq,
        }
    }
}

impl Backlog {
    /// An empty one.
    pub fn new(ledger: Arc<Ledger>, metrics: Arc<SpoolMetrics>, usage: Arc<Usage>) -> Self {
        Self { index: Mutex::default(), version: watch::Sender::new(0), ledger, metrics, usage }
    }

    /// The writer begins a batch.
    pub fn begin(&self, batch: &Arc<Building>) {
        self.index.lock().open.insert(batch.name.stamp, Arc::clone(batch));
    }

    /// A batch comes in.
    pub fn insert(&self, record: Record, origin: Origin) {
        let (state, lines, bytes) = (record.entry.state, record.entry.lines, record.entry.file_bytes);
        let mut index = self.index.lock();
        match origin {
            Origin::Closed => {
                index.open.remove(&record.entry.stamp);
                self.ledger.transfer(Place::Open, state.place(), lines);
            }
            Origin::Found => self.ledger.import(state.place(), lines),
            Origin::Half => {}
        }
        if origin == Origin::Closed {
            // Counted while the file grew.
            Usage::take(&self.usage.files, bytes);
        }
        self.usage.add_batch(record.tree, bytes);
        self.metrics.count(state, 1, bytes, lines);
        index.put(record);
        drop(index);
        self.notify();
    }

    /// Changes a batch in place: state, tree, attempts, lines. Lines that went are counted as quarantined.
    pub fn update(&self, stamp: Stamp, change: impl FnOnce(&mut Record)) -> Option<Record> {
        let mut index = self.index.lock();
        let mut record = index.take(stamp)?;
        let (state, tree) = (record.entry.state, record.tree);
        let (lines, bytes) = (record.entry.lines, record.entry.file_bytes);
        self.metrics.count(state, -1, bytes, lines);
        change(&mut record);
        let entry = &record.entry;
        self.metrics.count(entry.state, 1, entry.file_bytes, entry.lines);
        if entry.state != state {
            self.ledger.transfer(state.place(), entry.state.place(), lines);
        }
        if entry.lines < lines {
            self.ledger.transfer(entry.state.place(), Place::Quarantined, lines - entry.lines);
        }
        self.usage.take_batch(tree, bytes);
        self.usage.add_batch(record.tree, entry.file_bytes);
        index.put(record.clone());
        drop(index);
        self.notify();
        Some(record)
    }

    /// A batch goes; its lines move to `to`, or stay on the books of its halves.
    pub fn remove(&self, stamp: Stamp, to: Option<Place>) -> Option<Record> {
        let mut index = self.index.lock();
        let record = index.take(stamp)?;
        let entry = &record.entry;
        if let Some(to) = to {
            self.ledger.transfer(entry.state.place(), to, entry.lines);
        }
        self.metrics.count(entry.state, -1, entry.file_bytes, entry.lines);
        self.usage.take_batch(record.tree, entry.file_bytes);
        drop(index);
        self.notify();
        Some(record)
    }

    /// One batch.
    pub fn get(&self, stamp: Stamp) -> Option<Record> {
        self.index.lock().get(stamp).cloned()
    }

    /// Datasets that have batches.
    pub fn datasets(&self) -> Vec<DatasetKey> {
        self.index.lock().datasets.keys().cloned().collect()
    }

    /// Datasets that changed since the last call.
    pub fn take_touched(&self) -> BTreeSet<DatasetKey> {
        std::mem::take(&mut self.index.lock().touched)
    }

    /// Oldest batches in the given states, after `after`.
    pub fn entries(
        &self,
        key: &DatasetKey,
        states: &[State],
        after: Option<Stamp>,
        limit: usize,
    ) -> Vec<Entry> {
        let index = self.index.lock();
        let Some(dataset) = index.datasets.get(key) else { return Vec::new() };
        let from = after.map_or(Stamp(0), |stamp| Stamp(stamp.0.saturating_add(1)));
        let mut found: Vec<&Record> = [State::Queue, State::Retry, State::Dlq]
            .into_iter()
            .filter(|state| states.contains(state))
            .flat_map(|state| dataset.of(state).records.range(from..).take(limit).map(|(_, record)| record))
            .collect();
        found.sort_unstable_by_key(|record| record.entry.stamp);
        found.into_iter().take(limit).map(|record| record.entry.clone()).collect()
    }

    /// Batches, bytes and lines of every dataset in a state, without copying entries.
    pub fn totals(&self, state: State) -> Vec<(DatasetKey, Totals)> {
        let index = self.index.lock();
        let all = index.datasets.iter().map(|(key, dataset)| (key.clone(), dataset.of(state).totals()));
        all.filter(|(_, totals)| totals.batches > 0).collect()
    }

    /// What each tenant has in here, open batches too.
    pub fn by_tenant(&self) -> BTreeMap<TenantId, TenantBytes> {
        let index = self.index.lock();
        let mut tenants = BTreeMap::<TenantId, TenantBytes>::new();
        for (key, dataset) in &index.datasets {
            let bytes = tenants.entry(key.tenant.clone()).or_default();
            let [queue, retry, dlq] = &dataset.states;
            bytes.queue_bytes += queue.bytes + retry.bytes;
            bytes.dlq_bytes += dlq.bytes;
        }
        for batch in index.open.values() {
            tenants.entry(batch.key.dataset.tenant.clone()).or_default().open_bytes +=
                batch.logged.load(Relaxed);
        }
        tenants
    }

    /// The batch that makes room next: oldest unacknowledged one of the dataset that has the most of them.
    pub fn next_to_bury(&self) -> Option<Stamp> {
        let index = self.index.lock();
        let most = index.datasets.values().max_by_key(|dataset| dataset.evictable_bytes)?;
        most.evictable.first().copied()
    }

    /// Their number and bytes: what moving all of them would free.
    pub fn evictable(&self) -> (u64, u64) {
        let index = self.index.lock();
        let each = index.datasets.values().map(|of| (of.evictable.len() as u64, of.evictable_bytes));
        each.fold((0, 0), |(number, bytes), (more, larger)| (number + more, bytes + larger))
    }

    /// The DLQ entry that goes next: unacknowledged before acknowledged, oldest first. One whose file could not be moved
    /// to the DLQ makes that no smaller, only the volume.
    pub fn next_to_evict(&self, of_volume: bool) -> Option<Stamp> {
        let index = self.index.lock();
        let in_dlq = |stamp| index.get(stamp).is_some_and(|record| record.tree == Tree::Dlq);
        index.dlq.iter().map(|(_, stamp)| *stamp).find(|stamp| of_volume || in_dlq(*stamp))
    }

    /// Undelivered batches older than `age`, not more than `most`.
    pub fn older_than(&self, age: Duration, most: usize) -> Vec<Stamp> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let edge = Stamp(now.saturating_sub(age).as_nanos() as u64);
        let index = self.index.lock();
        let undelivered = index.datasets.values().flat_map(|dataset| {
            let [queue, retry, _] = &dataset.states;
            queue.records.range(..edge).chain(retry.records.range(..edge)).map(|(stamp, _)| *stamp)
        });
        undelivered.take(most).collect()
    }

    /// Updates the age of the oldest undelivered batch.
    pub fn observe_age(&self) {
        let oldest = {
            let index = self.index.lock();
            let firsts = index.datasets.values().flat_map(|dataset| {
                let [queue, retry, _] = &dataset.states;
                [queue, retry].into_iter().filter_map(|batches| batches.records.keys().next().copied())
            });
            firsts.min()
        };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let age = oldest.map_or(0.0, |stamp| now.saturating_sub(Duration::from_nanos(stamp.0)).as_secs_f64());
        self.metrics.oldest_seconds.set(age);
    }

    /// Number that grows with every change.
    pub fn version(&self) -> watch::Receiver<u64> {
        self.version.subscribe()
    }

    fn notify(&self) {
        self.version.send_modify(|version| *version += 1);
    }
}
