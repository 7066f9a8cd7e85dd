//! What a value means, and which one holds when none is written.

use super::*;

#[test]
fn every_default_is_that_of_the_former_program() {
    let config = good(load(&inputs(
        "  - {type: udp, name: a, config: {port: 1}}\n  - {type: tcp, name: b, config: {port: 1}}\n  - {type: syslog, name: c, config: {port: 2}}\n  - {type: http, name: d, config: {port: 3}}\n",
    )));
    let spool = &config.spooling;
    assert!(spool.enabled && spool.dlq_auto_retry, "W-40, H-18: data is kept unless somebody says otherwise");
    assert_eq!(spool.directory, PathBuf::from("/var/spool/bytefreezer-proxy"));
    assert_eq!((spool.max_size_bytes, spool.dlq_max_size_bytes), (1 << 30, Some(10 << 30)));
    assert_eq!((spool.retry_attempts, spool.retry_interval), (5, Duration::from_mins(1)));
    assert_eq!((spool.cleanup_interval, spool.max_age), (Duration::from_mins(5), None));
    assert_eq!(spool.sync_interval, Duration::from_millis(200));
    let batching = &config.batching;
    assert_eq!(
        (batching.max_lines, batching.max_bytes, batching.timeout),
        (0, 1 << 20, Duration::from_secs(30))
    );
    assert!(batching.compression_enabled && batching.compression_adaptive && batching.compression_level == 6);
    let receiver = &config.receiver;
    assert_eq!(
        (receiver.timeout, receiver.upload_worker_count, receiver.max_idle_conns),
        (Duration::from_secs(30), 5, 10)
    );
    assert_eq!(receiver.max_payload_size, 10 << 20);
    assert_eq!((config.server.api_port, config.server.health_port), (8008, None));
    assert_eq!(config.server.api_host.to_string(), "0.0.0.0");
    assert_eq!(
        (config.server.shutdown_delay, config.server.shutdown_grace),
        (Duration::ZERO, Duration::from_secs(10))
    );
    assert_eq!((config.limits.memory_bytes, config.limits.max_senders), (64 << 20, 10_000));
    assert!((1..=8).contains(&config.limits.receive_threads));
    assert!(config.logging.json && config.logging.level == "info");
    assert_eq!(config.app_name, "bytefreezer-proxy");
    let [udp, tcp, syslog, http] = &config.inputs[..] else { panic!("{:?}", config.inputs) };
    assert_eq!((udp.hint.as_str(), udp.format, &udp.source_field), ("raw", DataFormat::Auto, &None));
    assert_eq!((udp.listen.host.to_string().as_str(), udp.listen.port), ("0.0.0.0", 1));
    assert!(matches!(&udp.source, Source::Udp(udp) if udp.read_buffer_size == 8 << 20));
    let Source::Tcp(tcp) = &tcp.source else { panic!() };
    assert_eq!(
        (tcp.max_connections, tcp.read_timeout, tcp.max_line_size),
        (1000, Some(Duration::from_mins(5)), 1 << 20)
    );
    assert_eq!((tcp.oversize, tcp.delimiter, &tcp.tls), (Oversize::Cut, b'\n', &None));
    assert_eq!(syslog.hint.as_str(), "ndjson");
    let Source::Syslog(syslog) = &syslog.source else { panic!() };
    assert!(
        syslog.udp.is_some()
            && syslog.tcp.is_none()
            && syslog.raw == KeepRaw::Drop
            && syslog.timezone == "UTC"
    );
    let Source::Http(http) = &http.source else { panic!() };
    assert_eq!(
        (http.path.as_str(), http.max_payload_size, http.max_lines_per_request),
        ("/webhook", 1 << 20, 1000)
    );
    assert_eq!(
        (http.read_timeout.as_secs(), http.write_timeout.as_secs(), http.idle_timeout.as_secs()),
        (30, 30, 120)
    );
    assert_eq!((http.max_compression_ratio, http.max_connections, &http.auth), (100, 1000, &None));
}

