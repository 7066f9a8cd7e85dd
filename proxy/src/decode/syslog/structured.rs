//! STRUCTURED-DATA of RFC 5424: `[id name="value" ...][id ...]` to `{"id":{"name":"value"}}`.
//!
//! A parameter that comes twice in an element becomes an array. An element that comes twice (the RFC forbids it) is
//! merged. Blanks between parameters and before `]` may be several or missing; names keep to the RFC's characters.

use std::collections::HashMap;

use memchr::{memchr, memchr2};

use super::scan::{Scan, before};
use crate::decode::json::{push_escaped, push_string};

/// Structured data that was read through once and found well-formed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Structured<'a> {
    text: &'a [u8],
    /// Two names may be the same, so that the members must be collected first.
    may_repeat: bool,
}

enum Token<'a> {
    Id(&'a [u8]),
    Param(&'a [u8], &'a [u8]),
    CloseElement,
    End,
}

struct Reader<'a> {
    scan: Scan<'a>,
    inside: bool,
}

impl<'a> Reader<'a> {
    fn new(text: &'a [u8]) -> Self {
        Self { scan: Scan::new(text), inside: false }
    }

    /// `None`: malformed.
    fn next(&mut self) -> Option<Token<'a>> {
        if !self.inside {
            if !self.scan.eat(b'[') {
                return Some(Token::End);
            }
            self.inside = true;
            return self.name().map(Token::Id);
        }
        self.scan.spaces();
        if self.scan.eat(b']') {
            self.inside = false;
            return Some(Token::CloseElement);
        }
        let name = self.name()?;
        if !self.scan.eat(b'=') || !self.scan.eat(b'"') {
            return None;
        }
        Some(Token::Param(name, self.value()?))
    }

    fn name(&mut self) -> Option<&'a [u8]> {
        let name =
            self.scan.take_while(|byte| matches!(byte, 0x21..=0x7e) && !matches!(byte, b'=' | b']' | b'"'));
        (!name.is_empty()).then_some(name)
    }

    /// Up to the closing quote, escapes kept.
    fn value(&mut self) -> Option<&'a [u8]> {
        let start = self.scan.rest;
        loop {
            let at = memchr2(b'"', b'\\', self.scan.rest)?;
            self.scan.skip(at);
            let value = before(start, self.scan.rest);
            if self.scan.eat(b'"') {
                return Some(value);
            }
            self.scan.skip(2);
        }
    }
}

/// Reads structured data at the start of the text; also returns what follows it.
pub(super) fn split(text: &[u8]) -> Option<(Structured<'_>, &[u8])> {
    let mut reader = Reader::new(text);
    let (mut ids, mut names) = (Seen::default(), Seen::default());
    let mut may_repeat = false;
    loop {
        match reader.next()? {
            Token::Id(id) => {
                may_repeat |= ids.add(id);
                names = Seen::default();
            }
            Token::Param(name, _) => may_repeat |= names.add(name),
            Token::CloseElement => {}
            Token::End => break,
        }
    }
    let rest = reader.scan.rest;
    let text = before(text, rest);
    (!text.is_empty()).then_some((Structured { text, may_repeat }, rest))
}

/// A set of names that may claim to hold one it does not.
#[derive(Default)]
struct Seen([u64; 4]);

impl Seen {
    /// Whether the name may have been there already.
    fn add(&mut self, name: &[u8]) -> bool {
        let end = |bytes: Option<&[u8; 4]>| bytes.map_or(0, |bytes| u32::from_le_bytes(*bytes));
        let short = name.iter().take(3).fold(0, |hash, byte| hash << 8 | u32::from(*byte));
        let hash = (end(name.first_chunk()) ^ end(name.last_chunk()).rotate_left(11) ^ short)
            .wrapping_add(name.len() as u32)
            .wrapping_mul(0x9e37_79b1);
        let hash = hash >> 24;
        let bit = 1 << (hash & 63);
        let Some(word) = self.0.get_mut((hash >> 6) as usize) else { return true };
        let there = *word & bit != 0;
        *word |= bit;
        there
    }
}

