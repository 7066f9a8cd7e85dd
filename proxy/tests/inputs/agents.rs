//! What agents send: sFlow, and events of eBPF.

use std::net::UdpSocket;

use bytefreezer_proxy::{
    config::{FlowOutput, Source},
    inputs::{ExporterQuery, ExporterRow},
};
use serde_json::{Value, json};

use crate::rig::{Rig, ebpf, sender, sflow, until, with};

fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_be_bytes()).collect()
}

/// A datagram of agent 192.0.2.254, sub-agent 7.
fn datagram(sequence: u32, claimed: u32, samples: &[u8]) -> Vec<u8> {
    [&words(&[5, 1, 0xc000_02fe, 7, sequence, 90_000, claimed])[..], samples].concat()
}

/// A flow sample of one sampled header: Ethernet, IPv4, TCP from port 443 to 50123.
fn flow() -> Vec<u8> {
    let mut header = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0];
    header.extend(ipv4(6, 1));
    header.extend([0x01, 0xbb, 0xc3, 0xcb, 0, 0, 0, 1, 0, 0, 0, 2, 0x50, 0x18, 0, 0, 0, 0, 0, 0]);
    sample(1, &[9, 0x0100_0003, 512, 2048, 1, 3, 7, 1], 1, &header)
}

/// A header of IPv4 from 10.1.1.1 to 10.2.2.`last`.
fn ipv4(protocol: u8, last: u8) -> [u8; 20] {
    [0x45, 0, 0, 40, 0, 1, 0x40, 0, 64, protocol, 0, 0, 10, 1, 1, 1, 10, 2, 2, last]
}

/// A sample of one sampled header.
fn sample(format: u32, fields: &[u32], protocol: u32, header: &[u8]) -> Vec<u8> {
    let padding = header.len().next_multiple_of(4) - header.len();
    let record = [&words(&[protocol, 1514, 4, header.len() as u32])[..], header, &[0; 3][..padding]].concat();
    let body = [&words(fields)[..], &words(&[1, record.len() as u32]), &record].concat();
    [&words(&[format, body.len() as u32])[..], &body].concat()
}

/// A notification of a dropped packet: IPv4 in IPv4.
fn dropped() -> Vec<u8> {
    let header = [ipv4(4, 1), ipv4(17, 9)].concat();
    sample(5, &[1, 0, 3, 0, 3, 0, 256, 1], 11, &header)
}

/// A counter sample of interface 3, of a format that nobody knows.
fn counters() -> Vec<u8> {
    let sample = words(&[4, 3, 1, 0xfff0, 4, 42]);
    [&words(&[2, sample.len() as u32])[..], &sample].concat()
}

fn parsed(line: &str) -> Value {
    serde_json::from_str(line).unwrap()
}

