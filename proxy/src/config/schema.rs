//! The known keys as a tree, derived from [`Document`](super::document::Document): what is checked, suggested,
//! reachable from the environment and printed in the reference.

use std::sync::OnceLock;

use serde_json::Value as Json;

use super::document::Document;

/// What a key takes.
#[derive(Debug)]
pub(super) enum Kind {
    Bool,
    Integer {
        min: u64,
        max: u64,
    },
    Text,
    /// One of these words.
    Choice(Vec<Word>),
    List(Box<Kind>),
    Table(Vec<Key>),
    /// A table whose names are free, such as tenant ids.
    Named(Box<Kind>),
    /// A table whose keys depend on its member `type`.
    Typed(Vec<Variant>),
}

/// A word of a choice.
#[derive(Debug)]
pub(super) struct Word {
    pub value: String,
    pub doc: String,
}

/// The keys that belong to one `type`.
#[derive(Debug)]
pub(super) struct Variant {
    pub name: String,
    pub doc: String,
    pub keys: Vec<Key>,
}

/// A known key.
#[derive(Debug)]
pub(super) struct Key {
    pub name: String,
    pub doc: String,
    pub kind: Kind,
    /// `Null` when there is none.
    pub default: Json,
    pub deprecated: bool,
    /// Without it somebody could get in, or send more, than was meant: a misspelling is an error.
    pub protects: bool,
}

impl Kind {
    /// Whether a single word can be its value.
    pub fn is_scalar(&self) -> bool {
        matches!(self, Self::Bool | Self::Integer { .. } | Self::Text | Self::Choice(_))
    }

    fn children(&self) -> Vec<&Key> {
        match self {
            Self::Table(keys) => keys.iter().collect(),
            Self::Typed(variants) => variants.iter().flat_map(|variant| &variant.keys).collect(),
            Self::List(inner) | Self::Named(inner) => inner.children(),
            _ => Vec::new(),
        }
    }

    fn suffix(&self) -> &'static str {
        match self {
            Self::List(inner) if !inner.is_scalar() => "[]",
            Self::Named(_) => ".<name>",
            _ => "",
        }
    }
}

/// The JSON schema of the file.
pub fn json_schema() -> Json {
    let mut settings = schemars::generate::SchemaSettings::draft2020_12();
    settings.inline_subschemas = true;
    settings.into_generator().into_root_schema_for::<Document>().to_value()
}

/// The keys at the top of the file.
pub(super) fn root() -> &'static Kind {
    static ROOT: OnceLock<Kind> = OnceLock::new();
    ROOT.get_or_init(|| kind(&json_schema()))
}

/// Where a key may stand.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Path {
    /// Such as `inputs[].config.port`.
    pub text: String,
    /// As [`Key::protects`].
    pub protects: bool,
    /// Whether it takes a number.
    pub number: bool,
}

/// Every known path, each once, in order.
pub(super) fn paths() -> &'static [Path] {
    static PATHS: OnceLock<Vec<Path>> = OnceLock::new();
    PATHS.get_or_init(|| {
        let mut paths = Vec::new();
        collect(root(), "", &mut paths);
        paths.sort();
        paths.dedup();
        paths
    })
}

fn collect(kind: &Kind, prefix: &str, paths: &mut Vec<Path>) {
    for key in kind.children() {
        let text = if prefix.is_empty() {
            key.name.clone()
        } else {
            format!("{prefix}{}.{}", kind.suffix(), key.name)
        };
        collect(&key.kind, &text, paths);
        let number = matches!(key.kind, Kind::Integer { .. });
        paths.push(Path { text, protects: key.protects, number });
    }
}

/// The part of a schema that is not "or null".
fn present(schema: &Json) -> &Json {
    schema
        .get("anyOf")
        .and_then(Json::as_array)
        .and_then(|any| any.iter().find(|one| one.get("type").and_then(Json::as_str) != Some("null")))
        .unwrap_or(schema)
}

fn text(schema: &Json, member: &str) -> String {
    schema.get(member).and_then(Json::as_str).unwrap_or_default().replace('\n', " ")
}

