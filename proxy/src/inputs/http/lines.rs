//! A body on its way into chunks, while it comes in.
//!
//! Pieces are cut at line ends; what follows the last one waits in `carry`. Nothing is handed to the spool before
//! the whole body was read, so a request is stored completely or not at all.

use std::{cell::RefCell, net::IpAddr};

use tokio::time::Instant;

use super::{Shared, answer::Answer, table::HttpRoute};
use crate::{
    batch::{Chunk, LineBuffer, MAX_LINE, Reservation},
    decode::{ReceiveTime, text},
    spool::member::Compressor,
};

/// Decoded at a time, so that limits are looked at in between.
const PIECE: usize = 16 * 1024;
/// Larger bodies reserve memory in steps of this size.
const RESERVE_STEP: usize = 64 * 1024;

thread_local! {
    /// Up to a MiB; far fewer threads than connections.
    static COMPRESSOR: RefCell<Compressor> = RefCell::default();
}

/// The lines of one request.
#[derive(Debug)]
pub struct Lines<'a> {
    route: &'a HttpRoute,
    shared: &'a Shared,
    source: IpAddr,
    now: ReceiveTime,
    buffer: LineBuffer,
    carry: Vec<u8>,
    chunks: Vec<Chunk>,
    count: usize,
    /// Bytes held elsewhere for this request.
    besides: usize,
    /// Of the buffer, `carry` and `besides`.
    memory: Reservation,
    reserved: usize,
    /// Of the chunks.
    chunked: usize,
}

impl<'a> Lines<'a> {
    /// For one request that arrived `now`.
    pub fn new(route: &'a HttpRoute, shared: &'a Shared, source: IpAddr, now: ReceiveTime) -> Self {
        Self {
            route,
            shared,
            source,
            now,
            buffer: LineBuffer::new(route.route.stream.clone()),
            carry: Vec::new(),
            chunks: Vec::new(),
            count: 0,
            besides: 0,
            memory: Reservation::default(),
            reserved: 0,
            chunked: 0,
        }
    }

    /// When the request arrived.
    pub fn now(&self) -> &ReceiveTime {
        &self.now
    }

    /// So many bytes are held elsewhere for this request; they count from the next [`Self::feed`] on.
    pub fn besides(&mut self, bytes: usize) {
        self.besides = bytes;
    }

    /// Chunks so far.
    pub fn chunks(&self) -> usize {
        self.chunks.len()
    }

    /// Takes the next bytes of the body; `last` says that none follow.
    pub fn feed(&mut self, mut data: &[u8], last: bool) -> Result<(), Answer> {
        if !self.carry.is_empty() {
            let Some(end) = memchr::memchr(b'\n', data) else {
                return self.keep(data);
            };
            let (head, rest) = data.split_at(end + 1);
            self.keep(head)?;
            self.flush_carry()?;
            data = rest;
        }
        let whole = if last { data.len() } else { memchr::memrchr(b'\n', data).map_or(0, |end| end + 1) };
        let (mut whole, rest) = data.split_at(whole);
        while !whole.is_empty() {
            let after = whole.get(PIECE..).unwrap_or_default();
            let end = memchr::memchr(b'\n', after).map_or(whole.len(), |end| PIECE + end + 1);
            let (piece, others) = whole.split_at(end);
            self.decode(piece)?;
            whole = others;
        }
        self.keep(rest)
    }

    /// The body is complete: what waits is the last line.
    pub fn finish(&mut self) -> Result<(), Answer> {
        let begun = Instant::now();
        self.flush_carry()?;
        self.cut();
        self.shared.level.worked(begun.elapsed());
        Ok(())
    }

    /// Everything, in order, with the number of lines.
    pub fn into_chunks(self) -> (Vec<Chunk>, u64) {
        (self.chunks, self.count as u64)
    }

    fn flush_carry(&mut self) -> Result<(), Answer> {
        let carry = std::mem::take(&mut self.carry);
        self.decode(&carry)?;
        self.carry = carry;
        self.carry.clear();
        Ok(())
    }

    fn keep(&mut self, rest: &[u8]) -> Result<(), Answer> {
        if self.carry.len() + rest.len() > MAX_LINE {
            return Err(Answer::LineTooLong(MAX_LINE));
        }
        self.carry.extend_from_slice(rest);
        self.reserve()
    }

    fn decode(&mut self, piece: &[u8]) -> Result<(), Answer> {
        let added = text::push_lines(piece, &self.route.rules, self.source, &self.now, self.buffer.out());
        self.buffer.added(added, &self.now);
        self.count += added as usize;
        if self.count > self.route.source.max_lines_per_request {
            return Err(Answer::TooManyLines(self.route.source.max_lines_per_request));
        }
        self.reserve()?;
        if self.buffer.is_full() {
            self.cut();
        }
        Ok(())
    }

    /// The budget covers what is held, or the request is refused. One that needs more than the whole budget would
    /// never succeed.
    fn reserve(&mut self) -> Result<(), Answer> {
        let held = self.buffer.len() + self.carry.len() + self.besides;
        if held <= self.reserved {
            return Ok(());
        }
        let step = if held < RESERVE_STEP { 1024 } else { RESERVE_STEP };
        let missing = (held - self.reserved).next_multiple_of(step);
        if (self.chunked + self.reserved + missing) as u64 > self.shared.memory.total() {
            return Err(Answer::TooLarge);
        }
        self.memory.merge(self.shared.memory.try_reserve(missing).ok_or(Answer::Memory)?);
        self.reserved += missing;
        Ok(())
    }

    fn cut(&mut self) {
        self.shared.level.observe(self.shared.memory.fill());
        let level = self.shared.level.of(&self.route.route.stream.batching);
        let memory = std::mem::take(&mut self.memory);
        self.chunked += std::mem::take(&mut self.reserved);
        let chunk = COMPRESSOR.with_borrow_mut(|compressor| self.buffer.take(level, compressor, memory));
        self.chunks.extend(chunk);
    }
}
