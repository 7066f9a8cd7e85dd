//! What the proxy makes of the datagrams.

use std::{
    collections::BTreeMap,
    net::{SocketAddr, UdpSocket},
    sync::OnceLock,
};

use e2e::{
    free_port,
    process::Proxy,
    receiver::{Receiver, Settings},
    until,
};
use serde_json::{Value, json};

use crate::{
    common::{LIMIT, input, input_status},
    sources::exporters,
};

/// Dataset of NetFlow and IPFIX.
pub const FLOWS: &str = "flows";
/// The same with what options say among it.
pub const OPTIONS: &str = "options";
/// Dataset of sFlow.
pub const SAMPLES: &str = "samples";
const DATASETS: [&str; 3] = [FLOWS, OPTIONS, SAMPLES];

/// Every line of a dataset, those of each exporter in order.
pub fn lines(dataset: &str) -> &'static [Value] {
    static LINES: OnceLock<BTreeMap<&str, Vec<Value>>> = OnceLock::new();
    &LINES.get_or_init(decode)[dataset]
}

fn decode() -> BTreeMap<&'static str, Vec<Value>> {
    let receiver = Receiver::start(Settings::default()).unwrap();
    let ports = [(); 3].map(|()| free_port().unwrap());
    let text = json!({"mac_format": "text"});
    let inputs = [
        input("netflow", FLOWS, ports[0], &text),
        input("netflow", OPTIONS, ports[1], &json!({"mac_format": "text", "options_records": true})),
        input("sflow", SAMPLES, ports[2], &text),
    ];
    let mut proxy = Proxy::start(&receiver.url(), &json!({"inputs": inputs})).unwrap();
    for (dataset, port) in DATASETS.into_iter().zip(ports) {
        let sent = send(dataset == SAMPLES, port);
        until(LIMIT, &format!("{sent} datagrams of {dataset}"), || {
            (input_status(&proxy, dataset)?["messages"] == sent).then_some(())
        })
        .unwrap();
    }
    // At its end it hands on everything that it has taken; the next one delivers what is left of that.
    assert!(proxy.terminate(LIMIT).unwrap().success(), "{}", proxy.log_text());
    proxy.run().unwrap();
    let delivered = || {
        let events = proxy.json("/api/v1/status").ok()?["events"].clone();
        ["memory", "open", "queued", "retry"].iter().all(|place| events[place] == 0).then_some(())
    };
    until(LIMIT, "delivery of every line", delivered).unwrap();
    assert_eq!(receiver.violations(), [""; 0]);
    let lines = |dataset| {
        let text = receiver.text("acme", dataset).unwrap();
        text.iter().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    DATASETS.into_iter().map(|dataset| (dataset, lines(dataset))).collect()
}

/// Sends the datagrams of all exporters, or of all agents, to a port; returns how many.
pub fn send(is_sflow: bool, port: u16) -> u64 {
    let mut sent = 0;
    for exporter in exporters().iter().filter(|exporter| exporter.is_sflow == is_sflow) {
        let socket = UdpSocket::bind((exporter.address, 0)).unwrap();
        for datagram in &exporter.datagrams {
            socket.send_to(datagram, SocketAddr::from(([127, 0, 0, 1], port))).unwrap();
            sent += 1;
        }
    }
    sent
}
