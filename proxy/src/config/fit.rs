//! Fits the tree to the known keys: names (any case), types (weakly, as users are used to), words and ranges. What does
//! not fit is reported and left out, so that what remains is always a [`Document`](super::document::Document).

use serde_json::{Map, Value as Json};

use super::{
    author::Author,
    legacy::LATER_TYPES,
    problems::{Fault, Origin, Problems},
    schema::{self, Key, Kind, Variant, Word},
    suggest::nearest,
    tree::{Node, Value},
};

/// What remains.
pub(super) struct Fitted {
    pub json: Json,
    /// For each remaining input its index in the file.
    pub inputs: Vec<usize>,
    /// Entries under `inputs`, with those that do not remain.
    pub written: usize,
}

/// What to do about that in a program's document.
const NEWER: &str = "run a version of the proxy that knows it, or leave it out";

/// Fits a whole file.
pub(super) fn fit(tree: &Node, author: Author, problems: &mut Problems) -> Fitted {
    let mut fitter = Fitter { author, problems, inputs: Vec::new() };
    let json = fitter.value(tree, schema::root(), "").unwrap_or_else(|| Json::Object(Map::new()));
    let written = match tree.get("inputs").map(|node| &node.value) {
        Some(Value::List(items)) => items.len(),
        _ => 0,
    };
    Fitted { json, inputs: fitter.inputs, written }
}

struct Fitter<'a> {
    author: Author,
    problems: &'a mut Problems,
    inputs: Vec<usize>,
}

