//! The two schemas, side by side: an option, a default or a range that exists in one only is an error here.

use std::collections::{BTreeMap, BTreeSet};

use bytefreezer_crds::values::{Days, Milliseconds, NO_LIMIT, Seconds, Size};
use bytefreezer_proxy::config::document::default_port;
use serde_json::{Value as Json, json};

use self::keys::{As, COMMON, FILE_ALONE, INPUT_ALONE, KINDS, PROXY, PROXY_ALONE, SOURCES, STREAMS};
use super::tests::{document, proxy_json};

mod keys;

struct Leaf {
    default: Json,
    range: (Option<u64>, Option<u64>),
}

fn bounds(schema: &Json) -> (Option<u64>, Option<u64>) {
    let bound = |name: &str| schema[name].as_f64().map(|bound| bound as u64);
    (bound("minimum"), bound("maximum"))
}

/// Values of the file below `schema`.
fn file_leaves(schema: &Json, at: &str, found: &mut BTreeMap<String, Leaf>) {
    if schema["deprecated"] == true {
        return;
    }
    let options = schema["anyOf"].as_array();
    let present = options.and_then(|any| any.iter().find(|one| one["type"] != "null")).unwrap_or(schema);
    if let Some(properties) = present["properties"].as_object() {
        for (name, part) in properties.iter().filter(|(name, _)| *name != "type") {
            let path = if at.is_empty() { name.clone() } else { format!("{at}.{name}") };
            file_leaves(part, &path, found);
        }
    } else if at == "inputs" {
        for variant in schema["items"]["oneOf"].as_array().unwrap() {
            let kind = variant["properties"]["type"]["const"].as_str().unwrap();
            file_leaves(variant, &format!("inputs.{kind}"), found);
        }
    } else {
        found.insert(at.to_owned(), Leaf { default: schema["default"].clone(), range: bounds(present) });
    }
}

/// Values of a resource's spec below `schema`.
fn crd_leaves(schema: &Json, at: &str, found: &mut BTreeMap<String, Leaf>) {
    if let Some(properties) = schema["properties"].as_object() {
        for (name, part) in properties {
            let path = if at.is_empty() { name.clone() } else { format!("{at}.{name}") };
            crd_leaves(part, &path, found);
        }
    } else {
        let mut messages = schema["x-kubernetes-validations"].as_array().into_iter().flatten();
        let range = messages.find_map(|rule| written_range(rule["message"].as_str()?));
        let leaf =
            Leaf { default: schema["default"].clone(), range: range.unwrap_or_else(|| bounds(schema)) };
        found.insert(at.to_owned(), leaf);
    }
}

/// `write 1s to 8760h in whole seconds...`, in the file's unit.
fn written_range(message: &str) -> Option<(Option<u64>, Option<u64>)> {
    let rest = message.strip_prefix("write ")?;
    let (range, unit) = rest.split_once(" in whole ")?;
    let unit = match unit.split([',', ' ']).next()? {
        "seconds" => As::Seconds,
        "milliseconds" => As::Milliseconds,
        "days" => As::Days,
        _ => As::Bytes,
    };
    let number = |text: &str| converted(&json!(text), unit).as_u64();
    match range.split_once(" to ") {
        Some((least, most)) => Some((number(least), number(most))),
        None => Some((number(range.strip_suffix(" or more")?), None)),
    }
}

/// A resource's value as the file has it.
fn converted(value: &Json, unit: As) -> Json {
    fn read<T: serde::de::DeserializeOwned>(value: &Json) -> T {
        serde_json::from_value(value.clone()).unwrap()
    }
    match (value, unit) {
        (Json::Null, _) => Json::Null,
        (_, As::Seconds) => read::<Seconds<0, NO_LIMIT>>(value).units().unwrap().into(),
        (_, As::Milliseconds) => read::<Milliseconds<0, NO_LIMIT>>(value).units().unwrap().into(),
        (_, As::Days) => read::<Days<0, NO_LIMIT>>(value).units().unwrap().into(),
        (_, As::Bytes) => read::<Size<0, NO_LIMIT>>(value).bytes().unwrap().into(),
        (Json::Array(list), As::Word) => list.iter().map(|word| converted(word, unit)).collect(),
        (Json::String(word), As::Word) => snake(word).into(),
        _ => value.clone(),
    }
}

