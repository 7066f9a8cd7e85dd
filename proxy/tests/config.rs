//! The configuration as its users meet it: what a file means, what is said about a wrong one, where, and how.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail by panicking, like the tests")]

use std::{path::PathBuf, time::Duration};

use bytefreezer_proxy::config::{
    self, Config, DataFormat, Difference, KeepRaw, Loaded, Oversize, Problem, Secret, Severity, Source,
};

const HEAD: &str = "config_mode: local-only\ntenant_id: acme\nreceiver: {base_url: \"http://r:8080\"}\n";

fn load(text: &str) -> Loaded {
    config::load("x.yaml", text, [])
}

fn with_env(text: &str, variables: &[(&str, &str)]) -> Loaded {
    let variables =
        variables.iter().map(|(name, value)| (format!("BYTEFREEZER_PROXY_{name}"), (*value).to_owned()));
    config::load("x.yaml", text, variables)
}

#[track_caller]
fn good(loaded: Loaded) -> Config {
    assert!(!loaded.has_errors(), "{:#?}", loaded.problems);
    loaded.config.unwrap()
}

/// Head and the given inputs.
fn inputs(text: &str) -> String {
    format!("{HEAD}inputs:\n{text}")
}

#[track_caller]
fn problem<'a>(loaded: &'a Loaded, key: &str) -> &'a Problem {
    loaded
        .problems
        .iter()
        .find(|problem| problem.key == key)
        .unwrap_or_else(|| panic!("nothing about {key}: {:#?}", loaded.problems))
}

fn file(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../examples").join(name)
}

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
fn the_shortest_file_runs_or_the_missing_key_is_named_with_the_line_to_add() {
    let inputs = "inputs: [{type: syslog, name: local-syslog, config: {port: 514, host: \"0.0.0.0\"}}]\n";
    let local = load(&format!("config_mode: local-only\ntenant_id: acme\n{inputs}"));
    let errors: Vec<_> = local.problems.iter().filter(|p| p.severity == Severity::Error).collect();
    assert_eq!(errors.len(), 1, "{errors:#?}");
    assert_eq!(errors[0].key, "receiver.base_url");
    assert!(errors[0].remedy.contains("add `receiver: {base_url:"), "{}", errors[0]);
    let whole = good(load(&format!("tenant_id: acme\nreceiver: {{base_url: \"http://r\"}}\n{inputs}")));
    assert_eq!(whole.inputs[0].key.to_string(), "acme/local-syslog");

    let account = load(&format!("account_id: k3v9\nreceiver: {{base_url: \"http://r\"}}\n{inputs}"));
    assert!(problem(&account, "inputs[0].config.tenant_id").remedy.contains("add `tenant_id:"));

    for mode in ["control-only", "hybrid"] {
        let loaded = load(&format!("config_mode: {mode}\naccount_id: k3v9\n{inputs}"));
        let problem = problem(&loaded, "config_mode");
        assert!(problem.what.contains("not in this version yet"), "{problem}");
        assert!(problem.remedy.contains("config_mode: local-only"), "{problem}");
        assert!(loaded.config.is_none());
    }
    let control =
        load(&format!("{HEAD}control_url: https://control\n").replace("config_mode: local-only\n", ""));
    assert!(problem(&control, "control_url").what.contains("not in this version yet"));
}

#[test]
fn all_problems_are_reported_each_with_its_line() {
    let text = "config_mode: local-only\ntenant_id: a--b\nserver:\n  api_port: 99999\nreceiver:\n  base_url: ftp://x\ninputs:\n  - type: udp\n    name: x\n    config:\n      port: none\n      host: here\n";
    let loaded = load(text);
    let found: Vec<_> = loaded
        .problems
        .iter()
        .filter(|p| p.severity == Severity::Error)
        .map(|p| (p.origin.to_string(), p.key.as_str()))
        .collect();
    let expected = [
        ("x.yaml:2:12", "tenant_id"),
        ("x.yaml:4:13", "server.api_port"),
        ("x.yaml:6:13", "receiver.base_url"),
        ("x.yaml:11:13", "inputs[0].config.port"),
        ("x.yaml:12:13", "inputs[0].config.host"),
    ];
    assert_eq!(found, expected.map(|(at, key)| (at.to_owned(), key)));
    assert!(loaded.config.is_none());
}

