//! Judges objects as the API server does: ranges and required fields by the schema, the rules by CEL.

use std::rc::Rc;

use kube::core::cel::{CompiledSchema, ValidationError, Validator, compile_schema};
use serde_json::{Value as Json, json};

use crate::crds;

/// A resource to test.
#[derive(Clone, Copy)]
pub enum Kind {
    Proxy,
    Dataset,
}

thread_local! {
    /// Reading rules takes longer than judging by them.
    static RULES: [Rc<CompiledSchema>; 2] =
        [Kind::Proxy, Kind::Dataset].map(|kind| Rc::new(compile_schema(&schema(kind))));
}

/// The schema of a resource.
pub fn schema(kind: Kind) -> Json {
    let crds = crds().unwrap();
    let crd = match kind {
        Kind::Proxy => &crds[0],
        Kind::Dataset => &crds[1],
    };
    let json = serde_json::to_value(crd).unwrap();
    json.pointer("/spec/versions/0/schema/openAPIV3Schema").unwrap().clone()
}

/// The smallest object of a kind.
pub fn minimal(kind: Kind) -> Json {
    match kind {
        Kind::Proxy => json!({
            "apiVersion": "bytefreezer.com/v1alpha1", "kind": "Proxy", "metadata": {"name": "edge"},
            "spec": {"receiver": {"url": "https://receiver.example:8080"}},
        }),
        Kind::Dataset => json!({
            "apiVersion": "bytefreezer.com/v1alpha1", "kind": "ProxyDataset", "metadata": {"name": "fw-logs"},
            "spec": {"tenantId": "acme", "source": {"syslog": {"port": 514}}},
        }),
    }
}

/// The smallest object with `value` at the pointer `at`; its parents are made, a null removes the member.
pub fn with(kind: Kind, at: &str, value: Json) -> Json {
    changed(minimal(kind), at, value)
}

/// `object` with `value` at `at`.
pub fn changed(mut object: Json, at: &str, value: Json) -> Json {
    let mut place = &mut object;
    for name in at.trim_start_matches('/').split('/') {
        place = place.as_object_mut().unwrap().entry(name).or_insert_with(|| json!({}));
    }
    *place = value;
    without_nulls(&mut object);
    object
}

fn without_nulls(json: &mut Json) {
    if let Json::Object(members) = json {
        members.retain(|_, value| !value.is_null());
        members.values_mut().for_each(without_nulls);
    }
}

/// Everything that is wrong with an object, as `path: message`; `old` is what it replaces.
pub fn judge(kind: Kind, object: &Json, old: Option<&Json>) -> Vec<String> {
    let schema = schema(kind);
    let mut found = Vec::new();
    check(&schema, object, "", &mut found);
    let compiled = RULES.with(|rules| Rc::clone(&rules[kind as usize]));
    if let Err(errors) = Validator::new().validate_compiled(&compiled, object, old) {
        let said = |error: ValidationError| format!("{}: {}", error.field_path, error.message);
        found.extend(errors.into_vec().into_iter().map(said));
    }
    found
}

/// The part of OpenAPI that the definitions use.
fn check(schema: &Json, value: &Json, at: &str, found: &mut Vec<String>) {
    let mut wrong = |what: String| found.push(format!("{at}: {what}"));
    let expected = schema["type"].as_str().unwrap_or_default();
    let fits = match expected {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        _ => true,
    };
    if !fits {
        return wrong(format!("is no {expected}"));
    }
    if let Some(words) = schema["enum"].as_array()
        && !words.contains(value)
    {
        wrong(format!("is none of {words:?}"));
    }
    if let Some(number) = value.as_i64() {
        let bound = |name: &str| schema[name].as_f64().map(|bound| bound as i64);
        if bound("minimum").is_some_and(|least| number < least) {
            wrong(format!("is below {}", bound("minimum").unwrap_or_default()));
        }
        if bound("maximum").is_some_and(|most| number > most) {
            wrong(format!("is above {}", bound("maximum").unwrap_or_default()));
        }
    }
    let length = value.as_str().map(str::len).or_else(|| value.as_array().map(Vec::len));
    for (least, most) in [("minLength", "maxLength"), ("minItems", "maxItems")] {
        if length.is_some_and(|length| schema[least].as_u64().is_some_and(|least| (length as u64) < least)) {
            wrong(format!("is shorter than {}", schema[least]));
        }
        if length.is_some_and(|length| schema[most].as_u64().is_some_and(|most| (length as u64) > most)) {
            wrong(format!("is longer than {}", schema[most]));
        }
    }
    for name in schema["required"].as_array().into_iter().flatten().filter_map(Json::as_str) {
        if value.get(name).is_none() {
            found.push(format!("{at}.{name}: is required"));
        }
    }
    for (name, part) in value.as_object().into_iter().flatten() {
        let path = format!("{at}.{name}");
        match (schema["properties"].get(name), schema.get("additionalProperties")) {
            (Some(schema), _) | (None, Some(schema)) => check(schema, part, &path, found),
            (None, None) => {
                let open = at.is_empty()
                    || at == ".metadata"
                    || schema["x-kubernetes-preserve-unknown-fields"] == true;
                if !open {
                    found.push(format!("{path}: is unknown"));
                }
            }
        }
    }
    for (index, part) in value.as_array().into_iter().flatten().enumerate() {
        check(&schema["items"], part, &format!("{at}[{index}]"), found);
    }
}
