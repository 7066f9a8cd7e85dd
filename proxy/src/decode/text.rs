//! Lines of text inputs: passed through when they are JSON, wrapped in an envelope when not. Decided per line.
//!
//! | format | a JSON object | any other line |
//! |---|---|---|
//! | `auto` | passed through | envelope |
//! | `ndjson` | passed through | passed through |
//! | `text` | envelope | envelope |
//!
//! The envelope is `{"timestamp":"2026-01-01T00:00:00.000000001Z","raw":"<line>","source_ip":"192.0.2.1"}`; a `\r` at
//! the end of the line is no part of `raw`, invalid UTF-8 becomes U+FFFD.
//!
//! Passed through means byte for byte. With `bfts` a JSON object gets `"BfTs":<Unix ms>` as its last member, with
//! `source_field` the sender's address in front of that; members of these names (`bfts` in any case) that the line
//! had are cut out as text, and nothing else is touched. A line break inside an object, possible where lines end
//! with another byte, becomes a space.
//!
//! No line gets longer than [`MAX_LINE`]: text that is too long is cut and marked `"truncated":true`; an object that
//! would get too long by what is added to it goes without.

use std::net::IpAddr;

use super::{
    ReceiveTime,
    json::{push_escaped, push_ip, push_string},
    object::{self, Object},
};
use crate::{batch::MAX_LINE, config::DataFormat};

/// Most bytes that one byte of text becomes when escaped (`\u001f`).
pub(super) const MAX_ESCAPED: usize = 6;
/// More than everything in an envelope but its text.
const ENVELOPE: usize = 256;
/// Text that may be too long is escaped in pieces of this size.
const PIECE: usize = 4096;

/// What happens with a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TextRules {
    /// Passed through or wrapped.
    pub format: DataFormat,
    /// Whether JSON objects and envelopes get `BfTs`.
    pub bfts: bool,
    /// Member of passed-through objects that receives the sender's address.
    pub source_field: Option<String>,
}

/// Appends one line, given without its line end. Blank lines are the caller's to skip (see [`push_lines`]).
pub fn push_line(line: &[u8], rules: &TextRules, source: IpAddr, now: &ReceiveTime, out: &mut Vec<u8>) {
    push_trimmed(trim_nul(line), rules, source, now, out);
}

fn push_trimmed(line: &[u8], rules: &TextRules, source: IpAddr, now: &ReceiveTime, out: &mut Vec<u8>) {
    let start = out.len();
    if rules.format == DataFormat::Text || line.len() >= MAX_LINE {
        return push_envelope(line, rules, source, now, out);
    }
    let unwanted = |name: &[u8]| {
        (rules.bfts && is_name(name, |name| name.eq_ignore_ascii_case(b"bfts")))
            || rules.source_field.as_ref().is_some_and(|field| is_name(name, |name| name == field.as_bytes()))
    };
    match object::scan(line, unwanted) {
        Some(object) => push_object(line, &object, rules, source, now, out),
        None if rules.format == DataFormat::Ndjson => out.extend_from_slice(line),
        None => return push_envelope(line, rules, source, now, out),
    }
    if memchr::memchr(b'\n', line).is_some() {
        for byte in out.iter_mut().skip(start).filter(|byte| **byte == b'\n') {
            *byte = b' ';
        }
    }
    out.push(b'\n');
}

/// Appends the lines of a datagram or body, blank ones left out, and says how many.
pub fn push_lines(
    payload: &[u8],
    rules: &TextRules,
    source: IpAddr,
    now: &ReceiveTime,
    out: &mut Vec<u8>,
) -> u32 {
    let mut lines = 0;
    let mut rest = payload;
    while !rest.is_empty() {
        let end = memchr::memchr(b'\n', rest).unwrap_or(rest.len());
        let (line, after) = rest.split_at(end);
        // Of each line and not of the payload: where a body is cut into pieces must not show.
        let line = trim_nul(line);
        if !line.trim_ascii().is_empty() {
            push_trimmed(line, rules, source, now, out);
            lines += 1;
        }
        rest = after.get(1..).unwrap_or_default();
    }
    lines
}

