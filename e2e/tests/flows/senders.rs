//! Real exporters: what they were shown arrives, number by number.

use std::net::{IpAddr, Ipv4Addr};

use e2e::{
    free_port,
    process::Proxy,
    receiver::{Receiver, Settings},
};
use serde_json::{Value, json};

use crate::{
    common::{LIMIT, input},
    packets::{Flow, Transport, flows},
    probes::{AGENT, Probe},
};

/// A proxy with an input of its own for each of these.
fn proxy(receiver: &Receiver, probes: &[Probe]) -> (Proxy, Vec<u16>) {
    let ports: Vec<u16> = probes.iter().map(|_| free_port().unwrap()).collect();
    let inputs: Vec<Value> = probes
        .iter()
        .zip(&ports)
        .map(|(probe, port)| {
            let kind = match probe {
                Probe::Sfprobe => "sflow",
                Probe::Softflowd(10) | Probe::Nfprobe(10) => "ipfix",
                _ => "netflow",
            };
            let counters = if kind == "sflow" { json!(false) } else { Value::Null };
            input(kind, &probe.name(), *port, &json!({"mac_format": "text", "counters": counters}))
        })
        .collect();
    (Proxy::start(&receiver.url(), &json!({"inputs": inputs})).unwrap(), ports)
}

/// The lines of each probe, once there are as many as it must give.
fn lines(probes: &[Probe], count: impl Fn(Probe) -> usize) -> Vec<Vec<Value>> {
    let receiver = Receiver::start(Settings::default()).unwrap();
    let (proxy, ports) = proxy(&receiver, probes);
    let peers: Vec<_> = probes.iter().zip(ports).map(|(probe, port)| probe.start(port)).collect();
    let mut all = Vec::new();
    for (probe, peer) in probes.iter().zip(&peers) {
        let text = receiver
            .wait_text("acme", &probe.name(), count(*probe), LIMIT)
            .unwrap_or_else(|error| panic!("{error:#}\n{}\n{}", peer.log(), proxy.log_text()));
        all.push(text.iter().map(|line| serde_json::from_str(line).unwrap()).collect());
    }
    assert_eq!(receiver.violations(), [""; 0]);
    for row in proxy.json("/api/v1/exporters").unwrap()["exporters"].as_array().unwrap() {
        assert_eq!((&row["sequence_lost"], &row["lost_without_template"]), (&json!(0), &json!(0)), "{row}");
    }
    all
}

/// Those that a version can tell of: NetFlow 5 has no IPv6.
fn seen_by(version: u8) -> Vec<(usize, Flow)> {
    let all = flows().into_iter().enumerate();
    all.filter(|(_, flow)| version > 5 || flow.source.is_ipv4()).collect()
}

/// Those of a flow.
pub fn of<'a>(lines: &'a [Value], flow: &Flow) -> Vec<&'a Value> {
    let (source, destination) = (flow.source.to_string(), flow.destination.to_string());
    lines.iter().filter(|line| line["SrcAddr"] == source && line["DstAddr"] == destination).collect()
}

#[track_caller]
fn assert_members(line: &Value, members: &[(&str, Value)], who: &str) {
    for (name, value) in members {
        assert_eq!(&line[name], value, "{who}: {name} in {line}");
    }
}

/// When the packets of a flow, or of both directions of its connection, were seen first and last, Unix ns.
fn seen(index: usize) -> (u64, u64) {
    let connection = if index < 2 { 0..2 } else { index..index + 1 };
    let counts: Vec<u64> = flows().iter().map(Flow::packets).collect();
    let at = |number: u64| 1_767_225_600_000_000_000 + number * 100_000_000;
    (at(counts[..connection.start].iter().sum()), at(counts[..connection.end].iter().sum::<u64>() - 1))
}

