//! Where a message ends in a stream of bytes. Pure state machines over the caller's growing buffer; they own no bytes,
//! so what a peer can make us hold is the caller's buffer, and that never needs more than the limit and one read.
//!
//! | framing | a message ends |
//! |---|---|
//! | lines | at the delimiter |
//! | syslog, RFC 6587 3.4.1 octet counting | `<count> <message>`: after `count` bytes, whatever they are |
//! | syslog, RFC 6587 3.4.2 | at `\n` or NUL |
//! | IPFIX, RFC 7011 10.4.3 | where the length in its header says; a header that is none ends the connection |
//!
//! Syslog decides once per connection: `[1-9][0-9]*` followed by a space and `<` is a count. When on such a connection
//! something else follows a message (a sender that counts characters, a lost byte), everything up to the next line end or the next
//! count is passed on as one message, and counted as malformed. Empty messages are left out. What the end of the connection
//! leaves is the last message; a count tells whether it is all of it.

use crate::config::Oversize;

use super::text::char_boundary;

/// Most digits of a count.
const MAX_DIGITS: usize = 9;
/// Bytes at the end of a buffer that may be the beginning of a count, with the one before it: `x123456789 <`.
const PARTIAL_COUNT: usize = MAX_DIGITS + 3;

/// What to do with the buffer.
#[derive(Debug, PartialEq, Eq)]
pub enum Step<'a> {
    /// A message.
    Frame {
        /// Its bytes, without what framed them.
        bytes: &'a [u8],
        /// Bytes to remove from the front of the buffer.
        consumed: usize,
        /// Only its first bytes: it was longer than the limit.
        cut: bool,
    },
    /// Nothing of the first `consumed` bytes is wanted.
    Skip {
        /// Bytes to remove from the front of the buffer.
        consumed: usize,
    },
    /// More bytes are needed; the buffer must be given again with its bytes in place.
    More,
    /// A message above the limit where the setting says to close the connection, or one whose end cannot be told.
    Close,
}

/// A message that nothing ended.
#[derive(Debug, PartialEq, Eq)]
pub struct Last<'a> {
    /// Its bytes, without what framed them.
    pub bytes: &'a [u8],
    /// Only its first bytes: it was longer than the limit.
    pub cut: bool,
    /// Only its first bytes: its count announced more.
    pub broken_off: bool,
}

/// What was wrong in a stream so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Faults {
    /// Messages above the limit of which nothing was kept.
    pub dropped: u64,
    /// Places where a count was expected and none was.
    pub malformed: u64,
    /// Messages that the end of the connection cut short and of which nothing was kept.
    pub broken: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Framing {
    Lines(u8),
    Undecided,
    SyslogLines,
    Octets,
    Ipfix,
}

/// Finds the messages of one connection.
#[derive(Debug)]
pub struct Framer {
    framing: Framing,
    limit: usize,
    oversize: Oversize,
    /// Bytes at the front of the buffer that were searched without success.
    searched: usize,
    /// The rest of a line above the limit follows.
    in_long_line: bool,
    /// Bytes of a counted message above the limit that still follow.
    unwanted: usize,
    faults: Faults,
}

/// What the start of a buffer is, where a count may stand.
enum Head {
    Count { header: usize, len: usize },
    Other,
    Unclear,
}

impl Framer {
    /// Lines ended by `delimiter`, of at most `limit` bytes.
    pub fn lines(delimiter: u8, limit: usize, oversize: Oversize) -> Self {
        Self::new(Framing::Lines(delimiter), limit, oversize)
    }

    /// Syslog messages of at most `limit` bytes.
    pub fn syslog(limit: usize, oversize: Oversize) -> Self {
        Self::new(Framing::Undecided, limit, oversize)
    }

    /// IPFIX messages.
    pub fn ipfix() -> Self {
        Self::new(Framing::Ipfix, usize::from(u16::MAX), Oversize::Close)
    }

    fn new(framing: Framing, limit: usize, oversize: Oversize) -> Self {
        let faults = Faults::default();
        Self { framing, limit: limit.max(1), oversize, searched: 0, in_long_line: false, unwanted: 0, faults }
    }

    /// What was wrong since the last call.
    pub fn take_faults(&mut self) -> Faults {
        std::mem::take(&mut self.faults)
    }

