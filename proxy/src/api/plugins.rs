//! The kinds of inputs and their settings, for forms. Derived from the configuration's own schema, so that no key can
//! be missing here.

use std::sync::OnceLock;

use axum::Json;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::config::{document, json_schema};

/// What the schema does not know: type, name for people, transport, usual port.
const KINDS: [(&str, &str, &str, Option<u16>); 8] = [
    ("udp", "UDP", "udp", None),
    ("tcp", "TCP lines", "tcp", None),
    ("syslog", "Syslog", "udp, tcp", Some(514)),
    ("http", "HTTP webhook", "http", None),
    ("netflow", "NetFlow", "udp", Some(2055)),
    ("ipfix", "IPFIX", "udp, tcp", Some(4739)),
    ("sflow", "sFlow", "udp", Some(6343)),
    ("ebpf", "eBPF events", "udp", Some(2056)),
];

/// All kinds of inputs.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct PluginList {
    plugins: Vec<PluginSchema>,
    count: usize,
}

#[derive(Debug, Clone, Serialize, ToSchema)]
struct PluginSchema {
    /// `type` of the input.
    name: String,
    display_name: String,
    description: String,
    category: &'static str,
    transport: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    default_port: Option<u16>,
    fields: Vec<Field>,
}

/// A key below `config`; one of a table below that has a dot in its name.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
struct Field {
    name: String,
    /// `string`, `int`, `bool` or `[]string`.
    #[serde(rename = "type")]
    kind: &'static str,
    required: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    default: Option<Value>,
    description: String,
    /// `1-65535`.
    #[serde(skip_serializing_if = "Option::is_none")]
    validation: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    options: Vec<String>,
    /// The table it belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    group: Option<String>,
}

/// The kinds of inputs and their settings.
#[utoipa::path(get, path = "/api/v1/plugins", tag = "configuration", responses((status = 200, body = PluginList)))]
pub async fn plugins() -> Json<&'static PluginList> {
    static LIST: OnceLock<PluginList> = OnceLock::new();
    Json(LIST.get_or_init(|| list(&json_schema())))
}

fn list(schema: &Value) -> PluginList {
    let variants = schema.pointer("/properties/inputs/items/oneOf").and_then(Value::as_array);
    let of = |(name, display, transport, default_port): &(&str, &str, &'static str, Option<u16>)| {
        let is = |variant: &&Value| {
            variant.pointer("/properties/type/const").and_then(Value::as_str) == Some(name)
        };
        let variant = variants.into_iter().flatten().find(is)?;
        let mut fields = Vec::new();
        collect(variant.pointer("/properties/config")?, None, &mut fields);
        for port in fields.iter_mut().filter(|field| field.name == "port") {
            port.default = document::default_port(name).map(Value::from);
            port.required = port.default.is_none();
        }
        Some(PluginSchema {
            name: (*name).to_owned(),
            display_name: (*display).to_owned(),
            description: description(variant),
            category: "network",
            transport,
            default_port: *default_port,
            fields,
        })
    };
    let plugins: Vec<_> = KINDS.iter().filter_map(of).collect();
    PluginList { count: plugins.len(), plugins }
}

fn description(schema: &Value) -> String {
    schema.get("description").and_then(Value::as_str).unwrap_or_default().replace('\n', " ")
}

/// The part of a schema that is not "or null".
fn present(schema: &Value) -> &Value {
    let some = |one: &&Value| one.get("type").and_then(Value::as_str) != Some("null");
    schema.get("anyOf").and_then(Value::as_array).and_then(|any| any.iter().find(some)).unwrap_or(schema)
}

fn collect(table: &Value, group: Option<&str>, fields: &mut Vec<Field>) {
    let Some(members) = present(table).get("properties").and_then(Value::as_object) else { return };
    for (key, described) in members {
        let name = group.map_or_else(|| key.clone(), |group| format!("{group}.{key}"));
        if described.get("deprecated") == Some(&Value::Bool(true)) {
            continue;
        }
        let schema = present(described);
        if schema.get("properties").is_some() {
            collect(schema, Some(&name), fields);
            continue;
        }
        let default = described.get("default").filter(|value| !value.is_null()).cloned();
        let bound = |name| schema.get(name).and_then(Value::as_u64);
        fields.push(Field {
            kind: kind(schema),
            required: false,
            default,
            description: description(described),
            validation: bound("minimum").zip(bound("maximum")).map(|(min, max)| format!("{min}-{max}")),
            options: options(schema),
            group: group.map(ToOwned::to_owned),
            name,
        });
    }
}

fn kind(schema: &Value) -> &'static str {
    let is = |name: &str| match schema.get("type") {
        Some(Value::String(one)) => one == name,
        Some(Value::Array(any)) => any.iter().any(|one| one == name),
        _ => false,
    };
    match () {
        () if is("boolean") => "bool",
        () if is("integer") => "int",
        () if is("array") => "[]string",
        () => "string",
    }
}

fn options(schema: &Value) -> Vec<String> {
    let words = |list: &Value| -> Vec<String> {
        list.as_array().into_iter().flatten().filter_map(Value::as_str).map(ToOwned::to_owned).collect()
    };
    if let Some(list) = schema.get("enum") {
        return words(list);
    }
    let choices = schema.get("oneOf").and_then(Value::as_array).into_iter().flatten();
    choices
        .flat_map(|choice| match choice.get("const").and_then(Value::as_str) {
            Some(word) => vec![word.to_owned()],
            None => choice.get("enum").map(words).unwrap_or_default(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_shows_its_own_keys_and_the_common_ones() {
        let list = list(&json_schema());
        assert_eq!(list.count, KINDS.len());
        let field = |plugin: &str, name: &str| {
            let plugin = list.plugins.iter().find(|one| one.name == plugin).unwrap();
            plugin.fields.iter().find(|field| field.name == name).cloned()
        };
        for (plugin, ..) in KINDS {
            for name in ["tenant_id", "dataset_id", "host", "port", "allowed_sources", "batching.max_lines"] {
                assert!(field(plugin, name).is_some(), "{plugin} {name}");
            }
            assert!(field(plugin, "bearer_token").is_none(), "deprecated keys are for old files");
        }
        let port = field("syslog", "port").unwrap();
        assert_eq!((port.kind, port.required, port.validation.as_deref()), ("int", true, Some("1-65535")));
        let port = field("netflow", "port").unwrap();
        assert_eq!((port.required, port.default), (false, Some(2055.into())));
        assert_eq!(field("tcp", "data_format").unwrap().options, ["auto", "ndjson", "text"]);
        assert_eq!(field("udp", "read_buffer_size").unwrap().default, Some(8_388_608.into()));
        assert_eq!(field("udp", "allowed_sources").unwrap().kind, "[]string");
        let cert = field("http", "tls.cert_file").unwrap();
        assert_eq!((cert.kind, cert.group.as_deref()), ("string", Some("tls")));
        for plugin in &list.plugins {
            assert!(!plugin.description.is_empty());
            for field in &plugin.fields {
                assert!(!field.description.is_empty(), "{} {}", plugin.name, field.name);
            }
        }
    }
}
