//! A batch that still grows. Only the writer has it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use crc32fast::Hasher;

use super::{
    Stamp,
    files::Name,
    frame::{Header, Kind, Totals},
};
use crate::{
    batch::{Body, CHUNK_TARGET, Chunk, Stream, StreamKey},
    config::Batching,
};

/// The file of a batch while it is built; shared by writer and filer.
#[derive(Debug)]
pub struct Building {
    /// Its name.
    pub name: Name,
    /// Whose lines.
    pub key: StreamKey,
    /// Bytes in the file.
    pub len: AtomicU64,
    /// Bytes handed to the filer and not yet in the file.
    pub under_way: AtomicU64,
    /// Bytes of its frames in the log.
    pub logged: AtomicU64,
    /// Some bytes were given up at the end of the process; none may follow in their place.
    pub given_up: AtomicBool,
}

/// Lines that are in the log and not yet in a member.
#[derive(Debug, Default)]
pub struct Tail {
    /// The lines.
    pub raw: Vec<u8>,
    /// Their number.
    pub lines: u32,
    /// Receive time of the first.
    pub first_ns: u64,
}

/// An open batch.
#[derive(Debug)]
pub struct OpenBatch {
    /// Its file.
    pub file: Arc<Building>,
    /// When it must be closed.
    pub due: Instant,
    stream: Arc<Stream>,
    begun: Instant,
    frames: u32,
    lines: u64,
    offset: u64,
    crc: Hasher,
    /// Not yet in a member.
    pub tail: Tail,
}

impl OpenBatch {
    /// A batch named `stamp` whose first line is that of `chunk`.
    pub fn new(stamp: Stamp, chunk: &Chunk, now: Instant, now_ns: u64) -> Self {
        let key = &chunk.stream.key;
        let waited =
            Duration::from_nanos(now_ns.saturating_sub(chunk.first_ns)).min(chunk.stream.batching.timeout);
        let begun = now.checked_sub(waited).unwrap_or(now);
        let name = Name { key: key.dataset.clone(), stamp, hint: key.hint.clone() };
        Self {
            file: Arc::new(Building {
                name,
                key: key.clone(),
                len: AtomicU64::new(0),
                under_way: AtomicU64::new(0),
                logged: AtomicU64::new(0),
                given_up: AtomicBool::new(false),
            }),
            due: begun + chunk.stream.batching.timeout,
            stream: Arc::clone(&chunk.stream),
            begun,
            frames: 1,
            lines: 0,
            offset: 0,
            crc: Hasher::new(),
            tail: Tail::default(),
        }
    }

    /// Name.
    pub fn stamp(&self) -> Stamp {
        self.file.name.stamp
    }

    /// Whether it must be closed before `chunk` is added.
    pub fn has_no_room_for(&self, chunk: &Chunk, max_payload: u64) -> bool {
        let limits = &chunk.stream.batching;
        let size = match &chunk.body {
            Body::Raw(bytes) | Body::Member(bytes) => bytes.len() as u64,
        };
        let too_many = limits.max_lines > 0 && self.lines + u64::from(chunk.lines) > limits.max_lines;
        self.lines > 0 && (too_many || self.bytes() + size > limits.max_bytes.min(max_payload))
    }

    /// Whether nothing more can be added.
    pub fn is_full(&self, max_payload: u64) -> bool {
        let limits = &self.stream.batching;
        (limits.max_lines > 0 && self.lines >= limits.max_lines)
            || self.bytes() >= limits.max_bytes.min(max_payload)
    }

    /// Whose lines, with the present limits.
    pub fn stream(&self) -> Arc<Stream> {
        Arc::clone(&self.stream)
    }

    /// Raw bytes at which the tail becomes a member.
    pub fn tail_limit(&self) -> usize {
        tail_limit(&self.stream.batching)
    }

    /// A reload may bring other limits; true when the due time changed.
    pub fn adopt(&mut self, stream: &Arc<Stream>) -> bool {
        if Arc::ptr_eq(&self.stream, stream) {
            return false;
        }
        let old = self.due;
        self.stream = Arc::clone(stream);
        self.due = self.begun + stream.batching.timeout;
        self.due != old
    }

    /// The next frame's header for `chunk`, counted in.
    pub fn add(&mut self, chunk: &Chunk) -> Header {
        let (Body::Raw(bytes) | Body::Member(bytes)) = &chunk.body;
        self.file.logged.fetch_add(bytes.len() as u64, Relaxed);
        let header = Header {
            kind: if matches!(chunk.body, Body::Raw(_)) { Kind::Raw } else { Kind::Member },
            stamp: self.stamp(),
            number: self.frames,
            offset: self.offset,
            lines: chunk.lines,
            raw_len: chunk.raw_len,
            raw_crc: chunk.raw_crc,
        };
        self.frames += 1;
        self.lines += u64::from(chunk.lines);
        self.offset += u64::from(chunk.raw_len);
        self.crc.combine(&Hasher::new_with_initial_len(chunk.raw_crc, u64::from(chunk.raw_len)));
        header
    }

    /// What it amounts to.
    pub fn totals(&self) -> Totals {
        Totals { frames: self.frames, lines: self.lines, raw: self.offset, crc: self.crc.clone().finalize() }
    }

    /// Bytes of the file, taking what is not yet compressed as it is.
    fn bytes(&self) -> u64 {
        self.file.len.load(Relaxed) + self.file.under_way.load(Relaxed) + self.tail.raw.len() as u64
    }
}

/// Members of 64 KiB are 6 % longer than one piece, of 256 KiB 1 %.
fn tail_limit(batching: &Batching) -> usize {
    usize::try_from(batching.max_bytes / 4).unwrap_or(usize::MAX).clamp(4096, CHUNK_TARGET)
}
