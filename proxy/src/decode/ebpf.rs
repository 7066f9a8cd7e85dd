//! Events of eBPF agents: JSON objects in datagrams, however they are laid out, one line each.
//!
//! One object, one per line, several one after the other, or spread over lines for people to read: each object becomes
//! one line as [`super::text`] passes it through, that is byte for byte, but for line breaks between its members. What
//! is no object is kept in an envelope, from where it starts to the next line that starts with an object.

use std::net::IpAddr;

use super::{
    ReceiveTime, object,
    text::{TextRules, push_line},
};

/// Objects that turned out to be none, of one datagram; beyond, the rest is one piece. Each costs a look at what
/// follows it, so this keeps the time linear in the length.
const ATTEMPTS: u32 = 16;

/// Lines that a datagram gave.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Events {
    /// All of them.
    pub lines: u32,
    /// Of these, kept though they are no objects.
    pub undecoded: u32,
}

/// Appends the objects of one datagram. `rules` say what is added to them; their format is `auto`.
pub fn push_events(
    datagram: &[u8],
    rules: &TextRules,
    source: IpAddr,
    now: &ReceiveTime,
    out: &mut Vec<u8>,
) -> Events {
    let mut events = Events::default();
    let mut attempts = 0;
    let mut rest = skip_separators(datagram);
    while let Some(first) = rest.first() {
        let object = if *first == b'{' && attempts < ATTEMPTS { object::first(rest) } else { None };
        let length = object.unwrap_or_else(|| {
            attempts += u32::from(*first == b'{');
            next_object(rest).filter(|_| attempts < ATTEMPTS).unwrap_or(rest.len())
        });
        let (event, after) = rest.split_at_checked(length).unwrap_or((rest, &[]));
        push_line(trim_end(event), rules, source, now, out);
        events.lines += 1;
        events.undecoded += u32::from(object.is_none());
        rest = skip_separators(after);
    }
    events
}

/// Between objects: white space, NULs, and the record separators of RFC 7464.
fn is_separator(byte: u8) -> bool {
    matches!(byte, 0 | b' ' | b'\t' | b'\r' | b'\n' | 0x1e)
}

fn skip_separators(text: &[u8]) -> &[u8] {
    let start = text.iter().position(|byte| !is_separator(*byte)).unwrap_or(text.len());
    text.get(start..).unwrap_or_default()
}

fn trim_end(text: &[u8]) -> &[u8] {
    let end = text.iter().rposition(|byte| !is_separator(*byte)).map_or(0, |last| last + 1);
    text.get(..end).unwrap_or_default()
}

/// Where the next line starts with an object.
fn next_object(text: &[u8]) -> Option<usize> {
    memchr::memmem::find(text, b"\n{").map(|at| at + 1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;
    use crate::config::DataFormat;

    const RULES: TextRules = TextRules { format: DataFormat::Auto, bfts: true, source_field: None };

    fn decode(datagram: &[u8]) -> (String, Events) {
        let (mut out, now) = (Vec::new(), ReceiveTime::new(1_767_225_600_000_000_001));
        let events = push_events(datagram, &RULES, "192.0.2.1".parse().unwrap(), &now, &mut out);
        assert_eq!(events.lines as usize, out.split_inclusive(|byte| *byte == b'\n').count());
        assert!(out.is_empty() || out.ends_with(b"\n"));
        (String::from_utf8(out).unwrap(), events)
    }

    fn objects(datagram: &str) -> Vec<String> {
        let (text, events) = decode(datagram.as_bytes());
        assert_eq!(events.undecoded, 0, "{text}");
        text.lines().map(|line| line.replace(",\"BfTs\":1767225600000", "")).collect()
    }

    #[test]
    fn w20_records_stay_apart_however_they_are_laid_out() {
        for (datagram, expected) in [
            (r#"{"pid":4711,"comm":"nginx"}"#, vec![r#"{"pid":4711,"comm":"nginx"}"#]),
            ("{\"a\":1}\n{\"a\":2}\n", vec!["{\"a\":1}", "{\"a\":2}"]),
            ("{\"a\":1}{\"a\":2} {\"a\":3}", vec!["{\"a\":1}", "{\"a\":2}", "{\"a\":3}"]),
            ("\0\r\n{\"a\":1}\r\n\r\n{\"a\":2}\0\0", vec!["{\"a\":1}", "{\"a\":2}"]),
            ("\u{1e}{\"a\":1}\n\u{1e}{\"a\":2}\n", vec!["{\"a\":1}", "{\"a\":2}"]),
            (
                "{\n  \"a\": 12345678901234567890123,\n  \"b\": [\n    {}\n  ]\n}\n{\n  \"a\": 2\n}",
                vec!["{   \"a\": 12345678901234567890123,   \"b\": [     {}   ] }", "{   \"a\": 2 }"],
            ),
            (
                r#"{"text":"}{ \n \" ]"}{"b":{"c":"{"}}"#,
                vec![r#"{"text":"}{ \n \" ]"}"#, r#"{"b":{"c":"{"}}"#],
            ),
            (" \n\0", vec![]),
        ] {
            assert_eq!(objects(datagram), expected);
        }
    }

    #[test]
    fn w1_null_and_other_values_are_kept_and_counted() {
        for value in ["null", "[1,2]", "42", "text", "{\"cut\":", "\"{}\"", "[{\"a\":1}]"] {
            let (text, events) = decode(format!("{{\"a\":1}}\n{value}\n{{\"a\":2}}").as_bytes());
            assert_eq!(events, Events { lines: 3, undecoded: 1 }, "{text}");
            let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
            assert_eq!((&lines[0]["a"], &lines[2]["a"]), (&1.into(), &2.into()));
            assert_eq!(lines[1]["raw"], value);
            assert_eq!(lines[1]["source_ip"], "192.0.2.1");
        }
    }

    #[test]
    fn an_object_that_is_cut_is_one_piece() {
        let (text, events) = decode(b"{\n  \"a\": 1,\n  \"b\": {\n    \"c\"");
        assert_eq!(events, Events { lines: 1, undecoded: 1 });
        let line: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(line["raw"], "{\n  \"a\": 1,\n  \"b\": {\n    \"c\"");
    }

    #[test]
    fn what_only_looks_like_objects_ends_as_one_piece() {
        let (_, events) = decode("{\"a\":[\n".repeat(9000).as_bytes());
        assert_eq!(events, Events { lines: ATTEMPTS, undecoded: ATTEMPTS });
    }

    proptest! {
        #[test]
        fn any_bytes_give_valid_lines(
            pieces in proptest::collection::vec(prop_oneof![
                Just("{\"a\":1}"), Just("{"), Just("\n"), Just("\"}\""), Just("{\"b\":[\n1]}"), Just("x"), Just("\0"),
            ], 0..30),
            tail in proptest::collection::vec(any::<u8>(), 0..20),
        ) {
            let datagram = [pieces.concat().as_bytes(), &tail].concat();
            let (text, events) = decode(&datagram);
            let mut undecoded = 0;
            for line in text.lines() {
                let value: Value = serde_json::from_str(line).unwrap();
                prop_assert_eq!(&value["BfTs"], 1_767_225_600_000_u64);
                undecoded += u32::from(value.get("raw").is_some());
            }
            prop_assert_eq!(undecoded, events.undecoded);
        }
    }
}
