//! TAG of RFC 3164: `program:`, `program[pid]:`, `%FACILITY-SEVERITY-MNEMONIC:`, `%%01MODULE/4/BRIEF(l)[5]:`.

use super::{
    device,
    fields::Fields,
    scan::{Scan, before, is_blank},
};

/// A tag at the start of a text.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tag<'a> {
    /// As sent, without the colon.
    pub text: &'a [u8],
    /// What is in its brackets.
    pub proc_id: Option<&'a [u8]>,
    pub sequence: Option<u64>,
    /// What follows, without the colon and one blank.
    pub content: &'a [u8],
}

impl<'a> Tag<'a> {
    pub fn set(self, fields: &mut Fields<'a>) {
        fields.tag = Some(self.text);
        fields.proc_id = self.proc_id.or(fields.proc_id);
        fields.sequence = self.sequence.or(fields.sequence);
        fields.message = self.content;
    }
}

/// The tag at the start, if there is one. A word that no colon follows is text, unless it has a process id.
pub(super) fn split(text: &[u8]) -> Option<Tag<'_>> {
    match text.first()? {
        b'%' => device::mnemonic(text).or_else(|| device::comware(text)).or_else(|| program(text)),
        first if first.is_ascii_alphanumeric() || !first.is_ascii() => {
            program(text).or_else(|| device::category(text))
        }
        b'/' | b'_' | b'-' | b'*' | b'.' | b'\\' => program(text),
        _ => None,
    }
}

fn is_tag_byte(byte: u8) -> bool {
    match byte {
        0..=b' ' | 0x7f => false,
        _ => !matches!(
            byte,
            b':' | b'[' | b']' | b'(' | b'"' | b'=' | b'{' | b'}' | b'<' | b'>' | b'|' | b';' | b'\'' | b'`'
        ),
    }
}

fn program(text: &[u8]) -> Option<Tag<'_>> {
    let mut scan = Scan::new(text);
    let word = scan.take_while(is_tag_byte);
    // `pam_unix(sshd:auth):`, `CRON(root)[12]:`
    if scan.peek() == Some(b'(') {
        let inner = scan.take_while(|byte| byte != b')' && !is_blank(byte));
        if inner.is_empty() || !scan.eat(b')') {
            return None;
        }
    }
    if scan.eat(b'[') {
        let id = scan.take_while(|byte| byte > b' ' && !matches!(byte, b']' | b'[' | b'"' | b'='));
        if !scan.eat(b']') {
            return None;
        }
        let proc_id = (!id.is_empty()).then_some(id);
        let text = before(text, scan.rest);
        return ends_with_id(scan, id).map(|content| Tag { text, proc_id, sequence: None, content });
    }
    let name = before(text, scan.rest);
    if !scan.eat(b':') {
        return None;
    }
    if let Some(tag) = versioned(text, scan) {
        return Some(tag);
    }
    let numeric = name.iter().all(u8::is_ascii_digit);
    (!numeric && is_name_before(word, scan.rest)).then(|| Tag {
        text: name,
        content: after_colon(scan.rest),
        ..Tag::default()
    })
}

/// `image:version[pid]:`, from behind the first colon.
fn versioned<'a>(text: &'a [u8], mut scan: Scan<'a>) -> Option<Tag<'a>> {
    let version = scan.take_while(is_tag_byte);
    if version.is_empty() || !scan.eat(b'[') {
        return None;
    }
    let id = scan.take_while(|byte| byte.is_ascii_digit());
    if id.is_empty() || !scan.eat(b']') {
        return None;
    }
    let name = before(text, scan.rest);
    scan.eat(b':').then(|| Tag {
        text: name,
        proc_id: Some(id),
        sequence: None,
        content: after_colon(scan.rest),
    })
}

/// `[id]:`, `[id] :`, or `[digits] `.
fn ends_with_id<'a>(mut scan: Scan<'a>, id: &[u8]) -> Option<&'a [u8]> {
    let blank = scan.spaces();
    if scan.eat(b':') {
        return Some(after_colon(scan.rest));
    }
    let number = !id.is_empty() && id.iter().all(u8::is_ascii_digit);
    (number && (blank || scan.rest.is_empty())).then_some(scan.rest)
}

/// Whether a word before a colon is a name, and not part of a URL, a path, an address, a time or a marker of
/// another format (`CEF:0|`, `LEEF:1.0|`), which belong to the text.
fn is_name_before(word: &[u8], rest: &[u8]) -> bool {
    let Some(&next) = rest.first() else { return true };
    if is_blank(next) || next == b'\n' {
        return word.iter().any(u8::is_ascii_alphanumeric);
    }
    let starts = word.first().is_some_and(|first| !first.is_ascii_digit());
    starts
        && word.len() > 2
        && !matches!(next, b'/' | b'\\' | b':')
        && !(matches!(word, b"CEF" | b"LEEF") && next.is_ascii_digit())
}

/// One blank after the colon belongs to it; further ones may be indentation.
pub(super) fn after_colon(rest: &[u8]) -> &[u8] {
    match rest {
        [blank, text @ ..] if is_blank(*blank) => text,
        _ => rest,
    }
}
