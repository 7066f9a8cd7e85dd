//! The write-ahead log: append, sync, a new segment after a failure.

use std::{collections::VecDeque, io, time::Instant};

use super::{
    disk::DiskFile,
    frame::{self, Header, Mark},
    instance::random,
    segment::{PAGE, SECOND, SegmentHeader},
    stamps::Stamps,
    store::Store,
};

/// Longest part of the log that may wait for a sync: it is kept in memory meanwhile.
pub const MAX_UNSYNCED: usize = 4 << 20;

/// What the log remembers of a segment.
#[derive(Debug, Clone, Copy)]
pub struct Segment {
    /// Number.
    pub number: u32,
    /// Bytes on the disk.
    pub bytes: u64,
}

#[derive(Debug)]
struct Current {
    file: Box<dyn DiskFile>,
    header: SegmentHeader,
    size: u64,
    second: bool,
    /// Whether the header is.
    durable: bool,
}

/// The log of one instance. Only the writer has it.
#[derive(Debug)]
pub struct Log {
    store: Store,
    segment_bytes: u64,
    number: u32,
    /// Of the current segment.
    salt: u64,
    /// Offset in the current segment up to which everything is synced.
    synced: u64,
    current: Option<Current>,
    segments: VecDeque<Segment>,
    /// Frames since the last good sync; they belong at `synced`.
    unsynced: Vec<u8>,
    /// Lines in them.
    unsynced_lines: u64,
    written: usize,
    spare: Option<(u32, Box<dyn DiskFile>)>,
    reserved: u64,
    created: u64,
}

impl Log {
    /// Begins with segment `number`. When it cannot be made the log is broken and [`Log::repair`] tries again.
    pub fn begin(store: Store, number: u32, segment_bytes: u64, stamps: &Stamps) -> Self {
        let mut log = Self {
            store,
            segment_bytes,
            number: number.saturating_sub(1),
            salt: 0,
            synced: 0,
            current: None,
            segments: VecDeque::new(),
            unsynced: Vec::new(),
            unsynced_lines: 0,
            written: 0,
            spare: None,
            reserved: stamps.reserved(),
            created: stamps.newest(),
        };
        if let Err(error) = log.new_segment(0) {
            tracing::warn!(%error, "no log segment can be made; trying again");
        }
        log
    }

    /// Adds a frame and returns the number of the segment that holds it, or an older one.
    pub fn append(&mut self, header: &Header, payload: &[u8]) -> u32 {
        let need = frame::length(payload.len()) as u64;
        let end = self.synced + self.unsynced.len() as u64;
        let full = self.current.as_ref().is_some_and(|now| end + need > now.size && end > PAGE as u64);
        if full && self.sync().is_ok() {
            // A segment that cannot be made leaves the log broken; the frame waits for the next attempt.
            self.current = None;
            let _ = self.make_room(need);
        }
        frame::encode(header, self.mark(), self.synced as u32, payload, &mut self.unsynced);
        self.unsynced_lines += u64::from(header.lines);
        failpoint!("log.append");
        self.number
    }

    /// Length of segments from the next one on.
    pub fn resize(&mut self, segment_bytes: u64) {
        self.segment_bytes = segment_bytes;
    }

    /// Bytes that wait for a sync.
    pub fn unsynced(&self) -> usize {
        self.unsynced.len()
    }

    /// Lines in them.
    pub fn unsynced_lines(&self) -> u64 {
        self.unsynced_lines
    }

    /// Whether nothing can be written now.
    pub fn broken(&self) -> bool {
        self.current.is_none()
    }

    /// Segments, oldest first; the last is the current one.
    pub fn segments(&self) -> &VecDeque<Segment> {
        &self.segments
    }

    /// Whether an older header with the reserved stamp is not needed any more.
    pub fn header_is_durable(&self) -> bool {
        self.current.as_ref().is_some_and(|current| current.durable)
    }

    /// Bytes of all segments.
    pub fn bytes(&self) -> u64 {
        let spare = if self.spare.is_some() { self.segment_bytes } else { 0 };
        self.segments.iter().map(|segment| segment.bytes).sum::<u64>() + spare
    }

    /// The stamp that a header must hold from the next sync on.
    pub fn reserve(&mut self, reserved: u64) {
        self.reserved = reserved;
    }

    /// Stamps below this have been handed out when a segment is made.
    pub fn newest_stamp(&mut self, stamp: u64) {
        self.created = stamp;
    }

    /// Writes what has not been written, without a sync; before it the reserved stamp, which must be above all stamps in
    /// the frames.
    pub fn write(&mut self) -> io::Result<()> {
        self.write_reserved()?;
        let Some(current) = &mut self.current else {
            return Err(io::Error::other("there is no segment to write to"));
        };
        let rest = self.unsynced.get(self.written..).unwrap_or_default();
        if rest.is_empty() {
            return Ok(());
        }
        let at = self.synced + self.written as u64;
        failpoint!("log.write");
        match current.file.write_at(at, rest) {
            Ok(()) => {
                failpoint!("log.written");
                self.written = self.unsynced.len();
                Ok(())
            }
            Err(error) => Err(self.abandon(error)),
        }
    }