fn rows(rig: &Rig) -> Vec<ExporterRow> {
    rig.supervisor.exporters(&ExporterQuery::default())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn samples_become_lines_and_agents_are_listed() {
    let rig = Rig::start(vec![sflow("samples")]).await;
    let agent = sender("127.0.0.1", rig.address("samples", "udp"));
    let two = [flow(), counters()].concat();
    for sequence in [1, 2, 5, 4] {
        agent.send(&datagram(sequence, 2, &two)).unwrap();
    }
    let lines = rig.wait_lines("samples", 8).await;
    let flows: Vec<_> =
        lines.iter().map(|line| parsed(line)).filter(|line| line["Type"] == "SFLOW_5").collect();
    assert_eq!(flows.len(), 4);
    for (member, value) in [
        ("SamplerAddress", json!("127.0.0.1")),
        ("SrcAddr", json!("10.1.1.1")),
        ("DstAddr", json!("10.2.2.1")),
        ("DstPort", json!(50_123)),
        ("SamplingRate", json!(512)),
        ("SrcMac", json!("02:00:00:00:00:01")),
    ] {
        assert_eq!(flows[0][member], value, "{member}: {}", flows[0]);
    }
    assert_eq!(lines.iter().filter(|line| line.contains("SFLOW_5_COUNTERS")).count(), 4);
    let row = &rows(&rig)[0];
    assert_eq!((row.agent, row.sub_agent), (Some("192.0.2.254".parse().unwrap()), Some(7)));
    assert_eq!((row.datagrams, row.records), (4, 8));
    assert_eq!((row.sequence_lost, row.sequence_reordered, row.sequence_duplicates), (1, 1, 0));
    assert!(row.records_per_second > 0.0);
    let metric = |name: &str| {
        rig.metric(&format!(
            "bytefreezer_proxy_input_{name}{{input=\"samples\",tenant=\"acme\",dataset=\"samples\"}}"
        ))
    };
    assert_eq!((metric("exporters"), metric("sequence_missing_total")), (Some(1), Some(2)));
    assert_eq!(metric("sequence_reordered_total"), Some(1));
}

/// W-1, W-4, W-32: what is damaged is refused and counted, what is whole is kept, and no claim is believed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn w4_an_80_byte_datagram_that_claims_200_000_records_gives_one_line_at_most() {
    let rig = Rig::start(vec![sflow("samples")]).await;
    let agent = sender("127.0.0.1", rig.address("samples", "udp"));
    let expanded = words(&[3, 44, 9, 0, 3, 512, 0, 0, 0, 3, 0, 7, 200_000]);
    let claims = datagram(1, 1, &expanded);
    assert_eq!(claims.len(), 80);
    agent.send(&claims).unwrap();
    agent.send(&[0, 5]).unwrap();
    agent.send(b"").unwrap();
    agent.send(&datagram(2, u32::MAX, &flow())).unwrap();
    agent.send(&datagram(3, 1, &flow())).unwrap();
    let status = rig.wait_status("samples", |status| status.messages == 5 && status.lines >= 2).await;
    assert_eq!(status.refused.get("malformed"), Some(&4), "{status:?}");
    let lines = rig.wait_lines("samples", 3).await;
    assert!(lines.len() == 3 && lines.iter().all(|line| line.len() < 1000), "{lines:?}");
    assert_eq!(lines.iter().filter(|line| line.contains("\"SrcAddr\":\"10.1.1.1\"")).count(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn settings_of_sflow_decide_which_samples_are_lines_and_their_shape() {
    let set = |change: fn(&mut bytefreezer_proxy::config::SflowSource)| {
        with(sflow("samples"), |input| match &mut input.source {
            Source::Sflow(source) => change(source),
            _ => unreachable!(),
        })
    };
    let mut rig = Rig::start(vec![set(|source| (source.counters, source.inner) = (false, true))]).await;
    let address = rig.address("samples", "udp");
    let send = |sequence| {
        let three = [counters(), dropped(), flow()].concat();
        sender("127.0.0.1", address).send(&datagram(sequence, 3, &three)).unwrap();
    };
    send(1);
    let lines: Vec<_> = rig.wait_lines("samples", 2).await.iter().map(|line| parsed(line)).collect();
    assert_eq!((&lines[0]["Type"], &lines[1]["Type"]), (&json!("SFLOW_5_DROP"), &json!("SFLOW_5")));
    assert_eq!((&lines[0]["DstAddr"], &lines[0]["InnerDstAddr"]), (&json!("10.2.2.1"), &json!("10.2.2.9")));
    rig.apply(vec![set(|source| source.drops = false)]).await;
    send(2);
    let lines: Vec<_> = rig.wait_lines("samples", 4).await.iter().map(|line| parsed(line)).collect();
    assert_eq!((&lines[2]["Type"], &lines[3]["Type"]), (&json!("SFLOW_5_COUNTERS"), &json!("SFLOW_5")));
    rig.apply(vec![set(|source| source.output = FlowOutput::Legacy)]).await;
    send(4);
    let line = parsed(&rig.wait_lines("samples", 5).await[4]);
    assert_eq!((&line["agent_ip"], &line["src_ip"]), (&json!("192.0.2.254"), &json!("10.1.1.1")));
    assert_eq!(line["input_if"], 3);
    // What is known of agents outlives the change.
    until("one lost", || {
        let rows = rows(&rig);
        if rows.len() == 1 && (rows[0].datagrams, rows[0].sequence_lost) == (3, 1) {
            Ok(())
        } else {
            Err(rows)
        }
    })
    .await;
}

/// W-1, W-20: records stay apart however they are laid out, and what is none is kept.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn w20_events_are_lines_one_several_or_pretty_printed() {
    let rig = Rig::start(vec![
        ebpf("events"),
        crate::rig::on_host(
            with(ebpf("named"), |input| input.source_field = Some("node".into())),
            "127.0.0.2",
        ),
    ])
    .await;
    let agent: UdpSocket = sender("127.0.0.1", rig.address("events", "udp"));
    agent.send(br#"{"pid":4711,"comm":"nginx"}"#).unwrap();
    agent.send(b"{\"a\":9007199254740993}\n{\"a\":2}\n").unwrap();
    agent.send(b"{\n  \"a\": 3,\n  \"b\": [\n    1\n  ]\n}\n{\n  \"a\": 4\n}").unwrap();
    agent.send(b"null").unwrap();
    agent.send(b"\0 \n").unwrap();
    let lines = rig.wait_lines("events", 6).await;
    let values: Vec<_> = lines.iter().map(|line| parsed(line)).collect();
    assert_eq!(values[0]["comm"], "nginx");
    assert!(lines[1].starts_with("{\"a\":9007199254740993,"), "{}", lines[1]);
    assert_eq!((&values[2]["a"], &values[3]["b"], &values[4]["a"]), (&json!(2), &json!([1]), &json!(4)));
    assert_eq!((&values[5]["raw"], &values[5]["source_ip"]), (&json!("null"), &json!("127.0.0.1")));
    assert!(values.iter().all(|value| value["BfTs"].is_u64()));
    assert_eq!(rig.wait_status("events", |status| status.messages == 5).await.undecoded, 1);
    sender("127.0.0.3", rig.address("named", "udp")).send(b"{\"a\":1}").unwrap();
    assert_eq!(parsed(&rig.wait_lines("named", 1).await[0])["node"], "127.0.0.3");
}