#[test]
fn h54_w40_an_unknown_key_is_reported_with_the_nearest_known_one() {
    let text = format!(
        "{HEAD}recevier:\n  url: x\nspooling:\n  max_size_byte: 5\n  base_url: y\ninputs:\n  - type: tcp\n    name: a\n    port: 5\n    config: {{port: 1, idle_timeout: 3, max_conections: 4, frobnicate: 1}}\n"
    );
    let loaded = load(&text);
    for (key, remedy) in [
        ("recevier", "did you mean `receiver`?"),
        ("spooling.max_size_byte", "did you mean `max_size_bytes`?"),
        ("spooling.base_url", "it is known as `receiver.base_url`"),
        ("inputs[0].port", "it is known as `inputs[].config.port`"),
        ("inputs[0].config.max_conections", "did you mean `max_connections`?"),
        ("inputs[0].config.frobnicate", "known here:"),
    ] {
        let problem = problem(&loaded, key);
        assert!(problem.severity == Severity::Warning && problem.remedy.contains(remedy), "{problem}");
    }
    assert_eq!(problem(&loaded, "spooling.max_size_byte").origin.to_string(), "x.yaml:7:3");
    good(loaded);
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

/// Each key of the former program that is not a key here, with a value that asks for something.
#[test]
fn every_former_key_is_an_alias_or_is_answered_by_name() {
    for (text, key) in [
        ("app: {version: 1.0.0}", "app.version"),
        ("config_polling: {enabled: true, interval_seconds: 30}", "config_polling"),
        ("health_reporting: {enabled: true}", "health_reporting"),
        ("error_tracking: {enabled: true}", "error_tracking"),
        ("tenant_validation: {enabled: true}", "tenant_validation"),
        ("soc: {enabled: false, endpoint: x, timeout_seconds: 1}", "soc"),
        ("dev: true", "dev"),
        ("otel: {mode: otlp_grpc}", "otel.mode"),
        ("otel: {otlp_endpoint: 'c:4317'}", "otel.otlp_endpoint"),
        ("otel: {endpoint: 'c:4317'}", "otel.endpoint"),
        ("otel: {push_interval_seconds: 15}", "otel.push_interval_seconds"),
        ("otel: {scrapeIntervalseconds: 15}", "otel.scrapeIntervalseconds"),
        ("otel: {service_name: x}", "otel.service_name"),
        ("otel: {metrics_host: 0.0.0.0}", "otel.metrics_host"),
        ("otel: {metrics_port: 9090}", "otel.metrics_port"),
        ("otel: {prometheus_mode: true}", "otel.prometheus_mode"),
        ("otel: {enabled: false}", "otel.enabled"),
        ("batching: {enabled: false}", "batching.enabled"),
        ("spooling: {queue_processing_interval_seconds: 30}", "spooling.queue_processing_interval_seconds"),
        ("spooling: {keep_src: true}", "spooling.keep_src"),
        ("spooling: {organization: flat}", "spooling.organization"),
        ("spooling: {per_tenant_limits: true}", "spooling.per_tenant_limits"),
        ("spooling: {max_files_per_dataset: 5}", "spooling.max_files_per_dataset"),
        ("housekeeping: {enabled: true}", "housekeeping"),
        ("control_service: {url: x}", "control_service"),
        ("monitoring: {port: 1}", "monitoring"),
        ("udp: {port: 1}", "udp"),
        ("webhook: {port: 1}", "webhook"),
        ("control_url: https://c", "control_url"),
        (
            "inputs: [{type: udp, name: a, config: {port: 1, worker_count: 4}}]",
            "inputs[0].config.worker_count",
        ),
        (
            "inputs: [{type: udp, name: a, config: {port: 1, syslog_mode: auto}}]",
            "inputs[0].config.syslog_mode",
        ),
        ("inputs: [{type: udp, name: a, config: {port: 1, protocol: syslog}}]", "inputs[0].config.protocol"),
        (
            "inputs: [{type: syslog, name: a, config: {port: 1, data_hint: raw}}]",
            "inputs[0].config.data_hint",
        ),
        (
            "inputs: [{type: syslog, name: a, config: {port: 1, data_format: raw}}]",
            "inputs[0].config.data_format",
        ),
    ] {
        let loaded = load(&format!("{HEAD}{text}\n"));
        let problem = problem(&loaded, key);
        assert!(problem.what.contains("has no effect"), "{problem}");
        assert!(!problem.remedy.is_empty(), "{problem}");
        good(loaded);
    }
    let limits = load(
        "config_mode: local-only\ntenant_id: a\nreceiver: {base_url: 'http://r', max_conns_per_host: 6, retry_max_idle_conns: 1, retry_max_conns_per_host: 1}\n",
    );
    for key in ["max_conns_per_host", "retry_max_idle_conns", "retry_max_conns_per_host"] {
        problem(&limits, &format!("receiver.{key}"));
    }
    good(limits);
    let silent = load(&format!(
        "{HEAD}spooling: {{organization: tenant_dataset, keep_src: false}}\nbatching: {{enabled: true}}\n"
    ));
    assert!(
        silent.problems.iter().all(|p| p.severity == Severity::Notice || p.key == "inputs"),
        "{:#?}",
        silent.problems
    );
}

/// H-21: another layout than the one there is, is answered by name, and the inputs run all the same.
#[test]
fn h21_another_organization_is_answered_by_name_and_stops_nothing() {
    for layout in ["flat", "date_based", "protocol_based", "nonsense"] {
        let loaded = load(
            &(inputs("  - {type: udp, name: a, config: {port: 1}}\n")
                + &format!("spooling: {{organization: {layout}}}\n")),
        );
        assert!(problem(&loaded, "spooling.organization").what.contains("has no effect"), "{layout}");
        assert_eq!(good(loaded).inputs.len(), 1, "{layout}");
    }
}

#[test]
fn aliases_carry_their_value() {
    let loaded = load(
        "config_mode: local-only\ntenant_id: a\nreceiver: {url: 'http://old:1', retry_count: 9}\notel: {enabled: true, mode: prometheus, metrics_port: 9090}\ninputs:\n  - {type: udp, name: b, config: {port: 1, buffer_size: 4096}}\n",
    );
    let config = good(loaded);
    assert_eq!(config.receiver.base_url, "http://old:1");
    assert_eq!(config.spooling.retry_attempts, 9);
    assert_eq!(config.server.health_port, Some(9090));
    assert!(matches!(&config.inputs[0].source, Source::Udp(udp) if udp.read_buffer_size == 4096));
    let off = good(load(&format!("{HEAD}otel: {{enabled: false, metrics_port: 9090}}\n")));
    assert_eq!(off.server.health_port, None, "a port that was switched off stays closed");
}

#[test]
fn w40_h53_variables_beat_the_file_and_reach_lists_and_names() {
    let text = inputs("  - {type: udp, name: a, config: {port: 1}}\n");
    let config = good(with_env(
        &text,
        &[
            ("RECEIVER_BASE_URL", "https://env"),
            ("BEARER_TOKEN", "global"),
            ("SERVER_API_PORT", "9"),
            ("SPOOLING_MAX_SIZE_BYTES", "2097152"),
            ("SPOOLING_ENABLED", "false"),
            ("LOGGING_LEVEL", "debug"),
            ("TENANTS_ACME_BEARER_TOKEN", "own"),
            ("INPUTS_0_CONFIG_PORT", "5514"),
            ("INPUTS_0_CONFIG_ALLOWED_SOURCES", "10.0.0.0/8,192.0.2.1"),
            ("INPUTS_1_TYPE", "http"),
            ("INPUTS_1_NAME", "hooks"),
            ("INPUTS_1_CONFIG_PORT", "5515"),
            ("INPUTS_1_CONFIG_AUTH_TOKEN_FILE", "/t"),
        ],
    ));
    assert_eq!(config.receiver.base_url, "https://env");
    assert_eq!(config.tokens.global, Some(Secret::Inline("global".to_owned())));
    assert_eq!(config.tokens.tenants[&"acme".parse().unwrap()], Secret::Inline("own".to_owned()));
    assert_eq!((config.server.api_port, config.spooling.max_size_bytes), (9, 2_097_152));
    assert!(!config.spooling.enabled && config.logging.level == "debug");
    assert_eq!(config.inputs[0].listen.port, 5514);
    assert_eq!(config.inputs[0].allowed_sources.len(), 2);
    assert!(
        matches!(&config.inputs[1].source, Source::Http(http) if http.auth == Some(Secret::File("/t".into())))
    );
}

#[test]
fn variables_that_name_nothing_are_reported_and_those_of_kubernetes_are_not() {
    let loaded = with_env(
        HEAD,
        &[
            ("RECEIVER_BASE_ULR", "x"),
            ("OTEL_ENABLED", "true"),
            ("SOC_ENDPOINT", "x"),
            ("INPUTS_5_NAME", "gap"),
            ("SERVER_API_PORT", "tcp://10.0.0.1:8008"),
            ("SERVICE_HOST", "10.0.0.1"),
            ("BEARER_TOKEN", ""),
        ],
    );
    let unknown = problem(&loaded, "BYTEFREEZER_PROXY_RECEIVER_BASE_ULR");
    assert!(unknown.remedy.contains("`BYTEFREEZER_PROXY_RECEIVER_BASE_URL`"), "{unknown}");
    assert_eq!(problem(&loaded, "otel.enabled").origin.to_string(), "BYTEFREEZER_PROXY_OTEL_ENABLED");
    problem(&loaded, "soc");
    assert_eq!(problem(&loaded, "BYTEFREEZER_PROXY_INPUTS_5_NAME").severity, Severity::Error);
    assert!(
        !loaded.problems.iter().any(|p| p.to_string().contains("SERVICE_HOST") || p.key == "server.api_port")
    );
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
    let open = load(&inputs("  - {type: http, name: h, config: {port: 1, enable_authentication: true}}\n"));
    assert_eq!(problem(&open, "inputs[0].config.enable_authentication").severity, Severity::Error);
}

#[test]
fn h12_ids_that_break_a_file_name_are_refused_and_names_are_made_legal() {
    for (entry, key) in [
        ("{type: udp, name: x, config: {port: 1, dataset_id: a--b}}", "inputs[0].config.dataset_id"),
        ("{type: udp, name: x, config: {port: 1, tenant_id: ../x}}", "inputs[0].config.tenant_id"),
        ("{type: udp, name: syslog, config: {port: 1}}", "inputs[0].config.dataset_id"),
        ("{type: udp, name: '---', config: {port: 1}}", "inputs[0].config.dataset_id"),
        ("{type: udp, config: {port: 1}}", "inputs[0].config.dataset_id"),
        ("{type: udp, name: ACME, config: {port: 1}}", "inputs[0].config.dataset_id"),
        ("{type: udp, name: x, config: {port: 1, data_hint: a--b}}", "inputs[0].config.data_hint"),
    ] {
        let loaded = load(&inputs(&format!("  - {entry}\n")));
        assert_eq!(problem(&loaded, key).severity, Severity::Error, "{entry}");
    }
    let loaded = load(&inputs("  - {type: udp, name: 'My  Firewall (east)!', config: {port: 1}}\n"));
    assert_eq!(problem(&loaded, "inputs[0].config.dataset_id").severity, Severity::Notice);
    assert_eq!(good(loaded).inputs[0].key.to_string(), "acme/My-Firewall-east");
}

#[test]
fn w9_equal_names_in_two_tenants_live_beside_each_other() {
    let config = good(load(&inputs(
        "  - {type: udp, name: web, config: {port: 1}}\n  - {type: udp, name: web, config: {port: 2, tenant_id: beta}}\n",
    )));
    assert_eq!(config.inputs.len(), 2);
    let twice = load(&inputs(
        "  - {type: udp, name: web, config: {port: 1}}\n  - {type: tcp, name: web, config: {port: 2}}\n",
    ));
    assert_eq!(problem(&twice, "inputs[1].config.dataset_id").severity, Severity::Error);
    assert_eq!(twice.config.unwrap().inputs.len(), 1, "the first keeps its place");
}

#[test]
fn h56_one_number_may_be_udp_and_tcp_and_conflicts_are_told_apart() {
    let pairs = [
        ("{type: udp, name: a, config: {port: 9}}", "{type: tcp, name: b, config: {port: 9}}", None),
        (
            "{type: udp, name: a, config: {port: 9}}",
            "{type: udp, name: b, config: {port: 9}}",
            Some("allowed_sources"),
        ),
        (
            "{type: udp, name: a, config: {port: 9}}",
            "{type: syslog, name: b, config: {port: 9}}",
            Some("port"),
        ),
        ("{type: tcp, name: a, config: {port: 9}}", "{type: syslog, name: b, config: {port: 9}}", None),
        (
            "{type: tcp, name: a, config: {port: 9}}",
            "{type: syslog, name: b, config: {port: 9, protocol: [udp, tcp]}}",
            Some("port"),
        ),
        (
            "{type: udp, name: a, config: {port: 9, host: 10.0.0.1}}",
            "{type: udp, name: b, config: {port: 9, host: 10.0.0.2}}",
            None,
        ),
        (
            "{type: udp, name: a, config: {port: 9, host: '::'}}",
            "{type: udp, name: b, config: {port: 9, host: 10.0.0.2}}",
            Some("host"),
        ),
        (
            "{type: udp, name: a, config: {port: 9, host: '::1'}}",
            "{type: udp, name: b, config: {port: 9, host: 0.0.0.0}}",
            None,
        ),
        (
            "{type: udp, name: a, config: {port: 9, allowed_sources: [10.0.0.0/8]}}",
            "{type: udp, name: b, config: {port: 9, allowed_sources: [10.1.0.0/16]}}",
            None,
        ),
        (
            "{type: udp, name: a, config: {port: 9, allowed_sources: [10.0.0.0/8]}}",
            "{type: udp, name: b, config: {port: 9}}",
            None,
        ),
        (
            "{type: udp, name: a, config: {port: 9, allowed_sources: [10.0.0.0/8]}}",
            "{type: udp, name: b, config: {port: 9, allowed_sources: ['::ffff:10.0.0.0/104']}}",
            Some("allowed_sources"),
        ),
        (
            "{type: http, name: a, config: {port: 9}}",
            "{type: http, name: b, config: {port: 9, path: /other}}",
            None,
        ),
        (
            "{type: http, name: a, config: {port: 9}}",
            "{type: http, name: b, config: {port: 9}}",
            Some("allowed_sources"),
        ),
        (
            "{type: tcp, name: a, config: {port: 9}}",
            "{type: tcp, name: b, config: {port: 9, allowed_sources: [10.0.0.0/8], proxy_protocol: true, proxy_protocol_from: [10.0.0.1]}}",
            Some("proxy_protocol_from"),
        ),
        (
            "{type: udp, name: a, config: {port: 9, allowed_sources: [10.0.0.0/8]}}",
            "{type: udp, name: b, config: {port: 9, tenant_id: beta, allowed_sources: [10.1.0.0/16]}}",
            Some("allowed_sources"),
        ),
        (
            "{type: udp, name: a, config: {port: 9, allowed_sources: [10.0.0.0/8]}}",
            "{type: udp, name: b, config: {port: 9, tenant_id: beta, allowed_sources: [11.0.0.0/8]}}",
            None,
        ),
        (
            "{type: tcp, name: a, config: {port: 9, allowed_sources: [10.0.0.0/8]}}",
            "{type: tcp, name: b, config: {port: 9, allowed_sources: [11.0.0.0/8], oversize: drop}}",
            Some("oversize"),
        ),
        (
            "{type: udp, name: a, config: {port: 8008}}",
            "{type: tcp, name: b, config: {port: 8008}}",
            Some("port"),
        ),
    ];
    for (first, second, conflict) in pairs {
        let loaded = load(&inputs(&format!("  - {first}\n  - {second}\n")));
        let found = loaded.problems.iter().find(|p| p.severity == Severity::Error).map(|p| p.key.clone());
        assert_eq!(found, conflict.map(|key| format!("inputs[1].config.{key}")), "{first} {second}");
    }
}

#[test]
fn h26_one_wrong_input_does_not_keep_the_others_from_running() {
    let loaded = load(&inputs(
        "  - {type: udp, name: a, config: {port: 0}}\n  - {type: kafka, name: k, config: {}}\n  - {type: udpp, name: k, config: {}}\n  - 5\n  - {name: z}\n  - {type: udp, name: b, config: {port: 2}}\n  - {type: udp, name: b, config: {port: 3}}\n",
    ));
    assert!(problem(&loaded, "inputs[1].type").what.contains("not in this version yet"));
    assert!(problem(&loaded, "inputs[2].type").remedy.contains("did you mean `udp`?"));
    problem(&loaded, "inputs[3]");
    problem(&loaded, "inputs[4].type");
    problem(&loaded, "inputs[6].config.dataset_id");
    let (config, ..) = loaded.usable().unwrap();
    assert_eq!(config.inputs.iter().map(|input| input.listen.port).collect::<Vec<_>>(), [2]);
    let none = load(&inputs("  - {type: udp, name: a, config: {port: 0}}\n"));
    assert!(none.usable().is_err(), "nothing useful is left");
}

#[test]
fn what_a_type_needs_is_demanded() {
    for (entry, key) in [
        ("{type: tcp, name: x, config: {port: 1, proxy_protocol: true}}", "proxy_protocol_from"),
        ("{type: tcp, name: x, config: {port: 1, max_line_size: 10485760}}", "max_line_size"),
        ("{type: tcp, name: x, config: {port: 1, oversize: explode}}", "oversize"),
        ("{type: tcp, name: x, config: {port: 1, delimiter: ''}}", "delimiter"),
        ("{type: tcp, name: x, config: {port: 1, tls: {cert_file: /c}}}", "tls.key_file"),
        (
            "{type: tcp, name: x, config: {port: 1, tls: {cert_file: /c, key_file: /k, client_cert_required: true}}}",
            "tls.client_cert_required",
        ),
        ("{type: syslog, name: x, config: {port: 1, tls: {cert_file: /c, key_file: /k}}}", "tls"),
        ("{type: syslog, name: x, config: {port: 1, protocol: []}}", "protocol"),
        (
            "{type: syslog, name: x, config: {port: 1, proxy_protocol: true, proxy_protocol_from: [10.0.0.1]}}",
            "proxy_protocol",
        ),
        ("{type: syslog, name: x, config: {port: 1, timezone: Europe/Berlinn}}", "timezone"),
        ("{type: syslog, name: x, config: {port: 1, timezones: [{source: 10.0.0.0/8}]}}", "timezones[0]"),
        (
            "{type: syslog, name: x, config: {port: 1, timezones: [{source: x, timezone: UTC}]}}",
            "timezones[0].source",
        ),
        ("{type: http, name: x, config: {port: 1, path: /health}}", "path"),
        ("{type: http, name: x, config: {port: 1, path: 'a b'}}", "path"),
        ("{type: http, name: x, config: {port: 1, path: '/{x}'}}", "path"),
        ("{type: http, name: x, config: {port: 1, auth: {}}}", "auth"),
        ("{type: http, name: x, config: {port: 70000}}", "port"),
        ("{type: http, name: x, config: {}}", "port"),
        ("{type: udp, name: x, config: {port: 1, allowed_sources: [300.0.0.1]}}", "allowed_sources[0]"),
        ("{type: udp, name: x, config: {port: 1, source_field: BfTs}}", "source_field"),
    ] {
        let loaded = load(&inputs(&format!("  - {entry}\n")));
        let problem = problem(&loaded, &format!("inputs[0].config.{key}"));
        assert!(problem.severity == Severity::Error && !problem.remedy.is_empty(), "{problem}");
    }
    for (url, good) in [
        ("http://r:8080", true),
        ("https://[2001:db8::1]:8443/base/", true),
        ("http://r:99999", false),
        ("r:8080", false),
        ("http://", false),
        ("http://u:p@r", false),
        ("http://r/{tenantid}/{datasetid}/", false),
        ("http://r?x", false),
    ] {
        let loaded = load(&format!("tenant_id: a\nreceiver: {{base_url: '{url}'}}\n"));
        assert_eq!(!loaded.has_errors(), good, "{url}: {:#?}", loaded.problems);
    }
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
fn a_difference_names_what_changed_and_what_needs_a_restart() {
    let base =
        inputs("  - {type: udp, name: a, config: {port: 1}}\n  - {type: udp, name: b, config: {port: 2}}\n");
    let old = good(load(&base));
    assert!(Difference::between(&old, &good(load(&base.replace("port: 1}", "port:   1}")))).is_empty());
    let new = good(load(&format!(
        "{}  - {{type: udp, name: c, config: {{port: 3}}}}\nlogging: {{level: debug}}\nserver: {{api_port: 1234}}\nspooling: {{directory: /x}}\n",
        base.replace("name: b, config: {port: 2}", "name: b, config: {port: 4}")
    )));
    let difference = Difference::between(&old, &new);
    let names = |keys: &[bytefreezer_proxy::ids::DatasetKey]| {
        keys.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(
        (names(&difference.added), names(&difference.changed)),
        (vec!["acme/c".to_owned()], vec!["acme/b".to_owned()])
    );
    assert_eq!(difference.sections, ["logging", "server"]);
    assert_eq!(difference.restart, ["spooling.directory"]);
    assert_eq!(names(&Difference::between(&new, &old).removed), ["acme/c"]);
}

#[test]
fn the_examples_are_right() {
    for name in ["proxy.yaml", "minimal-local.yaml", "tls.yaml"] {
        let text = std::fs::read_to_string(file(name)).unwrap();
        let loaded = config::load(name, &text, []);
        let warnings: Vec<_> = loaded.problems.iter().filter(|p| p.severity > Severity::Notice).collect();
        assert!(warnings.is_empty(), "{warnings:#?}");
        assert!(!good(loaded).inputs.is_empty());
    }
}

/// The facts' own minimal file for the account mode: everything in it is known.
#[test]
fn a_file_for_control_is_understood_up_to_the_mode() {
    let loaded = load(
        "app: {name: bytefreezer-proxy}\nserver: {api_port: 8008}\naccount_id: k3v9q2m7x1ab\nbearer_token: EXAMPLE\ncontrol_url: https://control.example\nconfig_mode: control-only\nconfig_polling: {interval_seconds: 30, timeout_seconds: 10, retry_on_error: true}\nreceiver: {base_url: https://receiver.example}\nspooling: {enabled: true}\nhealth_reporting: {enabled: true, report_interval: 30, timeout_seconds: 10, register_on_startup: true}\nerror_tracking: {enabled: true}\n",
    );
    let errors: Vec<_> =
        loaded.problems.iter().filter(|p| p.severity == Severity::Error).map(|p| p.key.as_str()).collect();
    assert_eq!(errors, ["config_mode"]);
    assert!(!loaded.problems.iter().any(|p| p.what.contains("no known key")), "{:#?}", loaded.problems);
}

mod any_text {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(300))]

        /// No text stops the process, and nothing is both usable and without a Receiver.
        #[test]
        fn is_read_without_a_panic(text in "[ -~\n]{0,200}") {
            let loaded = load(&text);
            prop_assert!(loaded.config.is_none() || text.to_ascii_lowercase().contains("http"));
        }

        /// A known file with one part replaced by anything.
        #[test]
        fn in_any_place_is_reported_or_taken(line in 0_usize..60, with in "[ -~]{0,30}") {
            let text = std::fs::read_to_string(file("proxy.yaml")).unwrap();
            let changed: Vec<_> = text.lines().enumerate().map(|(at, was)| if at == line { with.as_str() } else { was }).collect();
            let loaded = load(&changed.join("\n"));
            prop_assert!(loaded.config.is_some() || loaded.has_errors());
        }
    }
}
