//! One JSON object (RFC 8259) in a line of bytes: validated without a tree, members found as text.
//!
//! Nothing is converted: numbers of any length, escapes, duplicate members and white space are only walked over.

use std::ops::Range;

use super::json::plain_run;

/// Deepest nesting that counts as JSON here; far below what would trouble a reader further on.
const MAX_DEPTH: usize = 1024;

/// A valid object and where its parts are.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Object {
    /// Just behind the opening brace.
    pub open: usize,
    /// The closing brace.
    pub close: usize,
    /// Members in all, the unwanted included.
    pub members: usize,
    /// Unwanted members: from behind the comma (or brace) before to the comma (or brace) after.
    pub unwanted: Vec<Range<usize>>,
}

/// The object that `line` consists of, white space around it aside; `None` when it is anything else. `is_unwanted`
/// sees each member's name as written, between its quotes.
pub(super) fn scan(line: &[u8], is_unwanted: impl Fn(&[u8]) -> bool) -> Option<Object> {
    // Text of any other kind is told apart here, before it costs anything.
    if line.trim_ascii_start().first() != Some(&b'{') || std::str::from_utf8(line).is_err() {
        return None;
    }
    let mut scanner = Scanner { line, at: 0 };
    scanner.expect(b'{')?;
    let mut object = Object { open: scanner.at, close: 0, members: 0, unwanted: Vec::new() };
    if !scanner.ends_with(b'}') {
        loop {
            let start = scanner.at;
            let name = scanner.name()?;
            scanner.value()?;
            scanner.white();
            object.members += 1;
            if line.get(name).is_some_and(&is_unwanted) {
                object.unwanted.push(start..scanner.at);
            }
            match scanner.next()? {
                b',' => {}
                b'}' => break,
                _ => return None,
            }
        }
    }
    object.close = scanner.at - 1;
    scanner.white();
    (scanner.at == line.len()).then_some(object)
}

/// The length of the object that `text` starts with, whatever follows it.
pub(super) fn first(text: &[u8]) -> Option<usize> {
    let mut scanner = Scanner { line: text, at: 0 };
    (scanner.peek()? == b'{').then_some(())?;
    scanner.value()?;
    std::str::from_utf8(text.get(..scanner.at)?).is_ok().then_some(scanner.at)
}

struct Scanner<'a> {
    line: &'a [u8],
    at: usize,
}

impl Scanner<'_> {
    fn rest(&self) -> &[u8] {
        self.line.get(self.at..).unwrap_or_default()
    }

    fn peek(&self) -> Option<u8> {
        self.line.get(self.at).copied()
    }

    fn next(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.at += 1;
        Some(byte)
    }

    fn white(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn expect(&mut self, byte: u8) -> Option<()> {
        self.white();
        (self.next()? == byte).then_some(())
    }

    /// Takes `byte` if it is what comes next, white space aside.
    fn ends_with(&mut self, byte: u8) -> bool {
        let before = self.at;
        if self.expect(byte).is_some() {
            return true;
        }
        self.at = before;
        false
    }

    /// `"name" :`; where the name is, without its quotes.
    fn name(&mut self) -> Option<Range<usize>> {
        self.expect(b'"')?;
        let start = self.at;
        self.string()?;
        let end = self.at - 1;
        self.expect(b':')?;
        Some(start..end)
    }

    /// One value of any kind. Iterative, so that no nesting can exhaust the stack.
    fn value(&mut self) -> Option<()> {
        let mut nesting = Nesting::default();
        loop {
            self.white();
            match self.next()? {
                b'"' => self.string()?,
                b'-' => self.number()?,
                b'0'..=b'9' => {
                    self.at -= 1;
                    self.number()?;
                }
                b'{' if self.ends_with(b'}') => {}
                b'[' if self.ends_with(b']') => {}
                b'{' => {
                    nesting.enter(true)?;
                    self.name()?;
                    continue;
                }
                b'[' => {
                    nesting.enter(false)?;
                    continue;
                }
                b't' => self.word(b"rue")?,
                b'f' => self.word(b"alse")?,
                b'n' => self.word(b"ull")?,
                _ => return None,
            }
            loop {
                let Some(in_object) = nesting.top() else { return Some(()) };
                self.white();
                match (self.next()?, in_object) {
                    (b',', true) => {
                        self.name()?;
                        break;
                    }
                    (b',', false) => break,
                    (b'}', true) | (b']', false) => nesting.leave(),
                    _ => return None,
                }
            }
        }
    }

    /// The rest of a string, closing quote included.
    fn string(&mut self) -> Option<()> {
        loop {
            self.at += plain_run::<false>(self.rest());
            match self.next()? {
                b'"' => return Some(()),
                b'\\' => match self.next()? {
                    b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => {}
                    b'u' => {
                        let digits = self.rest().get(..4)?;
                        digits.iter().all(u8::is_ascii_hexdigit).then_some(())?;
                        self.at += 4;
                    }
                    _ => return None,
                },
                _ => return None,
            }
        }
    }

    /// A number without its sign.
    fn number(&mut self) -> Option<()> {
        if self.peek() == Some(b'0') {
            self.at += 1;
        } else {
            self.digits()?;
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digits()?;
        }
        Some(())
    }

    fn digits(&mut self) -> Option<()> {
        let start = self.at;
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        (self.at > start).then_some(())
    }

    fn word(&mut self, rest: &[u8]) -> Option<()> {
        self.rest().starts_with(rest).then(|| self.at += rest.len())
    }
}

