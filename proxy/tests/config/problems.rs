//! What is said about a wrong file, where, and how.

use super::*;

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
        "{HEAD}recevier:\n  url: x\nspooling:\n  max_size_byte: 5\n  base_url: y\ninputs:\n  - type: tcp\n    name: a\n    port: 5\n    config: {{port: 1, idle_timeout: 3, read_timeut: 4, frobnicate: 1}}\n"
    );
    let loaded = load(&text);
    for (key, remedy) in [
        ("recevier", "did you mean `receiver`?"),
        ("spooling.max_size_byte", "did you mean `max_size_bytes`?"),
        ("spooling.base_url", "it is known as `receiver.base_url`"),
        ("inputs[0].port", "it is known as `inputs[].config.port`"),
        ("inputs[0].config.read_timeut", "did you mean `read_timeout`?"),
        ("inputs[0].config.frobnicate", "known here:"),
    ] {
        let problem = problem(&loaded, key);
        assert!(problem.severity == Severity::Warning && problem.remedy.contains(remedy), "{problem}");
    }
    assert_eq!(problem(&loaded, "spooling.max_size_byte").origin.to_string(), "x.yaml:7:3");
    good(loaded);
}

/// Nobody is let in because of a slip.
#[test]
fn a_misspelt_key_that_protects_is_an_error_of_what_it_protects() {
    for (kind, written, remedy) in [
        ("udp", "allowed_source: [10.0.0.1]", "did you mean `allowed_sources`?"),
        ("http", "auht: {token_file: /t}", "did you mean `auth`?"),
        ("http", "auth: {token_fil: /t}", "did you mean `token_file`?"),
        ("http", "max_payload_sise: 1024", "did you mean `max_payload_size`?"),
        ("tcp", "tsl: {cert_file: /c, key_file: /k}", "did you mean `tls`?"),
        ("tcp", "tls: {cert_file: /c, key_file: /k, client_ca: /a}", "known here: cert_file"),
        ("tcp", "proxy_protocol_form: [10.0.0.1]", "did you mean `proxy_protocol_from`?"),
        ("tcp", "max_conections: 5", "did you mean `max_connections`?"),
        ("udp", "bearer_tokn: x", "did you mean `bearer_token`?"),
        ("udp", "bearer_token_file: /t", "did you mean `bearer_token`?"),
        ("tcp", "auth: {token: x}", "it is known as `inputs[].config.auth`. Correct it"),
    ] {
        let entry = format!("  - {{type: {kind}, name: a, config: {{port: 1, {written}}}}}\n");
        let loaded = load(&inputs(&(entry + "  - {type: udp, name: b, config: {port: 2}}\n")));
        let found = loaded.problems.iter().find(|p| p.remedy.contains(remedy));
        let found = found.unwrap_or_else(|| panic!("{written}: {:#?}", loaded.problems));
        assert!(found.severity == Severity::Error && found.input() == Some(0), "{found}");
        let names: Vec<_> = loaded.config.unwrap().inputs.into_iter().map(|input| input.name).collect();
        assert_eq!(names, ["b"], "{written}");
    }
    let outside = load(&inputs("  - {type: udp, name: a, allowed_sources: [10.0.0.1], config: {port: 1}}\n"));
    assert_eq!(problem(&outside, "inputs[0].allowed_sources").severity, Severity::Error);
    for (text, key) in [
        ("server: {read_token_fil: /t}", "server.read_token_fil"),
        ("server: {admin_tokn: t}", "server.admin_tokn"),
        ("server: {tsl: {cert_file: /c, key_file: /k}}", "server.tsl"),
        ("tenants: {acme: {bearer_token_fle: /t}}", "tenants.acme.bearer_token_fle"),
        ("tls: {cert_file: /c, key_file: /k}", "tls"),
    ] {
        let loaded = load(&format!("{HEAD}{text}\n"));
        assert_eq!(problem(&loaded, key).severity, Severity::Error, "{text}");
        assert!(loaded.config.is_none(), "{text}");
    }
    let variable = with_env(HEAD, &[("SERVER_READ_TOKEN_FIL", "/t")]);
    let found = problem(&variable, "BYTEFREEZER_PROXY_SERVER_READ_TOKEN_FIL");
    assert!(found.severity == Severity::Error && found.remedy.contains("READ_TOKEN_FILE"), "{found}");
    // What restricts nobody stays a warning.
    let loaded = load(&format!("{HEAD}spooling: {{max_payload_size: 5}}\n"));
    assert_eq!(problem(&loaded, "spooling.max_payload_size").severity, Severity::Warning);
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
    let config = loaded.usable().unwrap().config;
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
fn the_examples_are_right() {
    for name in ["proxy.yaml", "minimal-local.yaml", "tls.yaml"] {
        let text = std::fs::read_to_string(file(name)).unwrap();
        let loaded = config::load(name, &text, []);
        let warnings: Vec<_> = loaded.problems.iter().filter(|p| p.severity > Severity::Notice).collect();
        assert!(warnings.is_empty(), "{warnings:#?}");
        assert!(!good(loaded).inputs.is_empty());
    }
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
