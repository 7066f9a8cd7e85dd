//! Time stamps as devices write them.
//!
//! ```text
//! Mar  1 18:46:11          Mar 01 18:46:11.123      Mar 1 2024 18:46:11      Mar  1 18:46:11 2024
//! Mar  1 18:46:11 UTC      Mar  1 18:46:11 UTC 2024 Fri Mar  1 18:46:11 2024 2024 Mar  1 18:46:11
//! 1 Mar 2024 18:46:11      01/Mar/2024:18:46:11     03/01/2024:18:46:11 GMT  2024:03:01-18:46:11
//! 2024-03-01T18:46:11.1Z   2024-3-1 18:46:11+08:00  2024/03/01 18:46:11      1709318771.123456
//! ```

use super::scan::{Scan, before};

/// What a time stamp says.
#[derive(Clone, Copy, Debug, Default)]
pub(super) enum When<'a> {
    /// Nothing that can be placed in time.
    #[default]
    Unknown,
    /// Date and time of day at some place.
    Civil(Civil<'a>),
    /// Seconds since 1970, with the digits of the fraction.
    Unix(i64, &'a [u8]),
}

/// Date and time of day. Not checked against the calendar yet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Civil<'a> {
    pub year: Option<i32>,
    pub month: u8,
    pub day: u8,
    pub hour: u8,
    pub minute: u8,
    pub second: u8,
    /// Digits after the decimal point.
    pub fraction: &'a [u8],
    pub place: Place<'a>,
}

/// The time zone a message names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place<'a> {
    /// None.
    Unsaid,
    /// Seconds east of UTC.
    Offset(i32),
    /// An abbreviation such as `CET`.
    Name(&'a [u8]),
}

/// Parses a time stamp at the start of the text; also returns what follows it.
pub(super) fn parse(text: &[u8]) -> Option<(When<'_>, &[u8])> {
    match text.first()? {
        b'A'..=b'Z' | b'a'..=b'z' => common(text).or_else(|| month_first(text)),
        b'0'..=b'9' => digit_first(text),
        _ => None,
    }
}

/// `Mmm dd hh:mm:ss ` followed by a blank and something that is neither a year nor a zone: most messages.
fn common(text: &[u8]) -> Option<(When<'_>, &[u8])> {
    let (head, rest) = text.split_first_chunk::<15>()?;
    let [m0, m1, m2, b' ', d0, d1, b' ', h0, h1, b':', i0, i1, b':', s0, s1] = *head else { return None };
    let month = month_of([m0, m1, m2])?;
    let day = pair(if d0 == b' ' { b'0' } else { d0 }, d1)?;
    let (hour, minute, second) = (pair(h0, h1)?, pair(i0, i1)?, pair(s0, s1)?);
    let civil = Civil { year: None, month, day, hour, minute, second, fraction: b"", place: Place::Unsaid };
    match rest {
        // A lower case letter starts neither a year nor a zone.
        [b' ', b'a'..=b'z', ..] => Some((When::Civil(civil), rest)),
        _ => finish(civil, Scan::new(rest)),
    }
}

fn pair(tens: u8, ones: u8) -> Option<u8> {
    let (tens, ones) = (tens.wrapping_sub(b'0'), ones.wrapping_sub(b'0'));
    (tens < 10 && ones < 10).then(|| tens * 10 + ones)
}

fn month_of(name: [u8; 3]) -> Option<u8> {
    let lower = name.map(|byte| byte | 0x20);
    Some(match &lower {
        b"jan" => 1,
        b"feb" => 2,
        b"mar" => 3,
        b"apr" => 4,
        b"may" => 5,
        b"jun" => 6,
        b"jul" => 7,
        b"aug" => 8,
        b"sep" => 9,
        b"oct" => 10,
        b"nov" => 11,
        b"dec" => 12,
        _ => return None,
    })
}

fn month_name(scan: &mut Scan<'_>) -> Option<u8> {
    let month = month_of(*scan.rest.first_chunk::<3>()?)?;
    scan.skip(3);
    Some(month)
}

fn weekday(scan: &mut Scan<'_>) {
    const DAYS: [&[u8]; 7] = [b"Mon", b"Tue", b"Wed", b"Thu", b"Fri", b"Sat", b"Sun"];
    let mut ahead = *scan;
    if DAYS.iter().any(|day| ahead.eat_text(day)) {
        ahead.eat(b',');
        if ahead.spaces() {
            *scan = ahead;
        }
    }
}

fn small(scan: &mut Scan<'_>) -> Option<u8> {
    scan.number(1, 2).map(|number| number as u8)
}

/// Four digits that are a year a device may be in. Years far from now would not survive a change of zone as four digits.
pub(super) fn year_of(scan: &mut Scan<'_>) -> Option<i32> {
    let year = scan.number(4, 4)?;
    (1970..2200).contains(&year).then_some(year as i32)
}

