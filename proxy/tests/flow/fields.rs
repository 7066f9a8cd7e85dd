//! What fields look like in a line.

use serde_json::json;

use crate::rig::{EXPORT, NOW_NS, Rig, assert_members, ipfix, set, template, template_of, v5, v5_record, v9};
use bytefreezer_proxy::decode::flow::{MacFormat, Rules};

const S: u64 = 1_000_000_000;
const EXPORT_NS: u64 = EXPORT as u64 * S;

/// A template of one kind of version 10 and a record for it, in one message.
fn one(fields: &[(u32, u16, u16)], record: &[u8]) -> Vec<u8> {
    ipfix(1, 7, &[set(2, &template_of(300, fields)), set(300, record)])
}

#[test]
fn a_v5_record_has_all_its_members_zeros_included() {
    let line = Rig::new().line(&v5(77, 1, 0x4064, &[v5_record()]));
    let export = EXPORT_NS + 250_000_001;
    assert_eq!(
        serde_json::Value::Object(line),
        json!({
            "Type": "NETFLOW_V5", "TimeReceivedNs": NOW_NS, "SamplerAddress": "192.0.2.1", "SequenceNum": 77,
            "EngineType": 3, "EngineId": 7, "SamplingRate": 100, "SrcAddr": "10.0.0.1", "DstAddr": "10.0.0.2",
            "NextHop": "10.0.0.254", "InIf": 3, "OutIf": 4, "Packets": 5, "Bytes": 4_294_967_295_u32,
            "TimeFlowStartNs": export - 2 * S, "TimeFlowEndNs": export - 1_000_000, "SrcPort": 443, "DstPort": 0,
            "TcpFlags": 27, "Proto": 6, "IpTos": 184, "SrcAs": 64_496, "DstAs": 64_497, "SrcNet": 24, "DstNet": 0,
            "Etype": 2048, "BfTs": NOW_NS / 1_000_000
        })
    );
}

#[test]
fn a_v7_record_also_names_the_router_that_was_bypassed() {
    let mut datagram = v5(5, 1, 0, &[v5_record()]);
    datagram[1] = 7;
    datagram.extend([10, 0, 0, 253]);
    let line = Rig::new().line(&datagram);
    assert_members(
        &line,
        json!({"Type": "NETFLOW_V7", "SrcAddr": "10.0.0.1", "DstNet": 0, "exporterIPv4Address": "10.0.0.253"}),
    );
    assert_eq!(line.get("SamplingRate"), None);
}

#[test]
fn v9_and_ipfix_share_the_members_of_the_common_schema() {
    let fields = [
        (8, 4),
        (12, 4),
        (7, 2),
        (11, 2),
        (4, 1),
        (1, 8),
        (2, 4),
        (10, 4),
        (14, 4),
        (5, 1),
        (6, 2),
        (16, 4),
        (17, 4),
        (58, 2),
        (59, 2),
        (9, 1),
    ];
    let record = [
        &[192, 0, 2, 1, 198, 51, 100, 2][..],
        &[0x01, 0xbb, 0xc3, 0xcb, 6],
        &u64::MAX.to_be_bytes(),
        &[0, 0, 0, 3],
        &[0, 0, 0, 1, 0, 0, 0, 2],
        &[0, 0, 0x12],
        &[0, 1, 0, 0, 0, 0, 0xfb, 0xf0],
        &[0, 10, 0, 0, 24],
    ]
    .concat();
    let expected = json!({
        "SequenceNum": 1, "ObservationDomainId": 7, "SrcAddr": "192.0.2.1", "DstAddr": "198.51.100.2",
        "SrcPort": 443, "DstPort": 50_123, "Proto": 6, "Bytes": u64::MAX, "Packets": 3, "InIf": 1, "OutIf": 2,
        "IpTos": 0, "TcpFlags": 18, "SrcAs": 65_536, "DstAs": 64_496, "VlanId": 10, "SrcVlan": 10, "DstVlan": 0,
        "SrcNet": 24, "Etype": 2048, "TimeFlowStartNs": EXPORT_NS, "TimeFlowEndNs": EXPORT_NS
    });
    let line = Rig::new().line(&v9(1, 7, &[set(0, &template(300, &fields)), set(300, &record)]));
    assert_members(&line, expected.clone());
    assert_members(&line, json!({"Type": "NETFLOW_V9"}));
    let line = Rig::new().line(&ipfix(1, 7, &[set(2, &template(300, &fields)), set(300, &record)]));
    assert_members(&line, expected);
    assert_members(&line, json!({"Type": "IPFIX"}));
}

/// Elements of start and end, their values, and how many ns a unit has; 0 for before the export.
type Case = (u16, u16, Vec<u8>, Vec<u8>, u64);

