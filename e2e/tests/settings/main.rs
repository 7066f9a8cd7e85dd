//! Every setting of the process by an effect seen from outside.
//! [`every_key_of_the_reference_has_a_test`] holds the table to the generated reference.
#![allow(clippy::unwrap_used, clippy::panic)]

#[path = "../common/mod.rs"]
mod common;
mod delivery;
mod inputs;
mod process;
mod spool;

use std::{
    collections::BTreeSet,
    fs,
    net::UdpSocket,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use common::{LIMIT, all_delivered, certificate, events, input, input_status, plan, udp_inodes};
use e2e::{
    free_port,
    http::Client,
    load::{self, Progress, Shape},
    peers,
    process::{Proxy, merge},
    receiver::{Fault, Receiver, Scope, Settings},
    sequence::Sent,
    until,
};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

/// Key of the reference, test that shows its effect (in `e2e/tests` or in the proxy's own tests).
const TABLE: &[(&str, &str)] = &[
    ("config_mode", "modes_that_are_not_in_this_version_say_so"),
    ("account_id", "modes_that_are_not_in_this_version_say_so"),
    ("control_url", "modes_that_are_not_in_this_version_say_so"),
    ("tenant_id", "tenant_and_dataset_have_defaults"),
    ("bearer_token", "tokens_go_out_by_tenant"),
    ("bearer_token_file", "tokens_go_out_by_tenant"),
    ("app.name", "app_name_is_in_the_user_agent"),
    ("logging.level", "logging_level_and_encoding"),
    ("logging.encoding", "logging_level_and_encoding"),
    ("server.api_host", "w26_without_a_token_the_api_answers_loopback_only_and_with_one_it_asks_for_it"),
    ("server.api_port", "health_port_serves_health_alone"),
    ("server.health_port", "health_port_serves_health_alone"),
    ("server.read_token", "api_tokens_may_stand_in_the_file"),
    (
        "server.read_token_file",
        "w26_without_a_token_the_api_answers_loopback_only_and_with_one_it_asks_for_it",
    ),
    ("server.admin_token", "api_tokens_may_stand_in_the_file"),
    (
        "server.admin_token_file",
        "w26_without_a_token_the_api_answers_loopback_only_and_with_one_it_asks_for_it",
    ),
    ("server.tls.cert_file", "api_over_tls_with_client_certificates"),
    ("server.tls.key_file", "api_over_tls_with_client_certificates"),
    ("server.tls.client_ca_file", "api_over_tls_with_client_certificates"),
    ("server.tls.client_cert_required", "api_over_tls_with_client_certificates"),
    ("server.shutdown_delay_seconds", "shutdown_delay_keeps_everything_as_it_is"),
    ("server.shutdown_grace_seconds", "w23_a_second_signal_ends_at_once_and_the_next_start_delivers"),
    ("tenants.<id>.bearer_token", "tokens_go_out_by_tenant"),
    ("tenants.<id>.bearer_token_file", "tokens_go_out_by_tenant"),
    ("receiver.base_url", "tenant_and_dataset_have_defaults"),
    ("receiver.timeout_seconds", "receiver_timeout_ends_an_upload"),
    ("receiver.upload_worker_count", "receiver_workers_and_idle_connections"),
    ("receiver.max_idle_conns", "receiver_workers_and_idle_connections"),
    ("receiver.ca_file", "tls_needs_a_known_authority_and_ca_file_makes_one_known"),
    ("receiver.max_payload_size", "w22_no_body_is_larger_than_the_receiver_takes"),
    ("batching.max_lines", "batches_are_cut_by_lines_bytes_and_age"),
    ("batching.max_bytes", "batches_are_cut_by_lines_bytes_and_age"),
    ("batching.timeout_seconds", "batches_are_cut_by_lines_bytes_and_age"),
    ("batching.compression_enabled", "compression_off_low_and_high"),
    ("batching.compression_level", "compression_off_low_and_high"),
    ("batching.compression_adaptive", "settings_of_a_stream_decide_where_it_starts_and_whether_it_falls"),
    ("spooling.enabled", "spooling_off_is_memory_only"),
    ("spooling.directory", "spooling_off_is_memory_only"),
    ("spooling.max_size_bytes", "w17_a_full_spool_answers_503_and_recovers"),
    ("spooling.dlq_max_size_bytes", "dlq_limit_evicts_and_zero_is_no_limit"),
    ("spooling.retry_attempts", "attempts_and_their_distance"),
    ("spooling.retry_interval_seconds", "attempts_and_their_distance"),
    ("spooling.cleanup_interval_seconds", "max_age_moves_old_batches_at_the_next_cleanup"),
    ("spooling.max_age_days", "max_age_moves_old_batches_at_the_next_cleanup"),
    ("spooling.sync_interval_ms", "sync_interval_sets_how_often_the_log_is_synced"),
    ("spooling.dlq_auto_retry", "w8_dlq_entries_return_by_themselves_unless_told_not_to"),
    ("limits.memory_bytes", "spooling_off_is_memory_only"),
    ("limits.max_senders", "limits_of_senders_and_threads"),
    ("limits.receive_threads", "limits_of_senders_and_threads"),
    ("name", "tenant_and_dataset_have_defaults"),
    ("enabled", "enabled_and_paused"),
    ("paused", "enabled_and_paused"),
    ("config.tenant_id", "w9_two_datasets_of_one_name_in_two_tenants_and_two_reloads"),
    ("config.dataset_id", "tenant_and_dataset_have_defaults"),
    ("config.bearer_token", "old_webhook_authentication_still_works"),
    ("config.host", "host_chooses_the_address_family"),
    ("config.port", "tenant_and_dataset_have_defaults"),
    ("config.allowed_sources", "two_datasets_on_one_port_are_told_apart_by_source_and_others_are_counted"),
    ("config.batching.max_lines", "batching_of_one_input_beats_the_global_one"),
    ("config.batching.max_bytes", "batching_of_one_input_beats_the_global_one"),
    ("config.batching.timeout_seconds", "batching_of_one_input_beats_the_global_one"),
    ("config.batching.compression_enabled", "batching_of_one_input_beats_the_global_one"),
    ("config.batching.compression_level", "batching_of_one_input_beats_the_global_one"),
    (
        "config.batching.compression_adaptive",
        "settings_of_a_stream_decide_where_it_starts_and_whether_it_falls",
    ),
    ("config.data_hint", "hint_format_and_source_field"),
    ("config.data_format", "hint_format_and_source_field"),
    ("config.source_field", "hint_format_and_source_field"),
    ("config.read_buffer_size", "read_buffer_size_is_asked_for_and_reported"),
    ("config.proxy_protocol", "proxy_protocol_tells_the_sender"),
    ("config.proxy_protocol_from", "proxy_protocol_tells_the_sender"),
    ("config.tls.cert_file", "rsyslog_syslog_ng_and_curl_over_tls"),
    ("config.tls.key_file", "rsyslog_syslog_ng_and_curl_over_tls"),
    ("config.tls.client_ca_file", "client_certificates_of_inputs"),
    ("config.tls.client_cert_required", "client_certificates_of_inputs"),
    ("config.max_connections", "connection_limits_of_tcp"),
    ("config.max_connections_per_source", "one_source_does_not_keep_others_out"),
    ("config.read_timeout", "connection_limits_of_tcp"),
    ("config.write_timeout", "a_client_that_does_not_read_is_left"),
    ("config.max_line_size", "long_lines_are_cut_dropped_or_end_the_connection"),
    ("config.oversize", "long_lines_are_cut_dropped_or_end_the_connection"),
    ("config.delimiter", "long_lines_are_cut_dropped_or_end_the_connection"),
    ("config.protocol", "protocol_opens_udp_tcp_or_both"),
    ("config.syslog_mode", "syslog_mode_raw_and_time_zones"),
    ("config.raw", "syslog_mode_raw_and_time_zones"),
    ("config.timezone", "syslog_mode_raw_and_time_zones"),
    ("config.timezones[].source", "syslog_mode_raw_and_time_zones"),
    ("config.timezones[].timezone", "syslog_mode_raw_and_time_zones"),
    ("config.path", "path_and_body_limits_of_http"),
    ("config.auth.token", "old_webhook_authentication_still_works"),
    ("config.auth.token_file", "curl_with_every_way_to_send_a_body"),
    ("config.enable_authentication", "old_webhook_authentication_still_works"),
    ("config.max_payload_size", "path_and_body_limits_of_http"),
    ("config.max_lines_per_request", "path_and_body_limits_of_http"),
    ("config.max_compression_ratio", "compressed_bombs_are_refused_by_ratio_and_by_size"),
    ("config.idle_timeout", "slow_loris_and_idle_connections_do_not_keep_others_out"),
];

#[test]
fn every_key_of_the_reference_has_a_test() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let reference = fs::read_to_string(root.join("docs/reference/config.md")).unwrap();
    let mut keys = BTreeSet::new();
    let mut section = String::new();
    for line in reference.lines() {
        if line.starts_with("## Keys of the former program") {
            break;
        }
        if let Some(title) = line.strip_prefix("## ") {
            let name = title.trim_matches('`');
            section =
                if title.starts_with('`') && name != "inputs" { format!("{name}.") } else { String::new() };
        }
        if let Some(key) = line.strip_prefix("| `").and_then(|rest| rest.split('`').next()) {
            keys.insert(format!("{section}{key}"));
        }
    }
    assert!(keys.len() > 80, "{keys:?}");
    let mut sources = String::new();
    for folder in [root.join("e2e/tests"), root.join("proxy/src"), root.join("proxy/tests")] {
        read_all(&folder, &mut sources);
    }
    let covered: BTreeSet<String> = TABLE.iter().map(|(key, _)| (*key).to_owned()).collect();
    assert_eq!(keys.difference(&covered).collect::<Vec<_>>(), Vec::<&String>::new(), "keys without a test");
    assert_eq!(covered.difference(&keys).collect::<Vec<_>>(), Vec::<&String>::new(), "keys that are gone");
    for (key, test) in TABLE {
        assert!(sources.contains(&format!("fn {test}(")), "{key}: there is no test {test}");
    }
}