#[test]
fn h22_an_explicit_zero_or_false_is_what_it_says() {
    let config = good(load(&format!(
        "{HEAD}spooling: {{dlq_max_size_bytes: 0, retry_attempts: 0}}\nbatching: {{compression_enabled: false}}\nserver: {{api_port: 0}}\ninputs:\n  - {{type: tcp, name: a, config: {{port: 1, read_timeout: 0}}}}\n"
    )));
    assert_eq!(config.spooling.dlq_max_size_bytes, None);
    assert_eq!(config.spooling.retry_attempts, 0);
    assert!(!config.batching.compression_enabled);
    assert_eq!(config.server.api_port, 0);
    assert!(matches!(&config.inputs[0].source, Source::Tcp(tcp) if tcp.read_timeout.is_none()));
    let old = load(&format!("{HEAD}spooling: {{dlq_max_size_bytes: -1}}\n"));
    assert_eq!(problem(&old, "spooling.dlq_max_size_bytes").severity, Severity::Warning);
    assert_eq!(good(old).spooling.dlq_max_size_bytes, None);
}

#[test]
fn h18_a_spool_switched_off_is_said_aloud() {
    let loaded = load(&format!("{HEAD}spooling: {{enabled: false}}\n"));
    assert_eq!(problem(&loaded, "spooling.enabled").severity, Severity::Warning);
    assert!(!good(loaded).spooling.enabled);
}

#[test]
fn h17_batching_settings_reach_each_input_and_may_differ() {
    let text = format!(
        "{HEAD}batching: {{max_lines: 10000, timeout_seconds: 5, compression_level: 3}}\ninputs:\n  - {{type: udp, name: a, config: {{port: 1, batching: {{max_lines: 7}}}}}}\n  - {{type: udp, name: b, config: {{port: 2}}}}\n"
    );
    let config = good(load(&text));
    let batching = |index: usize| {
        let batching = &config.inputs[index].batching;
        (batching.max_lines, batching.timeout.as_secs(), batching.compression_level)
    };
    assert_eq!(batching(0), (7, 5, 3));
    assert_eq!(batching(1), (10_000, 5, 3));
}

#[test]
fn values_are_taken_weakly_and_keys_in_any_case() {
    let text = "Config_Mode: LOCAL_ONLY\nTENANT_ID: 42\nreceiver: {Base_URL: \"http://r/\"}\nserver: {api_port: \"8009\"}\nspooling: {enabled: \"true\", max_age_days: 2.0}\ninputs:\n  - TYPE: Syslog\n    name: 007\n    config: {PORT: \"514\", protocol: \"udp, TCP\", allowed_sources: \"10.0.0.1,192.0.2.0/24\"}\n";
    let loaded = load(text);
    for key in ["server.api_port", "spooling.enabled", "inputs[0].config.port"] {
        assert_eq!(problem(&loaded, key).severity, Severity::Warning);
    }
    let config = good(loaded);
    assert_eq!(config.server.api_port, 8009);
    assert_eq!(config.receiver.base_url, "http://r");
    assert_eq!(config.spooling.max_age, Some(Duration::from_hours(48)));
    let input = &config.inputs[0];
    assert_eq!(input.key.to_string(), "42/007");
    assert_eq!(input.allowed_sources, ["10.0.0.1/32".parse().unwrap(), "192.0.2.0/24".parse().unwrap()]);
    assert!(matches!(&input.source, Source::Syslog(syslog) if syslog.udp.is_some() && syslog.tcp.is_some()));
}

#[test]
fn sizes_and_times_with_units_are_answered_with_the_number() {
    let loaded =
        load(&format!("{HEAD}spooling: {{max_size_bytes: 20Gi}}\nbatching: {{timeout_seconds: 5m}}\n"));
    assert_eq!(problem(&loaded, "spooling.max_size_bytes").remedy, "write 21474836480");
    assert_eq!(problem(&loaded, "batching.timeout_seconds").remedy, "write 300");
}

#[test]
fn zones_are_sorted_by_prefix_and_proxies_kept() {
    let config = good(load(&inputs(
        "  - {type: syslog, name: a, config: {port: 1, protocol: tcp, proxy_protocol: true, proxy_protocol_from: [10.0.0.1], timezones: [{source: 10.0.0.0/8, timezone: Europe/Berlin}, {source: 10.1.0.0/16, timezone: Asia/Tokyo}]}}\n",
    )));
    let Source::Syslog(syslog) = &config.inputs[0].source else { panic!() };
    assert_eq!(syslog.timezones[0].1, "Asia/Tokyo");
    assert_eq!(config.inputs[0].proxy_protocol_from.as_ref().unwrap().len(), 1);
}

