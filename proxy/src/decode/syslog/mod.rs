//! syslog: one message in, one NDJSON line out.
//!
//! `push_message` is pure and total: every byte sequence gives exactly one line, nothing is refused for its content.
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
    if fields.shape == Shape::Raw {
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
