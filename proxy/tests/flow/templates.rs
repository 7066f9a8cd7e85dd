//! Which template a record is decoded with.

use bytefreezer_proxy::decode::flow::{Limits, Rules, Source, Transport};
use serde_json::json;

use crate::rig::{Rig, assert_members, ipfix, set, template, v9};

#[test]
fn two_exporters_with_one_source_id_have_templates_of_their_own() {
    let mut rig = Rig::new();
    assert!(rig.from(1).lines(&v9(1, 0, &[set(0, &template(256, &[(7, 2), (11, 2)]))])).is_empty());
    assert!(rig.from(2).lines(&v9(1, 0, &[set(0, &template(256, &[(1, 4)]))])).is_empty());
    let data = v9(2, 0, &[set(256, &[0, 80, 1, 187])]);
    assert_members(
        &rig.from(1).line(&data),
        json!({"SrcPort": 80, "DstPort": 443, "SamplerAddress": "192.0.2.1"}),
    );
    assert_members(&rig.from(2).line(&data), json!({"Bytes": 0x0050_01bb, "SamplerAddress": "192.0.2.2"}));
}

#[test]
fn domains_versions_and_ports_are_told_apart() {
    let mut rig = Rig::new();
    rig.lines(&ipfix(0, 1, &[set(2, &template(256, &[(4, 1)]))]));
    for datagram in [ipfix(0, 2, &[set(256, &[6])]), v9(0, 1, &[set(256, &[6])])] {
        assert_eq!(rig.send(&datagram).0.waiting, 1);
    }
    rig.source = Source { port: 9_000, ..rig.source };
    assert_eq!(rig.send(&ipfix(0, 1, &[set(256, &[6])])).0.waiting, 1);
    rig.source.port = 0;
    assert_members(&rig.line(&ipfix(0, 1, &[set(256, &[6])])), json!({"Proto": 6}));
}

#[test]
fn a_template_replaces_the_one_before() {
    let mut rig = Rig::new();
    rig.lines(&ipfix(0, 1, &[set(2, &template(256, &[(7, 2)]))]));
    assert_members(&rig.line(&ipfix(0, 1, &[set(256, &[0, 80])])), json!({"SrcPort": 80}));
    let again = ipfix(1, 1, &[set(2, &template(256, &[(7, 2)]))]);
    assert_eq!(rig.send(&again).0.templates, 0);
    assert_eq!(rig.send(&ipfix(1, 1, &[set(2, &template(256, &[(11, 2)]))])).0.templates, 1);
    assert_members(&rig.line(&ipfix(1, 1, &[set(256, &[0, 80])])), json!({"DstPort": 80}));
}

#[test]
fn withdrawals_count_over_tcp_only() {
    let data = ipfix(0, 1, &[set(256, &[6])]);
    let both = ipfix(0, 1, &[set(2, &[template(256, &[(4, 1)]), template(257, &[(4, 1)])].concat())]);
    for (transport, withdrawn) in [(Transport::Udp, 0), (Transport::Tcp, 1)] {
        for withdrawal in [[1, 0, 0, 0], [0, 2, 0, 0]] {
            let mut rig = Rig::new();
            rig.transport = transport;
            rig.lines(&both);
            assert_eq!(rig.lines(&data).len(), 1);
            rig.lines(&ipfix(1, 1, &[set(2, &withdrawal)]));
            assert_eq!(rig.send(&data).0.waiting, withdrawn);
        }
    }
}

#[test]
fn records_before_their_template_are_decoded_when_it_comes() {
    let mut rig = Rig::new();
    for number in 0..3_u8 {
        let (outcome, lines) = rig.send(&v9(u32::from(number), 5, &[set(256, &[number, 6, 7])]));
        assert_eq!((outcome.waiting, lines.len(), outcome.fault), (1, 0, None));
        rig.now_ns += 1;
    }
    let before = rig.now_ns;
    rig.now_ns += 1_800_000_000_000;
    // The template stands behind data of its own message.
    let (outcome, lines) = rig.send(&v9(3, 5, &[set(256, &[3]), set(0, &template(256, &[(4, 1)]))]));
    assert_eq!((outcome.lines, outcome.late), (10, 10));
    let facts: Vec<_> = lines
        .iter()
        .map(|line| ["SequenceNum", "Proto", "TimeReceivedNs"].map(|name| line[name].as_u64().unwrap()))
        .collect();
    assert_eq!(facts[0], [0, 0, before - 3]);
    assert_eq!(facts[1], [0, 6, before - 3]);
    assert_eq!(facts[8], [2, 7, before - 1]);
    assert_eq!(facts[9], [3, 3, rig.now_ns]);
    assert_eq!(rig.exporters.reports()[0].waiting, 0);
}

