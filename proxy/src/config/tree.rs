//! YAML as a tree in which every key and value knows where it was written.

use std::{fmt, sync::Arc};

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, SeqAccess, Visitor},
};
use serde_json::Number;
use serde_saphyr::Spanned;

use super::problems::Origin;

/// A value with its place.
#[derive(Debug, Clone)]
pub(super) struct Node {
    pub value: Value,
    pub origin: Origin,
}

/// What was written.
#[derive(Debug, Clone)]
pub(super) enum Value {
    Null,
    Bool(bool),
    /// A number and how it was spelt: `007` may be an id.
    Number(Number, String),
    Text(String),
    List(Vec<Node>),
    Map(Vec<Member>),
}

/// A key with its value.
#[derive(Debug, Clone)]
pub(super) struct Member {
    pub key: String,
    pub origin: Origin,
    pub node: Node,
}

impl Value {
    /// The word for people.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Null => "nothing",
            Self::Bool(_) => "true or false",
            Self::Number(..) => "a number",
            Self::Text(_) => "text",
            Self::List(_) => "a list",
            Self::Map(_) => "a mapping",
        }
    }

    /// A scalar as it was spelt.
    pub fn spelling(&self) -> Option<String> {
        match self {
            Self::Bool(value) => Some(value.to_string()),
            Self::Number(_, spelling) => Some(spelling.clone()),
            Self::Text(text) => Some(text.clone()),
            Self::Null | Self::List(_) | Self::Map(_) => None,
        }
    }
}

impl Node {
    /// The member `key`, whatever its case.
    pub fn get(&self, key: &str) -> Option<&Node> {
        match &self.value {
            Value::Map(members) => {
                members.iter().find(|member| member.key.eq_ignore_ascii_case(key)).map(|member| &member.node)
            }
            _ => None,
        }
    }
}

/// A text that is no YAML.
#[derive(Debug)]
pub(super) struct Unreadable {
    pub message: String,
    pub line: u64,
    pub column: u64,
}

/// Reads a text. An empty one is an empty mapping.
pub(super) fn parse(file: &Arc<str>, text: &str) -> Result<Node, Unreadable> {
    let options = serde_saphyr::options! {
        strict_booleans: true,
        leading_zero_numbers_as_strings: true,
        underscored_numbers_as_strings: true,
        with_snippet: false,
        // For thousands of inputs; the length of the text is bounded by whoever reads it.
        budget: serde_saphyr::budget! { max_events: 8_000_000, max_nodes: 4_000_000 },
    };
    let raw: Spanned<Raw> = serde_saphyr::from_str_with_options(text, options).map_err(|error| {
        let (line, column) = error.location().map_or((0, 0), |at| (at.line(), at.column()));
        Unreadable { message: error.to_string(), line, column }
    })?;
    let mut node = Reader { file, text }.node(raw);
    if matches!(node.value, Value::Null) {
        node.value = Value::Map(Vec::new());
    }
    Ok(node)
}

struct Reader<'a> {
    file: &'a Arc<str>,
    text: &'a str,
}

impl Reader<'_> {
    fn origin(&self, at: serde_saphyr::Location) -> Origin {
        Origin::File { file: Arc::clone(self.file), line: at.line(), column: at.column() }
    }

    fn node(&self, raw: Spanned<Raw>) -> Node {
        let value = match raw.value {
            Raw::Null => Value::Null,
            Raw::Bool(value) => Value::Bool(value),
            Raw::Number(number) => {
                let spelling = self.spelling(raw.defined).unwrap_or_else(|| number.to_string());
                Value::Number(number, spelling)
            }
            Raw::Text(text) => Value::Text(text),
            Raw::List(items) => Value::List(items.into_iter().map(|item| self.node(item)).collect()),
            Raw::Map(members) => Value::Map(
                members
                    .into_iter()
                    .map(|(key, value)| Member {
                        origin: self.origin(key.referenced),
                        key: key.value,
                        node: self.node(value),
                    })
                    .collect(),
            ),
        };
        Node { value, origin: self.origin(raw.referenced) }
    }

    fn spelling(&self, at: serde_saphyr::Location) -> Option<String> {
        let start = usize::try_from(at.span().byte_offset()?).ok()?;
        let length = usize::try_from(at.span().byte_len()?).ok()?;
        let word = self.text.get(start..start.checked_add(length)?)?.trim();
        (!word.is_empty()).then(|| word.to_owned())
    }
}

