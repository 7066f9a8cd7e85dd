//! The lines of before (`output: legacy`).
//!
//! | datagram | line |
//! |---|---|
//! | v9 | one per datagram: its sets as they are, values in base64 |
//! | IPFIX | one per data record: the members of [`MEMBERS`] that are not zero, without exporter and receive time |
//! | v5, v7 | as without it: the former program had none |

use std::io::Write;

use super::{
    fields::take,
    lines::Run,
    message::{Header, is_padding},
    record::{Name, names},
    template::{Field, SCOPE, Template},
    templates::{Definition, Kind},
};
use crate::decode::ReceiveTime;

/// Members of the lines of IPFIX.
const MEMBERS: [Name; 36] = [
    names::TIME_FLOW_START_NS,
    names::TIME_FLOW_END_NS,
    names::SAMPLING_RATE,
    names::OBSERVATION_POINT_ID,
    names::SRC_ADDR,
    names::DST_ADDR,
    names::NEXT_HOP,
    names::BGP_NEXT_HOP,
    names::BYTES,
    names::PACKETS,
    names::ETYPE,
    names::PROTO,
    names::SRC_PORT,
    names::DST_PORT,
    names::IN_IF,
    names::OUT_IF,
    names::SRC_MAC,
    names::DST_MAC,
    names::SRC_VLAN,
    names::DST_VLAN,
    names::VLAN_ID,
    names::IP_TOS,
    names::IP_TTL,
    names::IP_FLAGS,
    names::TCP_FLAGS,
    names::IPV6_FLOW_LABEL,
    names::ICMP_TYPE,
    names::ICMP_CODE,
    names::FRAGMENT_ID,
    names::FRAGMENT_OFFSET,
    names::SRC_AS,
    names::DST_AS,
    names::NEXT_HOP_AS,
    names::SRC_NET,
    names::DST_NET,
    names::FORWARDING_STATUS,
];

/// Whether lines of IPFIX had this member.
pub fn knows(name: &Name) -> bool {
    MEMBERS.contains(name)
}

/// A version 9 datagram that is being written as one line.
#[derive(Debug)]
pub struct Dump {
    /// Where the line starts.
    start: usize,
    sets: usize,
}

impl Dump {
    /// Starts the line with what the header says.
    pub fn begin(header: &Header, out: &mut Vec<u8>) -> Self {
        let start = out.len();
        let Header { version, domain, sequence, count, clock, .. } = *header;
        let (uptime, seconds) = (clock.uptime_ms.unwrap_or_default(), clock.export_ns / 1_000_000_000);
        put(
            out,
            format_args!(
                "{{\"version\":{version},\"count\":{count},\"system-uptime\":{uptime},\"unix-seconds\":{seconds},\
                 \"sequence-number\":{sequence},\"source-id\":{domain},\"flow-sets\":["
            ),
        );
        Self { start, sets: 0 }
    }

    /// A set of templates.
    pub fn templates(&mut self, id: u16, content: &[u8], definitions: &[Definition<'_>], out: &mut Vec<u8>) {
        self.begin_set(id, content, out);
        for (index, definition) in definitions.iter().enumerate() {
            separate(index, out);
            put(out, format_args!("{{\"template-id\":{},", definition.id));
            let (scopes, others) = definition.field_counts();
            if definition.kind() == Kind::V9Options {
                put(out, format_args!("\"scope-length\":{},\"option-length\":{},", 4 * scopes, 4 * others));
                push_fields("scopes", definition.fields().take(scopes), out);
                out.push(b',');
                push_fields("options", definition.fields().skip(scopes), out);
            } else {
                put(out, format_args!("\"field-count\":{others},"));
                push_fields("fields", definition.fields(), out);
            }
            out.push(b'}');
        }
        out.extend_from_slice(b"]}");
    }

    /// A set of records.
    pub fn records(&mut self, id: u16, content: &[u8], template: &Template, out: &mut Vec<u8>) -> Run {
        self.begin_set(id, content, out);
        let (mut rest, mut run) = (content, Run::default());
        while template.shortest > 0 && rest.len() >= template.shortest {
            let (before, start) = (rest, out.len());
            separate(run.records as usize, out);
            if push_values(template, &mut rest, out).is_none() {
                out.truncate(start);
                run.is_cut = !is_padding(before);
                break;
            }
            run.records += 1;
        }
        out.extend_from_slice(b"]}");
        run
    }

    /// Ends the line, or takes it back when it has no set; how many lines that are.
    pub fn end(self, now: &ReceiveTime, out: &mut Vec<u8>) -> u32 {
        if self.sets == 0 {
            out.truncate(self.start);
            return 0;
        }
        put(out, format_args!("],\"BfTs\":{}}}\n", now.unix_ms_digits()));
        1
    }

    fn begin_set(&mut self, id: u16, content: &[u8], out: &mut Vec<u8>) {
        separate(self.sets, out);
        self.sets += 1;
        put(out, format_args!("{{\"id\":{id},\"length\":{},\"records\":[", content.len() + 4));
    }
}

fn push_fields(name: &str, fields: impl Iterator<Item = Field>, out: &mut Vec<u8>) {
    put(out, format_args!("\"{name}\":["));
    for (index, Field { id, length, .. }) in fields.enumerate() {
        separate(index, out);
        put(out, format_args!("{{\"pen-provided\":false,\"type\":{id},\"length\":{length},\"pen\":0}}"));
    }
    out.push(b']');
}

/// The values of one record; `None` when it is cut short.
fn push_values(template: &Template, rest: &mut &[u8], out: &mut Vec<u8>) -> Option<()> {
    let scopes = template.fields.iter().take_while(|field| field.pen == SCOPE).count();
    let (first, others) = template.fields.split_at_checked(scopes)?;
    if template.is_options {
        out.extend_from_slice(b"{\"scope-values\":[");
        push_list(first, rest, out)?;
        out.extend_from_slice(b"],\"option-values\":[");
    } else {
        out.extend_from_slice(b"{\"values\":[");
    }
    push_list(others, rest, out)?;
    out.extend_from_slice(b"]}");
    Some(())
}

/// Fields without bytes are left out: a template of them alone would make much of nothing.
fn push_list(fields: &[Field], rest: &mut &[u8], out: &mut Vec<u8>) -> Option<()> {
    for (index, field) in fields.iter().filter(|field| field.length > 0).enumerate() {
        let value = take(rest, field.length)?;
        separate(index, out);
        put(out, format_args!("{{\"pen-provided\":false,\"type\":{},\"pen\":0,\"value\":\"", field.id));
        push_base64(value, out);
        out.extend_from_slice(b"\"}");
    }
    Some(())
}

fn put(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    // Writing to memory does not fail.
    let _ = out.write_fmt(text);
}

fn separate(index: usize, out: &mut Vec<u8>) {
    if index > 0 {
        out.push(b',');
    }
}

/// RFC 4648, 4.
fn push_base64(bytes: &[u8], out: &mut Vec<u8>) {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for three in bytes.chunks(3) {
        let bits =
            three.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - three.len()));
        for place in 0..4 {
            let letter =
                LETTERS.get((bits >> (18 - 6 * place) & 63) as usize).filter(|_| place <= three.len());
            out.push(letter.copied().unwrap_or(b'='));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_as_the_rfc_shows_it() {
        for (text, expected) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("foobar", "Zm9vYmFy"),
        ] {
            let mut out = Vec::new();
            push_base64(text.as_bytes(), &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
    }
}
