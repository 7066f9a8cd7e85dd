//! What devices write between PRI and text that no RFC describes.
//!
//! ```text
//! Cisco IOS    <189>29: HOST: 000031: *Mar  1 18:46:11.123 UTC: %SYS-5-CONFIG_I: text
//! Cisco NX-OS  <189>: 2024 Mar  1 18:46:11 UTC: %ETHPORT-5-IF_UP: text
//! Cisco IOS-XR <190>123: RP/0/RSP0/CPU0:Mar  1 18:46:11.123 : ifmgr[123]: %PKT_INFRA-LINK-3-UPDOWN : text
//! Cisco WLC    <132>WLC1: *apfMsConnTask_0: Mar 01 18:46:11.123: %APF-4-REGISTER_FAILED: text
//! Huawei, H3C  2024-3-1 18:46:11 HOST %%01IFNET/4/LINK_STATE(l)[5]:text
//! MikroTik     system,info,account text
//! ```

use super::{
    fields::Fields,
    scan::{Scan, before, is_blank, skip_spaces, split_word},
    stamp,
    tag::{Tag, after_colon},
};

/// `%FACILITY-SEVERITY-MNEMONIC:`, also with subfacilities and with a blank before the colon.
pub(super) fn mnemonic(text: &[u8]) -> Option<Tag<'_>> {
    let mut scan = Scan::new(text);
    if !scan.eat(b'%') {
        return None;
    }
    let name =
        scan.take_while(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'/' | b'.'));
    let severity = name.windows(3).any(|part| matches!(part, [b'-', b'0'..=b'7', b'-']));
    let tag = before(text, scan.rest);
    let blank = scan.spaces();
    if !severity || !(scan.eat(b':') || (blank && scan.peek() == Some(b'['))) {
        return None;
    }
    Some(Tag { text: tag, content: after_colon(scan.rest), ..Tag::default() })
}

/// `%%01IFNET/4/LINK_STATE(l)[5]:`, where the number in brackets counts messages.
pub(super) fn comware(text: &[u8]) -> Option<Tag<'_>> {
    let mut scan = Scan::new(text);
    if !scan.eat_text(b"%%") || !scan.peek()?.is_ascii_digit() {
        return None;
    }
    let name = scan.take_while(|byte| byte > b' ' && !matches!(byte, b':' | b'['));
    if !name.contains(&b'/') {
        return None;
    }
    let mut sequence = None;
    if scan.eat(b'[') {
        sequence = scan.number(1, 9).map(u64::from);
        if !scan.eat(b']') {
            return None;
        }
    }
    let tag = before(text, scan.rest);
    scan.spaces();
    scan.eat(b':').then(|| Tag { text: tag, sequence, content: after_colon(scan.rest), proc_id: None })
}

/// Words without a colon that are known to be categories: Cisco ISE, Synology (`WinFileService Event: `) and the
/// topics of MikroTik.
pub(super) fn category(text: &[u8]) -> Option<Tag<'_>> {
    let (word, rest) = match text.first()? {
        b'C' if text.starts_with(b"CISE_") => split_word(text)?,
        b'A'..=b'Z' => split_word(text).filter(|(_, rest)| rest.starts_with(b" Event: "))?,
        b'a'..=b'z' => split_word(text).filter(|(word, _)| is_topics(word))?,
        _ => return None,
    };
    Some(Tag { text: word, content: skip_spaces(rest), ..Tag::default() })
}

/// A tag that nothing but a header can be.
pub(super) fn certain(text: &[u8]) -> Option<Tag<'_>> {
    mnemonic(text).or_else(|| comware(text)).or_else(|| category(text).filter(|tag| tag.text.contains(&b',')))
}

/// `00076 ports: `: HP ProCurve's number of the kind of event before the tag.
pub(super) fn event_number(word: &[u8]) -> bool {
    word.len() == 5 && word.iter().all(u8::is_ascii_digit)
}

/// `f09fc2aabbcc,UAP-AC-Pro-4.3.20`: UniFi's MAC address, model and version, in some order.
pub(super) fn is_access_point(tag: &[u8]) -> bool {
    let is_mac = |part: &[u8]| part.len() == 12 && part.iter().all(u8::is_ascii_hexdigit);
    tag.contains(&b',') && tag.split(|byte| *byte == b',').any(is_mac)
}

/// The kind of event in Meraki's `1 1709318771.038687615 MX84 urls src=...`.
pub(super) fn meraki_type(text: &[u8]) -> Option<Tag<'_>> {
    let (word, rest) = split_word(text)?;
    let kind = |byte: &u8| byte.is_ascii_lowercase() || matches!(byte, b'_' | b'-');
    word.iter().all(kind).then(|| Tag { text: word, content: skip_spaces(rest), ..Tag::default() })
}

