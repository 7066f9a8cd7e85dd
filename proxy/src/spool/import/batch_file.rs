//! Writes lines as a batch file of ours, in bounded memory.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, ErrorKind, Read, Write},
    path::Path,
};

use flate2::bufread::GzDecoder;

use super::super::member::Compressor;
use crate::batch::{CHUNK_TARGET, Class, MAX_LINE};

/// A batch file that is being written. Blank lines are left out, as in all that we receive.
#[derive(Debug)]
pub struct BatchFile<'a> {
    file: File,
    compressor: &'a mut Compressor,
    level: u32,
    first_ns: u64,
    tail: Vec<u8>,
    /// Lines.
    pub lines: u64,
    /// Bytes before compression.
    pub raw: u64,
    /// Bytes of the file.
    pub len: u64,
}

/// How a gzip file ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// As it should.
    Whole,
    /// Too early, or with bytes behind it that do not belong there.
    Torn,
    /// With contents that do not match their checksum, or no gzip at all.
    Damaged,
}

impl<'a> BatchFile<'a> {
    /// An empty file.
    pub fn create(
        path: &Path,
        compressor: &'a mut Compressor,
        level: u32,
        first_ns: u64,
    ) -> io::Result<Self> {
        use std::os::unix::fs::OpenOptionsExt;
        let file = File::options().write(true).create(true).truncate(true).mode(0o600).open(path)?;
        Ok(Self { file, compressor, level, first_ns, tail: Vec::new(), lines: 0, raw: 0, len: 0 })
    }

    /// Takes bytes of lines, in any pieces.
    pub fn push(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.tail.extend_from_slice(bytes);
        if self.tail.len() >= CHUNK_TARGET { self.write_lines() } else { Ok(()) }
    }

    /// A line ends here whether it says so or not.
    pub fn end_line(&mut self) {
        if self.tail.last().is_some_and(|byte| *byte != b'\n') {
            self.tail.push(b'\n');
        }
    }

    /// Forgets a line that has no end.
    pub fn drop_open_line(&mut self) {
        let end = memchr::memrchr(b'\n', &self.tail).map_or(0, |at| at + 1);
        self.tail.truncate(end);
    }

    /// Writes the rest and makes the file durable.
    pub fn finish(mut self) -> io::Result<Written> {
        self.end_line();
        self.write_lines()?;
        self.file.sync_all()?;
        Ok(Written { lines: self.lines, raw: self.raw, len: self.len })
    }

    fn write_lines(&mut self) -> io::Result<()> {
        // What is longer than the longest line is cut there, as an input would.
        let end = match memchr::memrchr(b'\n', &self.tail) {
            Some(at) => at + 1,
            None if self.tail.len() >= MAX_LINE => {
                self.tail.push(b'\n');
                self.tail.len()
            }
            None => return Ok(()),
        };
        let rest = self.tail.split_off(end);
        let whole = std::mem::replace(&mut self.tail, rest);
        let (text, lines) = without_blank_lines(whole);
        if lines == 0 {
            return Ok(());
        }
        let member = self.compressor.member(&text, lines, Class::Acknowledged, self.first_ns, self.level);
        self.file.write_all(&member)?;
        self.lines += u64::from(lines);
        self.raw += text.len() as u64;
        self.len += member.len() as u64;
        Ok(())
    }

    /// Takes the lines of a gzip file. What of a damaged one was taken must not be used.
    pub fn inflate(&mut self, path: &Path) -> io::Result<End> {
        let mut input = BufReader::with_capacity(1 << 16, File::open(path)?);
        let mut buffer = vec![0; 1 << 16];
        let mut members = 0_u64;
        while !input.fill_buf()?.is_empty() {
            let mut member = GzDecoder::new(&mut input);
            let mut inflated = 0_u64;
            loop {
                match member.read(&mut buffer) {
                    Ok(0) => break,
                    Ok(len) => {
                        inflated += len as u64;
                        self.push(buffer.get(..len).unwrap_or_default())?;
                    }
                    Err(error) if error.kind() == ErrorKind::Interrupted => {}
                    Err(error) if error.kind() == ErrorKind::UnexpectedEof => {
                        self.drop_open_line();
                        return Ok(End::Torn);
                    }
                    Err(error)
                        if matches!(error.kind(), ErrorKind::InvalidInput | ErrorKind::InvalidData) =>
                    {
                        return Ok(if members > 0 && inflated == 0 { End::Torn } else { End::Damaged });
                    }
                    Err(error) => return Err(error),
                }
            }
            members += 1;
        }
        Ok(End::Whole)
    }
}

/// What became of a batch file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Written {
    /// Lines.
    pub lines: u64,
    /// Bytes before compression.
    pub raw: u64,
    /// Bytes of the file.
    pub len: u64,
}

/// The text and its lines; each ends with a newline.
fn without_blank_lines(text: Vec<u8>) -> (Vec<u8>, u32) {
    let is_blank = |line: &&[u8]| line.trim_ascii().is_empty();
    let lines = || text.split_inclusive(|byte| *byte == b'\n');
    let blank = lines().filter(is_blank).count();
    let kept = (lines().count() - blank) as u32;
    if blank == 0 {
        return (text, kept);
    }
    (lines().filter(|line| !is_blank(line)).flatten().copied().collect(), kept)
}
