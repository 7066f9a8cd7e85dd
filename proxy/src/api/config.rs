//! The configuration as it runs, and reading it again.
//!
//! No secret can get into the view: it is built member by member from the typed configuration, and the only function
//! that sees a [`Secret`] never looks at its value.

use std::{path::Path, sync::Arc};

use axum::{Json, extract::State};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Map, Value, json};
use utoipa::ToSchema;

use super::{ApiState, Running};
use crate::config::{
    Batching, Config, DataFormat, ExporterId, FlowOutput, FlowSource, HttpSource, Input, KeepRaw, MacFormat,
    Mode, Oversize, Secret, Server, ServerTls, SflowSource, Source, Spooling, SyslogMode, SyslogSource,
    TcpSource, UdpSource,
};

/// What stands for a secret.
pub const MASK: &str = "********";

/// The configuration that runs, defaults filled in, secrets left out.
#[utoipa::path(get, path = "/api/v1/config", tag = "configuration", responses((status = 200, body = Object)))]
pub async fn config(State(state): State<Arc<ApiState>>) -> Json<Value> {
    Json(view(&state.running.load().config, state.version))
}

/// Outcome of a reload.
#[derive(Debug, Serialize, ToSchema)]
pub struct Reloaded {
    success: bool,
    /// What happened, or why nothing did.
    message: String,
    /// Inputs of the configuration that runs now.
    plugins_loaded: usize,
    #[schema(value_type = String)]
    timestamp: Timestamp,
}

/// Reads the configuration again and applies the difference.
#[utoipa::path(post, path = "/api/v1/config/reload", tag = "configuration", responses((status = 200, body = Reloaded)))]
pub async fn reload(State(state): State<Arc<ApiState>>) -> Json<Reloaded> {
    // A task of its own, so that a client that goes away does not leave half a reload.
    let outcome = tokio::spawn((state.reload)()).await.unwrap_or_else(|error| Err(error.to_string()));
    let (success, message, plugins_loaded) = match outcome {
        Ok(inputs) => (true, applied(&state.running.load()), inputs),
        Err(problem) => (false, problem, state.running.load().config.inputs.len()),
    };
    Json(Reloaded { success, message, plugins_loaded, timestamp: Timestamp::now() })
}

fn applied(running: &Running) -> String {
    if running.left_out.is_empty() {
        return "Configuration reloaded".to_owned();
    }
    format!("Configuration reloaded, but not all of it runs:\n{}", running.left_out.join("\n"))
}

/// The URL without the part before `@`.
pub fn without_credentials(url: &str) -> String {
    match url.split_once("://") {
        Some((scheme, rest)) => {
            let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
            let (authority, path) = rest.split_at(end);
            let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
            format!("{scheme}://{host}{path}")
        }
        None => url.to_owned(),
    }
}

fn view(config: &Config, version: &str) -> Value {
    let mut view = json!({
        "app": {"name": config.app_name, "version": version},
        "server": server(&config.server),
        "plugins": {
            "total_plugins": config.inputs.len(),
            "plugin_details": (!config.inputs.is_empty()).then(|| config.inputs.iter().map(input).collect::<Vec<_>>()),
        },
        "receiver": {
            "base_url": without_credentials(&config.receiver.base_url),
            "timeout_seconds": config.receiver.timeout.as_secs(),
            "upload_worker_count": config.receiver.upload_worker_count,
            "max_idle_conns": config.receiver.max_idle_conns,
            "max_payload_size": config.receiver.max_payload_size,
            "ca_file": config.receiver.ca_file,
        },
        "config_mode": match config.mode {
            Mode::LocalOnly => "local-only",
        },
        "logging": {"level": config.logging.level, "encoding": if config.logging.json { "json" } else { "console" }},
        "batching": batching(&config.batching),
        "spooling": spooling(&config.spooling),
        "limits": {
            "memory_bytes": config.limits.memory_bytes,
            "max_senders": config.limits.max_senders,
            "receive_threads": config.limits.receive_threads,
        },
        "tenants": config.tokens.tenants.iter().map(|(tenant, token)| {
            (tenant.to_string(), Value::Object(secret("bearer_token", Some(token))))
        }).collect::<Map<_, _>>(),
    });
    if let Some(members) = view.as_object_mut() {
        members.extend(absent(&config.app_name));
        members.extend(secret("bearer_token", config.tokens.global.as_ref()));
        members.extend(config.account_id.clone().map(|id| ("account_id".to_owned(), json!(id))));
        members.extend(config.tenant_id.clone().map(|id| ("tenant_id".to_owned(), json!(id))));
    }
    view
}

