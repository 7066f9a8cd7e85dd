//! The time in a body of `key=value` pairs, for devices that send no header time: Fortinet
//! (`date=2024-03-01 time=18:46:11 tz="+0100"`), Sophos (the same with `timezone="CET"`), SonicWall
//! (`time="2024-03-01 18:46:11 UTC"`), Sophos XGS (`timestamp="2024-03-01T18:46:11+0100"`).

use memchr::memmem;

use super::{
    scan::Scan,
    stamp::{self, Civil, Place, When, abbreviation},
};

/// The keys stand at the start.
const WINDOW: usize = 1024;

/// The time a body says.
pub(super) fn when(text: &[u8]) -> When<'_> {
    let window = text.get(..WINDOW).unwrap_or(text);
    let Some(time) = value(window, b"time=") else {
        let stamp = value(window, b"timestamp=").and_then(stamp::parse);
        return stamp.map_or(When::Unknown, |(when, _)| when);
    };
    if let Some((when, _)) = stamp::parse(time) {
        return when;
    }
    let when = value(window, b"date=").and_then(|date| join(date, time));
    let Some(mut civil) = when else { return When::Unknown };
    if let Some(zone) = value(window, b"tz=").or_else(|| value(window, b"timezone=")) {
        civil.place = place(zone);
    }
    When::Civil(civil)
}

/// What stands after `key` at the start of a pair; longer than the value.
fn value<'a>(text: &'a [u8], key: &[u8]) -> Option<&'a [u8]> {
    memmem::find_iter(text, key)
        .find(|at| {
            at.checked_sub(1)
                .and_then(|before| text.get(before))
                .is_none_or(|byte| matches!(byte, b' ' | b',' | b';' | b'\t' | b'<' | b'>'))
        })
        .and_then(|at| text.get(at + key.len()..))
        .map(|value| value.strip_prefix(b"\"").unwrap_or(value))
}

fn join<'a>(date: &'a [u8], time: &'a [u8]) -> Option<Civil<'a>> {
    let mut scan = Scan::new(date);
    let year = scan.number(4, 4)? as i32;
    let month = next(&mut scan, b'-')?;
    let day = next(&mut scan, b'-')?;
    let mut scan = Scan::new(time);
    let hour = scan.number(1, 2)? as u8;
    let minute = next(&mut scan, b':')?;
    let second = next(&mut scan, b':')?;
    let fraction = if scan.eat(b'.') { scan.take_while(|byte| byte.is_ascii_digit()) } else { b"" };
    Some(Civil { year: Some(year), month, day, hour, minute, second, fraction, place: Place::Unsaid })
}

fn next(scan: &mut Scan<'_>, separator: u8) -> Option<u8> {
    scan.eat(separator).then(|| scan.number(1, 2).map(|number| number as u8)).flatten()
}

fn place(zone: &[u8]) -> Place<'_> {
    let mut scan = Scan::new(zone);
    // FortiWeb: `(GMT+1:00)Berlin`.
    scan.eat_text(b"(GMT");
    if let Some(seconds) = stamp::offset(&mut scan) {
        return Place::Offset(seconds);
    }
    let name = scan.take_while(|byte| byte.is_ascii_uppercase());
    if abbreviation(name).is_some() { Place::Name(name) } else { Place::Unsaid }
}