/// `firewall,info`: lower case words of which one is a level.
fn is_topics(word: &[u8]) -> bool {
    const LEVELS: [&[u8]; 7] = [b"info", b"warning", b"error", b"critical", b"debug", b"packet", b"raw"];
    let name = |part: &[u8]| {
        !part.is_empty()
            && part.iter().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || *byte == b'-')
    };
    word.contains(&b',')
        && word.split(|byte| *byte == b',').all(name)
        && word.split(|byte| *byte == b',').any(|part| LEVELS.contains(&part))
}

/// The severity that F5 BIG-IP repeats between host name and tag.
pub(super) fn severity_word(word: &[u8]) -> Option<u8> {
    Some(match word {
        b"emerg" | b"emergency" => 0,
        b"alert" => 1,
        b"crit" | b"critical" => 2,
        b"err" | b"error" => 3,
        b"warning" | b"warn" => 4,
        b"notice" => 5,
        b"info" => 6,
        b"debug" => 7,
        _ => return None,
    })
}

/// Parses what Cisco devices put before the time stamp, the time stamp and the colon after it; returns what follows.
/// `None`, with the fields untouched, when the text is something else.
pub(super) fn prefixed<'a>(text: &'a [u8], fields: &mut Fields<'a>) -> Option<&'a [u8]> {
    let mut prefix = Prefix::default();
    let mut scan = Scan::new(text);
    for _ in 0..6 {
        scan.spaces();
        if let Some(rest) = prefix.stamp(scan.rest) {
            return prefix.finish(rest, fields);
        }
        if !prefix.part(&mut scan) {
            return None;
        }
    }
    None
}

#[derive(Default)]
struct Prefix<'a> {
    sequence: Option<u64>,
    hostname: Option<&'a [u8]>,
    origin: Option<&'a [u8]>,
    stamp: Option<&'a [u8]>,
    when: stamp::When<'a>,
}

impl<'a> Prefix<'a> {
    /// The time stamp, or the mnemonic that stands in its place; returns what follows the former.
    fn stamp(&mut self, text: &'a [u8]) -> Option<&'a [u8]> {
        let unmarked = match text {
            // The clock is not set, or not synchronised.
            [b'*' | b'.', rest @ ..] => rest,
            _ => text,
        };
        if let Some((when, rest)) = stamp::parse(unmarked) {
            self.when = when;
            self.stamp = Some(before(text, rest));
            return Some(rest);
        }
        if let Some(uptime) = uptime(text) {
            self.stamp = Some(uptime);
            return text.get(uptime.len()..);
        }
        mnemonic(text).map(|_| text)
    }

    /// One token before the time stamp.
    fn part(&mut self, scan: &mut Scan<'a>) -> bool {
        if scan.eat(b':') {
            return true;
        }
        let mut ahead = *scan;
        if let Some(number) = ahead.number(1, 9)
            && ahead.eat(b':')
        {
            self.sequence = Some(u64::from(number));
            *scan = ahead;
            return true;
        }
        let task = scan.eat(b'*');
        let name = scan.take_while(is_host_byte);
        if name.is_empty() || name.iter().all(u8::is_ascii_digit) {
            return false;
        }
        let colon = scan.eat(b':');
        let place =
            if task || (colon && name.contains(&b'/')) { &mut self.origin } else { &mut self.hostname };
        let first = place.is_none();
        *place = Some(name);
        first && (colon || scan.peek().is_some_and(is_blank))
    }

    fn finish(self, rest: &'a [u8], fields: &mut Fields<'a>) -> Option<&'a [u8]> {
        let mut scan = Scan::new(rest);
        scan.spaces();
        let colon = self.stamp.is_some() && scan.eat(b':');
        scan.spaces();
        let marked = self.stamp.is_some_and(|stamp| stamp.starts_with(b"*") || stamp.starts_with(b"."));
        let believed = match self.hostname {
            // A word, a time, and no more could be any text.
            Some(_) if self.origin.is_none() => false,
            _ => colon || marked || self.sequence.is_some(),
        };
        if !believed && scan.peek() != Some(b'%') {
            return None;
        }
        fields.sequence = self.sequence.or(fields.sequence);
        fields.hostname = self.hostname.or(fields.hostname);
        fields.origin = self.origin.or(fields.origin);
        if self.stamp.is_some() {
            fields.stamp = self.stamp;
            fields.when = self.when;
        }
        Some(if colon { scan.rest } else { rest })
    }
}

fn is_host_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'/' | b'@')
}

/// `1w2d`, `3d02h`, `00:00:36`: the time since the device started, before `: %`.
fn uptime(text: &[u8]) -> Option<&[u8]> {
    let mut scan = Scan::new(text);
    if !scan.peek()?.is_ascii_digit() {
        return None;
    }
    let word = scan.take_while(|byte| byte.is_ascii_digit() || matches!(byte, b'y' | b'w' | b'd' | b'h'));
    let long = word.len() >= 3 && word.iter().any(u8::is_ascii_lowercase);
    if !long {
        let clock =
            scan.eat(b':') && scan.number(2, 2).is_some() && scan.eat(b':') && scan.number(2, 2).is_some();
        if !clock {
            return None;
        }
    }
    scan.rest.starts_with(b": %").then(|| before(text, scan.rest))
}
