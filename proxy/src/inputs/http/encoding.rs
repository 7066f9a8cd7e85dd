//! `Content-Encoding` of a request, undone piece by piece under a limit of size and ratio.
//!
//! gzip may have several members and zstd several frames, as their RFCs say; `deflate` is zlib, or raw deflate as
//! some clients send it. Every other byte after the end is an error, and so is an end that is missing.

use flate2::{Decompress, FlushDecompress, Status};
use hyper::{HeaderMap, header::CONTENT_ENCODING};
use zstd::{
    stream::raw::{DParameter, Decoder as Zstd, InBuffer, Operation, OutBuffer},
    zstd_safe::WriteBuf as _,
};

/// Most bytes that one [`Inflater::step`] appends.
pub const STEP: usize = 64 * 1024;
/// Below this size a high ratio is no sign of a bomb: a few hundred equal lines reach it.
const RATIO_FREE: u64 = 256 * 1024;
/// 8 MiB, what RFC 9659 lets a sender use.
const ZSTD_WINDOW_LOG: u32 = 23;

/// What the body went through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// Nothing.
    Identity,
    /// RFC 1952.
    Gzip,
    /// RFC 1950, or RFC 1951 alone.
    Deflate,
    /// RFC 8878.
    Zstd,
}

impl Encoding {
    /// What the headers say; `None` for an unknown one and for more than one.
    pub fn of(headers: &HeaderMap) -> Option<Self> {
        let mut found = Self::Identity;
        for value in headers.get_all(CONTENT_ENCODING) {
            for name in value.to_str().ok()?.split(',').map(str::trim) {
                let this = match name {
                    "" => continue,
                    _ if name.eq_ignore_ascii_case("identity") => continue,
                    _ if name.eq_ignore_ascii_case("gzip") || name.eq_ignore_ascii_case("x-gzip") => {
                        Self::Gzip
                    }
                    _ if name.eq_ignore_ascii_case("deflate") => Self::Deflate,
                    _ if name.eq_ignore_ascii_case("zstd") => Self::Zstd,
                    _ => return None,
                };
                if found != Self::Identity {
                    return None;
                }
                found = this;
            }
        }
        Some(found)
    }
}

/// Why a body is not inflated any further.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InflateError {
    /// Above the size or the ratio.
    TooLarge,
    /// Not what the header says it is, or cut short.
    Corrupt,
}

enum State {
    Gzip(Decompress),
    /// Raw or zlib: the first byte tells.
    Deflate(Option<Decompress>),
    Zstd(Zstd<'static>),
}

/// A running decompression.
pub struct Inflater {
    state: State,
    /// At the end of a member or frame, or before the first byte.
    complete: bool,
    read: u64,
    written: u64,
    limit: u64,
    ratio: u64,
}

impl Inflater {
    /// For one body; `None` when nothing is to be undone. `limit` is in bytes after decompression.
    pub fn new(encoding: Encoding, limit: usize, ratio: usize) -> Result<Option<Self>, InflateError> {
        let state = match encoding {
            Encoding::Identity => return Ok(None),
            Encoding::Gzip => State::Gzip(Decompress::new_gzip(15)),
            Encoding::Deflate => State::Deflate(None),
            Encoding::Zstd => {
                let mut decoder = Zstd::new().map_err(|_| InflateError::TooLarge)?;
                decoder
                    .set_parameter(DParameter::WindowLogMax(ZSTD_WINDOW_LOG))
                    .map_err(|_| InflateError::Corrupt)?;
                State::Zstd(decoder)
            }
        };
        let (limit, ratio) = (limit as u64, ratio as u64);
        Ok(Some(Self { state, complete: true, read: 0, written: 0, limit, ratio }))
    }

