//! Who sends: one row per (dataset, source address), for "which of my 500 devices went quiet?".
//!
//! Bounded: when the table is full, the senders that were silent longest make room.

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    net::IpAddr,
};

use jiff::Timestamp;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::paging;
use crate::{
    ids::{DatasetId, DatasetKey, TenantId},
    rate::Rate,
};

/// Parts of a large table with a lock each.
const SHARDS: usize = 16;
/// Rows from which on the table is divided; a smaller one is one part, so that its limit is exact.
const DIVIDED_FROM: usize = 1024;
/// Of a full part, one row in this many makes room at once, so that a flood of new senders stays cheap.
const EVICTED_SHARE: usize = 16;
const NS: u64 = 1_000_000_000;

#[derive(Debug)]
struct Counts {
    first_ns: u64,
    last_ns: u64,
    messages: u64,
    bytes: u64,
    errors: u64,
    /// Of messages.
    rate: Rate,
}

#[derive(Debug, Default)]
struct Shard {
    datasets: HashMap<DatasetKey, HashMap<IpAddr, Counts>>,
    rows: usize,
}

/// The table; shared by all inputs.
#[derive(Debug)]
pub struct Senders {
    shards: Vec<Mutex<Shard>>,
    rows_per_shard: usize,
    hasher: RandomState,
}

/// Which rows, in which order.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(default, deny_unknown_fields)]
pub struct SenderQuery {
    /// Only this tenant.
    #[param(value_type = Option<String>)]
    pub tenant_id: Option<TenantId>,
    /// Only this dataset.
    #[param(value_type = Option<String>)]
    pub dataset_id: Option<DatasetId>,
    /// Only senders that sent nothing for at least so many seconds.
    pub silent_for: Option<u64>,
    /// Those silent longest first; otherwise by tenant, dataset and address.
    pub silent_first: bool,
    /// Rows left out at the start.
    pub offset: usize,
    /// Rows at most: 100 if absent, 1000 if more.
    pub limit: Option<usize>,
}

/// One sender.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct SenderRow {
    /// Tenant of the input.
    #[schema(value_type = String)]
    pub tenant_id: TenantId,
    /// Dataset of the input.
    #[schema(value_type = String)]
    pub dataset_id: DatasetId,
    /// Address.
    #[schema(value_type = String)]
    pub source: IpAddr,
    /// First message, RFC 3339.
    #[schema(value_type = String)]
    pub first_seen: Timestamp,
    /// Last message, RFC 3339.
    #[schema(value_type = String)]
    pub last_seen: Timestamp,
    /// Seconds since the last message.
    pub silent_seconds: u64,
    /// Messages.
    pub messages: u64,
    /// Bytes as received.
    pub bytes: u64,
    /// Messages refused or not understood.
    pub errors: u64,
    /// Messages per second, averaged over the last minute or so.
    pub rate: f64,
}

impl Senders {
    /// An empty table of at most `max` rows.
    pub fn new(max: usize) -> Self {
        let shards = if max < DIVIDED_FROM { 1 } else { SHARDS };
        Self {
            shards: (0..shards).map(|_| Mutex::default()).collect(),
            rows_per_shard: (max / shards).max(1),
            hasher: RandomState::new(),
        }
    }

    /// Adds what `source` sent to `input`. Once per batch of messages.
    pub fn record(
        &self,
        input: &DatasetKey,
        source: IpAddr,
        messages: u64,
        bytes: u64,
        errors: u64,
        now_ns: u64,
    ) {
        let shard = self.hasher.hash_one(source) as usize % self.shards.len();
        let Some(shard) = self.shards.get(shard) else { return };
        let mut shard = shard.lock();
        let known = shard.datasets.get_mut(input).and_then(|rows| rows.get_mut(&source));
        if let Some(counts) = known {
            counts.rate.add(messages, now_ns);
            counts.last_ns = counts.last_ns.max(now_ns);
            counts.messages += messages;
            counts.bytes += bytes;
            counts.errors += errors;
            return;
        }
        if shard.rows >= self.rows_per_shard {
            shard.evict();
        }
        let mut rate = Rate::default();
        rate.add(messages, now_ns);
        let counts = Counts { first_ns: now_ns, last_ns: now_ns, messages, bytes, errors, rate };
        shard.datasets.entry(input.clone()).or_default().insert(source, counts);
        shard.rows += 1;
    }

