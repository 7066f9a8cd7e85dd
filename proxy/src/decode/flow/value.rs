//! One value's bytes as JSON.
//!
//! What a value looks like follows from its element's type and its length: numbers of up to eight bytes may come in
//! fewer bytes than their type has (RFC 7011, 6.2); a length that the type cannot have gives hexadecimal text, so that
//! nothing on the wire is lost.

use std::io::Write;

use super::{
    address::{push_hex, push_ipv4, push_ipv6, push_mac},
    clock::{self, Clock},
    digits::{push_i64, push_u64},
    element::Type,
    record::MacFormat,
};
use crate::decode::json::push_escaped;

/// How a value is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Number of one, two, four, eight or another number of bytes up to eight.
    U8,
    U16,
    U32,
    U64,
    Unsigned,
    Signed,
    Float,
    Boolean,
    MacNumber,
    MacText,
    Ipv4,
    Ipv6,
    Text,
    Hex,
    /// NTP time stamps in Unix µs and ns.
    NtpMicroseconds,
    NtpNanoseconds,
    /// `engine:selector` (RFC 6759).
    Application,
}

/// How a record tells a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Time {
    Seconds,
    Milliseconds,
    Microseconds,
    Nanoseconds,
    /// Microseconds before the export.
    Before,
    /// The exporter's uptime.
    Uptime,
}

impl Form {
    /// Of a value of this type with this length; `None` as length when it varies from record to record.
    pub fn of(kind: Type, length: Option<usize>, mac: MacFormat) -> Self {
        let Some(length) = length else {
            return match kind {
                Type::Text => Self::Text,
                Type::Unsigned | Type::Seconds | Type::Milliseconds => Self::Unsigned,
                Type::Signed => Self::Signed,
                _ => Self::Hex,
            };
        };
        match (kind, length) {
            (Type::Text, _) => Self::Text,
            (Type::Unsigned | Type::Seconds | Type::Milliseconds, 1..=8) => Self::unsigned(length),
            (Type::Signed, 1..=8) => Self::Signed,
            (Type::Float, 4 | 8) => Self::Float,
            (Type::Boolean, 1) => Self::Boolean,
            (Type::Mac, 6) if mac == MacFormat::Text => Self::MacText,
            (Type::Mac, 6) => Self::MacNumber,
            (Type::Ipv4, 4) => Self::Ipv4,
            (Type::Ipv6, 16) => Self::Ipv6,
            (Type::Microseconds, 8) => Self::NtpMicroseconds,
            (Type::Nanoseconds, 8) => Self::NtpNanoseconds,
            _ => Self::Hex,
        }
    }

    /// A number of `length` bytes, up to eight.
    pub fn unsigned(length: usize) -> Self {
        match length {
            1 => Self::U8,
            2 => Self::U16,
            4 => Self::U32,
            8 => Self::U64,
            _ => Self::Unsigned,
        }
    }

    /// Of a value whose element nobody knows: a number where it has a number's length, else hexadecimal.
    pub fn unknown(length: Option<usize>) -> Self {
        match length {
            Some(length @ (1 | 2 | 4 | 8)) => Self::unsigned(length),
            _ => Self::Hex,
        }
    }
}

/// The number that up to eight bytes hold.
#[inline]
pub fn unsigned(bytes: &[u8]) -> Option<u64> {
    Some(match bytes.len() {
        1 => u64::from(*bytes.first()?),
        2 => u64::from(u16::from_be_bytes(*bytes.first_chunk()?)),
        4 => u64::from(u32::from_be_bytes(*bytes.first_chunk()?)),
        8 => u64::from_be_bytes(*bytes.first_chunk()?),
        0..=7 => bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)),
        _ => return None,
    })
}

/// Appends the value. A value that is not of its form's length is written as hexadecimal text.
#[inline]
pub fn push(form: Form, bytes: &[u8], out: &mut Vec<u8>) {
    match form {
        Form::U8 | Form::U16 | Form::U32 | Form::U64 | Form::Unsigned => match unsigned(bytes) {
            Some(number) => push_u64(number, out),
            None => push_quoted_hex(bytes, out),
        },
        Form::Ipv4 => match bytes.first_chunk::<4>() {
            Some(address) => quoted(out, |out| push_ipv4(*address, out)),
            None => push_quoted_hex(bytes, out),
        },
        form => push_other(form, bytes, out),
    }
}