    /// Looks at the front of `buffer`.
    pub fn next<'a>(&mut self, buffer: &'a [u8]) -> Step<'a> {
        if buffer.is_empty() {
            return Step::More;
        }
        if self.unwanted > 0 {
            let consumed = self.unwanted.min(buffer.len());
            self.unwanted -= consumed;
            return Step::Skip { consumed };
        }
        if self.in_long_line {
            return self.skip_long_line(buffer);
        }
        if self.searched == 0 {
            let padding = buffer.iter().position(|byte| !self.is_padding(*byte)).unwrap_or(buffer.len());
            if padding > 0 {
                return Step::Skip { consumed: padding };
            }
        }
        match self.framing {
            Framing::Lines(_) | Framing::SyslogLines => self.next_line(buffer),
            Framing::Undecided => match head(buffer) {
                Head::Unclear => Step::More,
                Head::Count { .. } => {
                    self.framing = Framing::Octets;
                    self.next_counted(buffer)
                }
                Head::Other => {
                    self.framing = Framing::SyslogLines;
                    self.next_line(buffer)
                }
            },
            Framing::Octets => self.next_counted(buffer),
            Framing::Ipfix => next_message(buffer),
        }
    }

    /// What is left when the peer has closed: the last message, though nothing ends it.
    pub fn finish<'a>(&mut self, buffer: &'a [u8]) -> Option<Last<'a>> {
        if self.in_long_line || self.unwanted > 0 {
            return None;
        }
        if self.framing == Framing::Ipfix {
            self.faults.broken += u64::from(!buffer.is_empty());
            return None;
        }
        let (start, announced) = match head(buffer) {
            Head::Count { header, len } if matches!(self.framing, Framing::Octets) => (header, len),
            _ => (0, 0),
        };
        let rest = buffer.get(start..).unwrap_or_default();
        let broken_off = rest.len() < announced;
        let start = rest.iter().position(|byte| !self.is_padding(*byte))?;
        let rest = rest.get(start..).unwrap_or_default();
        let bytes = rest.get(..self.limit).unwrap_or(rest);
        Some(Last { bytes, cut: bytes.len() < rest.len(), broken_off })
    }

    /// Whether a byte between two messages belongs to neither.
    fn is_padding(&self, byte: u8) -> bool {
        match self.framing {
            Framing::Lines(delimiter) => byte == delimiter,
            Framing::Undecided | Framing::SyslogLines => matches!(byte, b'\n' | b'\r' | 0),
            Framing::Octets => matches!(byte, b'\n' | b'\r' | b' ' | 0),
            Framing::Ipfix => false,
        }
    }

    fn line_end(&self, bytes: &[u8]) -> Option<usize> {
        match self.framing {
            Framing::Lines(delimiter) => memchr::memchr(delimiter, bytes),
            _ => memchr::memchr2(b'\n', 0, bytes),
        }
    }

    fn skip_long_line<'a>(&mut self, buffer: &'a [u8]) -> Step<'a> {
        let (end, held) = match self.framing {
            Framing::Octets => (self.garbage_end(buffer, 0), PARTIAL_COUNT),
            _ => (self.line_end(buffer).map(|end| (end, 1)), 0),
        };
        self.in_long_line = end.is_none();
        match end.map_or(buffer.len().saturating_sub(held), |(end, delimiter)| end + delimiter) {
            0 => Step::More,
            consumed => Step::Skip { consumed },
        }
    }

    fn next_line<'a>(&mut self, buffer: &'a [u8]) -> Step<'a> {
        let end = self.line_end(buffer.get(self.searched..).unwrap_or_default());
        let end = end.map(|end| (end + self.searched, 1));
        self.line_to(buffer, end, 0)
    }

    /// The line of `buffer` up to `end` and its delimiter of so many bytes; or its beginning when it is too long. With
    /// no end in sight the last `held` bytes may belong to what follows.
    fn line_to<'a>(&mut self, buffer: &'a [u8], end: Option<(usize, usize)>, held: usize) -> Step<'a> {
        let len = end.map_or(buffer.len().saturating_sub(held), |(end, _)| end);
        if len <= self.limit {
            let Some((end, delimiter)) = end else {
                self.searched = buffer.len();
                return Step::More;
            };
            self.searched = 0;
            let bytes = buffer.get(..end).unwrap_or_default();
            return Step::Frame { bytes, consumed: end + delimiter, cut: false };
        }
        self.searched = 0;
        self.in_long_line = end.is_none() && self.oversize != Oversize::Close;
        self.too_long(buffer, 0, end.map_or(len, |(end, delimiter)| end + delimiter))
    }

    /// A message that starts at `start` and is above the limit; `consumed` bytes of the buffer are its own.
    fn too_long<'a>(&mut self, buffer: &'a [u8], start: usize, consumed: usize) -> Step<'a> {
        match self.oversize {
            Oversize::Cut => {
                let message = buffer.get(start..).unwrap_or_default();
                let bytes = message.get(..char_boundary(message, self.limit)).unwrap_or(message);
                Step::Frame { bytes, consumed, cut: true }
            }
            Oversize::Drop => {
                self.faults.dropped += 1;
                Step::Skip { consumed }
            }
            Oversize::Close => Step::Close,
        }
    }

    fn next_counted<'a>(&mut self, buffer: &'a [u8]) -> Step<'a> {
        match head(buffer) {
            Head::Count { header, len } if self.searched == 0 => self.counted(buffer, header, len),
            Head::Unclear if self.searched == 0 => Step::More,
            _ => self.resynchronise(buffer),
        }
    }

    fn counted<'a>(&mut self, buffer: &'a [u8], header: usize, len: usize) -> Step<'a> {
        let end = header + len;
        if len > self.limit {
            // Cutting needs the first bytes and one more, to see where a character ends; the two others do not.
            if self.oversize == Oversize::Cut && buffer.len() <= header + self.limit {
                return Step::More;
            }
            let consumed = end.min(buffer.len());
            self.unwanted = end - consumed;
            return self.too_long(buffer, header, consumed);
        }
        match buffer.get(header..end) {
            None => Step::More,
            Some(message) => {
                let tail = message.iter().rev().take_while(|byte| matches!(byte, b'\n' | 0)).count();
                let bytes = message.get(..len - tail).unwrap_or(message);
                if bytes.is_empty() {
                    return Step::Skip { consumed: end };
                }
                Step::Frame { bytes, consumed: end, cut: false }
            }
        }
    }

    /// No count where one should be: all up to a line end or a count is one message.
    fn resynchronise<'a>(&mut self, buffer: &'a [u8]) -> Step<'a> {
        if self.searched == 0 {
            self.faults.malformed += 1;
        }
        let end = self.garbage_end(buffer, self.searched);
        self.line_to(buffer, end, PARTIAL_COUNT)
    }

    /// Where a line end or a count follows, and the bytes of the line end; the first `searched` bytes hold neither.
    fn garbage_end(&self, buffer: &[u8], searched: usize) -> Option<(usize, usize)> {
        let line = self.line_end(buffer.get(searched..).unwrap_or_default()).map(|end| (end + searched, 1));
        let until = line.map_or(buffer.len(), |(end, _)| end);
        // A count that straddles the end of what was searched is found from its `<` on.
        let from = searched.saturating_sub(PARTIAL_COUNT);
        find_count(buffer.get(..until).unwrap_or_default(), from).map(|at| (at, 0)).or(line)
    }
}