impl Fitter<'_> {
    fn value(&mut self, node: &Node, kind: &Kind, path: &str) -> Option<Json> {
        self.problems.locate(path, node.origin.clone());
        match kind {
            Kind::Bool => self.bool(node, path),
            Kind::Integer { min, max } => self.integer(node, *min, *max, path),
            Kind::Text => self.text(node, path),
            Kind::Choice(words) => self.choice(node, words, path),
            Kind::List(inner) => self.list(node, inner, path),
            Kind::Table(keys) => self.table(node, keys, None, path),
            Kind::Named(inner) => self.named(node, inner, path),
            Kind::Typed(variants) => self.typed(node, variants, path),
        }
    }

    fn wrong(&mut self, node: &Node, path: &str, wanted: &str) -> Option<Json> {
        self.problems.error(path, format!("is {}", node.value.kind()), format!("write {wanted}"));
        None
    }

    fn weak(&mut self, node: &Node, path: &str, written: &str, meant: &Json) {
        if matches!(node.origin, Origin::File { .. }) {
            self.problems.warning(
                path,
                format!("{written:?} is taken for {meant}"),
                format!("write {meant}"),
            );
        }
    }

    fn bool(&mut self, node: &Node, path: &str) -> Option<Json> {
        if let Value::Bool(value) = node.value {
            return Some(value.into());
        }
        let text = node.value.spelling().unwrap_or_default();
        let meant = match text.trim().to_ascii_lowercase().as_str() {
            "true" | "yes" | "on" | "1" | "t" | "y" => true,
            "false" | "no" | "off" | "0" | "f" | "n" => false,
            _ => return self.wrong(node, path, "`true` or `false`"),
        };
        self.weak(node, path, &text, &meant.into());
        Some(meant.into())
    }

    fn integer(&mut self, node: &Node, min: u64, max: u64, path: &str) -> Option<Json> {
        let range = match max {
            u64::MAX => format!("a whole number from {min}"),
            _ => format!("a whole number from {min} to {max}"),
        };
        let text = match &node.value {
            Value::Number(_, text) | Value::Text(text) => text.trim().to_owned(),
            _ => return self.wrong(node, path, &range),
        };
        let parsed = match &node.value {
            Value::Number(number, _) => number.as_u64().or_else(|| whole(number.as_f64()?)),
            _ => text.parse().ok(),
        };
        let Some(value) = parsed else {
            let remedy = match plain(&text) {
                Some(number) => format!("write {number}"),
                None => format!("write {range}"),
            };
            self.problems.error(path, format!("{text:?} is not {range}"), remedy);
            return None;
        };
        if value < min || value > max {
            self.problems.error(path, format!("{value} is out of range"), format!("write {range}"));
            return None;
        }
        if matches!(node.value, Value::Text(_)) {
            self.weak(node, path, &text, &value.into());
        }
        Some(value.into())
    }

    fn text(&mut self, node: &Node, path: &str) -> Option<Json> {
        match node.value.spelling() {
            Some(text) => Some(text.into()),
            None => self.wrong(node, path, "text"),
        }
    }

    fn choice(&mut self, node: &Node, words: &[Word], path: &str) -> Option<Json> {
        let known = || words.iter().map(|word| word.value.as_str());
        let list = known().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ");
        let Some(text) = node.value.spelling() else {
            return self.wrong(node, path, &format!("one of {list}"));
        };
        let plain = |word: &str| word.trim().to_ascii_lowercase().replace('_', "-");
        if let Some(word) = known().find(|word| plain(word) == plain(&text)) {
            return Some(word.into());
        }
        if self.author.is_newer() && !is_of_input(path) {
            self.problems.warning(path, format!("{text:?} is not known and has no effect"), NEWER);
            return None;
        }
        let remedy = match nearest(&text, known()) {
            Some(near) => format!("did you mean `{near}`? Known: {list}"),
            None => format!("write one of {list}"),
        };
        self.unknown_word(path, format!("{text:?} is not known"), remedy);
        None
    }

    fn unknown_word(&mut self, path: &str, what: String, remedy: String) {
        if self.author.is_program() && is_of_input(path) {
            self.problems.fault(Fault::NotSupported, path, what, format!("{remedy}; {NEWER}"));
        } else {
            self.problems.error(path, what, remedy);
        }
    }

    fn list(&mut self, node: &Node, inner: &Kind, path: &str) -> Option<Json> {
        let split: Vec<Node>;
        let items = match &node.value {
            Value::List(items) => items,
            Value::Null => return None,
            Value::Map(_) => return self.wrong(node, path, "a list"),
            scalar if inner.is_scalar() => {
                split = scalar
                    .spelling()
                    .unwrap_or_default()
                    .split(',')
                    .map(str::trim)
                    .filter(|item| !item.is_empty())
                    .map(|item| Node { value: Value::Text(item.to_owned()), origin: node.origin.clone() })
                    .collect();
                &split
            }
            _ => return self.wrong(node, path, "a list"),
        };
        let mut list = Vec::with_capacity(items.len());
        for (index, item) in items.iter().enumerate() {
            if let Some(value) = self.value(item, inner, &format!("{path}[{index}]")) {
                list.push(value);
                if path == "inputs" {
                    self.inputs.push(index);
                }
            }
        }
        Some(list.into())
    }

    fn table(&mut self, node: &Node, keys: &[Key], tag: Option<&str>, path: &str) -> Option<Json> {
        let members = match &node.value {
            Value::Map(members) => members,
            Value::Null => return Some(Json::Object(Map::new())),
            _ => return self.wrong(node, path, "a mapping of keys"),
        };
        let mut map = Map::new();
        for member in members {
            let at = join(path, &member.key);
            if tag.is_some() && member.key.eq_ignore_ascii_case("type") {
                continue;
            }
            let Some(key) = keys.iter().find(|key| key.name.eq_ignore_ascii_case(&member.key)) else {
                self.problems.locate(&at, member.origin.clone());
                self.unknown(&at, &member.key, keys);
                continue;
            };
            let at = join(path, &key.name);
            if matches!(member.node.value, Value::Null) {
                continue;
            }
            if map.contains_key(&key.name) {
                self.problems.error(&at, "is written twice", "keep one");
            } else if let Some(value) = self.value(&member.node, &key.kind, &at) {
                map.insert(key.name.clone(), value);
            }
        }
        if let Some(tag) = tag {
            map.insert("type".to_owned(), tag.into());
        }
        Some(Json::Object(map))
    }

    fn unknown(&mut self, path: &str, name: &str, keys: &[Key]) {
        if self.author.is_program() {
            return if is_of_input(path) {
                self.problems.fault(Fault::NotSupported, path, "is no known key", NEWER);
            } else {
                self.problems.warning(path, "is no known key and has no effect", NEWER);
            };
        }
        let same_name = |known: &&schema::Path| {
            known.text.rsplit('.').next().is_some_and(|last| last.eq_ignore_ascii_case(name))
        };
        let near = nearest(name, keys.iter().map(|key| key.name.as_str()));
        let near = near.and_then(|near| keys.iter().find(|key| key.name == near));
        let (protects, remedy) = if let Some(near) = near {
            (near.protects, format!("did you mean `{}`?", near.name))
        } else if let Some(elsewhere) = schema::paths().iter().find(same_name) {
            // A limit has a default where it belongs.
            (elsewhere.protects && !elsewhere.number, format!("it is known as `{}`.", elsewhere.text))
        } else {
            let known: Vec<_> = keys.iter().map(|key| key.name.as_str()).collect();
            // Whatever was meant in `tls` or `auth`, it was meant to protect.
            (keys.iter().all(|key| key.protects), format!("known here: {}.", known.join(", ")))
        };
        self.problems.no_such_key(path, "is no known key", protects, &remedy);
    }

    fn named(&mut self, node: &Node, inner: &Kind, path: &str) -> Option<Json> {
        let Value::Map(members) = &node.value else {
            return self.wrong(node, path, "a mapping by name");
        };
        let mut map = Map::new();
        for member in members {
            if let Some(value) = self.value(&member.node, inner, &join(path, &member.key)) {
                map.insert(member.key.clone(), value);
            }
        }
        Some(Json::Object(map))
    }

    fn typed(&mut self, node: &Node, variants: &[Variant], path: &str) -> Option<Json> {
        if !matches!(node.value, Value::Map(_)) {
            return self.wrong(node, path, "a mapping with `type`, `name` and `config`");
        }
        let known = || variants.iter().map(|variant| variant.name.as_str());
        let list = known().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ");
        let at = join(path, "type");
        let Some(word) = node.get("type").and_then(|node| node.value.spelling()) else {
            self.problems.error(&at, "is missing", format!("write one of {list}"));
            return None;
        };
        if let Some(type_node) = node.get("type") {
            self.problems.locate(&at, type_node.origin.clone());
        }
        let lower = word.trim().to_ascii_lowercase();
        if let Some(variant) = variants.iter().find(|variant| variant.name == lower) {
            return self.table(node, &variant.keys, Some(&variant.name), path);
        }
        if LATER_TYPES.contains(&lower.as_str()) {
            self.unknown_word(
                &at,
                format!("`{lower}` is not in this version yet"),
                format!("known are {list}"),
            );
        } else {
            let remedy = nearest(&lower, known())
                .map_or_else(|| format!("write one of {list}"), |near| format!("did you mean `{near}`?"));
            self.unknown_word(&at, format!("{word:?} is not known"), remedy);
        }
        None
    }
}

fn is_of_input(path: &str) -> bool {
    path.starts_with("inputs[")
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

/// `2056.0` is the whole number it looks like.
fn whole(value: f64) -> Option<u64> {
    (value.fract() == 0.0 && (0.0..=9_007_199_254_740_992.0).contains(&value)).then_some(value as u64)
}

/// What `10MiB`, `1G` or `5m` is in bytes or seconds, for the remedy.
fn plain(text: &str) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let number: u64 = text.get(..digits)?.parse().ok()?;
    let factor = match text.get(digits..)?.trim() {
        "Ki" | "KiB" | "K" | "k" | "KB" => 1 << 10,
        "Mi" | "MiB" | "M" | "MB" => 1 << 20,
        "Gi" | "GiB" | "G" | "GB" => 1 << 30,
        "Ti" | "TiB" | "T" | "TB" => 1 << 40,
        "s" | "sec" => 1,
        "m" | "min" => 60,
        "h" => 3600,
        "d" => 86400,
        _ => return None,
    };
    number.checked_mul(factor)
}