#[test]
fn times_are_exact_in_every_encoding() {
    let ntp = |ns: u64| {
        let fraction = ((ns % S) << 32) / S;
        (((ns / S + 2_208_988_800) << 32) | fraction).to_be_bytes()
    };
    let (start, end) = (EXPORT_NS - 1_234_567_891, EXPORT_NS - 1);
    let cases: [Case; 5] = [
        (156, 157, ntp(start).to_vec(), ntp(end).to_vec(), 1),
        (154, 155, ntp(start / 1000 * 1000).to_vec(), ntp(end / 1000 * 1000).to_vec(), 1_000),
        (
            152,
            153,
            (start / 1_000_000).to_be_bytes().to_vec(),
            (end / 1_000_000).to_be_bytes().to_vec(),
            1_000_000,
        ),
        (150, 151, ((start / S) as u32).to_be_bytes().to_vec(), ((end / S) as u32).to_be_bytes().to_vec(), S),
        (158, 159, 1_234_567_u32.to_be_bytes().to_vec(), 1_u32.to_be_bytes().to_vec(), 0),
    ];
    for (first, last, from, to, unit) in cases {
        let fields = [(0, first, from.len() as u16), (0, last, to.len() as u16)];
        let line = Rig::new().line(&one(&fields, &[from, to].concat()));
        let (from, to) = match unit {
            0 => (EXPORT_NS - 1_234_567_000, EXPORT_NS - 1_000),
            unit => (start / unit * unit, end / unit * unit),
        };
        assert_members(&line, json!({"TimeFlowStartNs": from, "TimeFlowEndNs": to}));
    }
}

#[test]
fn uptimes_of_ipfix_need_the_start_that_a_record_gives() {
    let started = (EXPORT_NS / 1_000_000 - 50_000).to_be_bytes();
    let fields = [(0, 22, 4), (0, 21, 4), (0, 160, 8)];
    let record = [&40_000_u32.to_be_bytes()[..], &49_999_u32.to_be_bytes(), &started].concat();
    let line = Rig::new().line(&one(&fields, &record));
    let expected = json!({"TimeFlowStartNs": EXPORT_NS - 10 * S, "TimeFlowEndNs": EXPORT_NS - 1_000_000});
    assert_members(&line, expected);
    // Without one they are kept as they are.
    let line = Rig::new().line(&one(&fields[..2], &record[..8]));
    assert_members(
        &line,
        json!({"TimeFlowStartNs": EXPORT_NS, "flowStartSysUpTime": 40_000, "flowEndSysUpTime": 49_999}),
    );
}