    /// Writes and syncs. After an error this segment is never written again and [`Log::repair`] must follow.
    pub fn sync(&mut self) -> io::Result<()> {
        self.write()?;
        let Some(current) = &mut self.current else { return Ok(()) };
        if self.written == 0 && current.durable {
            return Ok(());
        }
        let begun = Instant::now();
        failpoint!("log.sync");
        if let Err(error) = current.file.sync() {
            return Err(self.abandon(error));
        }
        failpoint!("log.synced");
        current.durable = true;
        self.store.metrics.sync_seconds.observe(begun.elapsed().as_secs_f64());
        self.synced += self.written as u64;
        if let Some(segment) = self.segments.back_mut() {
            segment.bytes = segment.bytes.max(self.synced);
        }
        self.written = 0;
        self.unsynced_lines = 0;
        self.unsynced.clear();
        self.unsynced.shrink_to(2 * MAX_UNSYNCED);
        Ok(())
    }

    /// After a failure: writes everything since the last good sync to a new segment.
    pub fn repair(&mut self) -> io::Result<()> {
        self.make_room(self.unsynced.len() as u64)?;
        let mark = self.mark();
        frame::move_to_segment(&mut self.unsynced, mark);
        self.sync()
    }

    /// The number and length of a segment to make ahead of time, when the current one is half full.
    pub fn wants_spare(&self) -> Option<(u32, u64)> {
        let half_full = self.current.as_ref().is_some_and(|now| self.synced > now.size / 2);
        (half_full && self.spare.is_none()).then_some((self.number + 1, self.segment_bytes))
    }

    /// A segment made ahead of time. It is of no use when the log went on meanwhile.
    pub fn add_spare(&mut self, number: u32, file: Box<dyn DiskFile>) {
        if number == self.number + 1 {
            self.spare = Some((number, file));
        } else {
            let _ = self.store.disk.remove(&self.store.layout.segment(number));
        }
    }

    /// Segments up to `last` were removed.
    pub fn forget_up_to(&mut self, last: u32) {
        self.segments.retain(|segment| segment.number > last);
    }

    fn mark(&self) -> Mark {
        Mark { segment: self.number, salt: self.salt }
    }

    fn abandon(&mut self, error: io::Error) -> io::Error {
        self.store.metrics.log_failures.inc();
        tracing::warn!(segment = self.number, %error, "the log segment cannot be written; going on in a new one");
        self.current = None;
        self.written = 0;
        if self.synced == PAGE as u64 {
            self.hollow_out();
        }
        error
    }

    /// A segment of which nothing but the header was ever synced gives back what was set aside for it: where one after the
    /// other fails they would fill the volume, and the DLQ would give way to them.
    fn hollow_out(&mut self) {
        let path = self.store.layout.segment(self.number);
        if let Some(segment) = self.segments.back_mut()
            && self.store.disk.truncate(&path, PAGE as u64).is_ok()
        {
            segment.bytes = PAGE as u64;
        }
    }

    fn write_reserved(&mut self) -> io::Result<()> {
        let Some(current) = &mut self.current else {
            return Err(io::Error::other("there is no segment to write to"));
        };
        if current.header.reserved == self.reserved {
            return Ok(());
        }
        current.header.reserved = self.reserved;
        current.second = !current.second;
        let at = if current.second { SECOND } else { 0 };
        match current.file.write_at(at, &current.header.encode()) {
            Ok(()) => {
                failpoint!("log.reserved");
                Ok(())
            }
            Err(error) => Err(self.abandon(error)),
        }
    }

    fn make_room(&mut self, need: u64) -> io::Result<()> {
        if self.current.is_none() { self.new_segment(need) } else { Ok(()) }
    }

    fn new_segment(&mut self, need: u64) -> io::Result<()> {
        let previous_synced = self.synced as u32;
        let bytes = self.segment_bytes.max(PAGE as u64 + need);
        failpoint!("segment.create");
        let (mut file, ahead) = self.next_file(bytes)?;
        let header = SegmentHeader {
            number: self.number,
            previous_synced,
            created: self.created,
            reserved: self.reserved,
            salt: random() >> 16,
        };
        let path = self.store.layout.segment(self.number);
        // Made ahead, it has a durable name, and the header becomes durable with the first frames.
        let prepared = file.write_at(0, &header.page()).and_then(|()| {
            if ahead {
                return Ok(());
            }
            file.sync()?;
            self.store.disk.sync_dir(&self.store.layout.log())
        });
        if let Err(error) = prepared {
            let _ = self.store.disk.remove(&path);
            return Err(error);
        }
        failpoint!("segment.created");
        self.synced = PAGE as u64;
        self.salt = header.salt;
        self.written = 0;
        self.segments.push_back(Segment { number: self.number, bytes });
        self.current = Some(Current { file, header, size: bytes, second: true, durable: !ahead });
        Ok(())
    }

    /// The file of the next segment, and whether it was made ahead of time. A number is used once, whether its segment
    /// could be made or not. One that is just being made in the background has the next number: its name may be taken
    /// already, and it is of no use any more.
    fn next_file(&mut self, bytes: u64) -> io::Result<(Box<dyn DiskFile>, bool)> {
        loop {
            self.number += 1;
            if let Some((_, file)) = self.spare.take().filter(|(number, _)| *number == self.number) {
                return Ok((file, true));
            }
            match self.store.disk.create(&self.store.layout.segment(self.number), bytes) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                other => return Ok((other?, false)),
            }
        }
    }
}
