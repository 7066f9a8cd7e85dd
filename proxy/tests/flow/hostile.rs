//! Datagrams that mean harm, or are broken: bounded in time and size, refused and counted.

use std::time::{Duration, Instant};

use bytefreezer_proxy::decode::flow::{Fault, Limits, Rules};
use serde_json::json;

use crate::rig::{
    Rig, assert_members, ipfix, ipfix_options, set, template, template_of, v5, v5_record, v9, v9_options,
};

/// What a datagram of any kind may take, on a busy machine too; the slowest here take a thousandth of that when optimised.
const SOON: Duration = Duration::from_secs(10);

#[test]
fn a_few_bytes_of_any_version_are_refused() {
    for version in 0..12_u8 {
        for length in 0..16 {
            let datagram: Vec<u8> = [0, version].into_iter().chain([0; 14]).take(length).collect();
            let (outcome, lines) = Rig::new().send(&datagram);
            assert!(lines.is_empty());
            let expected =
                if length < 2 || matches!(version, 5 | 7 | 9 | 10) { Fault::Short } else { Fault::Version };
            assert_eq!(outcome.fault, Some(expected), "{datagram:?}");
        }
    }
    assert!(Rig::new().exporters.is_empty());
}

#[test]
fn a_template_without_bytes_decodes_nothing() {
    let started = Instant::now();
    for fields in [&[][..], &[(1, 0)], &[(1, 0), (2, 0), (8, 0)]] {
        for datagram in [
            v9(1, 0, &[set(0, &template(256, fields)), set(256, &[1; 1_000])]),
            v9(1, 0, &[set(1, &v9_options(256, &[(1, 0)], fields)), set(256, &[1; 1_000])]),
            ipfix(1, 0, &[set(2, &template(256, fields)), set(256, &[1; 1_000])]),
            ipfix(1, 0, &[set(3, &ipfix_options(256, &[(149, 0)], fields)), set(256, &[1; 1_000])]),
        ] {
            let (outcome, lines) = Rig::new().send(&datagram);
            assert!(lines.is_empty());
            assert!(outcome.fault == Some(Fault::Template) || outcome.waiting == 1, "{outcome:?}");
        }
    }
    assert!(started.elapsed() < SOON);
}

#[test]
fn fields_without_bytes_cost_nothing_and_give_nothing() {
    // A thousand names for each byte would be a line of 20 kB a byte.
    let mut fields = vec![(1, 0); 1_000];
    fields.push((4, 1));
    let lines = Rig::new().lines(&v9(1, 0, &[set(0, &template(256, &fields)), set(256, &[6; 8])]));
    assert_eq!(lines.len(), 8);
    assert_members(&lines[0], json!({"Proto": 6}));
    assert_eq!(lines[0].get("Bytes"), None);
}

#[test]
fn a_claim_of_65535_records_gives_no_more_than_there_are() {
    let (outcome, lines) = Rig::new().send(&v5(0, 65_535, 0, &[v5_record(); 30]));
    assert_eq!((outcome.fault, lines.len()), (Some(Fault::Short), 0));
    let mut datagram = v9(0, 0, &[set(0, &template(256, &[(8, 4)])), set(256, &[1; 8])]);
    datagram[2..4].copy_from_slice(&[0xff; 2]);
    assert_eq!(Rig::new().lines(&datagram).len(), 2);
    let mut datagram = ipfix(0, 0, &[set(2, &template(256, &[(8, 4)])), set(256, &[1; 8])]);
    datagram[2..4].copy_from_slice(&[0xff; 2]);
    let (outcome, lines) = Rig::new().send(&datagram);
    assert_eq!((outcome.fault, lines.len()), (Some(Fault::Short), 2));
    // Counts in templates, and the length of a set.
    let mut claims = template(256, &[(8, 4)]);
    claims[2..4].copy_from_slice(&[0xff; 2]);
    let (outcome, _) = Rig::new().send(&v9(0, 0, &[set(0, &claims)]));
    assert_eq!((outcome.fault, outcome.templates), (Some(Fault::Template), 0));
    let mut long = set(256, &[1; 8]);
    long[2..4].copy_from_slice(&[0xff; 2]);
    assert_eq!(Rig::new().send(&v9(0, 0, &[long])).0.fault, Some(Fault::Set));
}

#[test]
fn eighty_bytes_give_at_most_a_line_a_byte() {
    let datagram = v9(0, 0, &[set(0, &template(256, &[(4, 1)])), set(256, &[6; 44])]);
    assert_eq!(datagram.len(), 80);
    let mut out = Vec::new();
    let mut rig = Rig::new();
    let now = bytefreezer_proxy::decode::ReceiveTime::new(rig.now_ns);
    rig.exporters.push(&datagram, rig.source, rig.transport, &now, &mut out);
    assert!(out.len() <= 80 * 400, "{}", out.len());
}