fn read_all(folder: &Path, text: &mut String) {
    for entry in fs::read_dir(folder).unwrap().filter_map(Result::ok) {
        let path = entry.path();
        if path.is_dir() {
            read_all(&path, text);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            text.push_str(&fs::read_to_string(path).unwrap());
        }
    }
}

struct World {
    receiver: Receiver,
    proxy: Proxy,
    port: u16,
}

/// One HTTP input called `hooks` and `config` over that.
fn world(config: &Value) -> World {
    let receiver = Receiver::start(Settings::default()).unwrap();
    let port = free_port().unwrap();
    let mut all = json!({"inputs": [input("http", "hooks", port, &json!({"data_hint": "ndjson"}))]});
    merge(&mut all, config);
    let proxy = Proxy::start(&receiver.url(), &all).unwrap();
    World { receiver, proxy, port }
}

impl World {
    fn send(&self, count: u64) -> Sent {
        let plan = plan(self.port, Shape::Json, 1, count, 0);
        let sent = load::http(&plan, "/webhook", 50, &Progress::default()).unwrap();
        assert_eq!(sent.promised(), count, "{}", self.proxy.log_text());
        sent
    }

    fn event(&self, name: &str) -> u64 {
        events(&self.proxy)[name].as_u64().unwrap()
    }

    fn wait_event(&self, name: &str, count: u64) {
        until(LIMIT, &format!("{count} events in {name}"), || (self.event(name) >= count).then_some(()))
            .unwrap_or_else(|error| panic!("{error}: {}\n{}", events(&self.proxy), self.proxy.log_text()));
    }
}

/// A body that does not compress.
fn noise(bytes: usize) -> Vec<u8> {
    let mut random = 0x2545_f491_4f6c_dd1du64;
    let mut body = Vec::with_capacity(bytes + 100);
    while body.len() < bytes {
        for _ in 0..60 {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            body.extend_from_slice(format!("{random:016x}").as_bytes());
        }
        body.push(b'\n');
    }
    body
}

fn lines_of(body: &[u8]) -> u64 {
    body.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).count() as u64
}
