//! Writing JSON text without a tree.

use std::{io::Write, net::IpAddr};

use crate::batch::MAX_LINE;

const HEX: &[u8; 16] = b"0123456789abcdef";

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGHS: u64 = 0x8080_8080_8080_8080;

/// Length of the run at the start of `text` that stands in a JSON string as it is: no control character, quote or
/// backslash, and with `ASCII` no byte of 0x80 and above. Blocks without such a byte first, eight bytes at a time then.
pub(super) fn plain_run<const ASCII: bool>(text: &[u8]) -> usize {
    let mut run = 0;
    let mut rest = text;
    while let Some((block, after)) = rest.split_first_chunk::<32>() {
        if !is_plain_block::<ASCII>(block) {
            break;
        }
        run += 32;
        rest = after;
    }
    while let Some((word, after)) = rest.split_first_chunk::<8>() {
        let hits = special_bytes::<ASCII>(*word);
        if hits != 0 {
            return run + hits.trailing_zeros() as usize / 8;
        }
        run += 8;
        rest = after;
    }
    // The last bytes: as the end of the last eight, of which the others are known to be plain, or filled up.
    let (word, start) = if let Some(word) = text.last_chunk::<8>() {
        (*word, text.len() - 8)
    } else {
        let mut word = [b' '; 8];
        word.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
        (word, run)
    };
    match special_bytes::<ASCII>(word) {
        0 => text.len(),
        hits => start + hits.trailing_zeros() as usize / 8,
    }
}

/// Flags the bytes that end a run, each in its highest bit; bytes above the lowest may be flagged wrongly.
fn special_bytes<const ASCII: bool>(word: [u8; 8]) -> u64 {
    let word = u64::from_le_bytes(word);
    // A borrow can only flag bytes above the first real hit, so the lowest flag is exact.
    let hits = (word.wrapping_sub(ONES * 0x20) & !word) | equal(word, b'"') | equal(word, b'\\');
    (if ASCII { hits | word } else { hits }) & HIGHS
}

/// Without a branch per byte, so that the compiler uses vector instructions.
fn is_plain_block<const ASCII: bool>(block: &[u8; 32]) -> bool {
    let special = |byte: u8| {
        u8::from(byte < 0x20)
            | u8::from(byte == b'"')
            | u8::from(byte == b'\\')
            | u8::from(ASCII && byte >= 0x80)
    };
    block.iter().fold(0, |any, byte| any | special(*byte)) == 0
}

/// Flags the bytes of `word` that are `byte` in their highest bit.
const fn equal(word: u64, byte: u8) -> u64 {
    let differing = word ^ (ONES * byte as u64);
    differing.wrapping_sub(ONES) & !differing
}

/// Appends `"text"` with JSON escapes. Valid UTF-8 is kept, each invalid sequence becomes U+FFFD, so the result is
/// always valid JSON.
pub fn push_string(text: &[u8], out: &mut Vec<u8>) {
    out.reserve(text.len() + 2);
    out.push(b'"');
    push_escaped(text, out);
    out.push(b'"');
}

/// The same without the quotes.
pub fn push_escaped(text: &[u8], out: &mut Vec<u8>) {
    let mut rest = text;
    loop {
        let (plain, from) = rest.split_at(plain_run::<true>(rest));
        out.extend_from_slice(plain);
        let Some((&byte, after)) = from.split_first() else { return };
        if byte < 0x80 {
            push_escape(byte, out);
            rest = after;
        } else {
            let run = from.iter().position(u8::is_ascii).unwrap_or(from.len());
            let (unicode, after) = from.split_at(run);
            for chunk in unicode.utf8_chunks() {
                out.extend_from_slice(chunk.valid().as_bytes());
                if !chunk.invalid().is_empty() {
                    out.extend_from_slice("\u{fffd}".as_bytes());
                }
            }
            rest = after;
        }
    }
}

/// Says in the object that starts at `start` and ends with `}\n` that it is not whole, unless it says so already.
pub fn mark_truncated(start: usize, out: &mut Vec<u8>) {
    const MEMBER: &[u8] = b"\"truncated\":true";
    let line = out.get(start..).unwrap_or_default();
    let fits = line.len() + MEMBER.len() < MAX_LINE;
    if fits && line.starts_with(b"{\"") && memchr::memmem::find(line, MEMBER).is_none() {
        let at = start + 1;
        drop(out.splice(at..at, MEMBER.iter().chain(b",").copied()));
    }
}

/// Appends an address as text, without the quotes.
pub fn push_ip(address: IpAddr, out: &mut Vec<u8>) {
    match address {
        IpAddr::V4(address) => {
            for (index, octet) in address.octets().into_iter().enumerate() {
                if index > 0 {
                    out.push(b'.');
                }
                if octet >= 100 {
                    out.push(b'0' + octet / 100);
                }
                if octet >= 10 {
                    out.push(b'0' + octet / 10 % 10);
                }
                out.push(b'0' + octet % 10);
            }
        }
        // Writing to a Vec cannot fail.
        IpAddr::V6(address) => drop(write!(out, "{address}")),
    }
}

fn push_escape(byte: u8, out: &mut Vec<u8>) {
    match byte {
        b'"' => out.extend_from_slice(b"\\\""),
        b'\\' => out.extend_from_slice(b"\\\\"),
        b'\n' => out.extend_from_slice(b"\\n"),
        b'\r' => out.extend_from_slice(b"\\r"),
        b'\t' => out.extend_from_slice(b"\\t"),
        _ => {
            out.extend_from_slice(b"\\u00");
            out.extend(HEX.get(usize::from(byte >> 4)));
            out.extend(HEX.get(usize::from(byte & 15)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn addresses_are_written_as_usual() {
        for text in ["0.0.0.0", "192.0.2.254", "::", "2001:db8::1"] {
            let mut out = Vec::new();
            push_ip(text.parse().unwrap(), &mut out);
            assert_eq!(out, text.as_bytes());
        }
    }

    #[test]
    fn a_mark_is_set_once_and_only_in_an_object_with_members() {
        for (line, marked) in [
            ("{\"a\":1}\n", "{\"truncated\":true,\"a\":1}\n"),
            ("{\"truncated\":true,\"a\":1}\n", "{\"truncated\":true,\"a\":1}\n"),
            (r#"{"a":"\"truncated\":true"}"#, r#"{"truncated":true,"a":"\"truncated\":true"}"#),
            ("{}\n", "{}\n"),
            ("text\n", "text\n"),
            ("", ""),
        ] {
            let mut out = [b"before\n", line.as_bytes()].concat();
            mark_truncated(7, &mut out);
            assert_eq!(String::from_utf8_lossy(&out[7..]), marked);
        }
    }

    proptest! {
        #[test]
        fn a_run_ends_where_a_byte_by_byte_search_ends_it(bytes in proptest::collection::vec(prop_oneof![Just(b'a'), any::<u8>()], 0..40)) {
            let control = |b: &u8| *b < 0x20 || *b == b'"' || *b == b'\\';
            prop_assert_eq!(plain_run::<false>(&bytes), bytes.iter().position(control).unwrap_or(bytes.len()));
            let high = |b: &u8| control(b) || *b >= 0x80;
            prop_assert_eq!(plain_run::<true>(&bytes), bytes.iter().position(high).unwrap_or(bytes.len()));
        }

        #[test]
        fn any_bytes_become_a_valid_json_string_with_the_lossy_text(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut out = Vec::new();
            push_string(&bytes, &mut out);
            let back: String = serde_json::from_slice(&out).unwrap();
            prop_assert_eq!(back, String::from_utf8_lossy(&bytes));
        }
    }
}