/// What a record of this flow says.
fn members(flow: &Flow, index: usize, probe: Probe, version: u8) -> Vec<(&'static str, Value)> {
    let mut members = vec![
        ("SamplerAddress", json!(IpAddr::from(Ipv4Addr::LOCALHOST))),
        ("Proto", json!(flow.transport.protocol())),
        ("Bytes", json!(flow.bytes())),
        ("Packets", json!(flow.packets())),
        ("IpTos", json!(flow.tos)),
        ("Etype", json!(flow.etype())),
    ];
    match flow.transport {
        Transport::Tcp(ports, flags) => members.extend([
            ("SrcPort", json!(ports.0)),
            ("DstPort", json!(ports.1)),
            ("TcpFlags", json!(flags.iter().fold(0, |all, flags| all | flags))),
        ]),
        Transport::Udp(ports) => members.extend([("SrcPort", json!(ports.0)), ("DstPort", json!(ports.1))]),
        Transport::Icmp(kind, code) if probe == Probe::Softflowd(version) && version > 5 => {
            members.extend([("IcmpType", json!(kind)), ("IcmpCode", json!(code))]);
        }
        // As routers do it since the first versions.
        Transport::Icmp(kind, code) => {
            members.extend([("SrcPort", json!(0)), ("DstPort", json!(u16::from_be_bytes([kind, code])))]);
        }
    }
    members.push((
        "Type",
        json!(match version {
            5 => "NETFLOW_V5",
            9 => "NETFLOW_V9",
            _ => "IPFIX",
        }),
    ));
    if version > 5 {
        let (first, last) = seen(index);
        members.extend([("TimeFlowStartNs", json!(first)), ("TimeFlowEndNs", json!(last))]);
        members.push(("VlanId", json!(flow.vlan.unwrap_or(0))));
    }
    members
}

#[test]
fn softflowd_and_nfprobe_in_every_version() {
    let probes: Vec<Probe> = Probe::ALL.into_iter().filter(|probe| *probe != Probe::Sfprobe).collect();
    let version = |probe: Probe| match probe {
        Probe::Softflowd(version) | Probe::Nfprobe(version) => version,
        Probe::Sfprobe => 0,
    };
    let all = lines(&probes, |probe| seen_by(version(probe)).len());
    for (probe, lines) in probes.iter().zip(all) {
        let version = version(*probe);
        let flows = seen_by(version);
        assert_eq!(lines.len(), flows.len(), "{}: {lines:?}", probe.name());
        for (index, flow) in &flows {
            let own = of(&lines, flow);
            assert_eq!(own.len(), 1, "{}: {lines:?}", probe.name());
            assert_members(own[0], &members(flow, *index, *probe, version), &probe.name());
        }
    }
}

#[test]
fn sfprobe_samples_every_packet() {
    let packets: u64 = flows().iter().map(Flow::packets).sum();
    let lines = lines(&[Probe::Sfprobe], |_| packets as usize).remove(0);
    assert!(lines.iter().all(|line| line["AgentAddress"] == AGENT));
    assert_samples(&lines, "sfprobe");
}

/// Asserts that these are samples of every packet of [`flows`], one of one.
pub fn assert_samples(lines: &[Value], who: &str) {
    assert!(lines.iter().all(|line| line["Type"] == "SFLOW_5"), "{lines:?}");
    assert_eq!(lines.len() as u64, flows().iter().map(Flow::packets).sum::<u64>(), "{lines:?}");
    for flow in flows() {
        let own = of(lines, &flow);
        assert_eq!(own.len() as u64, flow.packets());
        for (line, frame) in own.iter().zip(flow.frames()) {
            let mut members = vec![
                ("SamplingRate", json!(1)),
                // With the four bytes of the frame's checksum.
                ("Bytes", json!(frame.len() + 4)),
                ("Packets", json!(1)),
                ("SrcMac", json!("02:00:00:00:00:01")),
                ("DstMac", json!("02:00:00:00:00:02")),
                ("Etype", json!(flow.etype())),
                ("Proto", json!(flow.transport.protocol())),
                ("IpTos", json!(flow.tos)),
                ("IpTtl", json!(64)),
                ("VlanId", flow.vlan.map_or(Value::Null, |vlan| json!(vlan))),
            ];
            match flow.transport {
                Transport::Tcp(ports, _) | Transport::Udp(ports) => {
                    members.extend([("SrcPort", json!(ports.0)), ("DstPort", json!(ports.1))]);
                }
                Transport::Icmp(kind, code) => {
                    members.extend([("IcmpType", json!(kind)), ("IcmpCode", json!(code))]);
                }
            }
            assert_members(line, &members, who);
        }
        if let Transport::Tcp(_, flags) = flow.transport {
            let found: Vec<_> = own.iter().map(|line| line["TcpFlags"].clone()).collect();
            assert_eq!(json!(found), json!(flags));
        }
    }
}