    /// Appends at most [`STEP`] bytes to the empty `out`; returns what is left of `input`. To be called until
    /// nothing is left of `input` and nothing was appended.
    pub fn step<'a>(&mut self, input: &'a [u8], out: &mut Vec<u8>) -> Result<&'a [u8], InflateError> {
        out.clear();
        out.reserve_exact(STEP);
        let consumed = match &mut self.state {
            State::Gzip(state) => {
                if self.complete && self.read > 0 && !input.is_empty() {
                    state.reset(true);
                }
                inflate(state, input, out, &mut self.complete)?
            }
            State::Deflate(state) => {
                let Some(first) = input.first().or(state.as_ref().map(|_| &0)) else { return Ok(input) };
                // Low nibble 8 is zlib's method; as raw deflate it would be a stored block with a padding bit set.
                let state = state.get_or_insert_with(|| Decompress::new(first & 0x0f == 8));
                if self.complete && self.read > 0 {
                    return if input.is_empty() { Ok(input) } else { Err(InflateError::Corrupt) };
                }
                inflate(state, input, out, &mut self.complete)?
            }
            State::Zstd(decoder) => {
                let mut from = InBuffer::around(input);
                let mut to = OutBuffer::around(out);
                let hint = decoder.run(&mut from, &mut to).map_err(|_| InflateError::Corrupt)?;
                let (consumed, written) = (from.pos(), to.pos());
                if consumed > 0 || written > 0 {
                    self.complete = hint == 0;
                }
                consumed
            }
        };
        self.read += consumed as u64;
        self.written += out.as_slice().len() as u64;
        let by_ratio = self.read.saturating_mul(self.ratio).max(RATIO_FREE);
        if self.written > self.limit.min(by_ratio) {
            return Err(InflateError::TooLarge);
        }
        input.get(consumed..).ok_or(InflateError::Corrupt)
    }

    /// Bytes that the decompression holds by now.
    pub fn window(&self) -> usize {
        let most = if matches!(self.state, State::Zstd(_)) { 1 << ZSTD_WINDOW_LOG } else { 32 * 1024 };
        usize::try_from(self.written).map_or(most, |written| written.min(most))
    }

    /// Whether the body may end here.
    pub fn finish(&self) -> Result<(), InflateError> {
        if self.complete { Ok(()) } else { Err(InflateError::Corrupt) }
    }
}