#[test]
fn a_batch_never_exceeds_what_the_receiver_takes() {
    let loaded = load(
        "tenant_id: a\nreceiver: {base_url: 'http://r', max_payload_size: 2097152}\nbatching: {max_bytes: 10485760}\ninputs:\n  - {type: udp, name: x, config: {port: 1, batching: {max_bytes: 9999999}}}\n",
    );
    problem(&loaded, "batching.max_bytes");
    problem(&loaded, "inputs[0].config.batching.max_bytes");
    let config = good(loaded);
    assert_eq!((config.batching.max_bytes, config.inputs[0].batching.max_bytes), (2_097_152, 2_097_152));
}

#[test]
fn h51_secrets_come_from_files_and_are_never_shown() {
    let text = format!(
        "{HEAD}bearer_token: s3cret-one\nserver: {{admin_token: s3cret-two}}\ntenants: {{other: {{bearer_token_file: /run/token}}}}\ninputs:\n  - {{type: http, name: h, config: {{port: 1, auth: {{token: s3cret-three}}}}}}\n"
    );
    let loaded = load(&text);
    let shown = format!("{} {:?} {:?}", loaded.effective, loaded.problems, loaded.config);
    assert!(!shown.contains("s3cret"), "{shown}");
    assert!(shown.contains("/run/token"));
    let both = load(&format!("{HEAD}bearer_token: x\nbearer_token_file: /y\n"));
    assert_eq!(problem(&both, "bearer_token").severity, Severity::Error);
    let env = with_env(&format!("{HEAD}bearer_token_file: /y\n"), &[("BEARER_TOKEN", "z")]);
    assert_eq!(
        good(env).tokens.global,
        Some(Secret::Inline("z".to_owned())),
        "a variable beats the file's key"
    );
}

#[test]
fn h14_old_tokens_inside_inputs_find_their_place() {
    let loaded = load(&inputs(
        "  - {type: http, name: h, config: {port: 1, bearer_token: client, enable_authentication: true}}\n  - {type: udp, name: u, config: {port: 2, tenant_id: beta, bearer_token: upload}}\n",
    ));
    assert_eq!(problem(&loaded, "inputs[0].config.bearer_token").severity, Severity::Warning);
    assert_eq!(problem(&loaded, "inputs[1].config.bearer_token").severity, Severity::Warning);
    let config = good(loaded);
    assert!(
        matches!(&config.inputs[0].source, Source::Http(http) if http.auth == Some(Secret::Inline("client".into())))
    );
    assert_eq!(config.tokens.tenants.len(), 1, "the client token is no upload token");
    assert_eq!(config.tokens.tenants[&"beta".parse().unwrap()], Secret::Inline("upload".into()));
    for entry in [
        "{type: udp, name: u, enabled: false, config: {port: 2, tenant_id: beta, bearer_token: upload}}",
        "{type: syslog, name: u, config: {tenant_id: beta, bearer_token: upload}}",
        "{type: kafka, name: u, config: {tenant_id: beta, bearer_token: upload}}",
        "{type: udpp, name: u, config: {tenant_id: beta, bearer_token: upload}}",
        "{name: u, config: {tenant_id: beta, bearer_token: upload}}",
    ] {
        let loaded =
            load(&inputs(&format!("  - {{type: udp, name: other, config: {{port: 3}}}}\n  - {entry}\n")));
        let config = loaded.usable().unwrap().config;
        let token = config.tokens.tenants.get(&"beta".parse().unwrap());
        assert_eq!(token, Some(&Secret::Inline("upload".into())), "its batches may be in the spool: {entry}");
    }
    let open = load(&inputs("  - {type: http, name: h, config: {port: 1, enable_authentication: true}}\n"));
    assert_eq!(problem(&open, "inputs[0].config.enable_authentication").severity, Severity::Error);
}
