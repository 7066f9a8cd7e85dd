//! 3: datasets that share a port, and datasets that cannot.

use std::{net::UdpSocket, time::Duration};

use bytefreezer_crds::ProxyDataset;
use e2e::k8s::{Namespace, Operator, namespace::LIMIT};
use k8s_openapi::api::core::v1::Service;
use serde_json::json;

use crate::common::{address, dataset, proxy, reachable, ready, said, service_ports, stored};

/// A datagram from one of the clients' addresses.
fn send(from: &str, to: std::net::SocketAddr, text: &str) {
    let socket = UdpSocket::bind((from, 0)).unwrap();
    socket.send_to(text.as_bytes(), to).unwrap();
}

#[test]
fn t03_datasets_on_one_port_are_told_apart_by_source_or_one_of_them_loses() {
    let namespace = Namespace::new("ports").unwrap();
    let other = Namespace::new("ports-other").unwrap();
    let receiver = namespace.receiver().unwrap();
    let _operator = Operator::install(&namespace, &json!({})).unwrap();
    namespace
        .apply(&proxy(&receiver, &json!({"allowedDatasets": [{"namespaces": {"from": "All"}}]})))
        .unwrap();
    let udp = json!({"udp": {"port": 5514}});
    let attached = json!({"proxyRef": {"name": "edge", "namespace": namespace.name()}});

    // Told apart: each sender's events are in its own dataset.
    namespace.apply(&dataset("second", &udp, &json!({"allowedSources": ["172.30.0.2/31"]}))).unwrap();
    ready(&namespace, "second");
    namespace.apply(&dataset("fourth", &udp, &json!({"allowedSources": ["172.30.0.4/31"]}))).unwrap();
    ready(&namespace, "fourth");
    let target = address(&namespace, "edge", 5514);
    for (name, from) in [("second", "172.30.0.3"), ("fourth", "172.30.0.4")] {
        let text = format!("of the {name}");
        let lines = stored(&receiver, name, || send(from, target, &text));
        assert!(lines.iter().all(|line| line.contains(&text)), "{lines:?}");
    }

    // A paused one keeps its senders; they are nobody else's.
    namespace
        .apply(&dataset("fourth", &udp, &json!({"allowedSources": ["172.30.0.4/31"], "paused": true})))
        .unwrap();
    ready(&namespace, "fourth");
    let before = ["second", "fourth"].map(|name| receiver.text("acme", name).unwrap().len());
    send("172.30.0.4", target, "to nobody");
    send("172.30.0.3", target, "second again");
    let lines = receiver.wait_text("acme", "second", before[0] + 1, LIMIT).unwrap();
    assert!(lines.iter().all(|line| line.contains("second")), "{lines:?}");
    assert_eq!(receiver.text("acme", "fourth").unwrap().len(), before[1]);

    // Another tenant may not cut a piece out of somebody's prefix.
    let narrower = json!({"tenantId": "globex", "allowedSources": ["172.30.0.3/32"]});
    namespace.apply(&dataset("thief", &udp, &narrower)).unwrap();
    let refused = namespace.condition::<ProxyDataset>("thief", "Accepted", "False", LIMIT).unwrap();
    assert_eq!(refused.reason, "Conflicted", "{}", refused.message);

    // Not told apart, in one and in two namespaces: the elder wins, and the loser is told who.
    let tcp = json!({"tcp": {"port": 6514}});
    namespace.apply(&dataset("elder", &tcp, &json!({}))).unwrap();
    ready(&namespace, "elder");
    namespace.apply(&dataset("younger", &tcp, &json!({}))).unwrap();
    other.apply(&dataset("foreign", &tcp, &attached)).unwrap();
    let winner = format!("{}/elder", namespace.name());
    for (at, name) in [(&namespace, "younger"), (&other, "foreign")] {
        let lost = at.reason::<ProxyDataset>(name, "Accepted", "Conflicted", LIMIT).unwrap();
        assert!(lost.status == "False" && lost.message.contains(&winner), "{}", lost.message);
    }
    ready(&namespace, "elder");

    // Without the winner the next one takes over.
    namespace.delete::<ProxyDataset>("elder").unwrap();
    ready(&namespace, "younger");
    let winner = format!("{}/younger", namespace.name());
    let renamed = other.until(LIMIT, "the new winner's name", || {
        Ok(said(&other, "foreign", "Accepted").contains(&winner).then_some(()))
    });
    renamed.unwrap();

    // TCP and UDP on one number are two listeners.
    namespace.apply(&dataset("datagrams", &json!({"udp": {"port": 6514}}), &json!({}))).unwrap();
    ready(&namespace, "datagrams");
    ready(&namespace, "younger");
    let service =
        namespace.wait::<Service, _>("edge", Duration::from_secs(10), "both protocols", |service| {
            let ports = service_ports(service);
            (ports == ["5514/UDP", "6514/TCP", "6514/UDP"]).then_some(ports)
        });
    service.unwrap();
    let target = reachable(&namespace, "edge", 6514);
    stored(&receiver, "datagrams", || send("172.30.0.2", target, "a datagram"));
    std::io::Write::write_all(&mut std::net::TcpStream::connect(target).unwrap(), b"a line\n").unwrap();
    receiver.wait_text("acme", "younger", 1, LIMIT).unwrap();
}
