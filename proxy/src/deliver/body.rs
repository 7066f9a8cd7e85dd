//! The body of an upload: the file of a batch in pieces, each member's checksum compared before its last bytes leave.
//!
//! A member that does not match ends the stream early, so the Receiver sees fewer bytes than `Content-Length` says
//! and stores nothing. Every batch file has our members: what an old program wrote is written anew when it is adopted.

use std::{
    io::{self, Read},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use bytes::Bytes;
use futures_util::stream::{self, Stream};
use parking_lot::Mutex;

use crate::spool::member::{HEADER, parse_header};

/// Bytes read, checked and sent at a time.
const PIECE: usize = 64 * 1024;

/// What is wrong with the file of a batch.
#[derive(Debug)]
pub enum Trouble {
    /// Its content is not what was written.
    Corrupt(String),
    /// It cannot be read now.
    Unreadable(io::Error),
}

/// What a body tells of itself; the HTTP client only knows that it broke off.
#[derive(Debug, Default)]
pub struct Word {
    /// Why it broke off.
    pub trouble: Mutex<Option<Trouble>>,
    /// Its last bytes were handed to the connection.
    pub whole: AtomicBool,
}

/// A reader as a stream of checked pieces. No thread waits while the peer does not read.
pub fn stream(
    reader: Box<dyn Read + Send>,
    len: u64,
    word: Arc<Word>,
) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
    let source = Source { reader, left: len, check: Check::default() };
    stream::try_unfold(Some(source), move |source| {
        let word = Arc::clone(&word);
        async move {
            let Some(mut source) = source else { return Ok(None) };
            let read = tokio::task::spawn_blocking(move || source.piece().map(|piece| (piece, source))).await;
            let failed = match read {
                Ok(Ok((None, _))) => return Ok(None),
                Ok(Ok((Some(piece), source))) => {
                    word.whole.fetch_or(source.left == 0, Relaxed);
                    return Ok(Some((piece, Some(source))));
                }
                Ok(Err(trouble)) => trouble,
                Err(join) => Trouble::Unreadable(io::Error::other(join)),
            };
            *word.trouble.lock() = Some(failed);
            Err(io::Error::other("the batch file cannot be sent"))
        }
    })
}

struct Source {
    reader: Box<dyn Read + Send>,
    left: u64,
    check: Check,
}

impl Source {
    fn piece(&mut self) -> Result<Option<Bytes>, Trouble> {
        if self.left == 0 {
            return Ok(None);
        }
        let want = usize::try_from(self.left).unwrap_or(PIECE).min(PIECE);
        let mut piece = Vec::with_capacity(want);
        self.reader.by_ref().take(want as u64).read_to_end(&mut piece).map_err(Trouble::Unreadable)?;
        self.left -= piece.len() as u64;
        if piece.len() < want {
            return Err(Trouble::Corrupt(format!("the file is {} bytes short", self.left)));
        }
        self.check.feed(&piece)?;
        if self.left == 0 {
            self.check.end()?;
        }
        Ok(Some(piece.into()))
    }
}

/// Walks members and compares their CRC32C.
#[derive(Debug, Default)]
pub struct Check {
    header: Vec<u8>,
    /// Bytes of the present member still to come, with its checksum so far and as it should be.
    member: Option<(usize, u32, u32)>,
    members: u64,
}

impl Check {
    /// The next bytes of the file.
    pub fn feed(&mut self, mut bytes: &[u8]) -> Result<(), Trouble> {
        while !bytes.is_empty() {
            if let Some((left, crc, expected)) = &mut self.member {
                let (now, rest) = bytes.split_at(bytes.len().min(*left));
                *crc = crc32c::crc32c_append(*crc, now);
                *left -= now.len();
                bytes = rest;
                if *left == 0 {
                    if crc != expected {
                        return Err(self.corrupt("does not match its checksum"));
                    }
                    self.members += 1;
                    self.member = None;
                }
            } else {
                let (now, rest) = bytes.split_at(bytes.len().min(HEADER - self.header.len()));
                self.header.extend_from_slice(now);
                bytes = rest;
                if self.header.len() == HEADER {
                    self.start()?;
                }
            }
        }
        Ok(())
    }

