//! RFC 5424: `VERSION SP TIMESTAMP SP HOSTNAME SP APP-NAME SP PROCID SP MSGID SP SD [SP MSG]`.
//!
//! Senders that forget the structured data are understood: their text starts where it should be.

use super::{
    fields::Fields,
    scan::{Scan, before, skip_spaces},
    stamp::{self, When},
    structured,
};

/// Parses what follows PRI. `false`, with nothing but PRI set, when it is something else.
pub(super) fn parse<'a>(text: &'a [u8], fields: &mut Fields<'a>) -> bool {
    let Some(header) = Header::read(text, false) else { return false };
    // An empty field is an empty field, unless only skipping it makes sense of the rest.
    let header = if header.body.is_none() && header.has_empty_field() {
        Header::read(text, true).filter(|again| again.body.is_some()).unwrap_or(header)
    } else {
        header
    };
    if header.body.is_none() && !header.is_plausible() {
        return false;
    }
    header.set(fields);
    true
}

struct Header<'a> {
    version: &'a [u8],
    stamp: &'a [u8],
    when: When<'a>,
    hostname: &'a [u8],
    app_name: &'a [u8],
    proc_id: &'a [u8],
    msg_id: &'a [u8],
    /// What follows MSGID.
    rest: &'a [u8],
    body: Option<Body<'a>>,
}

struct Body<'a> {
    structured: Option<structured::Structured<'a>>,
    message: &'a [u8],
}

impl<'a> Header<'a> {
    fn read(text: &'a [u8], skip_empty: bool) -> Option<Self> {
        let mut scan = Scan::new(text);
        scan.number(1, 3).filter(|version| *version > 0)?;
        let version = before(text, scan.rest);
        let separator = |scan: &mut Scan<'a>| {
            let there = scan.eat(b' ');
            if skip_empty {
                scan.spaces();
            }
            there.then_some(())
        };
        separator(&mut scan)?;
        let (stamp, when, rest) = timestamp(scan.rest);
        scan.rest = rest;
        let mut field = || {
            separator(&mut scan)?;
            Some(scan.take_while(|byte| byte > b' '))
        };
        let (hostname, app_name, proc_id, msg_id) = (field()?, field()?, field()?, field()?);
        let rest = if skip_empty { last_blank(scan.rest) } else { scan.rest };
        Some(Self { version, stamp, when, hostname, app_name, proc_id, msg_id, rest, body: Body::read(rest) })
    }

    fn has_empty_field(&self) -> bool {
        [self.hostname, self.app_name, self.proc_id, self.msg_id].iter().any(|field| field.is_empty())
    }

    /// Whether this is a header although no structured data follows it.
    fn is_plausible(&self) -> bool {
        let colon = |field: &[u8]| field.ends_with(b":");
        matches!(self.when, When::Civil(civil) if civil.year.is_some())
            && !self.has_empty_field()
            && ![self.hostname, self.app_name, self.proc_id, self.msg_id].into_iter().any(colon)
    }

    fn set(self, fields: &mut Fields<'a>) {
        fields.version = Some(self.version);
        fields.stamp = Some(self.stamp);
        fields.when = self.when;
        fields.hostname = Some(self.hostname);
        fields.app_name = Some(self.app_name);
        fields.proc_id = Some(self.proc_id);
        fields.msg_id = Some(self.msg_id);
        fields.damaged = self.body.is_none();
        let (structured, message) = match self.body {
            Some(body) => (body.structured, body.message),
            None => (None, skip_spaces(self.rest)),
        };
        fields.structured = structured;
        fields.message = message.strip_prefix(b"\xef\xbb\xbf").unwrap_or(message);
    }
}

/// Of several blanks at the start only the last.
fn last_blank(text: &[u8]) -> &[u8] {
    let blanks = text.len() - skip_spaces(text).len();
    text.get(blanks.saturating_sub(1)..).unwrap_or_default()
}

/// TIMESTAMP as sent, what it says, and what follows it. Anything up to the next blank will do.
fn timestamp(text: &[u8]) -> (&[u8], When<'_>, &[u8]) {
    if let Some((when, rest)) = stamp::parse(text)
        && rest.first().is_none_or(|byte| *byte == b' ')
    {
        return (before(text, rest), when, rest);
    }
    let mut scan = Scan::new(text);
    let word = scan.take_while(|byte| byte > b' ');
    (word, When::Unknown, scan.rest)
}

impl<'a> Body<'a> {
    /// Structured data and text, from the blank before them.
    fn read(text: &'a [u8]) -> Option<Self> {
        let mut scan = Scan::new(text);
        if !scan.eat(b' ') {
            return None;
        }
        let structured = if scan.eat(b'-') {
            None
        } else {
            let (structured, rest) = structured::split(scan.rest)?;
            scan.rest = rest;
            Some(structured)
        };
        let separated = scan.rest.is_empty() || scan.eat(b' ') || scan.peek() == Some(b'\n');
        (separated || structured.is_some()).then_some(Self { structured, message: scan.rest })
    }
}
