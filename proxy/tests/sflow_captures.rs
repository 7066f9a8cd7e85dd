//! Datagrams of real agents decode to what another program made of them, number by number: those of tcpdump
//! (BSD-3-Clause) in `tcpdump/`, those of telegraf (MIT) in `telegraf/sflow_*`. They are not part of this repository:
//! `FLOW_CAPTURES` names the folder, and without it nothing is compared, which is said loudly.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::{
    collections::HashMap,
    fs,
    net::IpAddr,
    path::{Path, PathBuf},
};

use bytefreezer_proxy::decode::{
    ReceiveTime,
    flow::record::MacFormat,
    sflow::{Address, Damage, Decoded, SflowRules, push_datagram},
};
use serde_json::{Value, json};

fn folder() -> Option<PathBuf> {
    let folder = std::env::var_os("FLOW_CAPTURES").map(PathBuf::from).filter(|folder| folder.is_dir());
    if folder.is_none() {
        eprintln!("FLOW_CAPTURES NAMES NO FOLDER: THE DATAGRAMS OF REAL AGENTS ARE NOT COMPARED");
    }
    folder
}

fn decode(datagram: &[u8]) -> (Decoded, Vec<Value>) {
    let rules = SflowRules { mac: MacFormat::Text, inner: true, ..SflowRules::default() };
    let (mut out, now) = (Vec::new(), ReceiveTime::new(1_767_225_600_000_000_000));
    let decoded = push_datagram(datagram, &rules, "192.0.2.7".parse().unwrap(), &now, &mut out);
    let lines = out.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    (decoded, lines.map(|line| serde_json::from_slice(line).unwrap()).collect())
}

/// The payloads of the UDP datagrams in a pcap file (little endian, Ethernet).
fn pcap(folder: &Path, name: &str) -> Vec<Vec<u8>> {
    let bytes = fs::read(folder.join("tcpdump").join(name)).unwrap();
    let mut rest = &bytes[24..];
    let mut payloads = Vec::new();
    while let Some((head, after)) = rest.split_first_chunk::<16>() {
        let length = u32::from_le_bytes(head[8..12].try_into().unwrap()) as usize;
        let (frame, next) = after.split_at(length);
        let ip = if frame[12..14] == [8, 0] { 20 } else { 40 };
        payloads.push(frame[14 + ip + 8..].to_vec());
        rest = next;
    }
    payloads
}

/// What tcpdump prints of a sample, from our line.
fn as_tcpdump(line: &Value) -> Vec<String> {
    let all = |text: &str, names: &str| {
        let mut values =
            names.split(' ').map(|name| line.get(name).map_or("none".to_owned(), Value::to_string));
        let parts: Vec<_> = text.split("{}").collect();
        let (last, before) = parts.split_last().unwrap();
        let text: String = before.iter().map(|part| (*part).to_owned() + &values.next().unwrap()).collect();
        text + last
    };
    let source = all("seqnum {}, type {}, idx {}, ", "SampleSequenceNum SourceIdClass SourceIdIndex");
    if line["Type"] == "SFLOW_5_COUNTERS" {
        return vec![
            source,
            all("ifindex {}, iftype {}, ifspeed {}, ifdirection {} (", "IfIndex IfType IfSpeed IfDirection"),
            all("ifstatus {}, adminstatus: ", "IfStatus"),
            all(
                "In octets {}, unicast pkts {}, multicast pkts {}, broadcast pkts {}, discards {}",
                "IfInOctets IfInUcastPkts IfInMulticastPkts IfInBroadcastPkts IfInDiscards",
            ),
            all("In errors {}, unknown protos {}", "IfInErrors IfInUnknownProtos"),
            all(
                "Out octets {}, unicast pkts {}, multicast pkts {}, broadcast pkts {}, discards {}",
                "IfOutOctets IfOutUcastPkts IfOutMulticastPkts IfOutBroadcastPkts IfOutDiscards",
            ),
            all("Out errors {}, promisc mode {}", "IfOutErrors IfPromiscuousMode"),
            all(
                "align errors {}, fcs errors {}, single collision {}, multiple collision {}, test error {}",
                "Dot3StatsAlignmentErrors Dot3StatsFCSErrors Dot3StatsSingleCollisionFrames \
                 Dot3StatsMultipleCollisionFrames Dot3StatsSQETestErrors",
            ),
            all(
                "deferred {}, late collision {}, excessive collision {}, mac trans error {}",
                "Dot3StatsDeferredTransmissions Dot3StatsLateCollisions Dot3StatsExcessiveCollisions \
                 Dot3StatsInternalMacTransmitErrors",
            ),
            all(
                "carrier error {}, frames too long {}, mac receive errors {}, symbol errors {}",
                "Dot3StatsCarrierSenseErrors Dot3StatsFrameTooLongs Dot3StatsInternalMacReceiveErrors \
                 Dot3StatsSymbolErrors",
            ),
        ];
    }
    // Packed, tcpdump does not take the two bits of an output apart.
    let several = line.get("OutIfCount").map(|count| count.as_u64().unwrap() | 1 << 31);
    let output = several.map_or_else(|| line["OutIf"].to_string(), |bits| bits.to_string());
    let rates = "rate {}, pool {}, drops {}, input {}";
    vec![
        source + &all(rates, "SamplingRate SamplePool SampleDrops InIf"),
        format!("output {output} "),
        all("protocol Ethernet (1), length {}, stripped bytes 4, header_size ", "Bytes"),
        all(
            "src vlan {}, src pri {}, dst vlan {}, dst pri {}",
            "SrcVlan SrcVlanPriority DstVlan DstVlanPriority",
        ),
    ]
}