/// Parts of the former program that clients of this answer read and this version does not have: none of them is on.
fn absent(app_name: &str) -> Map<String, Value> {
    let parts = json!({
        "config_polling": {
            "enabled": false, "interval_seconds": 0, "timeout_seconds": 0, "cache_directory": "", "retry_on_error": false,
        },
        "soc": {"enabled": false, "endpoint": "", "timeout": 0},
        "otel": {"enabled": false, "endpoint": "", "service_name": app_name, "scrape_interval_seconds": 0},
        "dev": false,
    });
    parts.as_object().cloned().unwrap_or_default()
}

/// `name: "********"` or `name_file: path`; nothing when there is none.
fn secret(name: &str, secret: Option<&Secret>) -> Map<String, Value> {
    secret
        .map(|secret| match secret {
            Secret::Inline(_) => (name.to_owned(), json!(MASK)),
            Secret::File(path) => (format!("{name}_file"), json!(path)),
        })
        .into_iter()
        .collect()
}

fn merged(mut value: Value, more: impl IntoIterator<Item = Map<String, Value>>) -> Value {
    if let Some(members) = value.as_object_mut() {
        members.extend(more.into_iter().flatten());
    }
    value
}

fn server(server: &Server) -> Value {
    let value = json!({
        "api_host": server.api_host,
        "api_port": server.api_port,
        "health_port": server.health_port,
        "tls": tls(server.tls.as_ref()),
        "shutdown_delay_seconds": server.shutdown_delay.as_secs(),
        "shutdown_grace_seconds": server.shutdown_grace.as_secs(),
    });
    merged(
        value,
        [
            secret("read_token", server.read_token.as_ref()),
            secret("admin_token", server.admin_token.as_ref()),
        ],
    )
}

fn tls(tls: Option<&ServerTls>) -> Value {
    tls.map_or(Value::Null, |tls| {
        let path = |path: &Path| path.display().to_string();
        json!({
            "cert_file": path(&tls.cert_file),
            "key_file": path(&tls.key_file),
            "client_ca_file": tls.client_ca_file.as_deref().map(path),
            "client_cert_required": tls.client_cert_required,
        })
    })
}

fn batching(batching: &Batching) -> Value {
    json!({
        "max_lines": batching.max_lines,
        "max_bytes": batching.max_bytes,
        "timeout_seconds": batching.timeout.as_secs_f64(),
        "compression_enabled": batching.compression_enabled,
        "compression_level": batching.compression_level,
        "compression_adaptive": batching.compression_adaptive,
    })
}

fn spooling(spooling: &Spooling) -> Value {
    json!({
        "enabled": spooling.enabled,
        "directory": spooling.directory,
        "max_size_bytes": spooling.max_size_bytes,
        "dlq_max_size_bytes": spooling.dlq_max_size_bytes.unwrap_or(0),
        "retry_attempts": spooling.retry_attempts,
        "retry_interval_seconds": spooling.retry_interval.as_secs(),
        "cleanup_interval_seconds": spooling.cleanup_interval.as_secs(),
        "max_age_days": spooling.max_age.map_or(0, |age| age.as_secs() / 86_400),
        "sync_interval_ms": spooling.sync_interval.as_millis() as u64,
        "dlq_auto_retry": spooling.dlq_auto_retry,
    })
}

fn input(input: &Input) -> Value {
    let common = json!({
        "tenant_id": input.key.tenant,
        "dataset_id": input.key.dataset,
        "host": input.listen.host,
        "port": input.listen.port,
        "paused": input.paused,
        "data_hint": input.hint,
        "data_format": match input.format {
            DataFormat::Auto => "auto",
            DataFormat::Ndjson => "ndjson",
            DataFormat::Text => "text",
        },
        "source_field": input.source_field,
        "allowed_sources": input.allowed_sources,
        "proxy_protocol": input.proxy_protocol_from.is_some(),
        "proxy_protocol_from": input.proxy_protocol_from,
        "batching": batching(&input.batching),
    });
    let own = match &input.source {
        Source::Udp(source) | Source::Ebpf(source) => udp(source),
        Source::Tcp(source) => tcp(source),
        Source::Syslog(source) => syslog(source),
        Source::Http(source) => http(source),
        Source::Netflow(source) => flows(source),
        Source::Ipfix(source) => ipfix(source),
        Source::Sflow(source) => sflow(source),
    };
    let own = own.as_object().cloned();
    json!({"name": input.name, "type": input.source.kind(), "config": merged(common, own)})
}

fn udp(source: &UdpSource) -> Value {
    json!({"read_buffer_size": source.read_buffer_size})
}

