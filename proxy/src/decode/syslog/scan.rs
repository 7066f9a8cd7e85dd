//! Walking over bytes.

use memchr::memchr;

/// A position in a text; copies are look-aheads.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scan<'a> {
    pub rest: &'a [u8],
}

impl<'a> Scan<'a> {
    pub fn new(rest: &'a [u8]) -> Self {
        Self { rest }
    }

    pub fn peek(&self) -> Option<u8> {
        self.rest.first().copied()
    }

    pub fn skip(&mut self, count: usize) {
        self.rest = self.rest.get(count..).unwrap_or_default();
    }

    pub fn eat(&mut self, byte: u8) -> bool {
        match self.rest.split_first() {
            Some((&first, rest)) if first == byte => {
                self.rest = rest;
                true
            }
            _ => false,
        }
    }

    pub fn eat_text(&mut self, text: &[u8]) -> bool {
        self.rest.strip_prefix(text).map(|rest| self.rest = rest).is_some()
    }

    /// Skips blanks; whether there were any.
    pub fn spaces(&mut self) -> bool {
        let before = self.rest.len();
        self.rest = skip_spaces(self.rest);
        self.rest.len() < before
    }

    /// Takes the bytes for which `wanted` holds.
    pub fn take_while(&mut self, wanted: impl Fn(u8) -> bool) -> &'a [u8] {
        let end = self.rest.iter().position(|&byte| !wanted(byte)).unwrap_or(self.rest.len());
        let (taken, rest) = self.rest.split_at(end);
        self.rest = rest;
        taken
    }

    /// A decimal number of `least..=most` digits that no further digit follows.
    pub fn number(&mut self, least: usize, most: usize) -> Option<u32> {
        let mut value = 0_u32;
        let mut digits = 0;
        while let Some(&byte @ b'0'..=b'9') = self.rest.get(digits) {
            digits += 1;
            if digits > most {
                return None;
            }
            value = value.checked_mul(10)?.checked_add(u32::from(byte - b'0'))?;
        }
        if digits < least {
            return None;
        }
        self.skip(digits);
        Some(value)
    }
}

pub(super) fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

pub(super) fn skip_spaces(text: &[u8]) -> &[u8] {
    let start = text.iter().position(|&byte| !is_blank(byte)).unwrap_or(text.len());
    text.get(start..).unwrap_or_default()
}

/// What `text` has before `rest`, which is its end.
pub(super) fn before<'a>(text: &'a [u8], rest: &[u8]) -> &'a [u8] {
    text.get(..text.len().saturating_sub(rest.len())).unwrap_or_default()
}

/// Without NULs and white space around it.
pub(super) fn trim(text: &[u8]) -> &[u8] {
    let outside = |byte: &u8| *byte == 0 || byte.is_ascii_whitespace() || *byte == 0x0b;
    let Some(start) = text.iter().position(|byte| !outside(byte)) else { return b"" };
    let end = text.iter().rposition(|byte| !outside(byte)).map_or(start, |last| last + 1);
    text.get(start..end).unwrap_or_default()
}

/// Without `LENGTH ` in front of a message of that length: octet counting (RFC 6587) sent in a datagram.
pub(super) fn without_octet_count(text: &[u8]) -> &[u8] {
    let mut scan = Scan::new(text);
    match scan.number(1, 6) {
        Some(length) if scan.rest.starts_with(b" <") && scan.rest.len().abs_diff(length as usize) <= 2 => {
            scan.skip(1);
            scan.rest
        }
        _ => text,
    }
}

/// The first word and, from the blank on, what follows it. `None` when no blank does.
pub(super) fn split_word(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = memchr(b' ', text)?;
    text.split_at_checked(end)
}