fn compare_with_tcpdump(name: &str, samples_expected: usize) {
    let Some(folder) = folder() else { return };
    let text = fs::read_to_string(folder.join("tcpdump").join(name).with_extension("out")).unwrap();
    let mut datagrams: Vec<String> = Vec::new();
    for line in text.lines() {
        if line.contains(" IP (") || line.contains(" IP6 (") {
            datagrams.push(String::new());
        }
        *datagrams.last_mut().unwrap() += &(line.to_owned() + "\n");
    }
    // Some senders took the port for one of NetFlow.
    let (payloads, foreign): (Vec<_>, Vec<_>) =
        pcap(&folder, name).into_iter().partition(|payload| payload.starts_with(&[0, 0, 0, 5]));
    assert!(foreign.iter().all(|payload| decode(payload).0.damage == Some(Damage::Version)));
    assert_eq!(payloads.len() + foreign.len(), datagrams.len());
    datagrams.retain(|text| text.contains("sFlowv5"));
    assert_eq!(payloads.len(), datagrams.len());
    let mut samples = 0;
    for (payload, text) in payloads.iter().zip(&datagrams) {
        let (decoded, lines) = decode(payload);
        assert_eq!(decoded.damage, None);
        let header = decoded.header.unwrap();
        let agent = header.agent.ip().unwrap();
        let family = if matches!(header.agent, Address::V4(_)) { 4 } else { 6 };
        let head = format!(
            "sFlowv5, IPv{family} agent {agent}, agent-id {}, seqnum {}, uptime {}, samples {}, length {}\n",
            header.sub_agent,
            header.sequence,
            header.uptime_ms,
            header.samples,
            payload.len()
        );
        assert!(text.contains(&head), "{head} is not in {text}");
        let blocks = samples_of(text);
        assert_eq!(blocks.len(), lines.len(), "{text}");
        for (block, line) in blocks.iter().zip(&lines) {
            samples += 1;
            let fragments = as_tcpdump(line);
            for detail in block.lines().filter(|detail| !detail.contains("enterprise ")) {
                let found = fragments.iter().any(|fragment| detail.contains(fragment));
                assert!(found, "{detail:?} is not in {fragments:#?}");
            }
        }
    }
    assert_eq!(samples, samples_expected);
}

/// The samples of a datagram: each begins with one tab and no blank.
fn samples_of(text: &str) -> Vec<String> {
    let mut blocks: Vec<String> = Vec::new();
    // What tcpdump does not know it shows in hexadecimal.
    let known = |line: &&str| line.starts_with('\t') && !line.starts_with("\t\t");
    for line in text.lines().filter(known) {
        if !line.starts_with("\t ") {
            blocks.push(String::new());
        }
        *blocks.last_mut().unwrap() += &(line.to_owned() + "\n");
    }
    blocks
}

#[test]
fn tcpdump_sees_the_same_in_counters_and_flows_of_ipv6_agents() {
    compare_with_tcpdump("sflow-print-v6.pcap", 61);
}

#[test]
fn tcpdump_sees_the_same_in_expanded_counters() {
    compare_with_tcpdump("sflow_multiple_counter_30_pdus.pcap", 144);
}

#[test]
fn tcpdump_sees_the_same_in_an_expanded_flow() {
    compare_with_tcpdump("sflow_expanded.pcap", 1);
}