fn trim_nul(text: &[u8]) -> &[u8] {
    let mut rest = text;
    while let [0, after @ ..] | [after @ .., 0] = rest {
        rest = after;
    }
    rest
}

/// Whether a member's name, as written, is one that `is` knows; escapes are undone for the question.
fn is_name(written: &[u8], is: impl Fn(&[u8]) -> bool) -> bool {
    if memchr::memchr(b'\\', written).is_none() {
        return is(written);
    }
    let quoted = [b"\"", written, b"\""].concat();
    serde_json::from_slice::<String>(&quoted).is_ok_and(|name| is(name.as_bytes()))
}

/// The object without its unwanted members, with ours at its end.
fn push_object(
    line: &[u8],
    object: &Object,
    rules: &TextRules,
    source: IpAddr,
    now: &ReceiveTime,
    out: &mut Vec<u8>,
) {
    let start = out.len();
    out.reserve(line.len() + ENVELOPE);
    let mut from = 0;
    for cut in &object.unwanted {
        out.extend_from_slice(line.get(from..cut.start).unwrap_or_default());
        from = cut.end;
        if from < object.close {
            from += 1;
        } else if out.len() - start > object.open {
            // The last member goes, so the comma in front of it goes as well.
            out.truncate(out.len() - 1);
        }
    }
    out.extend_from_slice(line.get(from..object.close).unwrap_or_default());
    let mut empty = object.members == object.unwanted.len();
    if let Some(field) = &rules.source_field {
        separate(&mut empty, out);
        push_string(field.as_bytes(), out);
        out.extend_from_slice(b":\"");
        push_ip(source, out);
        out.push(b'"');
    }
    if rules.bfts {
        separate(&mut empty, out);
        push_bfts(now, out);
    }
    out.extend_from_slice(line.get(object.close..).unwrap_or_default());
    if out.len() - start >= MAX_LINE {
        out.truncate(start);
        out.extend_from_slice(line);
    }
}

fn separate(empty: &mut bool, out: &mut Vec<u8>) {
    if !std::mem::take(empty) {
        out.push(b',');
    }
}

fn push_bfts(now: &ReceiveTime, out: &mut Vec<u8>) {
    out.extend_from_slice(b"\"BfTs\":");
    out.extend_from_slice(itoa::Buffer::new().format(now.unix_ms()).as_bytes());
}

fn push_envelope(line: &[u8], rules: &TextRules, source: IpAddr, now: &ReceiveTime, out: &mut Vec<u8>) {
    let text = line.strip_suffix(b"\r").unwrap_or(line);
    out.extend_from_slice(b"{\"timestamp\":\"");
    out.extend_from_slice(now.nanos().as_bytes());
    out.extend_from_slice(b"\",\"raw\":\"");
    let truncated = push_text(text, MAX_LINE - ENVELOPE, out);
    out.extend_from_slice(b"\",\"source_ip\":\"");
    push_ip(source, out);
    out.push(b'"');
    if truncated {
        out.extend_from_slice(b",\"truncated\":true");
    }
    if rules.bfts {
        out.push(b',');
        push_bfts(now, out);
    }
    out.extend_from_slice(b"}\n");
}

/// Appends as much of the escaped text as fits into `room`; whether it was too much.
pub(super) fn push_text(text: &[u8], room: usize, out: &mut Vec<u8>) -> bool {
    if text.len() <= room / MAX_ESCAPED {
        push_escaped(text, out);
        return false;
    }
    let end = out.len() + room;
    let mut rest = text;
    while !rest.is_empty() {
        let (piece, after) = rest.split_at(char_boundary(rest, PIECE));
        let before = out.len();
        push_escaped(piece, out);
        if out.len() > end {
            out.truncate(before);
            return true;
        }
        rest = after;
    }
    false
}

