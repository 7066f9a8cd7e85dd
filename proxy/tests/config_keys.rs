//! Every key: those of this program from the environment, those of the former program in a file.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail by panicking, like the tests")]

use bytefreezer_proxy::config::{self, Loaded, Severity};
use serde_json::{Map, Value, json};

const TYPES: [&str; 8] = ["udp", "tcp", "syslog", "http", "netflow", "ipfix", "sflow", "ebpf"];

/// A file that is right, with an input of each type.
fn base() -> Value {
    let inputs: Vec<_> = TYPES
        .iter()
        .zip(101..)
        .map(|(kind, port)| json!({"type": kind, "name": format!("in-{kind}"), "config": {"port": port}}))
        .collect();
    json!({"config_mode": "local-only", "tenant_id": "acme", "receiver": {"base_url": "http://r"}, "inputs": inputs})
}

fn load(file: &Value, variables: &[(String, String)]) -> Loaded {
    config::load("x.yaml", &file.to_string(), variables.iter().cloned())
}

/// What leads to a member, and what to set it to: the text, and what the configuration then shows.
struct Key {
    path: Vec<String>,
    text: String,
    shown: Value,
}

/// Every key below `schema`, with a value that is not its default.
fn keys(schema: &Value, path: &[String], all: &mut Vec<Key>) {
    let schema = present(schema);
    let below = |name: &str| [path, &[name.to_owned()]].concat();
    if let Some(members) = schema.get("properties").and_then(Value::as_object) {
        members.iter().for_each(|(name, schema)| keys(schema, &below(name), all));
    } else if schema.pointer("/items/oneOf/0/properties").is_some() {
        let variants = schema["items"]["oneOf"].as_array().unwrap();
        for variant in variants {
            let kind = variant.pointer("/properties/type/const").and_then(Value::as_str).unwrap();
            let index = TYPES.iter().position(|one| *one == kind).unwrap();
            let members = variant["properties"].as_object().unwrap();
            for (name, schema) in members.iter().filter(|(name, _)| *name != "type") {
                keys(schema, &[below(&index.to_string()), vec![name.clone()]].concat(), all);
            }
        }
    } else if let Some(item) = schema.get("items").filter(|item| item.get("properties").is_some()) {
        keys(item, &below("0"), all);
    } else if let Some(values) = schema.get("additionalProperties").filter(|values| values.is_object()) {
        keys(values, &below("beta"), all);
    } else {
        let (text, shown) = value(schema, path.last().unwrap());
        all.push(Key { path: path.to_vec(), text, shown });
    }
}

/// The part of a schema that is not "or null".
fn present(schema: &Value) -> &Value {
    let some = |one: &&Value| one.get("type").and_then(Value::as_str) != Some("null");
    schema.get("anyOf").and_then(Value::as_array).and_then(|any| any.iter().find(some)).unwrap_or(schema)
}

fn value(schema: &Value, name: &str) -> (String, Value) {
    let is = |kind: &str| match &schema["type"] {
        Value::Array(any) => any.iter().any(|one| one == kind),
        one => one == kind,
    };
    let words: Vec<&str> = choices(schema);
    if is("boolean") {
        let other = schema["default"] != true;
        (other.to_string(), json!(other))
    } else if is("integer") {
        let number = schema["minimum"].as_u64().unwrap_or(0) + 1;
        (number.to_string(), json!(number))
    } else if is("array") {
        match choices(&schema["items"])[..] {
            [.., last] => (last.to_owned(), json!([last])),
            [] => ("10.0.0.0/8,192.0.2.1".to_owned(), json!(["10.0.0.0/8", "192.0.2.1"])),
        }
    } else if let Some(word) = words.iter().rev().find(|word| schema["default"] != **word) {
        ((*word).to_owned(), json!(word))
    } else if ["token", "bearer_token", "read_token", "admin_token"].contains(&name) {
        ("s3cret".to_owned(), json!("********"))
    } else {
        ("some-text".to_owned(), json!("some-text"))
    }
}