fn month_first(text: &[u8]) -> Option<(When<'_>, &[u8])> {
    let mut scan = Scan::new(text);
    weekday(&mut scan);
    if scan.peek()?.is_ascii_digit() {
        return day_first(scan);
    }
    let month = month_name(&mut scan)?;
    if !scan.spaces() {
        return None;
    }
    let day = small(&mut scan)?;
    scan.eat(b',');
    if !scan.spaces() {
        return None;
    }
    let mut ahead = scan;
    let year = year_of(&mut ahead).filter(|_| ahead.spaces());
    if year.is_some() {
        scan = ahead;
    }
    time_of_day(year, month, day, scan)
}

/// `1 Mar 2024 18:46:11`, `01/Mar/2024:18:46:11`, `01-Mar-2024 18:46:11`, `03/01/2024:18:46:11`.
fn day_first(mut scan: Scan<'_>) -> Option<(When<'_>, &[u8])> {
    let first = small(&mut scan)?;
    let separator = scan.peek()?;
    match separator {
        b' ' => scan.spaces(),
        b'/' | b'-' => scan.eat(separator),
        _ => return None,
    };
    let (month, day) = match month_name(&mut scan) {
        Some(month) => (month, first),
        None if separator == b'/' => {
            let second = small(&mut scan)?;
            if first > 12 { (second, first) } else { (first, second) }
        }
        None => return None,
    };
    if !scan.eat(separator) {
        return None;
    }
    let year = year_of(&mut scan)?;
    if !scan.eat(b':') && !scan.spaces() {
        return None;
    }
    time_of_day(Some(year), month, day, scan)
}

fn digit_first(text: &[u8]) -> Option<(When<'_>, &[u8])> {
    let mut scan = Scan::new(text);
    let digits = text.iter().take(14).take_while(|byte| byte.is_ascii_digit()).count();
    match digits {
        1 | 2 => day_first(scan),
        4 => year_first(scan),
        10 | 13 => unix(&mut scan, digits),
        _ => None,
    }
}

fn year_first(mut scan: Scan<'_>) -> Option<(When<'_>, &[u8])> {
    let year = year_of(&mut scan)?;
    let separator = scan.peek()?;
    scan.skip(1);
    let month = match separator {
        b' ' => {
            scan.spaces();
            month_name(&mut scan)?
        }
        b'-' | b'/' | b':' => small(&mut scan)?,
        _ => return None,
    };
    if separator == b' ' {
        scan.spaces();
    } else if !scan.eat(separator) {
        return None;
    }
    let day = small(&mut scan)?;
    let joined = match separator {
        b'-' => scan.eat(b'T') || scan.eat(b't') || scan.spaces(),
        b':' => scan.eat(b'-'),
        b'/' => scan.eat(b'-') || scan.spaces(),
        _ => scan.spaces(),
    };
    if !joined {
        return None;
    }
    time_of_day(Some(year), month, day, scan)
}

/// Ten digits of seconds with an optional fraction, or thirteen of milliseconds.
fn unix<'a>(scan: &mut Scan<'a>, digits: usize) -> Option<(When<'a>, &'a [u8])> {
    let (seconds, rest) = scan.rest.split_at_checked(10)?;
    let seconds: i64 = std::str::from_utf8(seconds).ok()?.parse().ok()?;
    scan.rest = rest;
    let fraction =
        if digits == 13 || scan.eat(b'.') { scan.take_while(|byte| byte.is_ascii_digit()) } else { b"" };
    ends(scan.rest).then_some((When::Unix(seconds, fraction), scan.rest))
}

fn time_of_day(year: Option<i32>, month: u8, day: u8, mut scan: Scan<'_>) -> Option<(When<'_>, &[u8])> {
    let hour = small(&mut scan)?;
    if !scan.eat(b':') {
        return None;
    }
    let minute = scan.number(2, 2)? as u8;
    if !scan.eat(b':') {
        return None;
    }
    let second = scan.number(2, 2)? as u8;
    finish(Civil { year, month, day, hour, minute, second, fraction: b"", place: Place::Unsaid }, scan)
}

/// Fraction, zone and year after the seconds, the latter two in either order.
fn finish<'a>(mut civil: Civil<'a>, mut scan: Scan<'a>) -> Option<(When<'a>, &'a [u8])> {
    civil.fraction = fraction(&mut scan, civil.year.is_none());
    civil.place = attached_zone(&mut scan);
    for _ in 0..2 {
        if civil.place == Place::Unsaid
            && let Some((place, rest)) = detached_zone(scan)
        {
            civil.place = place;
            scan = rest;
        }
        let mut ahead = scan;
        if civil.year.is_none()
            && ahead.spaces()
            && let Some(year) = year_of(&mut ahead)
            && matches!(ahead.rest, [] | [b' ' | b',', ..] | [b':'] | [b':', b' ', ..])
        {
            civil.year = Some(year);
            scan = ahead;
        }
    }
    ends(scan.rest).then_some((When::Civil(civil), scan.rest))
}

