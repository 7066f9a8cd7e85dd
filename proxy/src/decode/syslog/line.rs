//! Writing the members of one line.
//!
//! No line gets longer than [`MAX_LINE`]. What is too long loses `raw` first, then the end of `message`, and is marked
//! `"truncated":true`. A header that alone would be too long ([`is_header_too_long`]) is for the caller to make text of.

use std::net::IpAddr;

use super::{
    super::ReceiveTime,
    super::json::{push_escaped, push_ip},
    super::text::{MAX_ESCAPED, push_text},
    Shape,
    fields::Fields,
    priority::{FACILITIES, SEVERITIES},
    zone::EventTime,
};
use crate::batch::MAX_LINE;

/// Room for the names and fixed members of a line.
const OVERHEAD: usize = 640;

/// More than what follows the text.
const TAIL: usize = 192;
const RAW: &[u8] = b",\"raw\":\"";

/// Fractions of a second beyond this many digits are cut: no reader of RFC 3339 wants more.
const FRACTION: usize = 9;

/// Whether the members of a header of this many bytes might leave no room for a text. Parts of it come twice: a process
/// id also stands in its tag.
pub(super) fn is_header_too_long(bytes: usize) -> bool {
    bytes > MAX_LINE / 2 / MAX_ESCAPED / 2
}

pub(super) fn push(
    fields: &Fields<'_>,
    event: Option<&EventTime<'_>>,
    raw: Option<&[u8]>,
    source: IpAddr,
    now: &ReceiveTime,
    out: &mut Vec<u8>,
) {
    let end = out.len() + MAX_LINE - TAIL;
    out.reserve(fields.message.len() + raw.map_or(0, <[u8]>::len) + OVERHEAD);
    out.extend_from_slice(b"{\"source_ip\":\"");
    push_ip(source, out);
    out.extend_from_slice(b"\",\"timestamp\":\"");
    out.extend_from_slice(now.seconds().as_bytes());
    out.extend_from_slice(match fields.shape {
        Shape::Rfc5424 => b"Z\",\"rfc\":\"5424\"".as_slice(),
        Shape::Rfc3164 => b"Z\",\"rfc\":\"3164\"",
        Shape::Raw => b"Z\",\"rfc\":\"raw\"",
    });
    push_priority(fields, out);
    member(b",\"version\":\"", fields.version, out);
    member(b",\"syslog_timestamp\":\"", fields.stamp, out);
    member(b",\"hostname\":\"", fields.hostname, out);
    member(b",\"app_name\":\"", fields.app_name, out);
    member(b",\"tag\":\"", fields.tag, out);
    member(b",\"proc_id\":\"", fields.proc_id, out);
    member(b",\"msg_id\":\"", fields.msg_id, out);
    if let Some(sequence) = fields.sequence {
        out.extend_from_slice(b",\"sequence\":");
        out.extend_from_slice(itoa::Buffer::new().format(sequence).as_bytes());
    }
    member(b",\"origin\":\"", fields.origin, out);
    member(b",\"relay\":\"", fields.relay, out);
    if let Some(event) = event {
        push_event_time(event, out);
    }
    if let Some(structured) = &fields.structured {
        out.extend_from_slice(b",\"structured_data\":");
        structured.push(out);
    }
    out.extend_from_slice(b",\"message\":\"");
    let mut truncated = push_text(fields.message, end.saturating_sub(out.len()), out);
    out.push(b'"');
    if let Some(raw) = raw {
        let before = out.len();
        out.extend_from_slice(RAW);
        if push_text(raw, end.saturating_sub(out.len()), out) {
            out.truncate(before);
            truncated = true;
        } else {
            out.push(b'"');
        }
    }
    if truncated {
        out.extend_from_slice(b",\"truncated\":true");
    }
    out.extend_from_slice(b",\"received_ns\":");
    out.extend_from_slice(now.unix_ns_digits().as_bytes());
    out.extend_from_slice(b",\"BfTs\":");
    out.extend_from_slice(now.unix_ms_digits().as_bytes());
    out.extend_from_slice(b"}\n");
}

/// `start` is `,"name":"`.
fn member(start: &'static [u8], value: Option<&[u8]>, out: &mut Vec<u8>) {
    if let Some(value) = value {
        out.extend_from_slice(start);
        push_escaped(value, out);
        out.push(b'"');
    }
}

fn push_priority(fields: &Fields<'_>, out: &mut Vec<u8>) {
    if let Some(priority) = fields.priority {
        out.extend_from_slice(b",\"priority\":\"");
        out.extend_from_slice(priority);
        out.push(b'"');
    }
    if let Some(text) = fields.facility.and_then(|facility| FACILITIES.get(usize::from(facility))) {
        out.extend_from_slice(text.as_bytes());
    }
    if let Some(text) = fields.severity.and_then(|severity| SEVERITIES.get(usize::from(severity))) {
        out.extend_from_slice(text.as_bytes());
    }
}

fn two(number: u8) -> [u8; 2] {
    [b'0' + number / 10, b'0' + number % 10]
}

fn push_event_time(event: &EventTime<'_>, out: &mut Vec<u8>) {
    let [y0, y1] = two((event.year / 100) as u8);
    let [y2, y3] = two((event.year % 100) as u8);
    let [m0, m1] = two(event.month);
    let [d0, d1] = two(event.day);
    let [h0, h1] = two(event.hour);
    let [i0, i1] = two(event.minute);
    let [s0, s1] = two(event.second);
    out.extend_from_slice(b",\"event_time\":\"");
    out.extend_from_slice(&[
        y0, y1, y2, y3, b'-', m0, m1, b'-', d0, d1, b'T', h0, h1, b':', i0, i1, b':', s0, s1,
    ]);
    if !event.fraction.is_empty() {
        out.push(b'.');
        out.extend_from_slice(event.fraction.get(..FRACTION).unwrap_or(event.fraction));
    }
    out.extend_from_slice(b"Z\"");
}