#[test]
fn the_family_that_is_there_has_the_address() {
    let fields = [(0, 8, 4), (0, 27, 16), (0, 12, 4), (0, 28, 16)];
    let six = [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
    let line = Rig::new().line(&one(&fields, &[&[0; 4][..], &six, &[0; 4], &[0; 16]].concat()));
    assert_members(
        &line,
        json!({
            "sourceIPv4Address": "0.0.0.0", "SrcAddr": "2001:db8::1", "Etype": 0x86dd,
            "destinationIPv4Address": "0.0.0.0", "destinationIPv6Address": "::"
        }),
    );
    let line = Rig::new().line(&one(&fields, &[&[10, 0, 0, 1][..], &six, &[10, 0, 0, 2], &[0; 16]].concat()));
    assert_members(
        &line,
        json!({"SrcAddr": "10.0.0.1", "sourceIPv6Address": "2001:db8::1", "DstAddr": "10.0.0.2", "Etype": 0x800}),
    );
}

#[test]
fn macs_are_numbers_or_text() {
    let datagram = one(&[(0, 56, 6), (0, 80, 6)], &[2, 0, 0x5e, 0x10, 0, 1, 0, 0, 0, 0, 0, 0]);
    let line = Rig::new().line(&datagram);
    assert_members(&line, json!({"SrcMac": 0x0200_5e10_0001_u64, "DstMac": 0}));
    let line = Rig::with(Rules { mac: MacFormat::Text, ..Rules::default() }).line(&datagram);
    assert_members(&line, json!({"SrcMac": "02:00:5e:10:00:01", "DstMac": "00:00:00:00:00:00"}));
}

#[test]
fn labels_icmp_flags_and_versions_have_their_forms() {
    let fields = [
        (0, 70, 3),
        (0, 71, 3),
        (0, 72, 3),
        (0, 47, 4),
        (0, 32, 2),
        (0, 197, 1),
        (0, 60, 1),
        (0, 200, 1),
        (0, 89, 1),
        (0, 95, 4),
    ];
    let record =
        [0x03, 0xe8, 0x10, 0x00, 0x01, 0x01, 0, 0, 0, 192, 0, 2, 9, 8, 3, 0x40, 6, 63, 64, 13, 0, 1, 0xc5];
    let line = Rig::new().line(&one(&fields, &record));
    assert_members(
        &line,
        json!({
            "MplsLabel": [16_001, 16], "MplsIp": ["192.0.2.9"], "IcmpType": 8, "IcmpCode": 3, "IpFlags": 2,
            "Etype": 0x86dd, "mplsTopLabelTTL": 63, "ForwardingStatus": 64, "ApplicationId": "13:453"
        }),
    );
}

#[test]
fn translations_and_firewall_events_go_by_their_registered_names() {
    let fields = [(0, 225, 4), (0, 226, 4), (0, 227, 2), (0, 228, 2), (0, 230, 1), (0, 233, 1), (0, 281, 16)];
    let record = [&[203, 0, 113, 1, 203, 0, 113, 2, 0x04, 0x00, 0, 80, 1, 2][..], &[0; 16]].concat();
    assert_members(
        &Rig::new().line(&one(&fields, &record)),
        json!({
            "postNATSourceIPv4Address": "203.0.113.1", "postNATDestinationIPv4Address": "203.0.113.2",
            "postNAPTSourceTransportPort": 1024, "postNAPTDestinationTransportPort": 80, "natEvent": 1,
            "firewallEvent": 2, "postNATSourceIPv6Address": "::"
        }),
    );
}

#[test]
fn elements_of_nobody_go_by_their_numbers_and_a_second_one_by_its_count() {
    let fields =
        [(64_999, 5, 4), (64_999, 6, 3), (0, 1, 4), (0, 1, 4), (0, 1, 4), (0, 23, 4), (64_999, 5, 4)];
    let record = [0, 0, 1, 0, 0xab, 0xcd, 0xef, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 4, 0, 0, 0, 5];
    assert_members(
        &Rig::new().line(&one(&fields, &record)),
        json!({
            "64999:5": 256, "64999:6": "abcdef", "Bytes": 1, "octetDeltaCount": 2, "octetDeltaCount_2": 3,
            "postOctetDeltaCount": 4, "64999:5_2": 5
        }),
    );
}

#[test]
fn the_reverse_direction_has_names_of_its_own() {
    let line = Rig::new().line(&one(&[(0, 1, 4), (29_305, 1, 4)], &[0, 0, 0, 9, 0, 0, 0, 8]));
    assert_members(&line, json!({"Bytes": 9, "reverseOctetDeltaCount": 8}));
}

#[test]
fn text_of_any_length_is_whole_and_valid() {
    let long = "ü".repeat(200);
    let fields = [(0, 371, 65_535), (0, 82, 8), (0, 96, 65_535), (0, 4, 1)];
    let record = [&[255, 1, 144][..], long.as_bytes(), b"Gi0/1\0\0\0", &[4], b"\"\xff\n\0", &[6]].concat();
    assert_members(
        &Rig::new().line(&one(&fields, &record)),
        json!({"userName": long, "interfaceName": "Gi0/1", "ApplicationName": "\"\u{fffd}\n", "Proto": 6}),
    );
}

#[test]
fn numbers_come_in_fewer_bytes_and_other_lengths_are_kept_as_bytes() {
    let fields = [(0, 1, 3), (0, 7, 4), (0, 8, 3), (0, 2, 16), (0, 434, 8), (0, 276, 1), (0, 389, 1)];
    let record =
        [&[1, 0, 0][..], &[0, 1, 0, 0], &[10, 0, 1], &[0xff; 16], &(-7_i64).to_be_bytes(), &[1], &[7]]
            .concat();
    assert_members(
        &Rig::new().line(&one(&fields, &record)),
        json!({
            "Bytes": 65_536, "SrcPort": 65_536, "sourceIPv4Address": "0a0001",
            "packetDeltaCount": "ffffffffffffffffffffffffffffffff", "mibObjectValueInteger": -7,
            "dataRecordsReliability": true, "dot1qCustomerDEI": "07"
        }),
    );
}

#[test]
fn lists_hold_values_and_records() {
    // Two AS numbers; two interface names; one record of template 301; one of 301 and one of an unknown one.
    let basic = [&[3, 0, 16, 0, 4][..], &64_496_u32.to_be_bytes(), &64_497_u32.to_be_bytes()].concat();
    let names = [&[4, 0, 82, 0xff, 0xff][..], &[1], b"a", &[2], b"bc"].concat();
    let records = [255, 0x01, 0x2d, 6, 17];
    let several = [0, 0x01, 0x2d, 0, 5, 1, 0x03, 0xe7, 0, 6, 0xaa, 0xbb];
    let variable = |bytes: &[u8]| [&[bytes.len() as u8][..], bytes].concat();
    let record = [variable(&basic), variable(&names), variable(&records), variable(&several)].concat();
    let fields = [(0, 291, 65_535), (0, 291, 65_535), (0, 292, 65_535), (0, 293, 65_535)];
    let line = Rig::new().line(&ipfix(
        1,
        7,
        &[set(2, &[template_of(300, &fields), template(301, &[(4, 1)])].concat()), set(300, &record)],
    ));
    assert_members(
        &line,
        json!({
            "basicList": {"Semantic": "allOf", "Element": "bgpSourceAsNumber", "Values": [64_496, 64_497]},
            "basicList_2": {"Semantic": "ordered", "Element": "interfaceName", "Values": ["a", "bc"]},
            "subTemplateList": {"Semantic": "undefined", "TemplateId": 301, "Records": [{"Proto": 6}, {"Proto": 17}]},
            "subTemplateMultiList": {"Semantic": "noneOf", "Lists": [
                {"TemplateId": 301, "Records": [{"Proto": 1}]}, {"TemplateId": 999, "Undecoded": "aabb"}
            ]}
        }),
    );
}