fn choices(schema: &Value) -> Vec<&str> {
    let of = |list: &'_ str| schema.get(list).and_then(Value::as_array).into_iter().flatten();
    of("enum").filter_map(Value::as_str).chain(of("oneOf").filter_map(|one| one["const"].as_str())).collect()
}

/// W-40, H-53: each key alone from the environment, over a file that says something else or nothing.
#[test]
fn w40_h53_every_key_is_set_by_its_variable() {
    let mut all = Vec::new();
    keys(&config::json_schema(), &[], &mut all);
    assert!(all.len() > 120, "{}", all.len());
    for Key { path, text, shown } in all {
        let name = format!("{}{}", config::ENVIRONMENT_PREFIX, path.join("_").to_ascii_uppercase());
        let mut variables = vec![(name.clone(), text)];
        // Entries of this list are both or nothing.
        if let Some(table) = name.strip_suffix("_0_SOURCE") {
            variables.push((format!("{table}_0_TIMEZONE"), "UTC".to_owned()));
        } else if let Some(table) = name.strip_suffix("_0_TIMEZONE") {
            variables.push((format!("{table}_0_SOURCE"), "10.0.0.0/8".to_owned()));
        }
        let loaded = load(&base(), &variables);
        let pointer = format!("/{}", path.join("/"));
        assert_eq!(loaded.effective.pointer(&pointer), Some(&shown), "{name}: {:#?}", loaded.problems);
        let unknown = loaded.problems.iter().find(|problem| problem.key == name);
        assert!(unknown.is_none(), "{unknown:?}");
    }
}

/// Keys of the former program's files with a value that asks for something.
const FORMER: &[(&str, &str)] = &[
    ("app.name", "x"),
    ("app.version", "1.0.0"),
    ("logging.level", "debug"),
    ("logging.encoding", "console"),
    ("server.api_port", "8009"),
    ("account_id", "k3v9"),
    ("tenant_id", "acme"),
    ("bearer_token", "t"),
    ("control_url", "https://control.example"),
    ("config_mode", "local-only"),
    ("config_polling.enabled", "true"),
    ("config_polling.interval_seconds", "30"),
    ("config_polling.timeout_seconds", "10"),
    ("config_polling.cache_directory", "/var/cache/bytefreezer-proxy"),
    ("config_polling.retry_on_error", "true"),
    ("receiver.base_url", "http://r"),
    ("receiver.timeout_seconds", "31"),
    ("receiver.upload_worker_count", "6"),
    ("receiver.max_idle_conns", "11"),
    ("receiver.max_conns_per_host", "6"),
    ("receiver.retry_max_idle_conns", "10"),
    ("receiver.retry_max_conns_per_host", "6"),
    ("batching.enabled", "true"),
    ("batching.max_lines", "10000"),
    ("batching.max_bytes", "1000000"),
    ("batching.timeout_seconds", "31"),
    ("batching.compression_enabled", "true"),
    ("batching.compression_level", "7"),
    ("spooling.enabled", "true"),
    ("spooling.directory", "/x"),
    ("spooling.max_size_bytes", "2000000"),
    ("spooling.dlq_max_size_bytes", "1"),
    ("spooling.retry_attempts", "6"),
    ("spooling.retry_interval_seconds", "61"),
    ("spooling.cleanup_interval_seconds", "301"),
    ("spooling.queue_processing_interval_seconds", "30"),
    ("spooling.keep_src", "true"),
    ("spooling.organization", "flat"),
    ("spooling.per_tenant_limits", "true"),
    ("spooling.max_files_per_dataset", "5"),
    ("spooling.max_age_days", "7"),
    ("health_reporting.enabled", "true"),
    ("health_reporting.report_interval", "30"),
    ("health_reporting.timeout_seconds", "10"),
    ("health_reporting.register_on_startup", "true"),
    ("error_tracking.enabled", "true"),
    ("tenant_validation.enabled", "true"),
    ("tenant_validation.cache_ttl_seconds", "300"),
    ("tenant_validation.inactive_cache_ttl_seconds", "3600"),
    ("tenant_validation.timeout_seconds", "5"),
    ("soc.enabled", "true"),
    ("soc.endpoint", "http://soc"),
    ("soc.timeout", "30"),
    ("soc.timeout_seconds", "30"),
    ("otel.enabled", "true"),
    ("otel.mode", "otlp_http"),
    ("otel.otlp_endpoint", "c:4317"),
    ("otel.endpoint", "c:4317"),
    ("otel.push_interval_seconds", "15"),
    ("otel.scrapeIntervalseconds", "15"),
    ("otel.service_name", "x"),
    ("otel.metrics_host", "0.0.0.0"),
    ("otel.metrics_port", "9090"),
    ("otel.prometheus_mode", "true"),
    ("dev", "true"),
    ("housekeeping.enabled", "true"),
    ("housekeeping.interval_seconds", "60"),
    ("receiver.url", "http://r"),
    ("receiver.retry_count", "3"),
    ("control_service.url", "https://control.example"),
    ("control_service.api_key", "x"),
    ("udp.ports", "5000"),
    ("webhook.port", "8081"),
    ("monitoring.endpoint", "x"),
];

