//! Which test shows the effect of which key, held to the generated reference: every key, and of an input's keys every
//! type that has it.
use std::{collections::BTreeSet, fs, path::Path};

/// Key of the reference, test that shows its effect (in `e2e/tests` or in the proxy's own tests).
const PROCESS: &[(&str, &str)] = &[
    ("schema_version", "what_a_newer_document_has_beyond_us_costs_the_input_that_has_it_alone"),
    ("config_mode", "modes_that_are_not_in_this_version_say_so"),
    ("account_id", "modes_that_are_not_in_this_version_say_so"),
    ("control_url", "modes_that_are_not_in_this_version_say_so"),
    ("tenant_id", "tenant_and_dataset_have_defaults"),
    ("bearer_token", "a_global_token_may_stand_in_the_file_or_the_environment"),
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
    ("server.shutdown_delay_seconds", "shutdown_delay_keeps_everything_and_readiness_goes_first"),
    ("server.shutdown_grace_seconds", "shutdown_grace_bounds_the_delivery_at_the_end"),
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
    ("batching.compression_adaptive", "the_compression_level_falls_while_memory_fills_unless_it_is_pinned"),
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
];

const ALL: &[&str] = &["udp", "tcp", "syslog", "http", "netflow", "ipfix", "sflow", "ebpf"];
const TEXT: &[&str] = &["udp", "tcp", "http"];
const STREAM: &[&str] = &["tcp", "syslog", "http", "ipfix"];
const LINES: &[&str] = &["tcp", "syslog"];
const DATAGRAM: &[&str] = &["udp", "syslog", "netflow", "ipfix", "sflow", "ebpf"];
const FLOW: &[&str] = &["netflow", "ipfix"];

/// Types of input, key, test that shows its effect for each of them.
const INPUTS: &[(&[&str], &str, &str)] = &[
    (ALL, "name", "name_tenant_dataset_host_and_sources_of_every_type"),
    (ALL, "enabled", "enabled_and_paused_of_every_type"),
    (ALL, "paused", "enabled_and_paused_of_every_type"),
    (ALL, "config.tenant_id", "name_tenant_dataset_host_and_sources_of_every_type"),
    (ALL, "config.dataset_id", "name_tenant_dataset_host_and_sources_of_every_type"),
    (ALL, "config.bearer_token", "an_old_token_of_an_input_is_its_tenants_upload_token"),
    (ALL, "config.host", "name_tenant_dataset_host_and_sources_of_every_type"),
    (ALL, "config.port", "name_tenant_dataset_host_and_sources_of_every_type"),
    (ALL, "config.allowed_sources", "name_tenant_dataset_host_and_sources_of_every_type"),
    (ALL, "config.batching.max_lines", "batching_of_every_type"),
    (ALL, "config.batching.max_bytes", "batching_of_every_type"),
    (ALL, "config.batching.timeout_seconds", "batching_of_every_type"),
    (ALL, "config.batching.compression_enabled", "batching_of_every_type"),
    (ALL, "config.batching.compression_level", "compression_level_of_every_type"),
    (
        ALL,
        "config.batching.compression_adaptive",
        "settings_of_a_stream_decide_where_it_starts_and_whether_it_falls",
    ),
    (TEXT, "config.data_hint", "hint_format_and_source_field_of_every_type"),
    (TEXT, "config.data_format", "hint_format_and_source_field_of_every_type"),
    (TEXT, "config.source_field", "hint_format_and_source_field_of_every_type"),
    (DATAGRAM, "config.read_buffer_size", "read_buffer_size_of_every_datagram_input"),
    (STREAM, "config.proxy_protocol", "proxy_protocol_of_every_stream"),
    (STREAM, "config.proxy_protocol_from", "proxy_protocol_of_every_stream"),
    (STREAM, "config.tls.cert_file", "tls_and_client_certificates_of_every_stream"),
    (STREAM, "config.tls.key_file", "tls_and_client_certificates_of_every_stream"),
    (STREAM, "config.tls.client_ca_file", "tls_and_client_certificates_of_every_stream"),
    (STREAM, "config.tls.client_cert_required", "tls_and_client_certificates_of_every_stream"),
    (STREAM, "config.max_connections", "connection_limits_of_every_stream"),
    (STREAM, "config.max_connections_per_source", "one_source_may_hold_so_many_connections_of_every_stream"),
    (STREAM, "config.read_timeout", "connection_limits_of_every_stream"),
    (LINES, "config.max_line_size", "long_lines_of_every_stream_of_lines"),
    (LINES, "config.oversize", "long_lines_of_every_stream_of_lines"),
    (&["tcp"], "config.delimiter", "long_lines_are_cut_dropped_or_end_the_connection"),
    (&["syslog"], "config.protocol", "protocol_opens_udp_tcp_or_both"),
    (&["syslog"], "config.syslog_mode", "syslog_mode_raw_and_time_zones"),
    (&["syslog"], "config.raw", "syslog_mode_raw_and_time_zones"),
    (&["syslog"], "config.timezone", "syslog_mode_raw_and_time_zones"),
    (&["syslog"], "config.timezones[].source", "syslog_mode_raw_and_time_zones"),
    (&["syslog"], "config.timezones[].timezone", "syslog_mode_raw_and_time_zones"),
    (&["http"], "config.path", "path_and_body_limits_of_http"),
    (&["http"], "config.auth.token", "old_webhook_authentication_still_works"),
    (&["http"], "config.auth.token_file", "curl_with_every_way_to_send_a_body"),
    (&["http"], "config.enable_authentication", "old_webhook_authentication_still_works"),
    (&["http"], "config.max_payload_size", "path_and_body_limits_of_http"),
    (&["http"], "config.max_lines_per_request", "path_and_body_limits_of_http"),
    (&["http"], "config.max_compression_ratio", "compressed_bombs_are_refused_by_ratio_and_by_size"),
    (&["http"], "config.write_timeout", "a_client_that_does_not_read_is_left"),
    (&["http"], "config.idle_timeout", "an_idle_connection_of_http_ends_in_its_time"),
    (FLOW, "config.output", "old_shapes_are_those_of_the_former_program"),
    (FLOW, "config.mac_format", "templates_outlive_reloads"),
    (FLOW, "config.options_records", "options_records_become_lines_when_asked_for"),
    (FLOW, "config.exporter_id", "exporters_behind_one_address_are_told_apart_by_their_ports"),
    (FLOW, "config.max_exporters", "exporters_and_templates_are_bounded"),
    (FLOW, "config.max_template_fields", "exporters_and_templates_are_bounded"),
    (FLOW, "config.max_waiting_bytes", "what_can_wait_nowhere_is_counted"),
    (
        FLOW,
        "config.max_waiting_file_bytes",
        "what_waits_goes_to_a_file_beyond_its_memory_and_outlives_a_restart",
    ),
    (&["ipfix"], "config.protocol", "messages_of_a_connection_in_any_pieces"),
    (&["sflow"], "config.output", "settings_of_sflow_decide_which_samples_are_lines_and_their_shape"),
    (&["sflow"], "config.mac_format", "samples_become_lines_and_agents_are_listed"),
    (&["sflow"], "config.counters", "settings_of_sflow_decide_which_samples_are_lines_and_their_shape"),
    (&["sflow"], "config.drops", "settings_of_sflow_decide_which_samples_are_lines_and_their_shape"),
    (&["sflow"], "config.inner", "settings_of_sflow_decide_which_samples_are_lines_and_their_shape"),
    (&["ebpf"], "config.source_field", "w20_events_are_lines_one_several_or_pretty_printed"),
];

