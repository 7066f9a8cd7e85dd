//! What options say about data.

use bytefreezer_proxy::decode::flow::Rules;
use serde_json::json;

use crate::rig::{Rig, assert_members, ipfix, ipfix_options, set, template, v9, v9_options};

#[test]
fn the_sampling_rate_comes_from_options_of_v9() {
    let mut rig = Rig::new();
    rig.lines(&v9(0, 1, &[set(0, &template(256, &[(48, 1), (4, 1)])), set(0, &template(257, &[(4, 1)]))]));
    let before = rig.line(&v9(1, 1, &[set(256, &[7, 6])]));
    assert_eq!(before.get("SamplingRate"), None);
    // Samplers 7 and 8, then one for all.
    let samplers = v9_options(300, &[(1, 4)], &[(48, 1), (49, 1), (50, 4)]);
    let records = [0, 0, 0, 1, 7, 2, 0, 0, 0, 100, 0, 0, 0, 1, 8, 2, 0, 0, 1, 0];
    let all = v9_options(301, &[(1, 4)], &[(34, 4), (35, 1)]);
    let sets =
        [set(1, &samplers), set(1, &all), set(300, &records), set(301, &[0, 0, 0, 1, 0, 0, 0x10, 0, 1])];
    assert!(rig.lines(&v9(2, 1, &sets)).is_empty());
    assert_members(&rig.line(&v9(3, 1, &[set(256, &[7, 6])])), json!({"samplerId": 7, "SamplingRate": 100}));
    assert_members(&rig.line(&v9(4, 1, &[set(256, &[8, 6])])), json!({"SamplingRate": 256}));
    assert_members(&rig.line(&v9(5, 1, &[set(256, &[9, 6])])), json!({"SamplingRate": 4096}));
    assert_members(&rig.line(&v9(6, 1, &[set(257, &[6])])), json!({"SamplingRate": 4096}));
    // Another domain has its own.
    assert_eq!(rig.from(2).exporters.len(), 1);
    rig.lines(&v9(7, 2, &[set(0, &template(257, &[(4, 1)]))]));
    assert_eq!(rig.from(1).send(&v9(7, 1, &[set(257, &[6])])).1[0]["SamplingRate"], 4096);
}

#[test]
fn psamp_counts_what_is_taken_and_left_out() {
    type Case = (&'static [(u16, u16)], Vec<u8>, u64);
    let cases: [Case; 3] = [
        (&[(305, 4), (306, 4)], [1_u32, 999].map(u32::to_be_bytes).concat(), 1_000),
        (&[(305, 4)], 512_u32.to_be_bytes().to_vec(), 512),
        (&[(309, 4), (310, 4)], [2_u32, 128].map(u32::to_be_bytes).concat(), 64),
    ];
    for (options, values, rate) in cases {
        let mut rig = Rig::new();
        let record = [&[0, 0, 0, 9][..], &values].concat();
        let sets = [
            set(2, &template(256, &[(4, 1)])),
            set(3, &ipfix_options(300, &[(149, 4)], options)),
            set(300, &record),
            set(256, &[6]),
        ];
        assert_members(&rig.line(&ipfix(0, 9, &sets)), json!({"SamplingRate": rate}));
    }
}

#[test]
fn a_rate_in_the_record_goes_before_any_other() {
    let sets = [set(0, &template(256, &[(34, 4), (4, 1)])), set(256, &[0, 0, 0, 50, 6])];
    assert_members(&Rig::new().line(&v9(0, 1, &sets)), json!({"SamplingRate": 50}));
}

#[test]
fn interfaces_and_applications_get_their_names() {
    let mut rig = Rig::new();
    let interfaces = v9_options(300, &[(1, 4)], &[(10, 4), (82, 8), (83, 8)]);
    let applications = v9_options(301, &[(1, 4)], &[(95, 4), (96, 8)]);
    let sets = [
        set(0, &template(256, &[(10, 4), (14, 4), (95, 4)])),
        set(1, &interfaces),
        set(1, &applications),
        set(300, b"\0\0\0\x01\0\0\0\x03Gi0/3\0\0\0uplink\0\0"),
        set(301, b"\0\0\0\x01\x03\0\0\x35dns\0\0\0\0\0"),
    ];
    rig.lines(&v9(0, 1, &sets));
    let line = rig.line(&v9(1, 1, &[set(256, &[0, 0, 0, 3, 0, 0, 0, 4, 3, 0, 0, 0x35])]));
    assert_members(
        &line,
        json!({
            "InIf": 3, "InIfName": "Gi0/3", "OutIf": 4, "ApplicationId": "3:53", "ApplicationName": "dns"
        }),
    );
    assert_eq!(line.get("OutIfName"), None);
    // The scope may be the interface itself.
    let scoped = v9_options(302, &[(2, 4)], &[(82, 4)]);
    rig.lines(&v9(2, 1, &[set(1, &scoped), set(302, b"\0\0\0\x04eth4")]));
    let line = rig.line(&v9(3, 1, &[set(256, &[0, 0, 0, 3, 0, 0, 0, 4, 3, 0, 0, 0x35])]));
    assert_members(&line, json!({"OutIfName": "eth4"}));
}

#[test]
fn options_are_counted_and_become_lines_where_they_are_wanted() {
    let sets =
        [set(1, &v9_options(300, &[(1, 4), (2, 2)], &[(34, 4)])), set(300, &[0, 0, 0, 1, 0, 5, 0, 0, 0, 10])];
    let (outcome, lines) = Rig::new().send(&v9(0, 1, &sets));
    assert_eq!((outcome.options, lines.len()), (1, 0));
    let line = Rig::with(Rules { options: true, ..Rules::default() }).line(&v9(0, 1, &sets));
    assert_members(&line, json!({"ScopeSystem": 1, "ScopeInterface": 5, "SamplingRate": 10}));
    assert_eq!(line.get("TimeFlowStartNs"), None);
}

#[test]
fn uptimes_of_ipfix_are_relative_to_the_start_that_options_gave() {
    let mut rig = Rig::new();
    let started = 1_767_225_000_000_u64;
    let sets = [
        set(3, &ipfix_options(300, &[(149, 4)], &[(160, 8)])),
        set(300, &[&[0, 0, 0, 1][..], &started.to_be_bytes()].concat()),
        set(2, &template(256, &[(22, 4)])),
    ];
    rig.lines(&ipfix(0, 1, &sets));
    let line = rig.line(&ipfix(1, 1, &[set(256, &[0, 0, 1, 0])]));
    assert_members(&line, json!({"TimeFlowStartNs": (started + 256) * 1_000_000}));
}
