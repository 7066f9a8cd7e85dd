//! Variables over the file.

use super::*;

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
fn variables_of_other_programs_stop_nothing_and_a_slip_concerns_what_it_protects() {
    for other in [
        "CHART_VERSION",
        "BUILD_VERSION",
        "AUTH_TOKEN",
        "SERVER_NAME",
        "SERVER_HOST",
        "DOCKER_TAG",
        "FEATURE_FLAGS",
        "POD_NAME",
        "IMAGE",
    ] {
        let loaded = with_env(HEAD, &[(other, "x")]);
        let found = problem(&loaded, &format!("BYTEFREEZER_PROXY_{other}"));
        assert_eq!(found.severity, Severity::Warning, "{found}");
        good(loaded);
    }
    for (slip, meant) in [
        ("BEARER_TOKEN_FIEL", "BEARER_TOKEN_FILE"),
        ("TENANTS_MY_CO_BEARER_TOKN", "TENANTS_<NAME>_BEARER_TOKEN"),
        ("SERVER_TSL_CERT_FILE", "SERVER_TLS_CERT_FILE"),
    ] {
        let loaded = with_env(HEAD, &[(slip, "x")]);
        let found = problem(&loaded, &format!("BYTEFREEZER_PROXY_{slip}"));
        assert!(found.severity == Severity::Error && found.remedy.contains(meant), "{found}");
        assert!(loaded.config.is_none());
    }
    let two =
        inputs("  - {type: udp, name: a, config: {port: 1}}\n  - {type: udp, name: b, config: {port: 2}}\n");
    let loaded = with_env(&two, &[("INPUTS_1_CONFIG_ALOWED_SOURCES", "10.0.0.1")]);
    let found = loaded.problems.iter().find(|p| p.input() == Some(1)).unwrap();
    assert_eq!(found.origin.to_string(), "BYTEFREEZER_PROXY_INPUTS_1_CONFIG_ALOWED_SOURCES");
    assert!(
        found.severity == Severity::Error && found.remedy.contains("_CONFIG_ALLOWED_SOURCES`"),
        "{found}"
    );
    let names: Vec<_> = loaded.config.unwrap().inputs.into_iter().map(|input| input.name).collect();
    assert_eq!(names, ["a"]);
}
