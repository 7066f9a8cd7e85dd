use futures_util::FutureExt;
use tokio::io::AsyncReadExt;

use crate::{
    config::{DataFormat, Oversize},
    decode::{
        ReceiveTime,
        framing::{Framer, Step},
        text::{TextRules, push_lines},
    },
    inputs::proxy_protocol::read_header,
};

use super::choice;

/// Any bytes as lines of a text input: every line that is appended ends with one line end, and is JSON where the rules
/// say so.
pub fn text(data: &[u8]) {
    let (choice, payload) = choice(data);
    let rules = TextRules {
        format: [DataFormat::Auto, DataFormat::Ndjson, DataFormat::Text][choice % 3],
        bfts: choice & 64 != 0,
        source_field: (choice & 128 != 0).then(|| "source".to_owned()),
    };
    let mut out = Vec::new();
    let now = ReceiveTime::new(1_767_225_600_000_000_001);
    let lines = push_lines(payload, &rules, [192, 0, 2, 1].into(), &now, &mut out);
    assert_eq!(lines as usize, out.split_inclusive(|byte| *byte == b'\n').count());
    assert!(out.is_empty() || out.ends_with(b"\n"));
    for line in out.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        match serde_json::from_slice::<serde_json::Value>(line) {
            Ok(value) if rules.bfts && value.is_object() => assert_eq!(value["BfTs"], 1_767_225_600_000_u64),
            Ok(_) => {}
            // Nesting that is deeper than serde_json reads is passed through all the same.
            Err(_) => assert!(rules.format != DataFormat::Text),
        }
    }
}

/// Any bytes as a stream, in two ways of cutting it into reads: the same messages, none above the limit, progress at
/// every step.
pub fn framing(data: &[u8]) {
    let [choice, limit, piece, stream @ ..] = data else { return };
    let limit = usize::from(*limit) + 1;
    let oversize = [Oversize::Cut, Oversize::Drop, Oversize::Close][usize::from(*choice) % 3];
    let make = || match choice & 128 {
        0 => Framer::syslog(limit, oversize),
        _ => Framer::lines(b'\n', limit, oversize),
    };
    let whole = messages(make(), stream, usize::MAX, limit);
    assert_eq!(messages(make(), stream, usize::from(*piece) + 1, limit), whole);
}

fn messages(mut framer: Framer, stream: &[u8], piece: usize, limit: usize) -> Vec<Vec<u8>> {
    let (mut buffer, mut messages) = (Vec::new(), Vec::new());
    for read in stream.chunks(piece) {
        buffer.extend_from_slice(read);
        loop {
            let consumed = match framer.next(&buffer) {
                Step::Frame { bytes, consumed, .. } => {
                    assert!(bytes.len() <= limit);
                    messages.push(bytes.to_vec());
                    consumed
                }
                Step::Skip { consumed } => consumed,
                Step::More => break,
                Step::Close => return messages,
            };
            assert!(consumed > 0 && consumed <= buffer.len());
            buffer.drain(..consumed);
        }
    }
    messages.extend(framer.finish(&buffer).map(|last| last.bytes.to_vec()));
    messages
}

/// Any bytes as a PROXY header, read at once and in two pieces: the same address, none, or an error; what follows the
/// header is handed back whole.
pub fn proxy_protocol(data: &[u8]) {
    let (cut, data) = choice(data);
    let (first, second) = data.split_at(cut.min(data.len()));
    // A slice is always ready.
    let mut whole = data;
    let at_once = read_header(&mut whole).now_or_never().unwrap();
    let mut pieces = first.chain(second);
    let in_pieces = read_header(&mut pieces).now_or_never().unwrap();
    match (at_once, in_pieces) {
        (Ok((sender, mut rest)), Ok((again, more))) => {
            assert_eq!(sender, again);
            rest.extend_from_slice(whole);
            assert!(data.ends_with(&rest) && rest.len() < data.len());
            let (unread, unread_second) = pieces.into_inner();
            assert_eq!([&more[..], unread, unread_second].concat(), rest);
        }
        (Err(one), Err(other)) => assert_eq!(one.kind(), other.kind()),
        (one, other) => unreachable!("{one:?} at once, {other:?} in pieces"),
    }
}