/// What may follow a time stamp.
fn ends(rest: &[u8]) -> bool {
    matches!(rest.first(), None | Some(b' ' | b'\t' | b':' | b',' | b';' | b']' | b'"'))
}

fn fraction<'a>(scan: &mut Scan<'a>, may_be_colon: bool) -> &'a [u8] {
    let mut ahead = *scan;
    let point = ahead.eat(b'.') || ahead.eat(b',');
    // Comware: `18:46:11:123 2024`.
    let colon = !point && may_be_colon && ahead.eat(b':');
    if !point && !colon {
        return b"";
    }
    let digits = ahead.take_while(|byte| byte.is_ascii_digit());
    if digits.is_empty() || (colon && (digits.len() != 3 || ahead.peek() != Some(b' '))) {
        return b"";
    }
    *scan = ahead;
    digits
}

fn attached_zone<'a>(scan: &mut Scan<'a>) -> Place<'a> {
    let mut ahead = *scan;
    let place = match ahead.peek() {
        Some(b'Z' | b'z') => {
            ahead.skip(1);
            Some(0)
        }
        Some(b'+' | b'-') => offset(&mut ahead),
        _ => None,
    };
    match place {
        Some(seconds) if ends(ahead.rest) => {
            *scan = ahead;
            Place::Offset(seconds)
        }
        _ => Place::Unsaid,
    }
}

/// `+hh:mm`, `+hhmm`, `+hh`, `+h`.
pub(super) fn offset(scan: &mut Scan<'_>) -> Option<i32> {
    let negative = scan.peek()? == b'-';
    if !scan.eat(b'-') && !scan.eat(b'+') {
        return None;
    }
    let start = scan.rest;
    let number = scan.number(1, 4)? as i32;
    let (hours, minutes) = match before(start, scan.rest).len() {
        4 => (number / 100, number % 100),
        3 => return None,
        _ if scan.eat(b':') => (number, scan.number(2, 2)? as i32),
        _ => (number, 0),
    };
    let seconds = hours * 3600 + minutes * 60;
    (hours <= 18 && minutes < 60).then_some(if negative { -seconds } else { seconds })
}

/// ` UTC`, ` CET`, ` +01:00`, ` UTC+01:00`. An unknown name is a zone only in front of `: %`.
fn detached_zone(mut scan: Scan<'_>) -> Option<(Place<'_>, Scan<'_>)> {
    if !scan.spaces() {
        return None;
    }
    if let Some(b'+' | b'-') = scan.peek() {
        let seconds = offset(&mut scan)?;
        return ends(scan.rest).then_some((Place::Offset(seconds), scan));
    }
    let name = scan.take_while(|byte| byte.is_ascii_uppercase());
    if name.len() < 2 || name.len() > 5 {
        return None;
    }
    // `TZ-6`, from an example of RFC 3164: a zone, but nobody knows in which direction.
    if name == b"TZ" && offset(&mut scan).is_some() && ends(scan.rest) {
        return Some((Place::Name(name), scan));
    }
    if matches!(name, b"UTC" | b"GMT") {
        let mut ahead = scan;
        let seconds = offset(&mut ahead).filter(|_| ends(ahead.rest));
        let scan = if seconds.is_some() { ahead } else { scan };
        return ends(scan.rest).then_some((Place::Offset(seconds.unwrap_or(0)), scan));
    }
    // Huawei marks summer time in this way, whatever the zone.
    let known = abbreviation(name).is_some() || name == b"DST";
    let believed = (known && ends(scan.rest)) || scan.rest.starts_with(b": %");
    believed.then_some((Place::Name(name), scan))
}

/// Seconds east of UTC for the abbreviations with one common meaning (the North American ones as in RFC 2822).
pub(super) fn abbreviation(name: &[u8]) -> Option<i32> {
    let minutes = match name {
        b"UTC" | b"GMT" | b"WET" | b"UCT" => 0,
        b"CET" | b"MEZ" | b"MET" | b"WEST" | b"BST" => 60,
        b"CEST" | b"MESZ" | b"MEST" | b"EET" | b"SAST" => 120,
        b"EEST" | b"MSK" => 180,
        b"PKT" => 300,
        b"IST" => 330,
        b"HKT" | b"SGT" | b"AWST" => 480,
        b"JST" | b"KST" => 540,
        b"ACST" => 570,
        b"AEST" => 600,
        b"ACDT" => 630,
        b"AEDT" => 660,
        b"NZST" => 720,
        b"NZDT" => 780,
        b"BRT" => -180,
        b"EDT" => -240,
        b"EST" | b"CDT" => -300,
        b"CST" | b"MDT" => -360,
        b"MST" | b"PDT" => -420,
        b"PST" | b"AKDT" => -480,
        b"AKST" => -540,
        b"HST" => -600,
        _ => return None,
    };
    Some(minutes * 60)
}
