//! RFC 3164, as devices write it: every part may be missing.

use memchr::memchr_iter;

use super::{
    Shape, body, device,
    fields::Fields,
    priority, rfc5424,
    scan::{Scan, before, skip_spaces, split_word},
    stamp::{self, When},
    tag,
};

/// How often a message may be wrapped in another.
const LAYERS: u8 = 3;

/// Parses what follows PRI (or everything, without one). `false` when no part of a header was found; the text is
/// the message then.
pub(super) fn parse<'a>(text: &'a [u8], fields: &mut Fields<'a>) -> bool {
    layer(text, fields, LAYERS)
}

fn layer<'a>(text: &'a [u8], fields: &mut Fields<'a>, layers: u8) -> bool {
    let text = skip_spaces(text);
    fields.message = text;
    if let Some((when, rest)) = stamp::parse(text) {
        fields.when = when;
        fields.stamp = Some(before(text, rest));
        after_stamp(rest, fields, layers);
        return true;
    }
    if let Some(rest) = device::prefixed(text, fields) {
        after_prefix(rest, fields, layers);
        return true;
    }
    if layers > 0 && relayed(text, fields, layers) {
        return true;
    }
    if let Some(rest) = versioned(text) {
        let found = layer(rest, fields, 0);
        if let When::Unix(..) = fields.when
            && let Some(tag) = device::meraki_type(fields.message)
        {
            tag.set(fields);
        }
        return found;
    }
    if fields.priority.is_some() {
        fields.when = body::when(text);
    }
    without_stamp(text, fields)
}

/// `1 ` before a time stamp: the start of RFC 5424, the rest of which did not come, or Meraki.
fn versioned(text: &[u8]) -> Option<&[u8]> {
    let rest = text.strip_prefix(b"1 ")?;
    stamp::parse(rest).map(|_| rest)
}

/// A tag, or a host name and a tag with a process id, at the start of the text.
fn without_stamp<'a>(text: &'a [u8], fields: &mut Fields<'a>) -> bool {
    if fields.priority.is_some()
        && let Some(rest) = numbered(text, fields)
    {
        fields.message = rest;
        without_stamp(rest, fields);
        return true;
    }
    if let Some(tag) = tag::split(text) {
        // Without PRI, `word: ` is more likely a sentence than a header.
        let believed = fields.priority.is_some() || tag.proc_id.is_some() || device::certain(text).is_some();
        if believed {
            tag.set(fields);
        }
        return believed;
    }
    if let Some((host, rest)) = split_word(text)
        && is_hostname(host)
        && let Some(tag) = tag::split(skip_spaces(rest))
        && tag.proc_id.is_some()
    {
        fields.hostname = Some(host);
        tag.set(fields);
        return true;
    }
    false
}

/// `123: ` before the text: the first number of a sequence.
fn numbered<'a>(text: &'a [u8], fields: &mut Fields<'a>) -> Option<&'a [u8]> {
    let mut scan = Scan::new(text);
    let number = scan.number(1, 9)?;
    if fields.sequence.is_some() || !scan.eat_text(b": ") {
        return None;
    }
    fields.sequence = Some(u64::from(number));
    Some(skip_spaces(scan.rest))
}

fn after_stamp<'a>(rest: &'a [u8], fields: &mut Fields<'a>, layers: u8) {
    let mut scan = Scan::new(rest);
    scan.spaces();
    if scan.eat(b':') {
        return after_prefix(scan.rest, fields, layers);
    }
    host_and_tag(scan.rest, fields, layers);
}

/// After Cisco's `stamp:`: a host name only in front of a mnemonic.
fn after_prefix<'a>(rest: &'a [u8], fields: &mut Fields<'a>, layers: u8) {
    let text = skip_spaces(rest);
    if fields.hostname.is_none()
        && let Some((host, rest)) = host_before_mnemonic(text)
    {
        fields.hostname = Some(host);
        return content(rest, fields, layers);
    }
    content(text, fields, layers);
}

/// `HOST: %...`, `HOST : %...`, `HOST %...`.
fn host_before_mnemonic(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let (word, rest) = split_word(text)?;
    mnemonic_after(word, rest)
}