/// Which levels are objects (the others are arrays): one bit each, so that nothing is allocated.
#[derive(Default)]
struct Nesting {
    objects: [u64; MAX_DEPTH / 64],
    depth: usize,
}

impl Nesting {
    fn enter(&mut self, object: bool) -> Option<()> {
        let word = self.objects.get_mut(self.depth / 64)?;
        let bit = 1 << (self.depth % 64);
        *word = if object { *word | bit } else { *word & !bit };
        self.depth += 1;
        Some(())
    }

    fn leave(&mut self) {
        self.depth = self.depth.saturating_sub(1);
    }

    fn top(&self) -> Option<bool> {
        let level = self.depth.checked_sub(1)?;
        Some(self.objects.get(level / 64)? >> (level % 64) & 1 == 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde::de::IgnoredAny;

    fn is_object(line: &[u8]) -> bool {
        scan(line, |_| false).is_some()
    }

    fn serde_says(line: &[u8]) -> bool {
        std::str::from_utf8(line).is_ok()
            && line.trim_ascii_start().first() == Some(&b'{')
            && serde_json::from_slice::<IgnoredAny>(line).is_ok()
    }

    #[test]
    fn objects_and_only_objects() {
        for good in [
            "{}",
            " {\t} \r",
            r#"{"a":1}"#,
            r#"{"a":-0.0e+10,"b":[],"c":[{}, [1,2,{"d":null}],true,false]}"#,
            r#"{"":"\u0000\"\\\/\b\f\n\r\t\ud800"}"#,
            r#"{"n":123456789012345678901234567890}"#,
            "{\"ä\":\"日本\"}",
        ] {
            assert!(is_object(good.as_bytes()), "{good}");
            assert!(serde_says(good.as_bytes()), "{good}");
        }
        for bad in [
            "",
            "null",
            "1",
            "[]",
            "\"{}\"",
            "{",
            "}",
            "{]",
            "{,}",
            r#"{"a"}"#,
            r#"{"a":}"#,
            r#"{"a":1,}"#,
            r#"{"a":01}"#,
            r#"{"a":1.}"#,
            r#"{"a":-}"#,
            r#"{"a":1e}"#,
            r#"{"a":tru}"#,
            r#"{"a":[1,]}"#,
            r#"{"a":[1}"#,
            r#"{"a":{"b":1]}"#,
            r#"{"a":"\x"}"#,
            r#"{"a":"\u12g4"}"#,
            "{\"a\":\"\n\"}",
            r#"{"a":1} x"#,
            r#"{"a":1}{}"#,
            "{'a':1}",
            "{a:1}",
            r#"{"a" 1}"#,
            "{\"a\":\"x}",
        ] {
            assert!(!is_object(bad.as_bytes()), "{bad}");
            assert!(!serde_says(bad.as_bytes()), "{bad}");
        }
        assert!(!is_object(b"{\"a\":\"\xe9\"}"));
    }

    #[test]
    fn nesting_is_bounded_and_exhausts_nothing() {
        let nested = |depth: usize| format!("{{\"a\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
        assert!(is_object(nested(1000).as_bytes()));
        assert!(!is_object(nested(1_000_000).as_bytes()));
        assert!(!is_object("{\"a\":".repeat(1_000_000).as_bytes()));
    }

    proptest! {
        #[test]
        fn agrees_with_serde_json_on_anything(line in r#"\{("[ab\\u0-9]{0,6}"|[{}\[\],:" 0-9eE.+-]|true|null|é){0,14}\}"#) {
            prop_assert_eq!(is_object(line.as_bytes()), serde_says(line.as_bytes()), "{}", line);
        }

        #[test]
        fn any_bytes_are_harmless(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            let mut line = b"{\"a\":".to_vec();
            line.extend(bytes);
            prop_assert_eq!(is_object(&line), serde_says(&line));
        }
    }
}
