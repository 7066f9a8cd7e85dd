//! The two schemas, side by side: an option, a default or a range that exists in one only is an error here.

use std::collections::{BTreeMap, BTreeSet};

use bytefreezer_crds::values::{Days, Milliseconds, NO_LIMIT, Seconds, Size};
use serde_json::{Value as Json, json};

use super::tests::{document, proxy_json};

/// How a value of the resource becomes one of the file.
#[derive(Clone, Copy, Debug, PartialEq)]
enum As {
    /// The same.
    Same,
    /// `60s` is 60.
    Seconds,
    /// `200ms` is 200.
    Milliseconds,
    /// `48h` is 2.
    Days,
    /// `1Ki` is 1024.
    Bytes,
    /// `OnFailure` is `on_failure`, one or a list.
    Word,
    /// Present in both, in shapes of their own: converted, and tested in `tests`.
    Shape,
}

/// Keys of every kind of source: file, resource.
const SOURCES: &[(&str, &str, As, &[&str])] = &[
    ("port", "port", As::Same, &["udp", "tcp", "syslog", "http"]),
    ("data_hint", "dataHint", As::Same, &["udp", "tcp", "http"]),
    ("data_format", "dataFormat", As::Word, &["udp", "tcp", "http"]),
    ("source_field", "sourceField", As::Same, &["udp", "tcp", "http"]),
    ("read_buffer_size", "readBufferSize", As::Bytes, &["udp", "syslog"]),
    ("tls.cert_file", "tls.secretRef.name", As::Shape, &["tcp", "syslog", "http"]),
    ("tls.key_file", "tls.secretRef.name", As::Shape, &["tcp", "syslog", "http"]),
    ("tls.client_ca_file", "tls.clientCaSecretRef.name", As::Shape, &["tcp", "syslog", "http"]),
    ("tls.client_ca_file", "tls.clientCaSecretRef.key", As::Shape, &["tcp", "syslog", "http"]),
    ("tls.client_cert_required", "tls.clientCertificateRequired", As::Shape, &["tcp", "syslog", "http"]),
    ("max_connections", "maxConnections", As::Same, &["tcp", "syslog", "http"]),
    ("max_connections_per_source", "maxConnectionsPerSource", As::Same, &["tcp", "syslog", "http"]),
    ("read_timeout", "readTimeout", As::Seconds, &["tcp", "syslog", "http"]),
    ("max_line_size", "maxLineSize", As::Bytes, &["tcp", "syslog"]),
    ("oversize", "oversize", As::Word, &["tcp", "syslog"]),
    ("delimiter", "delimiter", As::Same, &["tcp"]),
    ("protocol", "protocols", As::Word, &["syslog"]),
    ("syslog_mode", "mode", As::Word, &["syslog"]),
    ("raw", "raw", As::Word, &["syslog"]),
    ("timezone", "timezone", As::Same, &["syslog"]),
    ("timezones", "timezones", As::Shape, &["syslog"]),
    ("path", "path", As::Same, &["http"]),
    ("auth.token_file", "auth.tokenSecretRef.name", As::Shape, &["http"]),
    ("auth.token_file", "auth.tokenSecretRef.key", As::Shape, &["http"]),
    ("max_payload_size", "maxPayloadSize", As::Bytes, &["http"]),
    ("max_lines_per_request", "maxLinesPerRequest", As::Same, &["http"]),
    ("max_compression_ratio", "maxCompressionRatio", As::Same, &["http"]),
    ("write_timeout", "writeTimeout", As::Seconds, &["http"]),
    ("idle_timeout", "idleTimeout", As::Seconds, &["http"]),
];

/// Keys that every input has, and the dataset's outside its source.
const COMMON: &[(&str, &str, As)] = &[
    ("paused", "paused", As::Same),
    ("config.tenant_id", "tenantId", As::Same),
    ("config.dataset_id", "datasetId", As::Same),
    ("config.allowed_sources", "allowedSources", As::Same),
    ("config.batching.max_lines", "batching.maxLines", As::Same),
    ("config.batching.max_bytes", "batching.maxBytes", As::Bytes),
    ("config.batching.timeout_seconds", "batching.timeout", As::Seconds),
    ("config.batching.compression_enabled", "batching.compressionEnabled", As::Same),
    ("config.batching.compression_level", "batching.compressionLevel", As::Same),
    ("config.batching.compression_adaptive", "batching.compressionAdaptive", As::Same),
    ("config.proxy_protocol_from", "proxyProtocol.from", As::Shape),
    ("config.proxy_protocol", "proxyProtocol.from", As::Shape),
];

