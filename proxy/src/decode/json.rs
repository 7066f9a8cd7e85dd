//! Writing JSON text without a tree.

const HEX: &[u8; 16] = b"0123456789abcdef";

/// Whether a byte ends a run that can be copied as it is.
const fn special(byte: u8) -> bool {
    byte < 0x20 || byte == b'"' || byte == b'\\' || byte >= 0x80
}

/// Appends `"text"` with JSON escapes. Valid UTF-8 is kept, each invalid sequence becomes U+FFFD, so the result is
/// always valid JSON.
pub fn push_string(text: &[u8], out: &mut Vec<u8>) {
    out.reserve(text.len() + 2);
    out.push(b'"');
    push_escaped(text, out);
    out.push(b'"');
}

/// The same without the quotes.
pub fn push_escaped(text: &[u8], out: &mut Vec<u8>) {
    let mut rest = text;
    while let Some(at) = rest.iter().position(|byte| special(*byte)) {
        let (plain, from) = rest.split_at(at);
        out.extend_from_slice(plain);
        rest = from;
        let Some(&byte) = rest.first() else { return };
        if byte < 0x80 {
            push_escape(byte, out);
            rest = rest.get(1..).unwrap_or_default();
        } else {
            let run = rest.iter().position(u8::is_ascii).unwrap_or(rest.len());
            let (unicode, after) = rest.split_at(run);
            for chunk in unicode.utf8_chunks() {
                out.extend_from_slice(chunk.valid().as_bytes());
                if !chunk.invalid().is_empty() {
                    out.extend_from_slice("\u{fffd}".as_bytes());
                }
            }
            rest = after;
        }
    }
    out.extend_from_slice(rest);
}

fn push_escape(byte: u8, out: &mut Vec<u8>) {
    match byte {
        b'"' => out.extend_from_slice(b"\\\""),
        b'\\' => out.extend_from_slice(b"\\\\"),
        b'\n' => out.extend_from_slice(b"\\n"),
        b'\r' => out.extend_from_slice(b"\\r"),
        b'\t' => out.extend_from_slice(b"\\t"),
        _ => {
            out.extend_from_slice(b"\\u00");
            out.extend(HEX.get(usize::from(byte >> 4)));
            out.extend(HEX.get(usize::from(byte & 15)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_bytes_become_a_valid_json_string_with_the_lossy_text(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut out = Vec::new();
            push_string(&bytes, &mut out);
            let back: String = serde_json::from_slice(&out).unwrap();
            prop_assert_eq!(back, String::from_utf8_lossy(&bytes));
        }
    }
}
