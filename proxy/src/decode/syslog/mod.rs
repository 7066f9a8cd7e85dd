//! syslog: one message in, one NDJSON line out.
//!
//! `push_message` is pure and total: every byte sequence gives exactly one line, nothing is refused for its content, and
//! no line is longer than what is read downstream.
//!
//! ```text
//! [octet count] [<PRI>] -+- VERSION TIMESTAMP HOSTNAME APP-NAME PROCID MSGID SD [MSG]      rfc5424
//!                        +- [prefix] [TIMESTAMP] [HOSTNAME] [TAG:] MSG, as devices write it  rfc3164, device, tag
//!                        +- anything else: kept whole                                         raw
//! ```
//! Parsing only borrows from the message (`Fields`); `line` writes the members. Each step looks at a byte a bounded
//! number of times, so the time is linear in the length.

#![deny(clippy::indexing_slicing)]

mod body;
mod civil;
mod device;
mod fields;
mod line;
mod priority;
mod rfc3164;
mod rfc5424;
mod scan;
mod stamp;
mod structured;
mod tag;
mod zone;

use std::net::IpAddr;

use crate::config::{KeepRaw, SyslogMode, SyslogSource};

use super::ReceiveTime;
use fields::Fields;
pub use zone::UnknownZone;
use zone::Zones;

/// What a message turned out to be; the member `rfc`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Shape {
    /// RFC 5424.
    Rfc5424,
    /// RFC 3164, as devices write it.
    Rfc3164,
    /// Neither; the text is kept whole.
    #[default]
    Raw,
}

/// The settings of one syslog input, resolved.
#[derive(Debug, Clone)]
pub struct SyslogRules {
    mode: SyslogMode,
    raw: KeepRaw,
    zones: Zones,
}

impl SyslogRules {
    /// Resolves the time zones.
    pub fn new(source: &SyslogSource) -> Result<Self, UnknownZone> {
        let zones = Zones::new(&source.timezone, &source.timezones)?;
        Ok(Self { mode: source.mode, raw: source.raw, zones })
    }
}

/// Appends the message as one line of JSON, ended by `\n`.
pub fn push_message(
    message: &[u8],
    rules: &SyslogRules,
    source: IpAddr,
    now: &ReceiveTime,
    out: &mut Vec<u8>,
) -> Shape {
    let source = source.to_canonical();
    let text = scan::trim(message);
    let mut fields = Fields::default();
    parse(scan::without_octet_count(text), rules.mode, &mut fields);
    let header = text.len().saturating_sub(fields.message.len());
    if fields.shape == Shape::Raw || line::is_header_too_long(header) {
        fields = Fields { message: text, ..Fields::default() };
    }
    let event = rules.zones.event_time(&fields.when, source, now);
    let kept = match rules.raw {
        KeepRaw::Drop => None,
        KeepRaw::Keep => Some(message),
        KeepRaw::OnFailure => (!fields.is_complete(event.is_some())).then_some(message),
    };
    line::push(&fields, event.as_ref(), kept, source, now, out);
    fields.shape
}

/// Leaves the shape `Raw` when nothing is found that the mode permits.
fn parse<'a>(text: &'a [u8], mode: SyslogMode, fields: &mut Fields<'a>) {
    let (priority, rest) = priority::split(text);
    if let Some(priority) = priority {
        fields.set_priority(priority);
        if rfc5424::parse(rest, fields) {
            fields.shape = Shape::Rfc5424;
            if mode == SyslogMode::Auto {
                rfc3164::unwrap_relayed(fields);
            }
        }
    }
    if fields.shape == Shape::Raw && mode != SyslogMode::Rfc5424 {
        let header = rfc3164::parse(rest, fields);
        // A relay may have wrapped a message of RFC 5424.
        if fields.shape == Shape::Raw && (header || priority.is_some()) {
            fields.shape = Shape::Rfc3164;
        }
    }
    if mode == SyslogMode::Rfc3164 && fields.shape == Shape::Rfc5424 {
        fields.shape = Shape::Raw;
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::batch::MAX_LINE;

    fn line(message: &[u8], raw: KeepRaw) -> (usize, Value) {
        let zones = Zones::new("UTC", &[]).unwrap();
        let rules = SyslogRules { mode: SyslogMode::Auto, raw, zones };
        let (now, mut out) = (ReceiveTime::new(1_767_225_600_000_000_001), Vec::new());
        push_message(message, &rules, "192.0.2.1".parse().unwrap(), &now, &mut out);
        assert_eq!(out.iter().position(|byte| *byte == b'\n'), Some(out.len() - 1));
        (out.len(), serde_json::from_slice(&out).unwrap())
    }

    #[test]
    fn no_line_gets_longer_than_what_is_read_downstream() {
        let header = "<13>1 2024-03-01T18:46:11Z host app - - ";
        let message = |text: String| format!("{header}- {text}").into_bytes();
        let half = message("\u{1}".repeat(1 << 20));
        let whole = message("x".repeat(MAX_LINE - 50));
        let text = "\u{1}".repeat(MAX_LINE / 2).into_bytes();
        for raw in [KeepRaw::Drop, KeepRaw::Keep, KeepRaw::OnFailure] {
            for (message, shape) in [(&half, "5424"), (&whole, "5424"), (&text, "raw")] {
                let (len, value) = line(message, raw);
                assert!(len <= MAX_LINE && len > MAX_LINE / 2, "{len}");
                assert_eq!(value["rfc"], shape);
                let fits = message == &half && raw != KeepRaw::Keep;
                assert_eq!(value.get("truncated"), (!fits).then_some(&Value::Bool(true)), "{shape} {raw:?}");
                assert!(value.get("raw").is_none());
            }
        }
        let (_, value) = line(&half, KeepRaw::Keep);
        assert_eq!(value["message"].as_str().map(str::len), Some(1 << 20), "raw goes before text does");
        let (_, value) = line(&message("x".repeat(4 << 20)), KeepRaw::Keep);
        assert_eq!(value["raw"].as_str().map(str::len), Some((4 << 20) + header.len() + 2));
    }

    #[test]
    fn a_header_of_a_mebibyte_is_text() {
        let long = "\u{1}".repeat(1 << 20);
        for message in [
            format!("<13>1 2024-03-01T18:46:11Z host app - - [id a=\"{long}\"] text"),
            format!("<13>1 2024-03-01T18:46:11Z {} app - - - text", "\u{80}".repeat(1 << 20)),
        ] {
            let (len, value) = line(message.as_bytes(), KeepRaw::Keep);
            assert!(len <= MAX_LINE, "{len}");
            assert_eq!((&value["rfc"], &value["hostname"]), (&"raw".into(), &Value::Null));
            assert_eq!(value["message"], message);
        }
    }
}
