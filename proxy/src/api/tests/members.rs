//! What each endpoint answers, member by member: those that clients of the former program know, and the description.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::{
    super::openapi,
    world::{World, answer, guarded, key},
};
use crate::spool::{Failure, Reason};

/// Endpoints of the former program and the members of their answers. `[]` stands for each element of a list, `*` for each
/// value of a table, `?` before a type for a member that may be missing. `s`: text, `t`: time, `i`: whole number, `n`: number,
/// `b`: switch, `o`: table.
const KNOWN: &[(&str, &str, &str)] = &[
    (
        "GET",
        "/api/v1/health",
        "status:s version:s service_name:s timestamp:t plugins.total_plugins:i plugins.active_plugins:i plugins.plugins_by_type.*:i
         plugins.plugin_details[].name:s plugins.plugin_details[].type:s plugins.plugin_details[].status:s
         plugins.plugin_details[].port:i plugins.plugin_details[].dataset_id:s plugins.plugin_details[].tenant_id:s
         plugins.status:s receiver.base_url:s receiver.status:s stats.udp_messages_received:i stats.udp_message_errors:i
         stats.batches_created:i stats.batches_forwarded:i stats.forwarding_errors:i stats.bytes_received:i stats.bytes_forwarded:i
         stats.last_activity:t stats.uptime_seconds:i",
    ),
    (
        "GET",
        "/api/v1/config",
        "app.name:s app.version:s server.api_port:i plugins.total_plugins:i plugins.plugin_details[].name:s
         plugins.plugin_details[].type:s plugins.plugin_details[].config:o receiver.base_url:s receiver.timeout_seconds:i
         account_id:s tenant_id:s bearer_token:s config_mode:s config_polling.enabled:b config_polling.interval_seconds:i
         config_polling.timeout_seconds:i config_polling.cache_directory:s config_polling.retry_on_error:b soc.enabled:b
         soc.endpoint:s soc.timeout:i otel.enabled:b otel.endpoint:s otel.service_name:s otel.scrape_interval_seconds:i dev:b",
    ),
    (
        "GET",
        "/api/v1/plugins",
        "plugins[].name:s plugins[].display_name:s plugins[].description:s plugins[].category:s plugins[].transport:s
         plugins[].default_port:?i plugins[].fields[].name:s plugins[].fields[].type:s plugins[].fields[].required:b
         plugins[].fields[].description:s plugins[].fields[].validation:?s plugins[].fields[].options[]:s
         plugins[].fields[].group:?s count:i",
    ),
    (
        "GET",
        "/api/v1/dlq/stats",
        "spooling_enabled:b total_files_in_queue:i total_files_in_dlq:i total_bytes_in_queue:i total_bytes_in_dlq:i
         tenant_stats.*.queue_files:i tenant_stats.*.dlq_files:i tenant_stats.*.queue_bytes:i tenant_stats.*.dlq_bytes:i
         tenant_stats.*.dataset_stats.*.queue_files:i tenant_stats.*.dataset_stats.*.dlq_files:i
         tenant_stats.*.dataset_stats.*.queue_bytes:i tenant_stats.*.dataset_stats.*.dlq_bytes:i
         oldest_queue_file.id:s oldest_queue_file.tenant_id:s oldest_queue_file.dataset_id:s oldest_queue_file.compressed_size:i
         oldest_queue_file.uncompressed_size:i oldest_queue_file.created_at:t oldest_queue_file.retry_count:i
         oldest_queue_file.failure_reason:?s oldest_dlq_file.id:s oldest_dlq_file.tenant_id:s oldest_dlq_file.dataset_id:s
         oldest_dlq_file.compressed_size:i oldest_dlq_file.uncompressed_size:i oldest_dlq_file.created_at:t
         oldest_dlq_file.retry_count:i oldest_dlq_file.failure_reason:s spool_directory:s",
    ),
    (
        "GET",
        "/api/v1/dlq/files",
        "spooling_enabled:b files[].id:s files[].tenant_id:s files[].dataset_id:s files[].filename:s files[].compressed_size:i
         files[].uncompressed_size:i files[].line_count:i files[].created_at:t files[].last_retry:t files[].retry_count:i
         files[].status:s files[].failure_reason:s files[].trigger_reason:s message:s",
    ),
    (
        "POST",
        "/api/v1/test/connectivity",
        "message:s results[].tenant_id:s results[].dataset_id:s results[].plugin_name:s results[].plugin_type:s
         results[].bearer_token:s results[].receiver_url:s results[].status:s results[].status_code:?i results[].response_time:s
         results[].error_message:s results[].response_body:?s summary.total_tests:i summary.success_count:i summary.failure_count:i
         summary.error_count:i summary.success_rate_percent:n",
    ),
    ("POST", "/api/v1/config/reload", "success:b message:s plugins_loaded:i timestamp:t"),
    (
        "POST",
        "/api/v1/dlq/retry",
        "success:b message:s files_retried:i details[].file_id:s details[].tenant_id:s details[].dataset_id:s
         details[].success:b details[].error:?s",
    ),
];

