//! What lines say.

use serde_json::{Value, json};

use super::*;

#[test]
fn a_flow_line_has_the_common_members_in_their_order() {
    let record = raw(1, &bytes(&format!("{MACS} 0800 {IPV4}")));
    let (mut out, now) = (Vec::new(), ReceiveTime::new(NOW));
    let rules = SflowRules::default();
    push_datagram(
        &datagram(&[flow(&[record])]).0,
        &rules,
        "::ffff:192.0.2.7".parse().unwrap(),
        &now,
        &mut out,
    );
    assert_eq!(
        String::from_utf8(out).unwrap(),
        "{\"Type\":\"SFLOW_5\",\"TimeReceivedNs\":1767225600123456789,\"SamplerAddress\":\"192.0.2.7\",\
         \"SequenceNum\":4711,\"AgentAddress\":\"192.0.2.254\",\"SubAgentId\":7,\"SampleSequenceNum\":9,\
         \"SourceIdClass\":1,\"SourceIdIndex\":3,\"SamplingRate\":512,\"SamplePool\":2048,\"SampleDrops\":1,\
         \"InIf\":3,\"OutIf\":7,\"TimeFlowStartNs\":1767225600123456789,\"TimeFlowEndNs\":1767225600123456789,\
         \"Bytes\":1514,\"Packets\":1,\"SrcMac\":2200601362434,\"DstMac\":2200601362433,\"Etype\":2048,\
         \"SrcAddr\":\"192.0.2.1\",\"DstAddr\":\"198.51.100.2\",\"Proto\":6,\"IpTos\":184,\"IpTtl\":63,\
         \"IpFlags\":2,\"FragmentId\":4660,\"FragmentOffset\":0,\"SrcPort\":443,\"DstPort\":51000,\
         \"TcpFlags\":18,\"BfTs\":1767225600123}\n"
    );
}

#[test]
fn extended_records_are_members_of_their_flow() {
    let path = Xdr::words(&[2, 2, 2, 64_496, 64_497, 1, 1, 64_498]);
    let gateway = Xdr::words(&[1, 0xc000_0201, 64_500, 64_501, 64_502]).and(path);
    let gateway = gateway.and(Xdr::words(&[2, 0x0001_0002, 3, 100]));
    let empty = Xdr::words(&[2]).and([0x20; 16]).and(Xdr::words(&[64_500, 0, 0, 0, 0, 0]));
    let line = one(&[
        (1001, Xdr::words(&[10, 1, 20, 2])),
        (1002, Xdr::words(&[1, 0xc000_0209, 24, 16])),
        (1003, gateway),
        (1004, Xdr::words(&[106]).opaque(b"alice").and(Xdr::words(&[106])).opaque(b"")),
        (1007, Xdr::words(&[1, 0x0a00_0001, 0])),
        (1020, Xdr::words(&[1024, 443])),
        (1012, Xdr::words(&[2, 0x8100_2064, 0x8100_00c8])),
        (1006, Xdr::words(&[0, 1, 0x0006_41ff, 0])),
        (1003, empty.clone()),
    ]);
    for (name, value) in [
        ("SrcVlan", json!(10)),
        ("DstVlanPriority", json!(2)),
        ("NextHop", json!("192.0.2.9")),
        ("SrcNet", json!(24)),
        ("DstNet", json!(16)),
        ("BgpNextHop", json!("192.0.2.1")),
        ("RouterAs", json!(64_500)),
        ("SrcAs", json!(64_501)),
        ("SrcPeerAs", json!(64_502)),
        ("DstAs", json!(64_498)),
        ("NextHopAs", json!(64_496)),
        ("AsPath", json!([64_496, 64_497, 64_498])),
        ("BgpCommunities", json!([0x0001_0002, 3])),
        ("LocalPref", json!(100)),
        ("SrcUser", json!("alice")),
        ("DstUser", json!("")),
        ("PostNatSrcAddr", json!("10.0.0.1")),
        ("PostNatDstPort", json!(443)),
        ("StrippedVlanIds", json!([100, 200])),
        ("MplsInLabels", json!([100])),
        ("MplsOutLabels", json!([])),
    ] {
        assert_eq!(line[name], value, "{name}");
    }
    assert_eq!(line["OtherRecords"][0]["Format"], "0:1003", "a second one of a kind is kept as bytes");
    let line = one(&[(1003, empty)]);
    assert_eq!((&line["DstAs"], &line["SrcAs"]), (&json!(64_500), &json!(0)));
    assert!(line.get("AsPath").is_none());
}