fn snake(word: &str) -> String {
    let mut before = ' ';
    word.chars().fold(String::new(), |mut text, letter| {
        if letter.is_uppercase() && before.is_lowercase() {
            text.push('_');
        }
        before = letter;
        text.push(letter.to_ascii_lowercase());
        text
    })
}

fn spec_schema(index: usize) -> Json {
    let crd = serde_json::to_value(&bytefreezer_crds::crds().unwrap()[index]).unwrap();
    crd.pointer("/spec/versions/0/schema/openAPIV3Schema/properties/spec").unwrap().clone()
}

/// All pairs: file's path, index of the resource, its path, unit.
fn pairs() -> Vec<(String, usize, String, As)> {
    let mut pairs: Vec<_> =
        PROXY.iter().map(|(file, crd, unit)| ((*file).to_owned(), 0, (*crd).to_owned(), *unit)).collect();
    for kind in KINDS {
        for (file, crd, unit) in COMMON {
            if STREAMS.contains(kind) || !file.contains("proxy_protocol") {
                pairs.push((format!("inputs.{kind}.{file}"), 1, (*crd).to_owned(), *unit));
            }
        }
        for (file, crd, unit, _) in SOURCES.iter().filter(|(_, _, _, kinds)| kinds.contains(kind)) {
            pairs.push((format!("inputs.{kind}.config.{file}"), 1, format!("source.{kind}.{crd}"), *unit));
        }
    }
    pairs
}

fn leaves() -> (BTreeMap<String, Leaf>, [BTreeMap<String, Leaf>; 2]) {
    let mut file = BTreeMap::new();
    file_leaves(&bytefreezer_proxy::config::json_schema(), "", &mut file);
    let resources = [0, 1].map(|index| {
        let mut found = BTreeMap::new();
        crd_leaves(&spec_schema(index), "", &mut found);
        found
    });
    (file, resources)
}

fn below(path: &str, prefix: &str) -> bool {
    path == prefix || path.strip_prefix(prefix).is_some_and(|rest| rest.starts_with('.'))
}

#[test]
fn every_option_of_the_file_is_in_a_resource_or_is_explained() {
    let (file, _) = leaves();
    let paired: BTreeSet<String> = pairs().into_iter().map(|(file, ..)| file).collect();
    for path in file.keys() {
        let alone = FILE_ALONE.iter().any(|(prefix, _)| below(path, prefix));
        let input = path.strip_prefix("inputs.").and_then(|rest| rest.split_once('.'));
        let alone =
            alone || input.is_some_and(|(_, key)| INPUT_ALONE.iter().any(|(prefix, _)| below(key, prefix)));
        assert!(paired.contains(path) != alone, "{path} is in the file: add it to a resource and to convert");
    }
    for path in &paired {
        assert!(file.contains_key(path), "{path} is no key of the file any more");
    }
}

#[test]
fn every_option_of_a_resource_is_in_the_file_or_is_explained() {
    let (_, [proxy, dataset]) = leaves();
    let paired = |index: usize| -> BTreeSet<String> {
        pairs().into_iter().filter(|pair| pair.1 == index).map(|(_, _, crd, _)| crd).collect()
    };
    let (in_proxy, in_dataset) = (paired(0), paired(1));
    for path in proxy.keys() {
        let alone = PROXY_ALONE.iter().any(|(prefix, _)| below(path, prefix));
        assert!(in_proxy.contains(path) || alone, "{path} of a Proxy is not in the file");
    }
    for path in dataset.keys() {
        assert!(
            in_dataset.contains(path) || below(path, "proxyRef"),
            "{path} of a ProxyDataset is not in the file"
        );
    }
    for (paths, known) in [(in_proxy, proxy), (in_dataset, dataset)] {
        for path in paths {
            assert!(known.contains_key(&path), "{path} is no option of the resource any more");
        }
    }
}