/// The last place at or before `at` where no UTF-8 sequence is split.
pub(super) fn char_boundary(text: &[u8], at: usize) -> usize {
    let inside = |at: &usize| text.get(*at).is_some_and(|byte| byte & 0xc0 == 0x80);
    let at = at.min(text.len());
    (at.saturating_sub(3)..=at).rev().find(|at| !inside(at)).filter(|found| *found > 0).unwrap_or(at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::Value;

    const AUTO: TextRules = TextRules { format: DataFormat::Auto, bfts: false, source_field: None };
    const AUTO_BFTS: TextRules = TextRules { format: DataFormat::Auto, bfts: true, source_field: None };
    const NDJSON: TextRules = TextRules { format: DataFormat::Ndjson, bfts: true, source_field: None };
    const TEXT: TextRules = TextRules { format: DataFormat::Text, bfts: false, source_field: None };

    fn lines(payload: impl AsRef<[u8]>, rules: &TextRules) -> String {
        let mut out = Vec::new();
        let now = ReceiveTime::new(1_767_225_600_000_000_001);
        let count = push_lines(payload.as_ref(), rules, "192.0.2.1".parse().unwrap(), &now, &mut out);
        assert_eq!(count as usize, out.split(|byte| *byte == b'\n').count() - 1);
        assert!(out.is_empty() || out.ends_with(b"\n"));
        String::from_utf8(out).unwrap()
    }

    fn envelope(raw: &str) -> String {
        format!(
            "{{\"timestamp\":\"2026-01-01T00:00:00.000000001Z\",\"raw\":\"{raw}\",\"source_ip\":\"192.0.2.1\"}}\n"
        )
    }

    #[test]
    fn w19_each_line_is_decided_alone() {
        let payload = "{\"a\":1}\nlink down\n[1]\n{\"b\":2}\n42\n{\"broken\"\n";
        let expected = [
            "{\"a\":1}\n".to_owned(),
            envelope("link down"),
            envelope("[1]"),
            "{\"b\":2}\n".to_owned(),
            envelope("42"),
            envelope("{\\\"broken\\\""),
        ]
        .concat();
        assert_eq!(lines(payload, &AUTO), expected);
    }

    #[test]
    fn ndjson_passes_everything_and_text_wraps_everything() {
        assert_eq!(lines("plain\n{\"a\":1}", &NDJSON), "plain\n{\"a\":1,\"BfTs\":1767225600000}\n");
        assert_eq!(lines("plain\n{\"a\":1}", &TEXT), envelope("plain") + &envelope("{\\\"a\\\":1}"));
    }

    #[test]
    fn blank_lines_nuls_and_carriage_returns_are_no_content() {
        assert_eq!(lines("\0\0a\r\n\n \t\r\nb\0\n\0", &AUTO), envelope("a") + &envelope("b"));
        for nothing in ["", "\0", "\n\n", " \r\n\0", "\n\0\n"] {
            assert_eq!(lines(nothing, &AUTO), "");
        }
        assert_eq!(lines("{\"a\":1}\r\n", &AUTO), "{\"a\":1}\r\n");
    }

    #[test]
    fn w1_null_and_broken_text_are_harmless() {
        assert_eq!(lines("null", &AUTO), envelope("null"));
        assert_eq!(lines("null", &NDJSON), "null\n");
        assert_eq!(lines(b"{\"a\":\"\xe9\"}", &AUTO), envelope("{\\\"a\\\":\\\"\u{fffd}\\\"}"));
    }

    #[test]
    fn w18_values_survive_byte_for_byte() {
        for (line, expected) in [
            ("{}", "{\"BfTs\":1767225600000}"),
            ("{ }", "{ \"BfTs\":1767225600000}"),
            (
                r#"{"id":9007199254740993,"f":1.0,"e":1E+2,"z":-0,"z":2,"n":123456789012345678901234567890 } "#,
                r#"{"id":9007199254740993,"f":1.0,"e":1E+2,"z":-0,"z":2,"n":123456789012345678901234567890 ,"BfTs":1767225600000} "#,
            ),
            (r#"{"bfts":1}"#, r#"{"BfTs":1767225600000}"#),
            (r#"{"BFTS":1,"a":2}"#, r#"{"a":2,"BfTs":1767225600000}"#),
            (r#"{"a":2 , "BfTs" : {"x":[1,","]} }"#, r#"{"a":2 ,"BfTs":1767225600000}"#),
            (r#"{"a":2,"bFtS":1, "b":3}"#, r#"{"a":2, "b":3,"BfTs":1767225600000}"#),
            (r#"{"bfts":0,"bfts":1,"a":2,"\u0042fTs":3,"bfts":4}"#, r#"{"a":2,"BfTs":1767225600000}"#),
            (r#"{"bfts":0,"\u0062\u0066\u0074\u0073":1}"#, r#"{"BfTs":1767225600000}"#),
            (r#"{"x":{"bfts":1},"bfts2":2}"#, r#"{"x":{"bfts":1},"bfts2":2,"BfTs":1767225600000}"#),
        ] {
            assert_eq!(lines(line, &AUTO_BFTS).trim_end_matches('\n'), expected);
        }
        assert_eq!(lines(r#"{"bfts":1}"#, &AUTO), "{\"bfts\":1}\n");
    }

    #[test]
    fn envelopes_get_bfts_too() {
        let expected = envelope("x").replace("}\n", ",\"BfTs\":1767225600000}\n");
        assert_eq!(lines("x", &AUTO_BFTS), expected);
    }

    #[test]
    fn the_sender_replaces_a_member_of_exactly_that_name() {
        let rules = TextRules { source_field: Some("src\"ip".to_owned()), ..AUTO_BFTS };
        assert_eq!(
            lines(r#"{"src\"ip":"fake","SRC\"IP":1,"bfts":2}"#, &rules),
            "{\"SRC\\\"IP\":1,\"src\\\"ip\":\"192.0.2.1\",\"BfTs\":1767225600000}\n"
        );
    }

    #[test]
    fn a_line_break_inside_an_object_does_not_split_the_line() {
        let mut out = Vec::new();
        let now = ReceiveTime::new(0);
        push_line(b"{\n \"a\":1\n}", &AUTO, "::1".parse().unwrap(), &now, &mut out);
        assert_eq!(out, b"{  \"a\":1 }\n");
    }

    #[test]
    fn no_line_gets_longer_than_what_is_read_downstream() {
        let object = |len: usize| format!("{{\"a\":\"{}\"}}", "x".repeat(len - 8));
        for (payload, truncated) in [
            ("\u{1}".repeat(MAX_LINE / 3), true),
            ("ä".repeat(MAX_LINE / 2 + 5), true),
            ("x".repeat(MAX_LINE / 2), false),
            (object(MAX_LINE + 1), true),
        ] {
            let text = lines(payload, &AUTO_BFTS);
            assert!(text.len() <= MAX_LINE, "{}", text.len());
            assert!(text.len() > MAX_LINE / 3);
            let value: Value = serde_json::from_str(&text).unwrap();
            assert_eq!(value.get("truncated").is_some(), truncated);
            assert!(!value["raw"].as_str().unwrap().contains('\u{fffd}'));
        }
        let nearly = object(MAX_LINE - 1);
        assert_eq!(lines(&nearly, &AUTO_BFTS), nearly + "\n");
    }

    proptest! {
        #[test]
        fn any_bytes_become_valid_json_lines(payload in proptest::collection::vec(any::<u8>(), 0..200), bfts: bool) {
            for line in lines(&payload, &TextRules { bfts, ..AUTO }).lines() {
                let value: Value = serde_json::from_str(line).unwrap();
                prop_assert!(value.is_object());
            }
        }

        #[test]
        fn only_our_member_changes(
            members in proptest::collection::vec(("[a-cBbFfTtSs]{1,4}", "[0-9]|\"[x,}]\"|\\[1, 2\\]|null"), 0..6),
            space in " {0,2}",
        ) {
            let text = |list: &[(String, String)]| -> String {
                list.iter().map(|(k, v)| format!("{space}\"{k}\":{v}{space}")).collect::<Vec<_>>().join(",")
            };
            let kept: Vec<_> = members.iter().filter(|(k, _)| !k.eq_ignore_ascii_case("bfts")).cloned().collect();
            let comma = if kept.is_empty() { "" } else { "," };
            prop_assert_eq!(
                lines(format!("{{{}}}", text(&members)), &AUTO_BFTS),
                format!("{{{}{comma}\"BfTs\":1767225600000}}\n", text(&kept))
            );
        }
    }
}
