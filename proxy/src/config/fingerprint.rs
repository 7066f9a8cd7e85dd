//! Names what was written: of a whole document, and of one entry of `inputs`.
//!
//! Whoever writes a document and whoever runs it compute the same, also when one of them is of another version: an
//! entry's fingerprint is taken from the text's tree, before anything is filled in or judged. Comments, white space and
//! the order of keys do not count.

use std::fmt::Write as _;

use aws_lc_rs::digest::{SHA256, digest};

use super::tree::{Node, Value};

/// SHA-256 of a document's text, in hexadecimal.
pub fn document_hash(text: &str) -> String {
    hex(digest(&SHA256, text.as_bytes()).as_ref())
}

/// Of each entry under `inputs`, in the order of the file: 128 bits of SHA-256.
pub(super) fn of_inputs(tree: &Node) -> Vec<String> {
    match tree.get("inputs").map(|node| &node.value) {
        Some(Value::List(entries)) => entries.iter().map(of).collect(),
        _ => Vec::new(),
    }
}

fn of(entry: &Node) -> String {
    let mut text = String::new();
    write(entry, &mut text);
    hex(digest(&SHA256, text.as_bytes()).as_ref().get(..16).unwrap_or_default())
}

/// One spelling for one meaning. Lengths stand before texts, so that no text can pass for a structure.
fn write(node: &Node, out: &mut String) {
    match &node.value {
        Value::Null => out.push('~'),
        Value::Bool(value) => _ = write!(out, "{value}"),
        Value::Number(number, _) => _ = write!(out, "{number}"),
        Value::Text(text) => _ = write!(out, "{}:{text}", text.len()),
        Value::List(items) => {
            out.push('[');
            for item in items {
                write(item, out);
                out.push(',');
            }
            out.push(']');
        }
        Value::Map(members) => {
            let mut members: Vec<_> = members.iter().collect();
            members.sort_by(|one, two| one.key.cmp(&two.key));
            out.push('{');
            for member in members {
                let _ = write!(out, "{}:{}=", member.key.len(), member.key);
                write(&member.node, out);
                out.push(',');
            }
            out.push('}');
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

#[cfg(test)]
mod tests {
    use super::{super::tree, *};

    fn hashes(inputs: &str) -> Vec<String> {
        of_inputs(&tree::parse(&"f".into(), &format!("inputs:\n{inputs}")).unwrap())
    }

    #[test]
    fn only_what_is_written_counts() {
        let one = hashes("- {type: udp, name: a, config: {port: 514}}\n- {type: udp, name: b}\n");
        let same = hashes("# comment\n- name: a\n  config:\n    port: 514 # here\n  type: udp\n");
        assert_eq!(one.first(), same.first());
        assert_ne!(one.first(), one.last());
        for other in [
            "- {type: udp, name: a, config: {port: 515}}\n",
            "- {type: udp, name: a, config: {port: '514'}}\n",
            "- {type: udp, name: a, config: {port: 514}, paused: false}\n",
            "- {type: udp, name: a, config: {port: [514]}}\n",
        ] {
            assert_ne!(hashes(other).first(), one.first(), "{other}");
        }
        assert!(of_inputs(&tree::parse(&"f".into(), "a: 1").unwrap()).is_empty());
        assert_eq!(document_hash(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    }

    /// A proxy of another version must come to the same.
    #[test]
    fn the_hash_of_an_entry_never_changes() {
        let entry = "- {type: udp, name: net/fw, config: {port: 514, allowed_sources: [10.0.0.0/8], x: null, y: 1.5}}\n";
        assert_eq!(hashes(entry), ["b85a532d29caed125b5d6ca07315dd68"]);
    }
}