impl Structured<'_> {
    /// Appends the JSON object.
    pub fn push(&self, out: &mut Vec<u8>) {
        if self.may_repeat { self.push_collected(out) } else { self.push_as_read(out) }
    }

    fn push_as_read(&self, out: &mut Vec<u8>) {
        let mut reader = Reader::new(self.text);
        out.push(b'{');
        let (mut first_element, mut first_param) = (true, true);
        while let Some(token) = reader.next() {
            match token {
                Token::Id(id) => {
                    comma(&mut first_element, out);
                    push_string(id, out);
                    out.extend_from_slice(b":{");
                    first_param = true;
                }
                Token::Param(name, value) => {
                    comma(&mut first_param, out);
                    push_string(name, out);
                    out.push(b':');
                    push_value(value, out);
                }
                Token::CloseElement => out.push(b'}'),
                Token::End => break,
            }
        }
        out.push(b'}');
    }

    fn push_collected(&self, out: &mut Vec<u8>) {
        out.push(b'{');
        let entries = self.entries();
        for (at, element) in entries.chunk_by(|a, b| a.id == b.id).enumerate() {
            push_separator(at, out);
            for entry in element.iter().take(1) {
                push_string(entry.id, out);
            }
            out.extend_from_slice(b":{");
            let params = element
                .chunk_by(|a, b| a.name == b.name)
                .filter(|values| values.iter().all(|value| !value.name.is_empty()));
            for (at, values) in params.enumerate() {
                push_separator(at, out);
                for value in values.iter().take(1) {
                    push_string(value.name, out);
                }
                out.push(b':');
                push_values(values, out);
            }
            out.push(b'}');
        }
        out.push(b'}');
    }

    /// All parameters, those of one element and name together, otherwise in the order of first appearance. An
    /// element also has an entry of its own without a name.
    fn entries(&self) -> Vec<Entry<'_>> {
        let mut reader = Reader::new(self.text);
        let mut ranks: HashMap<(&[u8], &[u8]), usize> = HashMap::new();
        let mut entries = Vec::new();
        let mut element: (&[u8], usize) = (b"", 0);
        while let Some(token) = reader.next() {
            let (name, value): (&[u8], &[u8]) = match token {
                Token::Id(id) => {
                    element = (id, *ranks.entry((id, b"")).or_insert(entries.len()));
                    (b"", b"")
                }
                Token::Param(name, value) => (name, value),
                Token::CloseElement => continue,
                Token::End => break,
            };
            let (id, id_rank) = element;
            let rank = (id_rank, *ranks.entry((id, name)).or_insert(entries.len()));
            entries.push(Entry { id, name, value, rank });
        }
        entries.sort_by_key(|entry| entry.rank);
        entries
    }
}

struct Entry<'a> {
    id: &'a [u8],
    name: &'a [u8],
    value: &'a [u8],
    /// First position of the element, first position of the name in it.
    rank: (usize, usize),
}

fn push_separator(at: usize, out: &mut Vec<u8>) {
    if at > 0 {
        out.push(b',');
    }
}

fn comma(first: &mut bool, out: &mut Vec<u8>) {
    if !*first {
        out.push(b',');
    }
    *first = false;
}

fn push_values(values: &[Entry<'_>], out: &mut Vec<u8>) {
    if let [only] = values {
        return push_value(only.value, out);
    }
    out.push(b'[');
    for (at, entry) in values.iter().enumerate() {
        push_separator(at, out);
        push_value(entry.value, out);
    }
    out.push(b']');
}

/// Without the escapes of RFC 5424: `\"`, `\\`, `\]`. A backslash before anything else is itself.
fn push_value(mut value: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    while let Some(at) = memchr(b'\\', value) {
        let (plain, rest) = value.split_at(at);
        push_escaped(plain, out);
        let escaped = matches!(rest.get(1), Some(b'"' | b'\\' | b']'));
        let end = if escaped { 2 } else { 1 };
        push_escaped(rest.get(usize::from(escaped)..end).unwrap_or_default(), out);
        value = rest.get(end..).unwrap_or_default();
    }
    push_escaped(value, out);
    out.push(b'"');
}