/// Keys outside inputs: file, resource.
const PROXY: &[(&str, &str, As)] = &[
    ("logging.level", "logging.level", As::Word),
    ("logging.encoding", "logging.encoding", As::Word),
    ("bearer_token_file", "receiver.tokenSecretRef.name", As::Shape),
    ("bearer_token_file", "receiver.tokenSecretRef.key", As::Shape),
    ("tenants", "receiver.tenants", As::Shape),
    ("receiver.base_url", "receiver.url", As::Same),
    ("receiver.timeout_seconds", "receiver.timeout", As::Seconds),
    ("receiver.upload_worker_count", "receiver.concurrency", As::Same),
    ("receiver.max_idle_conns", "receiver.maxIdleConnections", As::Same),
    ("receiver.ca_file", "receiver.caSecretRef.name", As::Shape),
    ("receiver.ca_file", "receiver.caSecretRef.key", As::Shape),
    ("receiver.max_payload_size", "receiver.maxPayloadSize", As::Bytes),
    ("batching.max_lines", "batching.maxLines", As::Same),
    ("batching.max_bytes", "batching.maxBytes", As::Bytes),
    ("batching.timeout_seconds", "batching.timeout", As::Seconds),
    ("batching.compression_enabled", "batching.compressionEnabled", As::Same),
    ("batching.compression_level", "batching.compressionLevel", As::Same),
    ("batching.compression_adaptive", "batching.compressionAdaptive", As::Same),
    ("spooling.max_size_bytes", "spool.maxSize", As::Shape),
    ("spooling.dlq_max_size_bytes", "spool.dlqMaxSize", As::Shape),
    ("spooling.retry_attempts", "spool.retryAttempts", As::Same),
    ("spooling.retry_interval_seconds", "spool.retryInterval", As::Seconds),
    ("spooling.cleanup_interval_seconds", "spool.cleanupInterval", As::Seconds),
    ("spooling.max_age_days", "spool.maxAge", As::Days),
    ("spooling.sync_interval_ms", "spool.syncInterval", As::Milliseconds),
    ("spooling.dlq_auto_retry", "spool.dlqAutoRetry", As::Same),
    ("limits.memory_bytes", "limits.memory", As::Bytes),
    ("limits.max_senders", "limits.maxSenders", As::Same),
    ("limits.receive_threads", "limits.receiveThreads", As::Same),
    ("server.api_host", "exposure.listenAddress", As::Shape),
    ("server.api_port", "exposure.hostNetwork.apiPort", As::Shape),
    ("server.health_port", "exposure.hostNetwork.healthPort", As::Shape),
    ("server.shutdown_delay_seconds", "workload.shutdownDelay", As::Shape),
    ("server.shutdown_grace_seconds", "workload.shutdownGrace", As::Shape),
];

/// Keys of the file that no resource has, and why.
const FILE_ALONE: &[(&str, &str)] = &[
    ("schema_version", "the operator says which keys it knows"),
    ("app.name", "the operator's pods are this program"),
    ("config_mode", "the operator writes local-only"),
    ("account_id", "Control is of a later version"),
    ("control_url", "Control is of a later version"),
    ("tenant_id", "every dataset names its tenant"),
    ("bearer_token", "secrets are files"),
    ("server.read_token", "secrets are files"),
    ("server.admin_token", "secrets are files"),
    ("server.read_token_file", "from the Secret <proxy>-api"),
    ("server.admin_token_file", "from the Secret <proxy>-api"),
    ("server.tls", "from the Secret <proxy>-api"),
    ("spooling.enabled", "pods always spool"),
    ("spooling.directory", "the volume's place"),
];

/// The same of an input.
const INPUT_ALONE: &[(&str, &str)] = &[
    ("name", "the object's name"),
    ("enabled", "the object is there or not"),
    ("config.host", "exposure.listenAddress of the Proxy"),
    ("config.auth.token", "secrets are files"),
];

/// Parts of a Proxy that are none of the proxy's business, and why.
const PROXY_ALONE: &[(&str, &str)] = &[
    ("configMode", "the operator's"),
    ("exposure", "Services"),
    ("workload", "pods"),
    ("spool.size", "the volume"),
    ("spool.storageClassName", "the volume"),
    ("spool.hostPath", "the volume"),
    ("allowedDatasets", "arbitration"),
];

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
        (Json::String(word), As::Word) => word.replace("OnFailure", "on_failure").to_lowercase().into(),
        _ => value.clone(),
    }
}

fn spec_schema(index: usize) -> Json {
    let crd = serde_json::to_value(&bytefreezer_crds::crds().unwrap()[index]).unwrap();
    crd.pointer("/spec/versions/0/schema/openAPIV3Schema/properties/spec").unwrap().clone()
}

/// All pairs: file's path, index of the resource, its path, unit.
fn pairs() -> Vec<(String, usize, String, As)> {
    let mut pairs: Vec<_> =
        PROXY.iter().map(|(file, crd, unit)| ((*file).to_owned(), 0, (*crd).to_owned(), *unit)).collect();
    for kind in ["udp", "tcp", "syslog", "http"] {
        for (file, crd, unit) in COMMON {
            if kind != "udp" || !file.contains("proxy_protocol") {
                pairs.push((format!("inputs.{kind}.{file}"), 1, (*crd).to_owned(), *unit));
            }
        }
        for (file, crd, unit, _) in SOURCES.iter().filter(|(_, _, _, kinds)| kinds.contains(&kind)) {
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
            Some("integer") => json!(7),
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
