//! Keys of the program that this one replaces.

use super::*;

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