#[test]
fn what_waits_is_bounded_in_bytes_and_time_and_what_is_lost_is_counted() {
    let limits = Limits { waiting: 3_000, ..Limits::default() };
    let mut rig = Rig::with(Rules { limits, ..Rules::default() });
    let datagram = v9(0, 5, &[set(256, &[0; 900])]);
    assert_eq!(rig.send(&datagram).0.waiting, 1);
    assert_eq!(rig.from(2).send(&datagram).0.waiting, 1);
    assert_eq!(rig.from(3).send(&datagram).0.waiting, 1);
    let (outcome, _) = rig.from(4).send(&datagram);
    assert_eq!((outcome.waiting, outcome.unknown), (0, 1));
    // An hour later nobody waits any more, and there is room again.
    rig.now_ns += 3_700_000_000_000;
    rig.from(5).send(&v9(0, 5, &[]));
    assert_eq!(rig.from(6).send(&datagram).0.waiting, 1);
    let reports = rig.exporters.reports();
    assert_eq!(reports.iter().map(|report| report.totals.unknown).sum::<u64>(), 4);
    assert_eq!(reports.iter().map(|report| report.waiting).sum::<usize>(), 1);
}

#[test]
fn templates_of_one_exporter_are_bounded_and_the_least_needed_go() {
    let limits = Limits { fields_per_exporter: 80, ..Limits::default() };
    let mut rig = Rig::with(Rules { limits, ..Rules::default() });
    for id in 256..336 {
        rig.lines(&ipfix(0, 1, &[set(2, &template(id, &[(4, 1)]))]));
        rig.now_ns += 1;
    }
    // The first is needed again, so it stays.
    rig.line(&ipfix(0, 1, &[set(256, &[6])]));
    rig.lines(&ipfix(0, 1, &[set(2, &template(400, &[(4, 1)]))]));
    assert_eq!(rig.exporters.reports()[0].templates, 70);
    assert_eq!(rig.lines(&ipfix(1, 1, &[set(256, &[6]), set(400, &[6])])).len(), 2);
    assert_eq!(rig.send(&ipfix(3, 1, &[set(257, &[6])])).0.waiting, 1);
}

#[test]
fn exporters_and_domains_are_bounded() {
    let limits = Limits { exporters: 16, domains: 8, ..Limits::default() };
    let mut rig = Rig::with(Rules { limits, ..Rules::default() });
    for last in 0..100 {
        rig.now_ns += 1;
        rig.from(last).lines(&v9(0, 0, &[]));
        assert!(rig.exporters.len() <= 16);
    }
    assert_eq!(rig.exporters.reports().last().unwrap().source, rig.source);
    for domain in 0..100 {
        rig.now_ns += 1;
        rig.lines(&v9(0, domain, &[set(0, &template(256, &[(4, 1)]))]));
        assert!(rig.exporters.reports().last().unwrap().domains <= 8);
    }
    assert_members(&rig.line(&v9(1, 99, &[set(256, &[6])])), json!({"Proto": 6}));
}

#[test]
fn all_templates_together_are_bounded() {
    let limits = Limits { fields: 160, ..Limits::default() };
    let mut rig = Rig::with(Rules { limits, ..Rules::default() });
    for last in 0..200 {
        rig.now_ns += 1;
        rig.from(last).lines(&v9(0, 0, &[set(0, &template(256, &[(4, 1); 10]))]));
        let held: usize = rig.exporters.reports().iter().map(|report| report.templates).sum();
        assert!(held <= 16, "{held}");
    }
    assert_members(&rig.line(&v9(1, 0, &[set(256, &[6; 10])])), json!({"Proto": 6}));
}