/// The tree as the parser gives it.
enum Raw {
    Null,
    Bool(bool),
    Number(Number),
    Text(String),
    List(Vec<Spanned<Raw>>),
    Map(Vec<(Spanned<String>, Spanned<Raw>)>),
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RawVisitor)
    }
}

struct RawVisitor;

impl<'de> Visitor<'de> for RawVisitor {
    type Value = Raw;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("YAML")
    }

    fn visit_unit<E>(self) -> Result<Raw, E> {
        Ok(Raw::Null)
    }

    fn visit_none<E>(self) -> Result<Raw, E> {
        Ok(Raw::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Raw, D::Error> {
        Raw::deserialize(deserializer)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Raw, E> {
        Ok(Raw::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Raw, E> {
        Ok(Raw::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Raw, E> {
        Ok(Raw::Number(value.into()))
    }

    fn visit_i128<E>(self, value: i128) -> Result<Raw, E> {
        Ok(Number::from_i128(value).map_or_else(|| Raw::Text(value.to_string()), Raw::Number))
    }

    fn visit_u128<E>(self, value: u128) -> Result<Raw, E> {
        Ok(Number::from_u128(value).map_or_else(|| Raw::Text(value.to_string()), Raw::Number))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Raw, E> {
        Ok(Number::from_f64(value).map_or_else(|| Raw::Text(value.to_string()), Raw::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Raw, E> {
        Ok(Raw::Text(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Raw, E> {
        Ok(Raw::Text(value))
    }

    fn visit_bytes<E>(self, value: &[u8]) -> Result<Raw, E> {
        Ok(Raw::Text(String::from_utf8_lossy(value).into_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Raw, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Raw::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Raw, A::Error> {
        let mut map = Vec::new();
        while let Some(member) = members.next_entry()? {
            map.push(member);
        }
        Ok(Raw::Map(map))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_knows_its_line_and_a_number_its_spelling() {
        let text = "a: 1\nb:\n  - c: \"x\"\n    d: 0x10\nid: 007\n";
        let tree = parse(&"f".into(), text).unwrap();
        let b = tree.get("B").unwrap();
        let Value::List(items) = &b.value else { panic!("{b:?}") };
        let d = items[0].get("d").unwrap();
        assert_eq!(d.origin.to_string(), "f:4:8");
        assert!(matches!(&d.value, Value::Number(n, s) if n.as_u64() == Some(16) && s == "0x10"), "{d:?}");
        assert_eq!(tree.get("id").unwrap().value.spelling().as_deref(), Some("007"));
    }

    #[test]
    fn an_empty_file_is_an_empty_mapping_and_a_broken_one_names_its_line() {
        assert!(matches!(parse(&"f".into(), "").unwrap().value, Value::Map(m) if m.is_empty()));
        assert!(matches!(parse(&"f".into(), "# nothing\n").unwrap().value, Value::Map(m) if m.is_empty()));
        let error = parse(&"f".into(), "a: 1\nb: [1, 2\nc: 3\n").unwrap_err();
        assert!(error.line >= 2, "{error:?}");
        let twice = parse(&"f".into(), "a: 1\na: 2\n").unwrap_err();
        assert_eq!(twice.line, 2, "{twice:?}");
        let deep = "[".repeat(5000);
        assert!(parse(&"f".into(), &deep).is_err());
    }
}