    fn start(&mut self) -> Result<(), Trouble> {
        let Some(info) = parse_header(&self.header) else { return Err(self.corrupt("has no valid header")) };
        self.member = Some(((info.len as usize).saturating_sub(HEADER), 0, info.crc32c));
        self.header.clear();
        Ok(())
    }

    /// The file ends here.
    pub fn end(&self) -> Result<(), Trouble> {
        if self.member.is_none() && self.header.is_empty() { Ok(()) } else { Err(self.corrupt("is cut off")) }
    }

    fn corrupt(&self, what: &str) -> Trouble {
        Trouble::Corrupt(format!("member {} {what}", self.members + 1))
    }
}

#[cfg(test)]
mod tests {
    use futures_util::TryStreamExt;
    use proptest::prelude::*;

    use super::*;
    use crate::{batch::Class, spool::member::Compressor};

    fn members(count: usize) -> Vec<u8> {
        let mut compressor = Compressor::default();
        (0..count)
            .flat_map(|n| {
                let mut state = n as u64 + 1;
                let noise = std::iter::repeat_with(|| {
                    state ^= state << 13;
                    state ^= state >> 7;
                    state ^= state << 17;
                    state as u8
                });
                let raw: Vec<u8> = noise.take(40_000).collect();
                compressor.member(&raw, 10, Class::Acknowledged, 1, 1)
            })
            .collect()
    }

    async fn send(file: Vec<u8>, len: u64) -> (Vec<u8>, Option<Trouble>) {
        let word = Arc::<Word>::default();
        let mut sent = Vec::new();
        let mut body = Box::pin(stream(Box::new(io::Cursor::new(file)), len, Arc::clone(&word)));
        while let Ok(Some(piece)) = body.try_next().await {
            assert!(piece.len() <= PIECE);
            sent.extend_from_slice(&piece);
        }
        let trouble = word.trouble.lock().take();
        assert_eq!(word.whole.load(Relaxed), trouble.is_none());
        (sent, trouble)
    }

    #[tokio::test]
    async fn a_sound_file_leaves_as_it_is() {
        let file = members(5);
        assert!(file.len() > 2 * PIECE);
        let (sent, trouble) = send(file.clone(), file.len() as u64).await;
        assert!(trouble.is_none() && sent == file);
    }

    #[tokio::test]
    async fn a_damaged_member_never_leaves_whole() {
        let file = members(3);
        // From the third byte on: a first header that cannot be read is no reason to leave the rest unchecked.
        for at in [2, 11, 15, 40, HEADER + 5, file.len() / 2, file.len() - 1] {
            let mut bad = file.clone();
            bad[at] ^= 0x40;
            let (sent, trouble) = send(bad, file.len() as u64).await;
            assert!(matches!(trouble, Some(Trouble::Corrupt(_))), "{at}: {trouble:?}");
            assert!(sent.len() < file.len());
        }
        let (_, trouble) = send(file[..file.len() - 1].to_vec(), file.len() as u64).await;
        assert!(matches!(trouble, Some(Trouble::Corrupt(_))));
    }

    proptest! {
        #[test]
        fn the_check_does_not_depend_on_where_pieces_end(cuts in proptest::collection::vec(1usize..5000, 1..50)) {
            let file = members(2);
            let mut check = Check::default();
            let mut rest = &file[..];
            for cut in cuts.iter().cycle() {
                let (now, later) = rest.split_at((*cut).min(rest.len()));
                prop_assert!(check.feed(now).is_ok());
                rest = later;
                if rest.is_empty() { break; }
            }
            prop_assert!(check.end().is_ok());
            prop_assert_eq!(check.members, 2);
        }
    }
}