#[test]
fn what_is_not_understood_is_kept_as_bytes() {
    let line = one(&[
        ((4413 << 12) + 5, Xdr(vec![0, 0xff, 1, 2])),
        (1001, Xdr::words(&[10])),
        (1001, Xdr(vec![1, 2, 3])),
        (1043, Xdr(vec![1, 2, 3, 4])),
        (1003, Xdr::words(&[1, 2, 3, 4, 5, u32::MAX, 0, u32::MAX])),
        raw(1, &[]),
        raw(1, &[1, 2]),
    ]);
    assert_eq!(line["SrcVlan"], 10, "older agents may send fewer fields");
    assert_eq!(
        line["OtherRecords"],
        json!([
            {"Format": "4413:5", "Data": "00ff0102"},
            {"Format": "0:1001", "Data": "010203"},
            {"Format": "0:1043", "Data": "01020304"},
            {"Format": "0:1003", "Data": "0000000100000002000000030000000400000005ffffffff00000000ffffffff"},
            {"Format": "0:1", "Data": "00000001000005ea00000004000000020102".to_owned() + "0000"},
        ])
    );
    let line = one(&[raw(15, &[8, 0, 0xff])]);
    assert_eq!((&line["HeaderProtocol"], &line["Header"]), (&json!(15), &json!("0800ff")));
    let (_, lines) = decode(&datagram(&[((4300 << 12) + 1002, Xdr(vec![1, 2, 3, 4]))]).0, ALL);
    assert_eq!(lines[0]["Type"], "SFLOW_5_OTHER");
    assert_eq!(lines[0]["OtherRecords"], json!([{"Format": "4300:1002", "Data": "01020304"}]));
    let many = vec![(1001, Xdr::words(&[1, 2, 3, 4])); 70];
    assert_eq!(one(&many)["OtherRecords"].as_array().unwrap().len(), 69);
}

#[test]
fn interfaces_are_told_from_reasons_and_numbers() {
    let sample = |input: u32, output: u32| (1, Xdr::words(&[9, 3, 1, 0, 0, input, output, 0]));
    let line = |sample| decode(&datagram(&[sample]).0, ALL).1.remove(0);
    let packed = line(sample(0x3fff_ffff, 0x8000_0007));
    assert_eq!((&packed["InIf"], &packed["OutIfCount"]), (&json!(0x3fff_ffff), &json!(7)));
    assert!(packed.get("OutIf").is_none());
    assert_eq!(line(sample(0, 0x4000_0102))["OutDropReason"], 258);
    let expanded = line((3, Xdr::words(&[9, 1, 0x0100_0003, 1, 0, 0, 0, u32::MAX, 2, 7, 0])));
    assert_eq!((&expanded["InIf"], &expanded["OutIfCount"]), (&json!(u32::MAX), &json!(7)));
    assert_eq!((&expanded["SourceIdClass"], &expanded["SourceIdIndex"]), (&json!(1), &json!(0x0100_0003)));
}

