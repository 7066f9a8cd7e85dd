//! Cutting a batch in two at a line boundary.

use std::io::{self, ErrorKind, Read};

use super::{
    member::{Compressor, MemberInfo},
    walk::{Piece, pieces},
};
use crate::batch::{CHUNK_TARGET, Class};

/// One half of a batch.
#[derive(Debug)]
pub struct Half {
    /// The file.
    pub bytes: Vec<u8>,
    /// Lines.
    pub lines: u64,
    /// Raw length.
    pub raw: u64,
}

/// Lines before the cut: the line boundary nearest to half of the raw bytes. `None` for one line.
pub fn middle(file: &[u8]) -> io::Result<Option<u64>> {
    let (raw, _) = inflate(file)?;
    let ends: Vec<usize> =
        memchr::memchr_iter(b'\n', &raw).map(|at| at + 1).filter(|end| *end < raw.len()).collect();
    let nearest = ends.iter().enumerate().min_by_key(|(_, end)| end.abs_diff(raw.len() / 2));
    Ok(nearest.map(|(line, _)| line as u64 + 1))
}

/// Both halves, compressed again.
pub fn halves(
    file: &[u8],
    lines: u64,
    class: Class,
    level: u32,
    compressor: &mut Compressor,
) -> io::Result<[Half; 2]> {
    let (raw, members) = inflate(file)?;
    let at = memchr::memchr_iter(b'\n', &raw)
        .nth((lines as usize).saturating_sub(1))
        .map_or(raw.len(), |at| at + 1);
    let (first, second) = raw.split_at(at.min(raw.len()));
    let mut end = 0;
    let first_ns = |offset: usize| {
        let mut found = members.iter().filter(|info| {
            end += info.raw_len as usize;
            end > offset
        });
        found.next().map_or(0, |info| info.first_ns)
    };
    let start_ns = members.first().map_or(0, |info| info.first_ns);
    let cut_ns = { first_ns }(at);
    Ok([
        compress(first, class, start_ns, level, compressor),
        compress(second, class, cut_ns, level, compressor),
    ])
}

fn compress(raw: &[u8], class: Class, first_ns: u64, level: u32, compressor: &mut Compressor) -> Half {
    let mut half = Half { bytes: Vec::new(), lines: 0, raw: raw.len() as u64 };
    let mut rest = raw;
    while !rest.is_empty() {
        let near = rest.len().min(CHUNK_TARGET);
        let end = match memchr::memrchr(b'\n', rest.get(..near).unwrap_or_default()) {
            Some(at) => at + 1,
            None => memchr::memchr(b'\n', rest).map_or(rest.len(), |at| at + 1),
        };
        let (piece, after) = rest.split_at(end);
        let lines = memchr::memchr_iter(b'\n', piece).count();
        half.bytes.extend(compressor.member(piece, lines as u32, class, first_ns, level));
        half.lines += lines as u64;
        rest = after;
    }
    half
}

fn inflate(file: &[u8]) -> io::Result<(Vec<u8>, Vec<MemberInfo>)> {
    let mut members = Vec::new();
    for piece in pieces(file) {
        match piece {
            Piece::Sound { info, .. } => members.push(info),
            Piece::Bad { at, .. } => {
                let text = format!("the member at byte {} is damaged", at.start);
                return Err(io::Error::new(ErrorKind::InvalidData, text));
            }
        }
    }
    let mut raw = Vec::with_capacity(members.iter().map(|info| info.raw_len as usize).sum());
    flate2::read::MultiGzDecoder::new(file).read_to_end(&mut raw)?;
    Ok((raw, members))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn raw_of(half: &Half) -> Vec<u8> {
        let mut raw = Vec::new();
        flate2::read::MultiGzDecoder::new(&half.bytes[..]).read_to_end(&mut raw).unwrap();
        raw
    }

    proptest! {
        #[test]
        fn w22_halves_hold_all_lines_in_order(lines in proptest::collection::vec("[a-z]{0,40}", 1..60), per_member in 1usize..20) {
            let mut compressor = Compressor::default();
            let mut file = Vec::new();
            let mut raw = Vec::new();
            for (number, group) in lines.chunks(per_member).enumerate() {
                let text = group.join("\n") + "\n";
                raw.extend_from_slice(text.as_bytes());
                file.extend(compressor.member(text.as_bytes(), group.len() as u32, Class::Acknowledged, number as u64 + 1, 6));
            }
            let cut = middle(&file).unwrap();
            prop_assert_eq!(cut.is_none(), lines.len() == 1);
            if let Some(cut) = cut {
                let [first, second] = halves(&file, cut, Class::Acknowledged, 6, &mut compressor).unwrap();
                prop_assert_eq!(first.lines, cut);
                prop_assert_eq!(first.lines + second.lines, lines.len() as u64);
                prop_assert!(second.lines > 0);
                prop_assert_eq!([raw_of(&first), raw_of(&second)].concat(), raw);
                let header = super::super::member::parse_header(&second.bytes).unwrap();
                prop_assert_eq!(header.first_ns, (cut as usize / per_member) as u64 + 1);
            }
        }
    }
}