/// With something in every place that an answer shows.
async fn world() -> (World, String) {
    let mut config = guarded();
    config.account_id = Some("k3v9".to_owned());
    config.tenant_id = Some("acme".parse().unwrap());
    "http://127.0.0.1:1".clone_into(&mut config.receiver.base_url);
    let world = World::new(config).await;
    let (web, db) = (key("acme", "web"), key("beta", "db"));
    world.batch(&web, "{\"a\":1}\n").await;
    let failed = world.batch(&db, "{\"b\":1}\n").await;
    let failure = Failure { reason: Reason::Server, status: Some(503), message: "busy".into() };
    world.state.spool.failed(failed, failure.clone()).await.unwrap();
    world.state.spool.bury(failed, failure).await.unwrap();
    let shown = format!("beta--db--{:019}--ndjson", failed.0);
    let now = jiff::Timestamp::now().as_nanosecond() as u64;
    world.state.senders.record(&key("acme", "flows"), "192.0.2.1".parse().unwrap(), 1, 1, 0, now);
    (world, shown)
}

async fn ask(world: &World, method: &str, path: &str) -> (StatusCode, Value) {
    answer(world.ask(method.parse().unwrap(), path).bearer_auth("admin-secret")).await
}

/// What `path` leads to in `value`; `None` stands for a member that is not there.
fn at<'a>(value: &'a Value, path: &str) -> Vec<Option<&'a Value>> {
    let mut found = vec![Some(value)];
    for step in path.replace("[]", ".[]").split('.') {
        found = found
            .into_iter()
            .flat_map(|value| match (step, value) {
                ("[]", Some(Value::Array(items))) => items.iter().map(Some).collect(),
                ("*", Some(Value::Object(members))) => members.values().map(Some).collect(),
                ("[]" | "*", _) => Vec::new(),
                (name, value) => vec![value.and_then(|value| value.get(name))],
            })
            .collect();
    }
    found
}

fn is(value: &Value, kind: &str) -> bool {
    match kind {
        "s" => value.is_string(),
        "t" => value.as_str().is_some_and(|text| text.parse::<jiff::Timestamp>().is_ok()),
        "i" => value.is_u64(),
        "n" => value.is_number(),
        "b" => value.is_boolean(),
        _ => value.is_object(),
    }
}

#[tokio::test]
async fn every_member_that_clients_of_the_former_program_read_is_there() {
    let (world, _) = world().await;
    for (method, path, members) in KNOWN {
        let (status, body) = ask(&world, method, path).await;
        assert_eq!(status, StatusCode::OK, "{path}");
        for member in members.split_whitespace() {
            let (name, kind) = member.split_once(':').unwrap();
            let (optional, kind) = kind.strip_prefix('?').map_or((false, kind), |kind| (true, kind));
            let found = at(&body, name);
            assert!(!found.is_empty(), "{path}: nothing to judge {name} by in {body}");
            for value in found {
                let good = value.map_or(optional, |value| is(value, kind));
                assert!(good, "{path}: {name} is {value:?} in {body}");
            }
        }
    }
    let (status, reloaded) = ask(&world, "POST", "/api/v1/config/reload").await;
    assert_eq!((status, &reloaded["success"]), (StatusCode::OK, &json!(false)), "a failure is 200 too");
}