    /// When anybody sent something last.
    pub fn last_seen(&self) -> Option<Timestamp> {
        let newest = |shard: &Mutex<Shard>| {
            shard.lock().datasets.values().flat_map(HashMap::values).map(|counts| counts.last_ns).max()
        };
        self.shards.iter().filter_map(newest).max().map(time)
    }

    /// One page of rows as of now.
    pub fn query(&self, query: &SenderQuery) -> Vec<SenderRow> {
        self.query_at(query, Timestamp::now().as_nanosecond().try_into().unwrap_or(0))
    }

    fn query_at(&self, query: &SenderQuery, now_ns: u64) -> Vec<SenderRow> {
        let mut rows = Vec::new();
        for shard in &self.shards {
            let shard = shard.lock();
            let wanted = shard
                .datasets
                .iter()
                .filter(|(key, _)| paging::wants(query.tenant_id.as_ref(), query.dataset_id.as_ref(), key));
            for (key, senders) in wanted {
                rows.extend(senders.iter().map(|(source, counts)| row(key, *source, counts, now_ns)));
            }
        }
        rows.retain(|row| query.silent_for.is_none_or(|seconds| row.silent_seconds >= seconds));
        let name = |a: &SenderRow, b: &SenderRow| {
            (&a.tenant_id, &a.dataset_id, a.source).cmp(&(&b.tenant_id, &b.dataset_id, b.source))
        };
        if query.silent_first {
            rows.sort_by(|a, b| a.last_seen.cmp(&b.last_seen).then_with(|| name(a, b)));
        } else {
            rows.sort_by(name);
        }
        rows.into_iter().skip(query.offset).take(query.limit.unwrap_or(paging::DEFAULT)).collect()
    }
}

impl SenderQuery {
    /// Rows of a page.
    pub fn page(&self) -> usize {
        paging::page(self.limit)
    }
}

impl Shard {
    /// Removes the rows that were silent longest.
    fn evict(&mut self) {
        let mut times: Vec<u64> =
            self.datasets.values().flat_map(|rows| rows.values().map(|row| row.last_ns)).collect();
        let mut excess = (self.rows / EVICTED_SHARE).max(1);
        let (_, &mut newest, _) = times.select_nth_unstable(excess - 1);
        for rows in self.datasets.values_mut() {
            rows.retain(|_, row| {
                let stays = row.last_ns > newest || excess == 0;
                if !stays {
                    excess -= 1;
                    self.rows -= 1;
                }
                stays
            });
        }
        self.datasets.retain(|_, rows| !rows.is_empty());
    }
}

fn time(unix_ns: u64) -> Timestamp {
    Timestamp::from_nanosecond(unix_ns.into()).unwrap_or_default()
}