/// Those of the inputs of flow records.
const FORMER_FLOWS: &[(&str, &str)] = &[
    ("host", "127.0.0.1"),
    ("port", "5"),
    ("read_buffer_size", "65536"),
    ("worker_count", "4"),
    ("tenant_id", "acme"),
    ("dataset_id", "web"),
    ("bearer_token", "x"),
    ("protocol", "udp"),
    ("data_hint", "ndjson"),
];

/// Keys of the former program's inputs, by type.
const FORMER_INPUTS: &[(&str, &[(&str, &str)])] = &[
    (
        "udp",
        &[
            ("host", "127.0.0.1"),
            ("port", "5"),
            ("read_buffer_size", "65536"),
            ("buffer_size", "65536"),
            ("data_hint", "csv"),
            ("data_format", "text"),
            ("protocol", "udp"),
            ("syslog_mode", "auto"),
            ("worker_count", "4"),
            ("tenant_id", "acme"),
            ("dataset_id", "web"),
            ("bearer_token", "x"),
        ],
    ),
    (
        "tcp",
        &[
            ("host", "127.0.0.1"),
            ("port", "5"),
            ("max_connections", "5"),
            ("read_timeout", "5"),
            ("max_line_size", "5000"),
            ("delimiter", ";"),
            ("data_hint", "csv"),
            ("data_format", "text"),
            ("worker_count", "4"),
            ("tenant_id", "acme"),
            ("dataset_id", "web"),
            ("bearer_token", "x"),
        ],
    ),
    (
        "syslog",
        &[
            ("host", "127.0.0.1"),
            ("port", "5"),
            ("read_buffer_size", "65536"),
            ("syslog_mode", "rfc5424"),
            ("protocol", "udp"),
            ("data_hint", "csv"),
            ("data_format", "text"),
            ("worker_count", "4"),
            ("tenant_id", "acme"),
            ("dataset_id", "web"),
            ("bearer_token", "x"),
        ],
    ),
    (
        "http",
        &[
            ("host", "127.0.0.1"),
            ("port", "5"),
            ("path", "/in"),
            ("max_payload_size", "5000"),
            ("max_lines_per_request", "5"),
            ("read_timeout", "5"),
            ("write_timeout", "5"),
            ("enable_authentication", "false"),
            ("bearer_token", "x"),
            ("data_hint", "csv"),
            ("data_format", "text"),
            ("worker_count", "4"),
            ("tenant_id", "acme"),
            ("dataset_id", "web"),
        ],
    ),
    ("netflow", FORMER_FLOWS),
    ("ipfix", FORMER_FLOWS),
    ("sflow", FORMER_FLOWS),
    (
        "ebpf",
        &[
            ("host", "127.0.0.1"),
            ("port", "5"),
            ("read_buffer_size", "65536"),
            ("worker_count", "4"),
            ("tenant_id", "acme"),
            ("dataset_id", "web"),
            ("bearer_token", "x"),
        ],
    ),
];

