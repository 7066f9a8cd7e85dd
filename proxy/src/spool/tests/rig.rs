//! A spool in a temporary folder, and the chunks that go into it.

use std::{
    io::Read,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{
    batch::{Body, Chunk, Class, MemoryBudget, Reservation, Stream, StreamKey},
    config::{Batching, Spooling},
    ids::{DatasetKey, Hint},
    ledger::{Events, Ledger},
    metrics::Metrics,
    spool::{Entry, Parts, Spool, SpoolHandle, Stamp, State, member::Compressor},
};

pub const ALL: [State; 3] = [State::Queue, State::Retry, State::Dlq];

pub fn settings(directory: &Path) -> Spooling {
    Spooling {
        enabled: true,
        directory: directory.to_owned(),
        max_size_bytes: 64 << 20,
        dlq_max_size_bytes: Some(64 << 20),
        retry_attempts: 5,
        retry_interval: Duration::from_mins(1),
        cleanup_interval: Duration::from_mins(5),
        max_age: None,
        sync_interval: Duration::from_millis(20),
        dlq_auto_retry: true,
    }
}

pub fn parts(settings: Spooling) -> Parts {
    Parts {
        settings,
        memory: MemoryBudget::new(16 << 20),
        ledger: Arc::new(Ledger::default()),
        metrics: Arc::new(Metrics::default()),
        level: Arc::new(|_| 6),
        max_payload: 10 << 20,
    }
}

pub fn batching() -> Batching {
    Batching {
        max_lines: 0,
        max_bytes: 1 << 20,
        timeout: Duration::from_hours(1),
        compression_enabled: true,
        compression_level: 6,
        compression_adaptive: false,
    }
}

pub fn key(dataset: &str) -> DatasetKey {
    DatasetKey { tenant: "acme".parse().unwrap(), dataset: dataset.parse().unwrap() }
}

pub fn stream(dataset: &str, class: Class, batching: Batching) -> Arc<Stream> {
    Arc::new(Stream { key: StreamKey { dataset: key(dataset), hint: Hint::ndjson(), class }, batching })
}

/// A chunk of raw lines.
pub fn raw(stream: &Arc<Stream>, text: &str) -> Chunk {
    Chunk {
        stream: Arc::clone(stream),
        first_ns: crate::spool::writer::now_ns(),
        lines: text.lines().count() as u32,
        raw_len: text.len() as u32,
        raw_crc: crc32fast::hash(text.as_bytes()),
        body: Body::Raw(text.as_bytes().to_vec()),
        memory: Reservation::default(),
    }
}

/// The same as a member.
pub fn member(stream: &Arc<Stream>, text: &str) -> Chunk {
    let mut chunk = raw(stream, text);
    let bytes =
        Compressor::default().member(text.as_bytes(), chunk.lines, stream.key.class, chunk.first_ns, 6);
    chunk.body = Body::Member(bytes);
    chunk
}

/// A running spool with its book.
pub struct Rig {
    pub spool: Spool,
    pub handle: SpoolHandle,
    pub ledger: Arc<Ledger>,
}

impl Rig {
    pub async fn open(settings: Spooling) -> Self {
        Self::open_with(parts(settings)).await
    }

    pub async fn open_with(parts: Parts) -> Self {
        let ledger = Arc::clone(&parts.ledger);
        let spool = Spool::open(parts).unwrap();
        spool.recovered().await;
        Self { handle: spool.handle(), spool, ledger }
    }

    pub async fn commit(&self, chunk: Chunk) {
        self.ledger.accept(u64::from(chunk.lines));
        self.handle.commit(vec![chunk]).await.unwrap();
    }

    /// Commits once there is room, and delivers at once what is closed of the dataset.
    pub async fn pass_through(&self, chunk: impl Fn() -> Chunk) {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let chunk = chunk();
            let lines = u64::from(chunk.lines);
            for entry in self.handle.entries(&chunk.stream.key.dataset, &[State::Queue], None, 10) {
                self.handle.delivered(entry.stamp).await.unwrap();
            }
            self.ledger.accept(lines);
            let Err(refused) = self.handle.commit(vec![chunk]).await else { return };
            self.ledger.unaccept(lines);
            assert!(Instant::now() < deadline, "{refused}: {:?}", self.handle.usage());
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    pub fn submit(&self, chunk: Chunk) {
        self.ledger.accept(u64::from(chunk.lines));
        self.handle.submit_blocking(chunk).unwrap();
    }

    pub async fn close(&self) {
        self.spool.close(Duration::from_secs(20)).await;
    }

    pub fn all(&self) -> Vec<Entry> {
        let keys = self.handle.datasets();
        keys.iter().flat_map(|key| self.handle.entries(key, &ALL, None, usize::MAX)).collect()
    }

    pub fn text(&self, stamp: Stamp) -> String {
        self.text_if_there(stamp).unwrap()
    }

    /// Nothing of a batch that another one is just replacing.
    pub fn text_if_there(&self, stamp: Stamp) -> Option<String> {
        let mut file = Vec::new();
        self.handle.open(stamp).ok()?.read_to_end(&mut file).unwrap();
        let mut text = String::new();
        flate2::read::MultiGzDecoder::new(&file[..]).read_to_string(&mut text).unwrap();
        Some(text)
    }

    /// Text of all batches, by name.
    pub fn texts(&self) -> String {
        let mut all = self.all();
        all.sort_by_key(|entry| entry.stamp);
        all.iter().map(|entry| self.text(entry.stamp)).collect()
    }

    pub fn balanced(&self) -> Events {
        let events = self.ledger.snapshot();
        assert!(events.balanced(), "{events:?}");
        events
    }

    /// Waits until something holds.
    pub async fn until(&self, what: &str, holds: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while !holds(self) {
            assert!(Instant::now() < deadline, "{what}: {:?}", self.all());
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}

/// The only instance folder.
pub fn folder(directory: &Path) -> PathBuf {
    directory.join(".instance-0")
}

/// All files below a folder.
pub fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.path().is_dir() { found.extend(files(&entry.path())) } else { found.push(entry.path()) }
    }
    found.sort();
    found
}