#[test]
fn counters_of_hosts_are_named() {
    let Some(folder) = folder() else { return };
    let lines = pcap(&folder, "sflow_multiple_counter_30_pdus.pcap")
        .into_iter()
        .flat_map(|payload| decode(&payload).1);
    let host = lines.into_iter().find(|line| line.get("HostName").is_some()).unwrap();
    // The bytes are in tcpdump's text, in hexadecimal.
    for (name, value) in [
        ("HostName", json!("proxy-use03147k2")),
        ("HostUuid", json!("36383935343153554530333134374b32")),
        ("HostOsRelease", json!("2.6.18-194.el5")),
        (
            "HostAdapters",
            json!([
                {"IfIndex": 2, "Macs": ["1c:c1:de:18:96:f0"]}, {"IfIndex": 3, "Macs": ["1c:c1:de:18:96:f0"]},
                {"IfIndex": 5, "Macs": ["1c:c1:de:18:96:f0"]}, {"IfIndex": 6, "Macs": ["00:00:00:00:00:00"]},
            ]),
        ),
        ("LoadOne", json!(0.02)),
        ("CpuNum", json!(24)),
        ("MemTotal", json!(0x5_e225_c000_u64)),
        ("DiskWriteMs", json!(0x1016_b722)),
        ("NioBytesIn", json!(0x16b2_0b31_f24e_u64)),
    ] {
        assert_eq!(host[name], value, "{name}");
    }
    assert!(host.get("OtherRecords").is_none(), "all six kinds are known");
}

#[test]
fn a_datagram_made_to_crash_a_decoder_is_damaged() {
    let Some(folder) = folder() else { return };
    let payloads = pcap(&folder, "sflow_print-segv.pcap");
    let all: Vec<_> = payloads.iter().map(|payload| decode(payload)).collect();
    let damages: Vec<_> = all.iter().map(|(decoded, lines)| (decoded.damage, lines.len())).collect();
    assert_eq!(damages, [(Some(Damage::Record), 1)]);
}

/// Members and what telegraf calls them; `` where we have no such member, with the reason.
const TELEGRAF: &[(&str, &str)] = &[
    ("agent_ip", "AgentAddress"),
    ("agent_subid", "SubAgentId"),
    ("seq_number", "SampleSequenceNum"),
    ("sampling_interval", "SamplingRate"),
    ("in_total_packets", "SamplePool"),
    ("sampling_drops", "SampleDrops"),
    ("in_snmp", "InIf"),
    ("out_snmp", "OutIf"),
    ("src", "SrcAddr"),
    ("dst", "DstAddr"),
    ("src_port", "SrcPort"),
    ("dst_port", "DstPort"),
    ("src_tos", "IpTos"),
    ("ttl", "IpTtl"),
    ("l2_bytes", "Bytes"),
    ("in_src_mac", "SrcMac"),
    ("out_dst_mac", "DstMac"),
    ("vlan_src", "SrcVlan"),
    ("vlan_dst", "DstVlan"),
    ("vlan_src_priority", "SrcVlanPriority"),
    ("vlan_dst_priority", "DstVlanPriority"),
    ("ipv4_id", "FragmentId"),
    ("fragment_offset", "FragmentOffset"),
    ("out_queue", "EgressQueue"),
    ("reason", "DropReason"),
    ("interface", "IfIndex"),
    ("interface_type", "IfType"),
    ("speed", "IfSpeed"),
    ("promiscuous", "IfPromiscuousMode"),
    ("port_name", "PortName"),
    ("in_bytes", "IfInOctets"),
    ("in_unicast_packets_total", "IfInUcastPkts"),
    ("in_mcast_packets_total", "IfInMulticastPkts"),
    ("in_broadcast_packets_total", "IfInBroadcastPkts"),
    ("in_dropped_packets", "IfInDiscards"),
    ("in_errors", "IfInErrors"),
    ("in_unknown_protocol", "IfInUnknownProtos"),
    ("out_bytes", "IfOutOctets"),
    ("out_unicast_packets_total", "IfOutUcastPkts"),
    ("out_mcast_packets_total", "IfOutMulticastPkts"),
    ("out_broadcast_packets_total", "IfOutBroadcastPkts"),
    ("out_dropped_packets", "IfOutDiscards"),
    ("out_errors", "IfOutErrors"),
    ("errors_alignment", "Dot3StatsAlignmentErrors"),
    ("errors_fcs", "Dot3StatsFCSErrors"),
    ("collision_frames_single", "Dot3StatsSingleCollisionFrames"),
    ("collision_frames_multi", "Dot3StatsMultipleCollisionFrames"),
    ("errors_sqetest", "Dot3StatsSQETestErrors"),
    ("deferred", "Dot3StatsDeferredTransmissions"),
    ("collisions_late", "Dot3StatsLateCollisions"),
    ("collisions_excessive", "Dot3StatsExcessiveCollisions"),
    ("errors_internal_mac_tx", "Dot3StatsInternalMacTransmitErrors"),
    ("errors_carrier_sense", "Dot3StatsCarrierSenseErrors"),
    ("errors_frame_too_long", "Dot3StatsFrameTooLongs"),
    ("errors_internal_mac_rx", "Dot3StatsInternalMacReceiveErrors"),
    ("errors_symbols", "Dot3StatsSymbolErrors"),
];