/// The value as YAML takes it: a number, a switch, or text.
fn scalar(text: &str) -> Value {
    serde_json::from_str(text).ok().filter(|value: &Value| !value.is_null()).unwrap_or_else(|| json!(text))
}

/// Sets `key` in `file`, making tables on the way.
fn set(file: &mut Value, key: &str, value: Value) {
    let mut at = file;
    for part in key.split('.') {
        if !at.is_object() {
            *at = Value::Object(Map::new());
        }
        at = at.as_object_mut().unwrap().entry(part).or_insert(Value::Null);
    }
    *at = value;
}

/// That `key` works, is an alias, or is answered by name with something to do; and that the rest runs.
fn understood(loaded: &Loaded, key: &str, pointer: &str, written: &Value) {
    let named: Vec<_> = loaded
        .problems
        .iter()
        .filter(|problem| key == problem.key || key.starts_with(&format!("{}.", problem.key)))
        .collect();
    assert!(!named.iter().any(|problem| problem.what.contains("no known key")), "{named:#?}");
    let works = loaded.effective.pointer(pointer).is_some_and(|value| {
        value == written || *value == json!([written]) || *value == "********" || written == &json!(false)
    });
    let answered = named.iter().any(|problem| !problem.remedy.is_empty());
    assert!(works || answered, "{key} is neither known nor answered: {:#?}", loaded.problems);
    if !loaded.problems.iter().any(|problem| problem.severity == Severity::Error) {
        assert_eq!(loaded.config.as_ref().unwrap().inputs.len(), TYPES.len(), "{key}");
    }
}

#[test]
fn every_key_of_the_former_program_works_is_an_alias_or_is_answered_by_name() {
    for (key, text) in FORMER {
        let mut file = base();
        if *key == "receiver.url" {
            // It is written once, in one of its spellings.
            file["receiver"] = json!({});
        }
        set(&mut file, key, scalar(text));
        let loaded = load(&file, &[]);
        assert!(!loaded.has_errors(), "{key}: {:#?}", loaded.problems);
        understood(&loaded, key, &format!("/{}", key.replace('.', "/")), &scalar(text));
        // From the environment alike, in the spelling that used to work for some.
        let name = format!("{}{}", config::ENVIRONMENT_PREFIX, key.replace('.', "_").to_ascii_uppercase());
        let loaded = load(&base(), &[(name.clone(), (*text).to_owned())]);
        let unknown = loaded.problems.iter().find(|problem| problem.what.contains("names no known key"));
        assert!(unknown.is_none(), "{unknown:?}");
    }
}

#[test]
fn every_key_of_a_former_input_works_is_an_alias_or_is_answered_by_name() {
    for (kind, keys) in FORMER_INPUTS {
        let index = TYPES.iter().position(|one| one == kind).unwrap();
        for (key, text) in *keys {
            let mut file = base();
            set(&mut file["inputs"][index], &format!("config.{key}"), scalar(text));
            let loaded = load(&file, &[]);
            let shown = format!("inputs[{index}].config.{key}");
            assert!(!loaded.has_errors(), "{kind} {key}: {:#?}", loaded.problems);
            understood(&loaded, &shown, &format!("/inputs/{index}/config/{key}"), &scalar(text));
        }
    }
    for kind in ["kafka", "nats", "sqs", "kinesis"] {
        let mut file = base();
        file["inputs"][0] = json!({"type": kind, "name": "later", "config": {"port": 9}});
        let loaded = load(&file, &[]);
        let problem = loaded.problems.iter().find(|problem| problem.key == "inputs[0].type").unwrap();
        assert!(problem.what.contains("not in this version yet"), "{problem}");
        assert_eq!(
            loaded.usable().unwrap().config.inputs.len(),
            TYPES.len() - 1,
            "{kind} stops no other input"
        );
    }
}