/// What is wrong with `value` by a schema of the description.
fn wrong(value: &Value, schema: &Value, all: &Value, at: &str) -> Vec<String> {
    let schema = resolve(schema, all);
    if value.is_null() && allows_null(schema) {
        return Vec::new();
    }
    match value {
        Value::Object(members) => {
            let mut parts = Vec::new();
            tables(schema, all, &mut parts);
            let properties: Vec<_> =
                parts.iter().filter_map(|part| part.get("properties")?.as_object()).flatten().collect();
            let others = parts.iter().find_map(|part| part.get("additionalProperties"));
            if properties.is_empty() && others.is_none() {
                return Vec::new(); // Described as any object.
            }
            let required = parts.iter().filter_map(|part| part.get("required")?.as_array()).flatten();
            let mut all_wrong: Vec<String> = required
                .filter(|name| !members.contains_key(name.as_str().unwrap()))
                .map(|name| format!("{at}.{name} is missing"))
                .collect();
            for (name, value) in members {
                let at = format!("{at}.{name}");
                match properties
                    .iter()
                    .find(|(known, _)| *known == name)
                    .map(|(_, schema)| *schema)
                    .or(others)
                {
                    Some(schema) => all_wrong.extend(wrong(value, schema, all, &at)),
                    None => all_wrong.push(format!("{at} is not described")),
                }
            }
            all_wrong
        }
        Value::Array(items) => {
            let Some(item) = schema.get("items") else { return kind(schema, "array", at) };
            items.iter().flat_map(|value| wrong(value, item, all, at)).collect()
        }
        Value::String(_) => kind(schema, "string", at),
        Value::Bool(_) => kind(schema, "boolean", at),
        Value::Number(number) if number.is_f64() => kind(schema, "number", at),
        Value::Number(_) => kind(schema, "integer", at),
        Value::Null => vec![format!("{at} is null")],
    }
}

fn kind(schema: &Value, kind: &str, at: &str) -> Vec<String> {
    let listed = |name: &str| match &schema["type"] {
        Value::Array(any) => any.iter().any(|one| one == name),
        one => one == name,
    };
    let is = listed(kind) || (kind == "integer" && listed("number")) || schema.get("type").is_none();
    if is { Vec::new() } else { vec![format!("{at} is {kind}, described as {}", schema["type"])] }
}

fn resolve<'a>(schema: &'a Value, all: &'a Value) -> &'a Value {
    match schema.get("$ref").and_then(Value::as_str) {
        Some(name) => &all["components"]["schemas"][name.rsplit('/').next().unwrap()],
        None => schema,
    }
}

fn allows_null(schema: &Value) -> bool {
    let null = |one: &Value| one == "null" || one["type"] == "null";
    schema["type"].as_array().is_some_and(|any| any.iter().any(null))
        || schema["oneOf"].as_array().is_some_and(|any| any.iter().any(null))
}

/// The tables that make up one object.
fn tables<'a>(schema: &'a Value, all: &'a Value, parts: &mut Vec<&'a Value>) {
    let schema = resolve(schema, all);
    parts.push(schema);
    for list in ["allOf", "oneOf"] {
        for one in schema[list].as_array().into_iter().flatten() {
            tables(one, all, parts);
        }
    }
}

#[tokio::test]
async fn every_path_of_the_description_is_served_and_answers_as_described() {
    let (world, shown) = world().await;
    let api: Value = serde_json::from_str(openapi::openapi_json()).unwrap();
    for (method, path, _) in KNOWN {
        let described = &api["paths"][path][method.to_ascii_lowercase()];
        assert!(described.is_object(), "{method} {path} is not described");
    }
    let mut asked = Vec::new();
    for (path, methods) in api["paths"].as_object().unwrap() {
        for (method, described) in methods.as_object().unwrap() {
            asked.push((method == "delete" || path.ends_with("/retry"), method, path, described));
        }
    }
    assert!(asked.len() >= 18, "{}", asked.len());
    // What takes the entry away comes last, the deletion before the return of all.
    asked.sort_by_key(|(last, method, ..)| (*last, *method == "post"));
    for (_, method, path, described) in asked {
        let real = path.replace("{tenant}", "beta").replace("{dataset}", "db").replace("{name}", &shown);
        let request = world.ask(method.to_uppercase().parse::<Method>().unwrap(), &real);
        let response = request.bearer_auth("admin-secret").send().await.unwrap();
        let status = response.status().as_u16().to_string();
        assert!(status.starts_with('2') || status.starts_with('3'), "{method} {real}: {status}");
        let answer = &described["responses"][&status];
        assert!(
            answer.is_object(),
            "{method} {path} answers {status}, described: {}",
            described["responses"]
        );
        let schema = &answer["content"]["application/json"]["schema"];
        if schema.is_object() {
            let body: Value = serde_json::from_slice(&response.bytes().await.unwrap()).unwrap();
            assert_eq!(wrong(&body, schema, &api, ""), [""; 0], "{method} {path}: {body}");
        }
    }
}
