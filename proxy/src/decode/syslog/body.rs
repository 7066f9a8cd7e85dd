//! The time in a body of `key=value` pairs, for devices that send no header time: Fortinet
//! (`date=2024-03-01 time=18:46:11 tz="+0100"`), Sophos (the same with `timezone="CET"`), SonicWall
//! (`time="2024-03-01 18:46:11 UTC"`), Sophos XGS (`timestamp="2024-03-01T18:46:11+0100"`).

use memchr::memchr_iter;

use super::{
    scan::Scan,
    stamp::{self, Civil, Place, When, abbreviation},
};

/// The keys stand at the start.
const WINDOW: usize = 1024;

/// What stands after the keys that say a time; longer than the values.
#[derive(Default)]
struct Found<'a> {
    date: Option<&'a [u8]>,
    time: Option<&'a [u8]>,
    zone: Option<&'a [u8]>,
    timestamp: Option<&'a [u8]>,
}

/// The time a body says.
pub(super) fn when(text: &[u8]) -> When<'_> {
    let found = find(text.get(..WINDOW).unwrap_or(text));
    let Some(time) = found.time else {
        let stamp = found.timestamp.and_then(stamp::parse);
        return stamp.map_or(When::Unknown, |(when, _)| when);
    };
    if let Some((when, _)) = stamp::parse(time) {
        return when;
    }
    let when = found.date.and_then(|date| join(date, time));
    let Some(mut civil) = when else { return When::Unknown };
    if let Some(zone) = found.zone {
        civil.place = place(zone);
    }
    When::Civil(civil)
}

/// The first of each key.
fn find(text: &[u8]) -> Found<'_> {
    let mut found = Found::default();
    for at in memchr_iter(b'=', text) {
        let (before, value) = text.split_at(at);
        let place = match () {
            () if is_key(before, b"date") => &mut found.date,
            () if is_key(before, b"time") => &mut found.time,
            () if is_key(before, b"tz") || is_key(before, b"timezone") => &mut found.zone,
            () if is_key(before, b"timestamp") => &mut found.timestamp,
            () => continue,
        };
        let value = value.get(1..).unwrap_or_default();
        place.get_or_insert(value.strip_prefix(b"\"").unwrap_or(value));
    }
    found
}

/// Whether a text ends with a key that starts a pair.
fn is_key(text: &[u8], key: &[u8]) -> bool {
    text.strip_suffix(key)
        .is_some_and(|before| matches!(before, [] | [.., b' ' | b',' | b';' | b'\t' | b'<' | b'>']))
}

fn join<'a>(date: &'a [u8], time: &'a [u8]) -> Option<Civil<'a>> {
    let mut scan = Scan::new(date);
    let year = stamp::year_of(&mut scan)?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_year_that_no_device_is_in_is_no_time() {
        let read = |year: &str| {
            let body = format!("date={year}-01-01 time=00:00:00 tz=\"+0100\"");
            if let When::Civil(civil) = when(body.as_bytes()) { civil.year } else { None }
        };
        for year in [1970, 2024, 2199] {
            assert_eq!(read(&year.to_string()), Some(year));
        }
        for other in ["0000", "1969", "2200", "9999", "24", "20240"] {
            assert_eq!(read(other), None, "{other}");
        }
    }
}