#[test]
fn counters_and_drops_can_be_left_out() {
    let counters = (2, Xdr::words(&[1, 3, 1]).tagged(1005, &Xdr::default().opaque(b"eth0")));
    let drop = (5, Xdr::words(&[1, 0, 3, 2, 4, 5, 258, 1]).tagged(1038, &Xdr::default().opaque(b"nf_drop")));
    let both = datagram(&[counters, drop]);
    let (decoded, lines) = decode(&both.0, ALL);
    assert_eq!((decoded.samples, lines.len()), (2, 2));
    assert_eq!((&lines[0]["Type"], &lines[0]["PortName"]), (&json!("SFLOW_5_COUNTERS"), &json!("eth0")));
    assert_eq!(lines[0]["AgentUptimeMs"], 90_000);
    assert_eq!((&lines[1]["Type"], &lines[1]["DropReason"]), (&json!("SFLOW_5_DROP"), &json!(258)));
    assert_eq!((&lines[1]["FunctionSymbol"], &lines[1]["SampleDrops"]), (&json!("nf_drop"), &json!(2)));
    for (rules, left) in [
        (SflowRules { counters: false, ..ALL }, Some("SFLOW_5_DROP")),
        (SflowRules { drops: false, ..ALL }, Some("SFLOW_5_COUNTERS")),
        (SflowRules { counters: false, drops: false, ..ALL }, None),
    ] {
        let (decoded, lines) = decode(&both.0, rules);
        assert_eq!((decoded.samples, decoded.damage), (2, None));
        assert_eq!(lines.first().map(|line| line["Type"].as_str().unwrap()), left);
    }
}

#[test]
fn hosts_show_their_adapters_and_optics_their_lanes() {
    let adapters = Xdr::words(&[2, 1, 1]).and(bytes("02005e100001 0000")).and(Xdr::words(&[2, 0]));
    let fields: Vec<u32> = (1..=10).collect();
    let module = Xdr::words(&[5, 4, 3300, -1500_i32 as u32, 1]).and(Xdr::words(&fields));
    let cpu = Xdr::words(&[0.5_f32.to_bits(), f32::NAN.to_bits(), 0]);
    let sample = Xdr::words(&[1, 3, 3]).tagged(2001, &adapters).tagged(10, &module).tagged(2003, &cpu);
    let line = decode(&datagram(&[(2, sample)]).0, ALL).1.remove(0);
    assert_eq!(
        line["HostAdapters"],
        json!([{"IfIndex": 1, "Macs": ["02:00:5e:10:00:01"]}, {"IfIndex": 2, "Macs": []}])
    );
    assert_eq!(line["OpticsTemperatureMc"], -1500);
    assert_eq!(line["OpticsLanes"][0]["RxWavelengthNm"], 10);
    assert_eq!(
        (&line["LoadOne"], &line["LoadFive"], &line["LoadFifteen"]),
        (&json!(0.5), &Value::Null, &json!(0))
    );
    assert!(line.get("ProcRun").is_none(), "an agent of before");
}

#[test]
fn legacy_lines_are_those_of_before() {
    let records = [
        raw(1, &bytes(&format!("{MACS} 0800 {IPV4}"))),
        (1001, Xdr::words(&[1, 2, 3, 4])),
        (3, Xdr::words(&[60, 17, 0x0a00_0001, 0x0a00_0002, 53, 0, 0, 0])),
    ];
    let (mut out, now) = (Vec::new(), ReceiveTime::new(NOW));
    push_datagram(&datagram(&[flow(&records)]).0, &LEGACY, "192.0.2.7".parse().unwrap(), &now, &mut out);
    let base =
        "{\"version\":5,\"agent_ip\":\"192.0.2.254\",\"sampling_rate\":512,\"input_if\":3,\"output_if\":7";
    let end = ",\"BfTs\":1767225600123}\n";
    assert_eq!(
        String::from_utf8(out).unwrap(),
        format!(
            "{base},\"protocol\":1,\"frame_length\":1514,\"src_ip\":\"192.0.2.1\",\"dst_ip\":\"198.51.100.2\",\
             \"src_port\":443,\"dst_port\":51000{end}\
             {base}{end}\
             {base},\"protocol\":17,\"src_ip\":\"10.0.0.1\",\"dst_ip\":\"10.0.0.2\",\"src_port\":53{end}"
        )
    );
    let (_, lines) = decode(&datagram(&[(2, Xdr::words(&[1, 3, 0]))]).0, LEGACY);
    let expected = json!({
        "version": 5, "agent_ip": "192.0.2.254", "sequence_number": 4711, "samples_count": 1, "BfTs": 1_767_225_600_123_u64,
    });
    assert_eq!(Value::from(lines[0].clone()), expected);
}
