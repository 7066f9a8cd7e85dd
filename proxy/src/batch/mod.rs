//! Lines of one stream in memory, between decoder and spool.
//!
//! ```text
//! decoder -> LineBuffer --(256 KiB, or nothing more to read)--> Chunk --> spool
//! ```
//! A [`Chunk`] of [`MEMBER_MIN`] raw bytes and more is compressed by whoever filled it and enters the spool as a
//! complete gzip member; a smaller one goes in as it is and becomes part of a member there.

#![deny(clippy::indexing_slicing)]

use std::sync::Arc;

use crate::{
    config::Batching,
    ids::{DatasetKey, Hint},
};

mod budget;
mod builder;
pub mod effort;
mod level;

pub use builder::LineBuffer;
pub use level::Level;

pub use budget::{MemoryBudget, Reservation};

/// Raw bytes from which a chunk is compressed before it enters the spool.
pub const MEMBER_MIN: usize = 64 * 1024;
/// Raw bytes at which a line buffer is handed over.
pub const CHUNK_TARGET: usize = 256 * 1024;
/// Longest line in bytes, `\n` included: the longest that is read downstream is 10 MiB.
pub const MAX_LINE: usize = 10 * 1024 * 1024 - 1;

/// Whether somebody was told that the data is safe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Class {
    /// UDP and plain TCP: nobody waits for an answer. May be moved to the DLQ to make room.
    Unacknowledged,
    /// HTTP 200, broker acks: never pushed out by others.
    Acknowledged,
}

/// What one batch may hold: lines of one dataset, one hint, one class.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StreamKey {
    /// Tenant and dataset.
    pub dataset: DatasetKey,
    /// What the lines are.
    pub hint: Hint,
    /// Acknowledged or not.
    pub class: Class,
}

/// A stream with its present limits. A reload makes a new one; the spool goes on with the same open batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stream {
    /// Identity.
    pub key: StreamKey,
    /// Where batches are cut.
    pub batching: Batching,
}

/// Lines as they enter the spool.
#[derive(Debug)]
pub enum Body {
    /// The lines themselves; fewer than [`MEMBER_MIN`] bytes, or any number when the spool shall compress.
    Raw(Vec<u8>),
    /// One complete gzip member with our FEXTRA (see `spool::member`).
    Member(Vec<u8>),
}

/// Complete lines of one stream, in order, each ended by `\n`.
#[derive(Debug)]
pub struct Chunk {
    /// Whose lines.
    pub stream: Arc<Stream>,
    /// Receive time of the first line, Unix nanoseconds.
    pub first_ns: u64,
    /// Number of lines, at least 1.
    pub lines: u32,
    /// Bytes before compression.
    pub raw_len: u32,
    /// CRC-32 (IEEE, as in gzip) of the bytes before compression.
    pub raw_crc: u32,
    /// The bytes.
    pub body: Body,
    /// Share of the memory budget, given back when the chunk is dropped.
    pub memory: Reservation,
}

impl Chunk {
    /// Gives back what compression saved of the memory that its lines had: what comes can wait in it for a slow disk.
    pub fn shrink(&mut self) {
        let (Body::Raw(bytes) | Body::Member(bytes)) = &self.body;
        self.memory.shrink_to(bytes.len());
    }
}