fn inflate(
    state: &mut Decompress,
    input: &[u8],
    out: &mut Vec<u8>,
    complete: &mut bool,
) -> Result<usize, InflateError> {
    if *complete && input.is_empty() {
        return Ok(0);
    }
    let before = state.total_in();
    let status =
        state.decompress_vec(input, out, FlushDecompress::None).map_err(|_| InflateError::Corrupt)?;
    *complete = status == Status::StreamEnd;
    usize::try_from(state.total_in() - before).map_err(|_| InflateError::Corrupt)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::{
        Compression,
        write::{DeflateEncoder, GzEncoder, ZlibEncoder},
    };
    use proptest::prelude::*;

    use super::*;

    fn gzip(raw: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(raw).unwrap();
        encoder.finish().unwrap()
    }

    fn zlib(raw: &[u8]) -> Vec<u8> {
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(raw).unwrap();
        encoder.finish().unwrap()
    }

    fn deflate(raw: &[u8], level: u32) -> Vec<u8> {
        let mut encoder = DeflateEncoder::new(Vec::new(), Compression::new(level));
        encoder.write_all(raw).unwrap();
        encoder.finish().unwrap()
    }

    /// Inflates pieces of `piece` bytes, as they come from a socket.
    fn run(
        encoding: Encoding,
        body: &[u8],
        piece: usize,
        limit: usize,
        ratio: usize,
    ) -> Result<Vec<u8>, InflateError> {
        let mut inflater = Inflater::new(encoding, limit, ratio)?.unwrap();
        let (mut all, mut out) = (Vec::new(), Vec::new());
        for piece in body.chunks(piece.max(1)) {
            let mut rest = piece;
            loop {
                rest = inflater.step(rest, &mut out)?;
                all.extend_from_slice(&out);
                if rest.is_empty() && out.is_empty() {
                    break;
                }
            }
        }
        inflater.finish()?;
        Ok(all)
    }

    proptest! {
        #[test]
        fn what_was_compressed_comes_back_whatever_the_pieces(
            raw in proptest::collection::vec(0u8..4, 0..200_000), piece in 1usize..5000
        ) {
            let bodies = [
                (Encoding::Gzip, gzip(&raw)),
                (Encoding::Gzip, [gzip(&raw[..raw.len() / 2]), gzip(&raw[raw.len() / 2..])].concat()),
                (Encoding::Deflate, zlib(&raw)),
                (Encoding::Deflate, deflate(&raw, 1)),
                (Encoding::Deflate, deflate(&raw, 0)),
                (Encoding::Zstd, zstd::encode_all(&raw[..], 1).unwrap()),
                (Encoding::Zstd, [zstd::encode_all(&raw[..], 1).unwrap(), zstd::encode_all(&b""[..], 1).unwrap()].concat()),
            ];
            for (encoding, body) in bodies {
                prop_assert_eq!(&run(encoding, &body, piece, raw.len(), 1_000_000).unwrap(), &raw);
                if !raw.is_empty() {
                    prop_assert_eq!(run(encoding, &body, piece, raw.len() - 1, 1_000_000), Err(InflateError::TooLarge));
                }
                let cut = run(encoding, &body[..body.len() - 1], piece, raw.len(), 1_000_000);
                let empty_frame_lost = encoding == Encoding::Zstd && cut.as_ref() == Ok(&raw);
                prop_assert!(cut == Err(InflateError::Corrupt) && !empty_frame_lost, "{:?} cut short", encoding);
                if encoding != Encoding::Zstd {
                    let longer = [&body[..], b"garbage"].concat();
                    prop_assert_eq!(run(encoding, &longer, piece, raw.len(), 1_000_000), Err(InflateError::Corrupt));
                }
            }
        }

        #[test]
        fn any_bytes_are_inflated_or_refused(body in proptest::collection::vec(any::<u8>(), 0..2000), piece in 1usize..300) {
            for encoding in [Encoding::Gzip, Encoding::Deflate, Encoding::Zstd] {
                let _ = run(encoding, &body, piece, 1 << 20, 100);
            }
        }
    }

    #[test]
    fn a_bomb_is_stopped_at_the_limit_or_the_ratio() {
        let raw = vec![0; 64 << 20];
        for (encoding, body) in [
            (Encoding::Gzip, gzip(&raw)),
            (Encoding::Deflate, deflate(&raw, 1)),
            (Encoding::Zstd, zstd::encode_all(&raw[..], 1).unwrap()),
        ] {
            assert_eq!(run(encoding, &body, 4096, 1 << 20, 1_000_000), Err(InflateError::TooLarge));
            assert_eq!(run(encoding, &body, 4096, usize::MAX, 100), Err(InflateError::TooLarge));
        }
        // 20 bytes that become a few hundred are no bomb.
        assert!(run(Encoding::Gzip, &gzip(&raw[..200_000]), 4096, 1 << 20, 10).is_ok());
    }

    #[test]
    fn a_window_above_8_mib_is_refused() {
        let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
        encoder.window_log(24).unwrap();
        encoder.write_all(&vec![1; 1 << 20]).unwrap();
        let body = encoder.finish().unwrap();
        assert_eq!(run(Encoding::Zstd, &body, 4096, usize::MAX, 1_000_000), Err(InflateError::Corrupt));
    }

    #[test]
    fn names_are_read_in_any_case_and_several_are_refused() {
        let of = |values: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(CONTENT_ENCODING, value.parse().unwrap());
            }
            Encoding::of(&headers)
        };
        assert_eq!(of(&[]), Some(Encoding::Identity));
        assert_eq!(of(&["identity"]), Some(Encoding::Identity));
        assert_eq!(of(&["GZip"]), Some(Encoding::Gzip));
        assert_eq!(of(&["x-gzip, identity"]), Some(Encoding::Gzip));
        assert_eq!(of(&["deflate"]), Some(Encoding::Deflate));
        assert_eq!(of(&["zstd"]), Some(Encoding::Zstd));
        for refused in [&["br"][..], &["gzip, gzip"], &["gzip", "zstd"], &["gzip;q=1"]] {
            assert_eq!(of(refused), None, "{refused:?}");
        }
    }
}