fn flag(schema: &Json, member: &str) -> bool {
    schema.get(member).and_then(Json::as_bool).unwrap_or(false)
}

fn is(schema: &Json, name: &str) -> bool {
    match schema.get("type") {
        Some(Json::String(one)) => one == name,
        Some(Json::Array(any)) => any.iter().any(|one| one == name),
        _ => false,
    }
}

fn kind(schema: &Json) -> Kind {
    let schema = present(schema);
    if let Some(options) = schema.get("oneOf").and_then(Json::as_array) {
        return alternatives(options);
    }
    if let Some(words) = schema.get("enum").and_then(Json::as_array) {
        let words = words.iter().filter_map(Json::as_str);
        return Kind::Choice(
            words.map(|value| Word { value: value.to_owned(), doc: String::new() }).collect(),
        );
    }
    if let Some(item) = schema.get("items") {
        return Kind::List(Box::new(kind(item)));
    }
    if let Some(inner) = schema.get("additionalProperties").filter(|inner| inner.is_object()) {
        return Kind::Named(Box::new(kind(inner)));
    }
    if schema.get("properties").is_some() {
        return Kind::Table(keys(schema));
    }
    if is(schema, "boolean") {
        return Kind::Bool;
    }
    if is(schema, "integer") {
        let bound = |name| schema.get(name).and_then(Json::as_u64);
        return Kind::Integer {
            min: bound("minimum").unwrap_or(0),
            max: bound("maximum").unwrap_or(u64::MAX),
        };
    }
    Kind::Text
}

fn alternatives(options: &[Json]) -> Kind {
    let word = |option: &Json| option.get("const").and_then(Json::as_str).map(str::to_owned);
    if options.iter().all(|option| word(option).is_some() || option.get("enum").is_some()) {
        let words = options.iter().flat_map(|option| match word(option) {
            Some(value) => vec![Word { value, doc: text(option, "description") }],
            None => match kind(option) {
                Kind::Choice(words) => words,
                _ => Vec::new(),
            },
        });
        return Kind::Choice(words.collect());
    }
    let variant = |option: &Json| {
        let name = option.pointer("/properties/type/const")?.as_str()?.to_owned();
        let keys = keys(option).into_iter().filter(|key| key.name != "type").collect();
        Some(Variant { name, doc: text(option, "description"), keys })
    };
    Kind::Typed(options.iter().filter_map(variant).collect())
}

fn keys(schema: &Json) -> Vec<Key> {
    let Some(properties) = schema.get("properties").and_then(Json::as_object) else {
        return Vec::new();
    };
    properties
        .iter()
        .map(|(name, schema)| Key {
            name: name.clone(),
            doc: text(schema, "description"),
            kind: kind(schema),
            default: schema.get("default").cloned().unwrap_or(Json::Null),
            deprecated: flag(schema, "deprecated"),
            protects: flag(schema, "x-protects"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tree_has_the_keys_with_their_ranges_and_defaults() {
        for path in [
            "server.api_port",
            "tenants.<name>.bearer_token_file",
            "inputs[].config.timezones[].source",
            "inputs[].name",
        ] {
            assert!(paths().iter().any(|known| known.text == path), "{path}: {:#?}", paths());
        }
        let Kind::Table(keys) = root() else { panic!() };
        let server = keys.iter().find(|key| key.name == "server").unwrap();
        let Kind::Table(server) = &server.kind else { panic!() };
        let port = server.iter().find(|key| key.name == "api_port").unwrap();
        assert!(matches!(port.kind, Kind::Integer { min: 0, max: 65535 }));
        assert_eq!(port.default, 8008);
    }

    #[test]
    fn every_key_is_described() {
        fn walk(kind: &Kind, at: &str) {
            for key in kind.children() {
                assert!(!key.doc.is_empty(), "{at}.{} has no description", key.name);
                walk(&key.kind, &format!("{at}.{}", key.name));
            }
        }
        walk(root(), "");
    }
}