fn mnemonic_after<'a>(word: &'a [u8], rest: &'a [u8]) -> Option<(&'a [u8], &'a [u8])> {
    let mut scan = Scan::new(skip_spaces(rest));
    if !matches!(scan.peek(), Some(b'%' | b':')) {
        return None;
    }
    let host = word.strip_suffix(b":").unwrap_or(word);
    scan.eat(b':');
    scan.spaces();
    (is_hostname(host) && device::mnemonic(scan.rest).is_some()).then_some((host, scan.rest))
}

fn host_and_tag<'a>(text: &'a [u8], fields: &mut Fields<'a>, layers: u8) {
    let Some((word, rest)) = split_word(text) else {
        // Nothing but a host name: the RFC has it before the text.
        if is_hostname(text) && fields.hostname.is_none() {
            fields.hostname = Some(text);
            fields.message = b"";
            return;
        }
        return content(text, fields, 0);
    };
    if let Some((host, rest)) = mnemonic_after(word, rest).or_else(|| forwarded(text)) {
        fields.hostname = Some(host);
        content(rest, fields, layers);
    } else if is_hostname(word) && !is_no_host(text) {
        fields.hostname = Some(word);
        content(skip_spaces(rest), fields, layers);
    } else {
        content(text, fields, 0);
    }
}

/// AIX: `Message forwarded from HOST: tag: text`.
fn forwarded(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let rest =
        text.strip_prefix(b"Message forwarded from ").or_else(|| text.strip_prefix(b"Forwarded from "))?;
    let (host, rest) = split_word(rest)?;
    let host = host.strip_suffix(b":")?;
    is_hostname(host).then(|| (host, skip_spaces(rest)))
}

/// Host names, addresses, and what devices put in their place.
fn is_hostname(word: &[u8]) -> bool {
    let legal = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    if word.iter().all(legal) {
        return word.first().is_some_and(u8::is_ascii_alphanumeric)
            || word.iter().any(u8::is_ascii_alphanumeric);
    }
    is_address(word) || is_unusual_host(word)
}

/// IPv6, also with a scope, and an IPv4 address with a port.
fn is_address(word: &[u8]) -> bool {
    let colons = memchr_iter(b':', word).count();
    let address = word.split(|byte| *byte == b'%').next().unwrap_or_default();
    let v6 =
        colons >= 2 && address.iter().all(|byte| byte.is_ascii_hexdigit() || matches!(byte, b':' | b'.'));
    let with_port =
        colons == 1 && word.iter().all(|byte| byte.is_ascii_digit() || matches!(byte, b':' | b'.'));
    let ends_in_colon = word.ends_with(b":") && !word.ends_with(b"::");
    (v6 || with_port) && !ends_in_colon
}

/// `host/port`, `user@host`, `[address]`, `("U7PG2,0418d6aabbcc,v4.0.15")`, names in UTF-8.
fn is_unusual_host(word: &[u8]) -> bool {
    match word {
        [b'[', inner @ .., b']'] => {
            is_address(inner) || inner.iter().all(|byte| byte.is_ascii_digit() || *byte == b'.')
        }
        [b'(', b'"', .., b'"', b')'] => true,
        [first, rest @ ..] => {
            (first.is_ascii_alphanumeric() || *first >= 0x80)
                && rest.iter().all(|byte| {
                    byte.is_ascii_alphanumeric()
                        || *byte >= 0x80
                        || matches!(byte, b'-' | b'.' | b'_' | b'/' | b'@' | b'~' | b'+' | b'#' | b'$' | b'&')
                })
        }
        [] => false,
    }
}

/// The first word is not a host name: syslogd's own sentence starts there.
fn is_no_host(text: &[u8]) -> bool {
    text.starts_with(b"last message repeated ") || text.starts_with(b"message repeated ")
}

