//! Each promised number is there and moves with what it counts.
#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use std::{
    io::Write,
    net::{TcpStream, UdpSocket},
};

use common::{LIMIT, events, input};
use e2e::{
    free_port,
    http::Client,
    process::Proxy,
    receiver::{Fault, Receiver, Scope, Settings},
    until,
};
use serde_json::json;

/// Waits until the sum of the series is at least `least`.
#[track_caller]
fn reaches(proxy: &Proxy, name: &str, labels: &[(&str, &str)], least: f64) {
    let name = format!("bytefreezer_proxy_{name}");
    until(LIMIT, &name, || (proxy.metric(&name, labels).ok()? >= least).then_some(())).unwrap_or_else(
        |error| {
            let all = proxy.get("/metrics").unwrap().text();
            let own: Vec<&str> = all.lines().filter(|line| line.contains(&name)).collect();
            panic!("{error} {labels:?} {least}: {own:#?}")
        },
    );
}

#[test]
fn w39_every_promised_metric_moves_with_what_it_counts() {
    let receiver = Receiver::start(Settings::default()).unwrap();
    let [syslog, events_port, jobs, hooks] = [(); 4].map(|()| free_port().unwrap());
    let proxy = Proxy::start(
        &receiver.url(),
        &json!({
            "spooling": {"retry_attempts": 2, "retry_interval_seconds": 1},
            "inputs": [
                input("syslog", "edge", syslog, &json!({"protocol": ["udp", "tcp"]})),
                input("udp", "flows", events_port, &json!({"allowed_sources": ["127.0.0.1/32"]})),
                input("tcp", "jobs", jobs, &json!({})),
                input("http", "hooks", hooks, &json!({})),
            ],
        }),
    )
    .unwrap();
    let is = |name: &str, labels: &[(&str, &str)], least: f64| reaches(&proxy, name, labels, least);

    // Received: messages, bytes, lines, by input.
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    for _ in 0..3 {
        socket.send_to(b"0123456789", ("127.0.0.1", events_port)).unwrap();
    }
    let flows = [("input", "flows"), ("tenant", "acme"), ("dataset", "flows")];
    is("input_messages_total", &flows, 3.0);
    is("input_bytes_total", &flows, 30.0);
    is("input_lines_total", &flows, 3.0);
    is("input_receive_buffer_bytes", &flows, 1024.0);
    is("input_up", &[], 4.0);
    is("input_kernel_drops_total", &flows, 0.0);

    // Decode errors by cause: a format nobody knows, an octet count that is none.
    socket.send_to(b"no syslog at all", ("127.0.0.1", syslog)).unwrap();
    let mut counted = TcpStream::connect(("127.0.0.1", syslog)).unwrap();
    counted.write_all(b"13 <13>1 - - - -XX <13>wrong count\n").unwrap();
    is("input_undecoded_total", &[("input", "edge"), ("cause", "format")], 1.0);
    is("input_undecoded_total", &[("input", "edge"), ("cause", "framing")], 1.0);

    // Refused by cause.
    let stranger = UdpSocket::bind("127.0.0.9:0").unwrap();
    stranger.send_to(b"x", ("127.0.0.1", events_port)).unwrap();
    is("listener_refused_total", &[("cause", "source")], 1.0);
    let mut client = Client::new(([127, 0, 0, 1], hooks).into());
    assert_eq!(client.post("/nowhere", b"x").unwrap().status, 404);
    is("input_refused_total", &[("input", "hooks"), ("cause", "malformed")], 1.0);
    let open = TcpStream::connect(("127.0.0.1", jobs)).unwrap();
    is("input_connections", &[("input", "jobs")], 1.0);
    drop(open);

    // Delivery: outcome by code, latency, sizes of batches.
    receiver.wait_lines(3, LIMIT).unwrap();
    is("uploads_total", &[("outcome", "2xx")], 1.0);
    is("uploaded_lines_total", &[], 3.0);
    is("delivered_events_total", &[("tenant", "acme"), ("dataset", "flows")], 3.0);
    is("uploaded_bytes_total", &[], 1.0);
    for histogram in
        ["delivery_latency_seconds", "upload_duration_seconds", "spool_batch_size_bytes", "spool_batch_lines"]
    {
        is(&format!("{histogram}_count"), &[], 1.0);
        is(&format!("{histogram}_sum"), &[], f64::MIN_POSITIVE);
    }
    is("spool_sync_seconds_count", &[], 1.0);
    is("compression_level", &[], 6.0);

    // So that nothing but what is meant meets the faults.
    until(LIMIT, "all of it delivered", || {
        let now = events(&proxy);
        (now["accepted"] == now["delivered"]).then_some(())
    })
    .unwrap();

    // The DLQ by reason, the spool by state, the age of the oldest.
    receiver.fault(Scope::All, Fault::status(422));
    assert_eq!(client.post("/webhook", b"poison").unwrap().status, 200);
    is("uploads_total", &[("outcome", "4xx")], 1.0);
    is("upload_dlq_moves_total", &[("reason", "rejected")], 1.0);
    for name in ["spool_batches", "spool_bytes", "spool_events"] {
        is(name, &[("state", "dlq")], 1.0);
    }
    receiver.fault(Scope::All, Fault::status(500));
    assert_eq!(client.post("/webhook", b"again").unwrap().status, 200);
    is("uploads_total", &[("outcome", "5xx")], 2.0);
    is("spool_batches", &[("state", "dlq")], 2.0);

    // The circuit, and what waits behind it.
    receiver.down();
    assert_eq!(client.post("/webhook", b"waits").unwrap().status, 200);
    is("uploads_total", &[("outcome", "network")], 1.0);
    is("circuit_open", &[("scope", "receiver")], 1.0);
    is("spool_oldest_seconds", &[], 1.0);
    is("spool_log_bytes", &[], 1.0);
    let waiting = events(&proxy);
    assert!(waiting["queued"].as_u64().unwrap() + waiting["retry"].as_u64().unwrap() >= 1, "{waiting}");
    receiver.up().unwrap();
    receiver.lift(&Scope::All);
    until(LIMIT, "the circuit to close", || {
        (proxy.metric("bytefreezer_proxy_circuit_open", &[]).ok()? < 1.0).then_some(())
    })
    .unwrap();
    is("dlq_returned_total", &[], 1.0);
    until(LIMIT, "all but the poison", || {
        let now = events(&proxy);
        (now["queued"] == 0 && now["retry"] == 0 && now["dlq"] == 1).then_some(())
    })
    .unwrap_or_else(|error| panic!("{error}: {}", events(&proxy)));
}
