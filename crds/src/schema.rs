//! From derived schemas to what the API server gets.
//!
//! The derive writes JSON Schema; the API server has its own taste: an unknown `format` is a warning at every `kubectl
//! apply`, a `default: null` or an empty list is a difference for ever in GitOps tools, and a field that is `nullable`
//! keeps a null where its default should be.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt as _;
use serde_json::{Map, Value as Json};

use crate::{Proxy, ProxyDataset, dataset, proxy};

/// Where a schema keeps its rules.
pub(crate) const RULES: &str = "x-kubernetes-validations";

/// Both definitions as they are applied.
pub fn crds() -> Result<[CustomResourceDefinition; 2], serde_json::Error> {
    Ok([
        finish(&Proxy::crd(), proxy::add_root_rules)?,
        finish(&ProxyDataset::crd(), dataset::add_root_rules)?,
    ])
}

/// A definition as the file that is checked in.
pub fn yaml(crd: &CustomResourceDefinition) -> Result<String, serde_saphyr::ser::Error> {
    let text = serde_saphyr::to_string(crd)?;
    Ok(format!("# Generated from the code of this folder: `UPDATE=1 make generate`. Do not edit.\n{text}"))
}

fn finish(
    derived: &CustomResourceDefinition,
    add_root_rules: fn(&mut Map<String, Json>),
) -> Result<CustomResourceDefinition, serde_json::Error> {
    let mut crd = serde_json::to_value(derived)?;
    if let Some(schema) = crd.pointer_mut("/spec/versions/0/schema/openAPIV3Schema") {
        tidy(schema);
        if let Some(root) = schema.as_object_mut() {
            add_root_rules(root);
        }
    }
    serde_json::from_value(crd)
}

/// Applies to this schema and all below it.
fn tidy(schema: &mut Json) {
    let Some(members) = schema.as_object_mut() else { return };
    members.remove("nullable");
    members.remove("title");
    if members.get("format").and_then(Json::as_str).is_some_and(|format| !KNOWN_FORMATS.contains(&format)) {
        members.remove("format");
    }
    match members.get_mut("default") {
        Some(Json::Null) => {
            members.remove("default");
        }
        Some(Json::Array(list)) if list.is_empty() => {
            members.remove("default");
        }
        // Rules must hold for a default as it is written here, so its parts are written out.
        Some(default) => without_nothing(default),
        None => {}
    }
    if let Some(Json::String(text)) = members.get_mut("description") {
        *text = unfolded(text);
    }
    for name in ["properties", "patternProperties"] {
        if let Some(Json::Object(properties)) = members.get_mut(name) {
            properties.values_mut().for_each(tidy);
        }
    }
    for name in ["items", "additionalProperties"] {
        members.get_mut(name).into_iter().for_each(tidy);
    }
}

/// Nulls and empty lists in a default say nothing.
fn without_nothing(value: &mut Json) {
    if let Json::Object(members) = value {
        members.retain(|_, value| !(value.is_null() || value.as_array().is_some_and(Vec::is_empty)));
        members.values_mut().for_each(without_nothing);
    }
}

/// Formats that the API server knows and that say more than the type.
const KNOWN_FORMATS: &[&str] = &["int32", "int64", "date-time", "byte"];

/// A line break inside a paragraph is the source's, not the reader's.
fn unfolded(text: &str) -> String {
    text.split("\n\n").map(|paragraph| paragraph.replace('\n', " ")).collect::<Vec<_>>().join("\n\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Walks a schema; `visit` gets each part with its path.
    fn walk(schema: &Json, at: &str, visit: &mut dyn FnMut(&str, &Json)) {
        visit(at, schema);
        if let Some(properties) = schema["properties"].as_object() {
            for (name, part) in properties {
                walk(part, &format!("{at}.{name}"), visit);
            }
        }
        for name in ["items", "additionalProperties"] {
            if schema[name].is_object() {
                walk(&schema[name], &format!("{at}[]"), visit);
            }
        }
    }

    fn schemas() -> Vec<(String, Json)> {
        crds()
            .unwrap()
            .iter()
            .map(|crd| {
                let json = serde_json::to_value(crd).unwrap();
                let schema = json.pointer("/spec/versions/0/schema/openAPIV3Schema").unwrap().clone();
                (crd.spec.names.kind.clone(), schema)
            })
            .collect()
    }

    #[test]
    fn every_field_is_described_and_typed() {
        for (kind, schema) in schemas() {
            walk(&schema, &kind, &mut |at, part| {
                let typed = part["type"].is_string() || part["x-kubernetes-int-or-string"] == true;
                assert!(typed, "{at} has no type: {part}");
                let described = part["description"].as_str().is_some_and(|text| !text.is_empty());
                assert!(
                    described || at.ends_with("[]") || at.ends_with(".metadata"),
                    "{at} is not described"
                );
            });
        }
    }

    #[test]
    fn nothing_is_left_that_makes_a_difference_for_ever() {
        for (kind, schema) in schemas() {
            walk(&schema, &kind, &mut |at, part| {
                assert!(part.get("nullable").is_none(), "{at} is nullable");
                assert!(part.get("default").is_none_or(|default| !default.is_null()), "{at}: {part}");
                for word in ["oneOf", "anyOf", "allOf", "$ref", "not"] {
                    assert!(part.get(word).is_none(), "{at} has {word}: {part}");
                }
                let format = part["format"].as_str();
                assert!(format.is_none_or(|format| KNOWN_FORMATS.contains(&format)), "{at}: {format:?}");
            });
        }
    }

    #[test]
    fn unknown_fields_are_kept_in_one_place_only() {
        let mut places = Vec::new();
        for (kind, schema) in schemas() {
            walk(&schema, &kind, &mut |at, part| {
                if part["x-kubernetes-preserve-unknown-fields"] == true {
                    places.push(at.to_owned());
                }
            });
        }
        assert_eq!(places, ["Proxy.spec.workload.podTemplate.spec"]);
    }

    #[test]
    fn every_list_is_bounded_so_that_rules_over_it_are_affordable() {
        for (kind, schema) in schemas() {
            walk(&schema, &kind, &mut |at, part| {
                let foreign = ["affinity", "tolerations[]", "topologySpread", "resources", "selector."];
                if part["type"] == "array" && !foreign.iter().any(|name| at.contains(name)) {
                    assert!(part["maxItems"].is_u64(), "{at} has no maxItems");
                }
            });
        }
    }
}