#[test]
fn the_largest_datagram_of_the_smallest_records_is_bounded() {
    let started = Instant::now();
    let mut rig = Rig::new();
    rig.lines(&v9(0, 0, &[set(0, &template(256, &[(4, 1)]))]));
    let mut out = Vec::new();
    let now = bytefreezer_proxy::decode::ReceiveTime::new(rig.now_ns);
    let outcome = rig.exporters.push(
        &v9(1, 0, &[set(256, &vec![6; 65_000])]),
        rig.source,
        rig.transport,
        &now,
        &mut out,
    );
    assert_eq!(outcome.lines, 65_000);
    assert!(out.len() < 20 << 20, "{}", out.len());
    assert!(started.elapsed() < SOON);
}

#[test]
fn zeros_behind_the_last_set_or_record_are_padding() {
    for zeros in [1, 3, 4, 5, 500] {
        let mut datagram = v9(0, 0, &[set(0, &template(256, &[(8, 4)])), set(256, &[1; 4])]);
        datagram.extend(vec![0; zeros]);
        assert_eq!(Rig::new().lines(&datagram).len(), 1);
    }
    let sets = [set(0, &[template(256, &[(8, 4)]), vec![0; 2]].concat()), set(256, &[1, 1, 1, 1, 0, 0])];
    assert_eq!(Rig::new().lines(&v9(0, 0, &sets)).len(), 1);
    let mut datagram = v9(0, 0, &[]);
    datagram.extend([0, 0, 0, 1]);
    assert_eq!(Rig::new().send(&datagram).0.fault, Some(Fault::Set));
}

#[test]
fn a_record_cut_short_ends_its_set_and_is_counted() {
    let fields = [(0, 371, 65_535), (0, 4, 1)];
    let record = [&[2, b'a', b'b', 6][..], &[200, b'a', b'b', 6]].concat();
    let (outcome, lines) =
        Rig::new().send(&ipfix(0, 0, &[set(2, &template_of(256, &fields)), set(256, &record)]));
    assert_eq!((outcome.fault, lines.len()), (Some(Fault::Record), 1));
    assert_members(&lines[0], json!({"userName": "ab", "Proto": 6}));
}

#[test]
fn a_template_may_have_no_more_than_1024_fields() {
    for (count, fault) in [(1_024, None), (1_025, Some(Fault::Template))] {
        let datagram = v9(0, 0, &[set(0, &template(256, &vec![(1, 1); count]))]);
        assert_eq!(Rig::new().send(&datagram).0.fault, fault);
    }
}

#[test]
fn lists_in_lists_end() {
    // A basicList of basicLists, each a byte shorter than the one around it.
    let mut list = vec![3, 0, 4, 0, 1, 6];
    for _ in 0..40 {
        list = [&[3, 1, 0x23, 0xff, 0xff, list.len() as u8][..], &list].concat();
    }
    let record = [&[list.len() as u8][..], &list].concat();
    let fields = [(0, 291, 65_535)];
    let lines = Rig::new().lines(&ipfix(0, 0, &[set(2, &template_of(256, &fields)), set(256, &record)]));
    let text = serde_json::to_string(&lines[0]).unwrap();
    assert_eq!(text.matches("\"Element\":\"basicList\"").count(), 4);
    assert!(text.contains("\"Undecoded\":\"03"));
    // A template whose list holds records of itself.
    let own = [&[12_u8][..], &[255, 1, 0, 8, 255, 1, 0, 4, 255, 1, 0, 0]].concat();
    let sets = [set(2, &template_of(256, &[(0, 292, 65_535)])), set(256, &own)];
    assert_eq!(Rig::new().lines(&ipfix(0, 0, &sets)).len(), 1);
}

#[test]
fn a_flood_of_new_templates_and_senders_is_cheap() {
    let started = Instant::now();
    let mut rig = Rig::with(Rules {
        limits: Limits { fields_per_exporter: 4_096, fields: 16_384, exporters: 256, ..Limits::default() },
        ..Rules::default()
    });
    let templates: Vec<u8> = (256..5_000).flat_map(|id| template(id, &[(4, 1)])).collect();
    for number in 0..20_000_u32 {
        rig.source.address = std::net::IpAddr::from(number.to_be_bytes());
        rig.send(&v9(0, number, &[]));
    }
    for number in 0..20 {
        rig.send(&v9(0, number, &[set(0, &templates)]));
    }
    assert!(started.elapsed() < 5 * SOON, "{:?}", started.elapsed());
    assert!(rig.exporters.len() <= 256);
}
