//! Datagrams of exporters that mean harm, the old shapes, and who is listed.

use bytefreezer_proxy::{
    config::FlowOutput,
    inputs::{ExporterQuery, ExporterRow, senders::SenderQuery},
};
use serde_json::{Value, json};

use crate::{
    flow::{EXPORT, ipfix as message, set, template, v5, v5_record, v9, v9_options},
    rig::{Rig, flows, from, ipfix, netflow, on_host, sender, until},
};

fn parsed(lines: &[String]) -> Vec<Value> {
    lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_version_is_taken_on_every_port() {
    let rig = Rig::start(vec![netflow("routers"), on_host(ipfix("switches"), "127.0.0.2")]).await;
    for dataset in ["routers", "switches"] {
        let exporter = sender("127.0.0.1", rig.address(dataset, "udp"));
        exporter.send(&v5(0, 2, 0x4064, &[v5_record(); 2])).unwrap();
        exporter.send(&v9(0, 1, &[set(0, &template(256, &[(4, 1)])), set(256, &[6])])).unwrap();
        exporter.send(&message(0, 1, &[set(2, &template(256, &[(4, 1)])), set(256, &[17])])).unwrap();
        let lines = parsed(&rig.wait_lines(dataset, 4).await);
        let kinds: Vec<_> = lines.iter().map(|line| line["Type"].as_str().unwrap()).collect();
        assert_eq!(kinds, ["NETFLOW_V5", "NETFLOW_V5", "NETFLOW_V9", "IPFIX"]);
        assert_eq!((&lines[0]["SamplingRate"], &lines[3]["Proto"]), (&100.into(), &17.into()));
    }
}

/// W-1, W-2, W-4: a few bytes, templates without bytes, claims of much. Whoever comes next is served.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn w1_w2_datagrams_that_mean_harm_are_refused_and_counted() {
    let rig = Rig::start(vec![netflow("routers")]).await;
    let exporter = sender("127.0.0.1", rig.address("routers", "udp"));
    let mut claims = template(300, &[(8, 4)]);
    claims[2..4].copy_from_slice(&[0xff; 2]);
    let harmful = [
        vec![],
        vec![0, 9],
        vec![0, 10, 0],
        b"GET / HTTP/1.1".to_vec(),
        v5(0, u16::MAX, 0, &[v5_record(); 30]),
        v9(0, 0, &[set(0, &template(256, &[])), set(256, &[1; 32])]),
        v9(1, 0, &[set(0, &template(257, &[(1, 0), (2, 0)])), set(257, &[1; 32])]),
        v9(2, 0, &[set(0, &claims)]),
    ];
    for datagram in &harmful {
        exporter.send(datagram).unwrap();
    }
    let amplified = v9(3, 0, &[set(0, &template(258, &[(4, 1)])), set(258, &[6; 44])]);
    assert_eq!(amplified.len(), 80);
    exporter.send(&amplified).unwrap();
    let lines = rig.wait_lines("routers", 44).await;
    assert!(lines.len() == 44 && lines.iter().all(|line| line.len() < 400), "{}", lines[0]);
    let status = rig.wait_status("routers", |status| status.messages == harmful.len() as u64 + 1).await;
    assert_eq!(status.refused.get("malformed"), Some(&(harmful.len() as u64)), "{status:?}");
    let senders = rig.senders.query(&SenderQuery::default());
    assert_eq!((senders[0].messages, senders[0].errors), (status.messages, harmful.len() as u64));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn old_shapes_are_those_of_the_former_program() {
    let old = |input| flows(input, |source| source.output = FlowOutput::Legacy);
    let rig = Rig::start(vec![old(netflow("routers")), on_host(old(ipfix("switches")), "127.0.0.2")]).await;
    let exporter = sender("127.0.0.1", rig.address("routers", "udp"));
    let taught = set(0, &template(260, &[(8, 4), (4, 1)]));
    exporter.send(&v9(12, 0, &[set(260, &[192, 0, 2, 1, 17])])).unwrap();
    exporter.send(&v9(13, 0, &[taught, set(260, &[192, 0, 2, 2, 6])])).unwrap();
    let lines = parsed(&rig.wait_lines("routers", 2).await);
    let fields = json!([
        {"pen-provided": false, "type": 8, "length": 4, "pen": 0},
        {"pen-provided": false, "type": 4, "length": 1, "pen": 0},
    ]);
    let value = |id: u16, value: &str| json!({"pen-provided": false, "type": id, "pen": 0, "value": value});
    assert_eq!(
        lines[0]["flow-sets"],
        json!([
            {"id": 0, "length": 16, "records": [{"template-id": 260, "field-count": 2, "fields": fields}]},
            {"id": 260, "length": 9, "records": [{"values": [value(8, "wAACAg=="), value(4, "Bg==")]}]},
        ])
    );
    for (name, expected) in [
        ("version", 9),
        ("count", 2),
        ("system-uptime", 90_000),
        ("unix-seconds", EXPORT),
        ("sequence-number", 13),
        ("source-id", 0),
    ] {
        assert_eq!(lines[0][name], expected, "{name}");
    }
    // What waited for the template is a line of its own.
    assert_eq!(lines[1]["sequence-number"], 12);
    assert_eq!(
        lines[1]["flow-sets"],
        json!([{"id": 260, "length": 9, "records": [{"values": [value(8, "wAACAQ=="), value(4, "EQ==")]}]}])
    );

    let exporter = sender("127.0.0.1", rig.address("switches", "udp"));
    let taught =
        set(2, &template(256, &[(8, 4), (12, 4), (7, 2), (11, 2), (4, 1), (1, 4), (56, 6), (148, 8)]));
    let record =
        [&[192, 0, 2, 1, 198, 51, 100, 2, 1, 0xbb, 0, 0, 6][..], &[0, 0, 5, 220, 2, 0, 0, 0, 0, 1], &[0; 8]]
            .concat();
    exporter.send(&message(9, 4, &[taught, set(256, &record)])).unwrap();
    let mut line = parsed(&rig.wait_lines("switches", 1).await).remove(0);
    let line = line.as_object_mut().unwrap();
    assert!(line.remove("BfTs").unwrap().is_u64());
    let time = u64::from(EXPORT) * 1_000_000_000;
    assert_eq!(
        json!(line),
        json!({
            "Type": "IPFIX", "SequenceNum": 9, "ObservationDomainId": 4, "TimeFlowStartNs": time, "TimeFlowEndNs": time,
            "SrcAddr": "192.0.2.1", "DstAddr": "198.51.100.2", "SrcPort": 443, "Proto": 6, "Bytes": 1500, "Etype": 2048,
            "SrcMac": 0x0200_0000_0001_u64,
        })
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn options_records_become_lines_when_asked_for() {
    let asked = flows(netflow("asked"), |source| source.options_records = true);
    let rig = Rig::start(vec![asked, on_host(netflow("silent"), "127.0.0.2")]).await;
    let sets = [
        set(1, &v9_options(300, &[(2, 4)], &[(82, 4)])),
        set(300, b"\0\0\0\x04eth4"),
        set(0, &template(256, &[(10, 4)])),
        set(256, &[0, 0, 0, 4]),
    ];
    for dataset in ["asked", "silent"] {
        sender("127.0.0.1", rig.address(dataset, "udp")).send(&v9(0, 0, &sets)).unwrap();
    }
    let lines = parsed(&rig.wait_lines("asked", 2).await);
    assert_eq!((&lines[0]["ScopeInterface"], &lines[0]["interfaceName"]), (&4.into(), &"eth4".into()));
    assert_eq!(lines[1]["InIfName"], "eth4");
    let lines = parsed(&rig.wait_lines("silent", 1).await);
    assert_eq!((lines.len(), &lines[0]["InIfName"]), (1, &"eth4".into()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exporters_and_templates_are_bounded() {
    let bounded = flows(netflow("routers"), |source| {
        (source.max_exporters, source.max_template_fields) = (16, 8192);
    });
    let rig = Rig::start(vec![bounded]).await;
    let address = rig.address("routers", "udp");
    for last in 1..=200 {
        sender(&format!("127.0.0.{last}"), address)
            .send(&v9(0, 0, &[set(0, &template(256, &[(4, 1)]))]))
            .unwrap();
    }
    rig.wait_status("routers", |status| status.messages == 200).await;
    until("16 exporters", || {
        let rows = rig.supervisor.exporters(&ExporterQuery::default());
        if rows.len() <= 16 && !rows.is_empty() { Ok(()) } else { Err(rows.len()) }
    })
    .await;
    // An eighth of the fields is an exporter's.
    let large: Vec<_> = (0..40).map(|id| set(0, &template(256 + id, &[(4, 1); 100]))).collect();
    let exporter = sender("127.0.0.1", address);
    for sets in large.chunks(2) {
        exporter.send(&v9(1, 0, sets)).unwrap();
    }
    rig.wait_status("routers", |status| status.messages == 220).await;
    until("its templates", || {
        let rows = rig.supervisor.exporters(&ExporterQuery::default());
        match rows.iter().find(|row| row.address == exporter.local_addr().unwrap().ip()) {
            Some(row) if row.datagrams >= 20 && row.templates <= 10 => Ok(()),
            other => Err(other.map(|row| (row.datagrams, row.templates))),
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exporters_are_listed_by_input_with_what_was_lost() {
    let rig =
        Rig::start(vec![from(netflow("edge"), &["127.0.0.0/30"]), from(netflow("core"), &["127.0.0.4/30"])])
            .await;
    let address = rig.address("edge", "udp");
    for (own, sequences) in [("127.0.0.2", &[0, 30, 90, 90][..]), ("127.0.0.1", &[0]), ("127.0.0.5", &[5])] {
        let exporter = sender(own, address);
        for sequence in sequences {
            exporter.send(&v5(*sequence, 30, 0, &[v5_record(); 30])).unwrap();
        }
    }
    let all = |query: &ExporterQuery| rig.supervisor.exporters(query);
    let found: Vec<ExporterRow> = until("three exporters", || {
        let rows = all(&ExporterQuery::default());
        let datagrams: u64 = rows.iter().map(|row| row.datagrams).sum();
        if datagrams == 6 { Ok(rows) } else { Err(rows) }
    })
    .await;
    let seen: Vec<_> = found
        .iter()
        .map(|row| {
            (
                row.input.as_str(),
                row.address.to_string(),
                row.records,
                row.sequence_lost,
                row.sequence_duplicates,
            )
        })
        .collect();
    assert_eq!(
        seen,
        [
            ("edge", "127.0.0.1".to_owned(), 30, 0, 0),
            ("edge", "127.0.0.2".to_owned(), 120, 30, 30),
            ("core", "127.0.0.5".to_owned(), 30, 0, 0),
        ]
    );
    assert!(found[0].first_seen.is_some() && found[0].silent_seconds < 60);
    let of = |dataset: &str| ExporterQuery {
        dataset_id: Some(dataset.parse().unwrap()),
        ..ExporterQuery::default()
    };
    assert_eq!(all(&of("core")).len(), 1);
    let page = all(&ExporterQuery { offset: 1, limit: Some(1), ..of("edge") });
    assert_eq!(page.iter().map(|row| row.address).collect::<Vec<_>>(), [found[1].address]);
    assert!(all(&ExporterQuery { silent_for: Some(3600), ..ExporterQuery::default() }).is_empty());
    let lost =
        "bytefreezer_proxy_input_sequence_missing_total{input=\"edge\",tenant=\"acme\",dataset=\"edge\"}";
    assert_eq!(rig.metric(lost), Some(30));
}
