//! Lines of one stream on their way from a decoder into a chunk.

use std::sync::Arc;

use super::{Body, CHUNK_TARGET, Chunk, MEMBER_MIN, Reservation, Stream};
use crate::{decode::ReceiveTime, spool::member::Compressor};

/// However small batches are, this many bytes are worth a chunk.
const MIN_CHUNK: usize = 4096;

/// A growing run of lines. One per (worker or connection, stream), used again after each [`LineBuffer::take`].
#[derive(Debug)]
pub struct LineBuffer {
    stream: Arc<Stream>,
    bytes: Vec<u8>,
    lines: u32,
    first_ns: u64,
}

impl LineBuffer {
    /// An empty buffer.
    pub fn new(stream: Arc<Stream>) -> Self {
        Self { stream, bytes: Vec::new(), lines: 0, first_ns: 0 }
    }

    /// Whose lines.
    pub fn stream(&self) -> &Arc<Stream> {
        &self.stream
    }

    /// Where decoders append complete lines.
    pub fn out(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// Counts `lines` that were appended at `now`.
    pub fn added(&mut self, lines: u32, now: &ReceiveTime) {
        if self.lines == 0 && lines > 0 {
            self.first_ns = now.unix_ns();
        }
        self.lines = self.lines.saturating_add(lines);
    }

    /// Whether there is nothing to hand over.
    pub fn is_empty(&self) -> bool {
        self.lines == 0
    }

    /// Bytes held.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Lines held.
    pub fn lines(&self) -> u32 {
        self.lines
    }

    /// Whether it is time to hand over: [`CHUNK_TARGET`] bytes, or as many lines as a batch may have. A chunk is
    /// never cut, so for small batches it is a quarter of what a batch may have.
    pub fn is_full(&self) -> bool {
        let limits = &self.stream.batching;
        let target =
            usize::try_from(limits.max_bytes / 4).unwrap_or(usize::MAX).clamp(MIN_CHUNK, CHUNK_TARGET);
        self.bytes.len() >= target || (limits.max_lines > 0 && u64::from(self.lines) >= limits.max_lines)
    }

    /// What was collected, as a chunk: compressed from [`MEMBER_MIN`] bytes on, at `level` (see `Level::of`).
    pub fn take(&mut self, level: u32, compressor: &mut Compressor, memory: Reservation) -> Option<Chunk> {
        let lines = std::mem::take(&mut self.lines);
        if lines == 0 {
            self.bytes.clear();
            return None;
        }
        let raw_len = self.bytes.len() as u32;
        let (raw_crc, body) = if self.bytes.len() < MEMBER_MIN {
            (crc32fast::hash(&self.bytes), Body::Raw(std::mem::take(&mut self.bytes)))
        } else {
            let class = self.stream.key.class;
            let member = compressor.member(&self.bytes, lines, class, self.first_ns, level);
            self.bytes.clear();
            // One very long line shall not hold its memory for good.
            self.bytes.shrink_to(2 * CHUNK_TARGET);
            (crc_of(&member), Body::Member(member))
        };
        let stream = Arc::clone(&self.stream);
        Some(Chunk { stream, first_ns: self.first_ns, lines, raw_len, raw_crc, body, memory })
    }
}

/// The CRC-32 that a gzip member ends with (before the length).
fn crc_of(member: &[u8]) -> u32 {
    member.last_chunk::<8>().map_or(0, |[a, b, c, d, ..]| u32::from_le_bytes([*a, *b, *c, *d]))
}

#[cfg(test)]
pub(super) mod tests {
    use std::{io::Read, time::Duration};

    use super::*;
    use crate::{
        batch::{Class, StreamKey},
        config::Batching,
        ids::{DatasetKey, Hint},
    };

    pub fn batching() -> Batching {
        Batching {
            max_lines: 0,
            max_bytes: 1 << 20,
            timeout: Duration::from_secs(30),
            compression_enabled: true,
            compression_level: 6,
            compression_adaptive: true,
        }
    }

    fn buffer(batching: Batching) -> LineBuffer {
        let dataset = DatasetKey { tenant: "acme".parse().unwrap(), dataset: "web".parse().unwrap() };
        let key = StreamKey { dataset, hint: Hint::ndjson(), class: Class::Acknowledged };
        LineBuffer::new(Arc::new(Stream { key, batching }))
    }

    #[test]
    fn few_bytes_stay_raw_and_many_become_a_member_with_the_same_facts() {
        let mut compressor = Compressor::default();
        let mut buffer = buffer(batching());
        for line in [&b"{\"a\":1}\n"[..], &vec![b'x'; MEMBER_MIN]] {
            assert!(buffer.take(6, &mut compressor, Reservation::default()).is_none());
            buffer.out().extend_from_slice(line);
            buffer.added(1, &ReceiveTime::new(7));
            buffer.added(0, &ReceiveTime::new(8));
            let chunk = buffer.take(6, &mut compressor, Reservation::default()).unwrap();
            assert_eq!((chunk.lines, chunk.raw_len as usize, chunk.first_ns), (1, line.len(), 7));
            assert_eq!(chunk.raw_crc, crc32fast::hash(line));
            match chunk.body {
                Body::Raw(bytes) => assert_eq!(bytes, line),
                Body::Member(member) => {
                    let mut raw = Vec::new();
                    flate2::read::GzDecoder::new(&member[..]).read_to_end(&mut raw).unwrap();
                    assert_eq!(raw, line);
                    assert!(member.len() < MEMBER_MIN);
                }
            }
            assert_eq!((buffer.is_empty(), buffer.len()), (true, 0));
        }
    }

    #[test]
    fn it_is_full_by_bytes_or_by_the_lines_of_a_batch() {
        let mut by_lines = buffer(Batching { max_lines: 3, ..batching() });
        by_lines.added(2, &ReceiveTime::new(0));
        assert!(!by_lines.is_full());
        by_lines.added(1, &ReceiveTime::new(0));
        assert!(by_lines.is_full());
        let mut small = buffer(Batching { max_bytes: 30_000, ..batching() });
        small.out().resize(7_499, b'x');
        small.added(1, &ReceiveTime::new(0));
        assert!(!small.is_full());
        small.out().push(b'\n');
        assert!(small.is_full());
        let mut by_bytes = buffer(batching());
        by_bytes.out().resize(CHUNK_TARGET - 1, b'x');
        by_bytes.added(1_000_000, &ReceiveTime::new(0));
        assert!(!by_bytes.is_full());
        by_bytes.out().push(b'\n');
        assert!(by_bytes.is_full());
    }
}
