//! Which inputs may stand beside each other.

use super::*;

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