/// What follows the host name: an inner message, a tag, or the text.
fn content<'a>(text: &'a [u8], fields: &mut Fields<'a>, layers: u8) {
    fields.message = text;
    if layers > 0 && relayed(text, fields, layers) {
        return;
    }
    if let Some(tag) = tag::split(text) {
        tag.set(fields);
        if device::is_access_point(tag.text)
            && let Some(inner) = tag::split(tag.content)
        {
            fields.origin = Some(tag.text);
            inner.set(fields);
        }
        return;
    }
    let Some((word, rest)) = split_word(text) else { return };
    if let Some((name, rest)) = vdc(text)
        && let Some(tag) = device::mnemonic(rest)
    {
        fields.origin = Some(name);
        tag.set(fields);
    } else if let Some(severity) = device::severity_word(word)
        && let Some(tag) = tag::split(skip_spaces(rest))
        && tag.proc_id.is_some()
    {
        fields.severity = fields.severity.or(Some(severity));
        tag.set(fields);
    } else if device::event_number(word)
        && let Some(tag) = tag::split(skip_spaces(rest))
    {
        fields.msg_id = Some(word);
        tag.set(fields);
    }
}

/// NX-OS: `%$ VDC-1 %$ `.
fn vdc(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let (name, rest) = split_word(text.strip_prefix(b"%$ ")?)?;
    Some((name, skip_spaces(rest.strip_prefix(b" %$")?)))
}

/// A whole message where the text should be: its own PRI, or a header that can be nothing else.
fn relayed<'a>(text: &'a [u8], fields: &mut Fields<'a>, layers: u8) -> bool {
    let (priority, rest) = priority::split(text);
    let mut inner = Fields::default();
    let found = match priority {
        Some(priority) => {
            inner.set_priority(priority);
            if rfc5424::parse(rest, &mut inner) {
                inner.shape = Shape::Rfc5424;
                true
            } else {
                layer(rest, &mut inner, layers - 1)
            }
        }
        None => starts_header(text) && bare_header(text, &mut inner),
    };
    if found {
        wrap(inner, fields);
    }
    found
}

/// A cheap look before the expensive one.
fn starts_header(text: &[u8]) -> bool {
    match text {
        [b'*' | b'.' | b':' | b'0'..=b'9', ..] => true,
        [b'A'..=b'Z', b'a'..=b'z', b'a'..=b'z', b' ', next, ..] => *next == b' ' || next.is_ascii_digit(),
        _ => false,
    }
}

/// An inner header without PRI: Cisco's, or time stamp, host name and tag with a process id.
fn bare_header<'a>(text: &'a [u8], inner: &mut Fields<'a>) -> bool {
    if let Some(rest) = device::prefixed(text, inner) {
        after_prefix(rest, inner, 0);
        return inner.tag.is_some();
    }
    let Some((when, rest)) = stamp::parse(text) else { return false };
    inner.when = when;
    inner.stamp = Some(before(text, rest));
    after_stamp(rest, inner, 0);
    inner.hostname.is_some() && inner.proc_id.is_some()
}

/// The inner message is what was sent; the outer header adds what it lacks, and who relayed it.
fn wrap<'a>(mut inner: Fields<'a>, outer: &mut Fields<'a>) {
    if inner.priority.is_none() {
        inner.priority = outer.priority;
        inner.facility = outer.facility;
        inner.severity = outer.severity;
    }
    if inner.stamp.is_none() && inner.shape != Shape::Rfc5424 {
        inner.stamp = outer.stamp;
        inner.when = outer.when;
    }
    inner.sequence = inner.sequence.or(outer.sequence);
    match inner.hostname {
        Some(_) => inner.relay = inner.relay.or(outer.hostname),
        None => inner.hostname = outer.hostname,
    }
    *outer = inner;
}

/// A message of RFC 5424 that has no more than time and host around a message with its own PRI.
pub(super) fn unwrap_relayed(fields: &mut Fields<'_>) {
    let nil = |field: Option<&[u8]>| field == Some(b"-".as_slice());
    if !(nil(fields.app_name) && nil(fields.proc_id) && nil(fields.msg_id) && fields.structured.is_none()) {
        return;
    }
    if fields.message.first() == Some(&b'<')
        && relayed(fields.message, fields, 1)
        && fields.shape == Shape::Raw
    {
        fields.shape = Shape::Rfc3164;
    }
}