fn row(key: &DatasetKey, source: IpAddr, counts: &Counts, now_ns: u64) -> SenderRow {
    SenderRow {
        tenant_id: key.tenant.clone(),
        dataset_id: key.dataset.clone(),
        source,
        first_seen: time(counts.first_ns),
        last_seen: time(counts.last_ns),
        silent_seconds: now_ns.saturating_sub(counts.last_ns) / NS,
        messages: counts.messages,
        bytes: counts.bytes,
        errors: counts.errors,
        rate: counts.rate.at(now_ns),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn key(dataset: &str) -> DatasetKey {
        DatasetKey { tenant: "acme".parse().unwrap(), dataset: dataset.parse().unwrap() }
    }

    fn ip(last: u32) -> IpAddr {
        IpAddr::V4((0xc000_0200 + last).into())
    }

    fn sources(senders: &Senders, query: &SenderQuery, now: u64) -> Vec<String> {
        senders.query_at(query, now).into_iter().map(|row| row.source.to_string()).collect()
    }

    #[test]
    fn counts_add_up_and_the_rate_is_that_of_the_last_minute() {
        let senders = Senders::new(10);
        for second in 1..=600 {
            senders.record(&key("web"), ip(1), 50, 5000, 1, second * SECOND);
        }
        let rows = senders.query_at(&SenderQuery::default(), 600 * SECOND);
        assert_eq!(rows.len(), 1);
        assert_eq!((rows[0].messages, rows[0].bytes, rows[0].errors), (30_000, 3_000_000, 600));
        assert_eq!(rows[0].first_seen.to_string(), "1970-01-01T00:00:01Z");
        assert_eq!(rows[0].silent_seconds, 0);
        assert!((rows[0].rate - 50.0).abs() < 1.0, "{}", rows[0].rate);
        let later = senders.query_at(&SenderQuery::default(), 900 * SECOND);
        assert_eq!(later[0].silent_seconds, 300);
        assert!(later[0].rate < 1.0, "{}", later[0].rate);
    }

    #[test]
    fn the_quiet_ones_are_found() {
        let senders = Senders::new(10);
        for (dataset, source, second) in [("web", 3, 10), ("web", 1, 30), ("db", 2, 20), ("web", 2, 5)] {
            senders.record(&key(dataset), ip(source), 1, 1, 0, second * SECOND);
        }
        let now = 100 * SECOND;
        let all = SenderQuery::default();
        assert_eq!(sources(&senders, &all, now), ["192.0.2.2", "192.0.2.1", "192.0.2.2", "192.0.2.3"]);
        let silent = SenderQuery { silent_first: true, silent_for: Some(75), ..all.clone() };
        assert_eq!(sources(&senders, &silent, now), ["192.0.2.2", "192.0.2.3", "192.0.2.2"]);
        let web = SenderQuery { dataset_id: Some("web".parse().unwrap()), ..silent };
        assert_eq!(sources(&senders, &web, now), ["192.0.2.2", "192.0.2.3"]);
        let page = SenderQuery { offset: 1, limit: Some(2), ..all.clone() };
        assert_eq!(sources(&senders, &page, now), ["192.0.2.1", "192.0.2.2"]);
        let other = SenderQuery { tenant_id: Some("other".parse().unwrap()), ..all };
        assert!(senders.query_at(&other, now).is_empty());
    }

    #[test]
    fn the_table_is_bounded_and_the_longest_silent_go_first() {
        let senders = Senders::new(3);
        for (source, second) in [(1, 1), (2, 2), (3, 3), (1, 4), (4, 5)] {
            senders.record(&key("web"), ip(source), 1, 1, 0, second * SECOND);
        }
        assert_eq!(sources(&senders, &SenderQuery::default(), 0), ["192.0.2.1", "192.0.2.3", "192.0.2.4"]);
        let large = Senders::new(10_000);
        for sender in 0..100_000 {
            large.record(&key("web"), ip(sender), 1, 1, 0, u64::from(sender) * SECOND);
        }
        let rows: usize = large.shards.iter().map(|shard| shard.lock().rows).sum();
        let held: usize = large
            .shards
            .iter()
            .flat_map(|s| s.lock().datasets.values().map(HashMap::len).collect::<Vec<_>>())
            .sum();
        assert_eq!(rows, held);
        assert!((9_000..=10_000).contains(&rows), "{rows}");
        // Parts fill at random: each holds the last 625 of every sixteenth sender, 10 000 s ± 400 s (one sigma).
        let old = SenderQuery { silent_for: Some(14_000), ..SenderQuery::default() };
        let old = large.query_at(&old, 100_000 * SECOND);
        assert!(old.is_empty(), "{}", old.len());
    }

    #[test]
    fn a_clock_that_steps_back_is_harmless() {
        let senders = Senders::new(10);
        senders.record(&key("web"), ip(1), 1, 1, 0, 100 * SECOND);
        senders.record(&key("web"), ip(1), 1, 1, 0, 50 * SECOND);
        let rows = senders.query_at(&SenderQuery::default(), 20 * SECOND);
        assert_eq!((rows[0].messages, rows[0].silent_seconds), (2, 0));
    }
}