/// What telegraf derives, or says in words, and how it follows from our members.
fn derived(name: &str, line: &Value) -> Option<String> {
    let etype = line["Etype"].as_u64();
    Some(match name {
        "datalink_frame_type" => if etype == Some(0x86dd) { "IPv6" } else { "IPv4" }.to_owned(),
        "status" => if line["IfStatus"].as_u64()? & 3 == 3 { "up" } else { "down" }.to_owned(),
        "fragment_flags" => match line["IpFlags"].as_u64()? {
            0 => "........",
            2 => "......D.",
            _ => "?",
        }
        .to_owned(),
        "protocol" => match line["Proto"].as_u64()? {
            17 => "udp",
            // telegraf shows the extension header that comes first; we show what it leads to.
            58 => "hopopt",
            _ => "?",
        }
        .to_owned(),
        _ => return None,
    })
}

/// Lengths of single layers, which are no members; constants; the family of the agent's address; the uptime, which only
/// lines of counters have.
const NO_MEMBERS: [&str; 9] = [
    "direction",
    "ip_version",
    "ip_total_len",
    "ipv4_total_len",
    "ipv6_total_len",
    "ipv4_inet_header_len",
    "l2_protocol",
    "type",
    "sys_uptime",
];

#[test]
fn telegraf_sees_the_same() {
    let Some(folder) = folder() else { return };
    let mut compared = 0;
    for case in fs::read_dir(folder.join("telegraf")).unwrap() {
        let case = case.unwrap();
        if !case.file_name().to_string_lossy().starts_with("sflow_") {
            continue;
        }
        let case = case.path();
        let payload = fs::read_dir(&case).unwrap().map(|entry| entry.unwrap().path());
        let payload =
            payload.into_iter().find(|path| path.extension().is_some_and(|end| end == "bin")).unwrap();
        let (decoded, lines) = decode(&fs::read(&payload).unwrap());
        assert_eq!(decoded.damage, None, "{}", payload.display());
        let expected = fs::read_to_string(case.join("expected.out")).unwrap();
        let expected: Vec<_> = expected.lines().filter(|line| !line.is_empty()).collect();
        assert_eq!(lines.len(), expected.len());
        for expected in expected {
            let fields = expected.split("version=sFlowV5 ").nth(1).unwrap().rsplit_once(' ').unwrap().0;
            let fields: HashMap<_, _> =
                fields.split(',').map(|field| field.split_once('=').unwrap()).collect();
            let sequence = fields["seq_number"].trim_end_matches('u').parse::<u64>().ok();
            let line = lines.iter().find(|line| line["SampleSequenceNum"].as_u64() == sequence).unwrap();
            let egress = fields.get("direction") == Some(&"\"egress\"");
            for (name, value) in fields {
                let value = value.trim_end_matches('u').trim_matches('"');
                if NO_MEMBERS.contains(&name) || (name == "in_snmp" && line["Type"] == "SFLOW_5_COUNTERS") {
                    continue;
                }
                let ours = derived(name, line).unwrap_or_else(|| {
                    let member = TELEGRAF.iter().find(|(theirs, _)| *theirs == name);
                    let member = member.unwrap_or_else(|| panic!("{name} is new")).1;
                    // Of a packet on its way out telegraf shows the data source as where it came in.
                    let member = if egress && name == "in_snmp" { "SourceIdIndex" } else { member };
                    let member = &line[member];
                    member.as_str().map_or_else(|| member.to_string(), str::to_owned)
                });
                let same =
                    ours == value || ours.parse::<IpAddr>().is_ok_and(|ours| value.parse() == Ok(ours));
                assert!(same, "{name}: {ours}, expected {value} in {}", payload.display());
                compared += 1;
            }
        }
    }
    assert_eq!(compared, 242);
}