/// Keys of the reference: `section.key`, and `type:key` for an input's.
fn keys(reference: &str) -> BTreeSet<String> {
    let mut keys = BTreeSet::new();
    let mut prefix = String::new();
    for line in reference.lines() {
        if line.starts_with("## Keys of the former program") {
            break;
        }
        if let Some(kind) = line.strip_prefix("### `type: ") {
            prefix = format!("{}:", kind.trim_end_matches('`'));
        } else if let Some(title) = line.strip_prefix("## ") {
            prefix =
                if title.starts_with('`') { format!("{}.", title.trim_matches('`')) } else { String::new() };
        }
        if let Some(key) = line.strip_prefix("| `").and_then(|rest| rest.split('`').next()) {
            keys.insert(format!("{prefix}{key}"));
        }
    }
    keys
}

#[test]
fn every_key_of_the_reference_has_a_test() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let keys = keys(&fs::read_to_string(root.join("docs/reference/config.md")).unwrap());
    assert!(keys.len() > 120, "{keys:?}");
    let mut sources = String::new();
    for folder in [root.join("e2e/tests"), root.join("proxy/src"), root.join("proxy/tests")] {
        read_all(&folder, &mut sources);
    }
    let of_inputs = INPUTS
        .iter()
        .flat_map(|(types, key, test)| types.iter().map(move |kind| (format!("{kind}:{key}"), *test)));
    let table: Vec<(String, &str)> =
        PROCESS.iter().map(|(key, test)| ((*key).to_owned(), *test)).chain(of_inputs).collect();
    let covered: BTreeSet<String> = table.iter().map(|(key, _)| key.clone()).collect();
    assert_eq!(keys.difference(&covered).collect::<Vec<_>>(), Vec::<&String>::new(), "keys without a test");
    assert_eq!(covered.difference(&keys).collect::<Vec<_>>(), Vec::<&String>::new(), "keys that are gone");
    for (key, test) in table {
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