#[test]
fn defaults_and_ranges_are_the_same() {
    let (file, resources) = leaves();
    for (path, index, option, unit) in pairs().into_iter().filter(|pair| pair.3 != As::Shape) {
        let (there, here) = (&file[&path], &resources[index][&option]);
        let default = converted(&here.default, unit);
        let empty = there.default.as_array().is_some_and(Vec::is_empty) && default.is_null();
        // What an object inherits or must give has no default of its own.
        let default = if default.is_null() && there.default == json!(false) { json!(false) } else { default };
        assert!(
            empty || default == there.default,
            "default of {option} is {default}, of {path} {}",
            there.default
        );
        if let (Some(least), most) = there.range {
            assert_eq!(here.range.0, Some(least), "least {option}");
            // Numbers without a limit in the file end where those of JSON or of their type do.
            if most.is_some() {
                assert_eq!(here.range.1, most, "most {option}");
            }
        }
    }
}

#[test]
fn ports_of_flows_are_the_same() {
    let (_, [_, dataset]) = leaves();
    for kind in KINDS {
        let port = &dataset[&format!("source.{kind}.port")];
        let usual = default_port(kind).map_or(Json::Null, Json::from);
        assert_eq!((&port.default, port.range), (&usual, (Some(1), Some(65535))), "{kind}");
    }
}

/// A value that is not the default.
fn other_value(option: &str, leaf: &Leaf, unit: As, schema: &Json) -> Json {
    if let Some(words) = schema["enum"].as_array() {
        return words.iter().find(|word| **word != leaf.default).unwrap().clone();
    }
    if schema["type"] == "array" {
        return if option.ends_with("protocols") { json!(["TCP"]) } else { json!(["192.0.2.0/24"]) };
    }
    match unit {
        As::Seconds => json!("77s"),
        As::Milliseconds => json!("77ms"),
        As::Days => json!("48h"),
        As::Bytes => json!("3Mi"),
        _ => match schema["type"].as_str() {
            Some("boolean") => json!(leaf.default != json!(true)),
            Some("integer") => json!(leaf.range.0.unwrap_or_default().max(6) + 1),
            _ => match option.rsplit('.').next().unwrap() {
                "url" => json!("https://other.example"),
                "path" => json!("/other"),
                "timezone" => json!("Europe/Berlin"),
                "delimiter" => json!(";"),
                _ => json!("other"),
            },
        },
    }
}

fn at<'a>(json: &'a Json, path: &str) -> &'a Json {
    path.split('.').fold(json, |json, name| &json[name])
}

fn set(json: &mut Json, path: &str, value: Json) {
    let place = path.split('.').fold(json, |json, name| {
        if !json.is_object() {
            *json = json!({});
        }
        json.as_object_mut().unwrap().entry(name).or_insert(Json::Null)
    });
    *place = value;
}

#[test]
fn every_option_arrives_in_the_file() {
    let (_, resources) = leaves();
    let schemas = [spec_schema(0), spec_schema(1)];
    for (path, index, option, unit) in pairs().into_iter().filter(|pair| pair.3 != As::Shape) {
        let schema =
            at(&schemas[index], &format!("properties.{}", option.replace('.', ".properties."))).clone();
        let value = other_value(&option, &resources[index][&option], unit, &schema);
        let mut proxy = proxy_json();
        let kind = path.strip_prefix("inputs.").and_then(|rest| rest.split('.').next()).unwrap_or("udp");
        let mut spec = json!({"tenantId": "acme", "source": {kind: {"port": 5140}}});
        if index == 0 {
            set(&mut proxy["spec"], &option, value.clone());
        } else {
            set(&mut spec, &option, value.clone());
        }
        let document = document(&proxy, &[("fw", spec)]);
        let arrived = match path.strip_prefix(&format!("inputs.{kind}.")) {
            Some(rest) => at(&document["inputs"][0], rest),
            None => at(&document, &path),
        };
        assert_eq!(*arrived, converted(&value, unit), "{option} to {path}: {document:#}");
    }
}
