//! A real spool, real delivery and a scripted Receiver.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use super::{
    receiver::{FakeReceiver, Request},
    upload,
};
use crate::{
    batch::{Body, Chunk, Class, MemoryBudget, Reservation, Stream, StreamKey},
    config::{Batching, Receiver, Spooling, Tokens},
    deliver::{DeliverParts, Deliverer, circuit::Pace},
    ids::{DatasetKey, Hint},
    ledger::{Events, Ledger},
    metrics::Metrics,
    spool::{Entry, Parts, Spool, SpoolHandle, State},
    vital::Vitals,
};

pub struct Site {
    pub dir: Arc<tempfile::TempDir>,
    pub spool: SpoolHandle,
    pub _owner: Spool,
    pub ledger: Arc<Ledger>,
    pub metrics: Arc<Metrics>,
    pub deliverer: Deliverer,
    pub sent: AtomicU64,
    pub batching: Batching,
}

/// What a test may change before it starts.
pub struct Plan {
    pub dir: Arc<tempfile::TempDir>,
    pub receiver: Receiver,
    pub tokens: Tokens,
    pub spooling: Spooling,
    pub batching: Batching,
    pub pace: Pace,
}

pub fn key(text: &str) -> DatasetKey {
    let (tenant, dataset) = text.split_once('/').unwrap();
    DatasetKey { tenant: tenant.parse().unwrap(), dataset: dataset.parse().unwrap() }
}

impl Plan {
    pub fn new(url: &str) -> Self {
        let dir = Arc::new(tempfile::tempdir().unwrap());
        Self {
            receiver: upload::settings(url),
            tokens: Tokens::default(),
            spooling: Spooling {
                enabled: true,
                directory: dir.path().to_owned(),
                max_size_bytes: 1 << 30,
                dlq_max_size_bytes: None,
                retry_attempts: 3,
                retry_interval: Duration::from_millis(100),
                cleanup_interval: Duration::from_mins(5),
                max_age: None,
                sync_interval: Duration::from_millis(20),
                dlq_auto_retry: true,
            },
            batching: Batching {
                max_lines: 0,
                max_bytes: 1 << 20,
                timeout: Duration::from_millis(50),
                compression_enabled: true,
                compression_level: 1,
                compression_adaptive: false,
            },
            pace: Pace {
                probe_min: Duration::from_millis(20),
                probe_max: Duration::from_millis(100),
                divert_min: Duration::from_millis(50),
                divert_max: Duration::from_millis(100),
                lonely_min: Duration::from_millis(200),
                lonely_max: Duration::from_millis(300),
                return_step: Duration::from_millis(20),
                ..Pace::default()
            },
            dir,
        }
    }

    pub fn start(self) -> Site {
        let (ledger, metrics) = (Arc::new(Ledger::default()), Arc::new(Metrics::default()));
        let owner = Spool::open(Parts {
            settings: self.spooling.clone(),
            memory: MemoryBudget::new(64 << 20),
            ledger: Arc::clone(&ledger),
            metrics: Arc::clone(&metrics),
            level: Arc::new(|_| 1),
            max_payload: 10 << 20,
        })
        .unwrap();
        let spool = owner.handle();
        let parts = DeliverParts {
            receiver: self.receiver,
            tokens: self.tokens,
            spooling: self.spooling,
            user_agent: "test/1".to_owned(),
            spool: spool.clone(),
            metrics: Arc::clone(&metrics),
            vitals: Vitals::default(),
        };
        let deliverer = Deliverer::start_with(parts, self.pace);
        let (dir, batching) = (self.dir, self.batching);
        Site { dir, _owner: owner, spool, ledger, metrics, deliverer, sent: AtomicU64::new(0), batching }
    }
}

impl Site {
    /// Commits lines of a dataset; each is different.
    pub async fn send(&self, name: &str, lines: u32) {
        self.send_padded(name, lines, 0).await;
    }

    pub async fn send_padded(&self, name: &str, lines: u32, pad: usize) {
        let mut raw = Vec::new();
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        for _ in 0..lines {
            let n = self.sent.fetch_add(1, Ordering::Relaxed);
            raw.extend_from_slice(format!("{name} {n} ").as_bytes());
            for _ in 0..pad {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                raw.push(b'a' + (state % 26) as u8);
            }
            raw.push(b'\n');
        }
        let stream = Stream {
            key: StreamKey { dataset: key(name), hint: Hint::ndjson(), class: Class::Acknowledged },
            batching: self.batching.clone(),
        };
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
        let chunk = Chunk {
            stream: Arc::new(stream),
            first_ns: now.as_nanos() as u64,
            lines,
            raw_len: raw.len() as u32,
            raw_crc: crc32fast::hash(&raw),
            body: Body::Raw(raw),
            memory: Reservation::default(),
        };
        self.ledger.accept(u64::from(lines));
        self.spool.commit(vec![chunk]).await.unwrap();
    }

    pub fn events(&self) -> Events {
        self.ledger.snapshot()
    }

    pub fn entries(&self, name: &str, state: State) -> Vec<Entry> {
        self.spool.entries(&key(name), &[state], None, 10_000)
    }

    /// Waits until this many lines are delivered and the books balance.
    pub async fn delivered(&self, lines: u64) {
        until(&format!("{lines} lines delivered"), || {
            let events = self.events();
            assert!(events.balanced(), "{events:?}");
            events.delivered >= lines
        })
        .await;
        assert_eq!(self.events().delivered, lines);
    }

    pub async fn in_dlq(&self, lines: u64) {
        until(&format!("{lines} lines in the DLQ"), || self.events().dlq == lines).await;
    }

    pub async fn circuit(&self, scope: &str, reason: &str) {
        let open =
            || self.deliverer.circuits().iter().any(|open| open.scope == scope && open.reason == reason);
        until(&format!("circuit {scope} {reason}"), open).await;
    }
}

/// Waits for a condition, at most 20 seconds.
pub async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < end, "in vain: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Every line that the Receiver took, with how often.
pub fn taken(fake: &FakeReceiver, accepted: impl Fn(&Request) -> bool) -> BTreeMap<String, u32> {
    let mut lines = BTreeMap::new();
    for request in fake.seen().iter().filter(|request| request.whole && accepted(request)) {
        for line in request.lines() {
            *lines.entry(line).or_default() += 1;
        }
    }
    lines
}