fn tcp(source: &TcpSource) -> Value {
    json!({
        "max_connections": source.max_connections,
        "max_connections_per_source": source.max_connections_per_source,
        "read_timeout": source.read_timeout.map_or(0, |timeout| timeout.as_secs()),
        "max_line_size": source.max_line_size,
        "oversize": match source.oversize {
            Oversize::Cut => "cut",
            Oversize::Drop => "drop",
            Oversize::Close => "close",
        },
        "delimiter": char::from(source.delimiter).to_string(),
        "tls": tls(source.tls.as_ref()),
    })
}

fn protocols(udp: Option<&UdpSource>, tcp: Option<&TcpSource>) -> Value {
    json!(udp.map(|_| "udp").into_iter().chain(tcp.map(|_| "tcp")).collect::<Vec<_>>())
}

fn output(output: FlowOutput) -> &'static str {
    match output {
        FlowOutput::Fields => "fields",
        FlowOutput::Legacy => "legacy",
    }
}

fn mac_format(format: MacFormat) -> &'static str {
    match format {
        MacFormat::Number => "number",
        MacFormat::Text => "text",
    }
}

fn flows(source: &FlowSource) -> Value {
    json!({
        "read_buffer_size": source.udp.as_ref().map(|udp| udp.read_buffer_size),
        "output": output(source.output),
        "mac_format": mac_format(source.mac_format),
        "options_records": source.options_records,
        "exporter_id": match source.exporter_id {
            ExporterId::Address => "address",
            ExporterId::AddressPort => "address_port",
        },
        "max_exporters": source.max_exporters,
        "max_template_fields": source.max_template_fields,
        "max_waiting_bytes": source.max_waiting_bytes,
        "max_waiting_file_bytes": source.max_waiting_file_bytes,
    })
}

fn ipfix(source: &FlowSource) -> Value {
    let protocols = json!({"protocol": protocols(source.udp.as_ref(), source.tcp.as_ref())});
    let stream = source.tcp.as_ref().map(|tcp| {
        json!({
            "max_connections": tcp.max_connections,
            "max_connections_per_source": tcp.max_connections_per_source,
            "read_timeout": tcp.read_timeout.map_or(0, |timeout| timeout.as_secs()),
            "tls": tls(tcp.tls.as_ref()),
        })
    });
    let more = [Some(protocols), stream].into_iter().flatten().filter_map(|part| part.as_object().cloned());
    merged(flows(source), more)
}

fn sflow(source: &SflowSource) -> Value {
    json!({
        "read_buffer_size": source.udp.read_buffer_size,
        "output": output(source.output),
        "mac_format": mac_format(source.mac_format),
        "counters": source.counters,
        "drops": source.drops,
        "inner": source.inner,
    })
}

fn syslog(source: &SyslogSource) -> Value {
    let own = json!({
        "protocol": protocols(source.udp.as_ref(), source.tcp.as_ref()),
        "read_buffer_size": source.udp.as_ref().map(|udp| udp.read_buffer_size),
        "syslog_mode": match source.mode {
            SyslogMode::Auto => "auto",
            SyslogMode::Rfc3164 => "rfc3164",
            SyslogMode::Rfc5424 => "rfc5424",
        },
        "raw": match source.raw {
            KeepRaw::Drop => "drop",
            KeepRaw::Keep => "keep",
            KeepRaw::OnFailure => "on_failure",
        },
        "timezone": source.timezone,
        "timezones": source.timezones.iter().map(|(net, zone)| (net.to_string(), json!(zone))).collect::<Map<_, _>>(),
    });
    merged(own, source.tcp.as_ref().and_then(|source| tcp(source).as_object().cloned()))
}

fn http(source: &HttpSource) -> Value {
    let own = json!({
        "path": source.path,
        "max_payload_size": source.max_payload_size,
        "max_lines_per_request": source.max_lines_per_request,
        "max_compression_ratio": source.max_compression_ratio,
        "max_connections": source.max_connections,
        "max_connections_per_source": source.max_connections_per_source,
        "read_timeout": source.read_timeout.as_secs(),
        "write_timeout": source.write_timeout.as_secs(),
        "idle_timeout": source.idle_timeout.as_secs(),
        "tls": tls(source.tls.as_ref()),
    });
    let auth = secret("token", source.auth.as_ref());
    merged(own, (!auth.is_empty()).then(|| Map::from_iter([("auth".to_owned(), Value::Object(auth))])))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_in_a_url_are_left_out() {
        for (url, expected) in [
            ("https://user:pass@receiver.example/x@y", "https://receiver.example/x@y"),
            ("http://a@b@receiver.example:8080", "http://receiver.example:8080"),
            ("http://receiver.example/a", "http://receiver.example/a"),
            ("receiver", "receiver"),
        ] {
            assert_eq!(without_credentials(url), expected);
        }
    }
}