/// Bytes of an IPFIX message's header.
const IPFIX_HEADER: usize = 16;

/// The IPFIX message that `buffer` starts with.
fn next_message(buffer: &[u8]) -> Step<'_> {
    let Some([v0, v1, l0, l1]) = buffer.first_chunk() else { return Step::More };
    let (version, length) = (u16::from_be_bytes([*v0, *v1]), usize::from(u16::from_be_bytes([*l0, *l1])));
    if version != 10 || length < IPFIX_HEADER {
        return Step::Close;
    }
    let message = buffer.get(..length);
    message.map_or(Step::More, |bytes| Step::Frame { bytes, consumed: length, cut: false })
}

/// What `buffer` starts with.
fn head(buffer: &[u8]) -> Head {
    let digits = buffer.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if digits > MAX_DIGITS || buffer.first().is_none_or(|first| *first == b'0') {
        return Head::Other;
    }
    let number = buffer.get(..digits).unwrap_or_default();
    match (buffer.get(digits), buffer.get(digits + 1)) {
        _ if digits == 0 => Head::Other,
        (None, _) | (Some(b' '), None) => Head::Unclear,
        (Some(b' '), Some(b'<')) => {
            let len = number.iter().fold(0, |sum, digit| sum * 10 + usize::from(digit - b'0'));
            Head::Count { header: digits + 1, len }
        }
        _ => Head::Other,
    }
}

/// Where behind `from` and behind the first byte a count with `<` and a digit after it starts.
fn find_count(bytes: &[u8], from: usize) -> Option<usize> {
    memchr::memchr_iter(b'<', bytes.get(from..)?).map(|at| at + from).find_map(|at| {
        let before = bytes.get(..at)?.strip_suffix(b" ")?;
        let digits = before.iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
        let start = before.len() - digits;
        let plausible = (1..=MAX_DIGITS).contains(&digits) && bytes.get(start) != Some(&b'0') && start > 0;
        (plausible && bytes.get(at + 1)?.is_ascii_digit()).then_some(start)
    })
}

#[cfg(test)]
#[path = "framing_tests.rs"]
mod tests;