/// A record's time; `None` when its header lacks what it is relative to.
pub fn unix_ns(time: Time, number: u64, clock: Clock) -> Option<u64> {
    Some(match time {
        Time::Seconds => clock::seconds(number),
        Time::Milliseconds => clock::milliseconds(number),
        Time::Microseconds => clock::ntp_microseconds(number).saturating_mul(1000),
        Time::Nanoseconds => clock::ntp_nanoseconds(number),
        Time::Before => clock.before(number),
        Time::Uptime => clock.at_uptime(number as u32)?,
    })
}

fn push_other(form: Form, bytes: &[u8], out: &mut Vec<u8>) {
    let done = match form {
        Form::Ipv6 => bytes.first_chunk().map(|address| quoted(out, |out| push_ipv6(*address, out))),
        Form::MacText => bytes.first_chunk().map(|address| quoted(out, |out| push_mac(*address, out))),
        Form::MacNumber => unsigned(bytes).map(|number| push_u64(number, out)),
        Form::Text => {
            // Where a length is fixed, zeros fill it up.
            let end = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
            quoted(out, |out| push_escaped(bytes.get(..end).unwrap_or_default(), out));
            Some(())
        }
        Form::Signed => signed(bytes).map(|number| push_i64(number, out)),
        Form::Float => push_float(bytes, out),
        Form::Boolean => boolean(bytes).map(|word| out.extend_from_slice(word)),
        Form::NtpMicroseconds => unsigned(bytes).map(|stamp| push_u64(clock::ntp_microseconds(stamp), out)),
        Form::NtpNanoseconds => unsigned(bytes).map(|stamp| push_u64(clock::ntp_nanoseconds(stamp), out)),
        Form::Application => push_application(bytes, out),
        _ => None,
    };
    if done.is_none() {
        push_quoted_hex(bytes, out);
    }
}

fn boolean(bytes: &[u8]) -> Option<&'static [u8]> {
    match bytes {
        [1] => Some(b"true"),
        [2] => Some(b"false"),
        _ => None,
    }
}

fn signed(bytes: &[u8]) -> Option<i64> {
    let unused = 64_u32.checked_sub(8 * bytes.len() as u32).filter(|unused| *unused < 64)?;
    Some((unsigned(bytes)? << unused) as i64 >> unused)
}

/// The shortest text that gives the same number again. What JSON has no number for stays hexadecimal.
fn push_float(bytes: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let written = if let Ok(bytes) = <[u8; 4]>::try_from(bytes) {
        let number = f32::from_be_bytes(bytes);
        let short = number == 0.0 || (1e-5..1e9).contains(&number.abs());
        number.is_finite().then(|| if short { write!(out, "{number}") } else { write!(out, "{number:e}") })
    } else {
        let number = f64::from_be_bytes(bytes.try_into().ok()?);
        let short = number == 0.0 || (1e-5..1e9).contains(&number.abs());
        number.is_finite().then(|| if short { write!(out, "{number}") } else { write!(out, "{number:e}") })
    };
    // Writing to memory does not fail.
    written.map(drop)
}

/// RFC 6759, 4: one octet of engine, the rest the selector; engine 20 has an enterprise number before it.
fn push_application(bytes: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let (engine, rest) = bytes.split_first()?;
    let (pen, selector) = match rest.split_first_chunk::<4>() {
        Some((pen, selector)) if *engine == 20 && !selector.is_empty() => (Some(*pen), selector),
        _ => (None, rest),
    };
    let selector = unsigned(selector)?;
    quoted(out, |out| {
        push_u64(u64::from(*engine), out);
        out.push(b':');
        if let Some(pen) = pen {
            push_u64(u64::from(u32::from_be_bytes(pen)), out);
            out.push(b':');
        }
        push_u64(selector, out);
    });
    Some(())
}

#[inline]
fn quoted(out: &mut Vec<u8>, push: impl FnOnce(&mut Vec<u8>)) {
    out.push(b'"');
    push(out);
    out.push(b'"');
}

/// Appends bytes as hexadecimal text.
pub fn push_quoted_hex(bytes: &[u8], out: &mut Vec<u8>) {
    quoted(out, |out| push_hex(bytes, out));
}
