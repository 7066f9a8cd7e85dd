//! Settings that several types of input have, by an effect seen from outside for each type.

use std::{collections::BTreeMap, net::SocketAddr};

use e2e::{
    free_port,
    http::Client,
    load::{self, Shape},
    peers,
    process::Proxy,
    receiver::{Receiver, Settings},
    until,
};
use serde_json::json;

use crate::{
    common::{LIMIT, input_status, udp_inodes},
    rack::{DATAGRAMS, TYPES, name, one, rack, send},
};

#[test]
fn name_tenant_dataset_host_and_sources_of_every_type() {
    let receiver = Receiver::start(Settings::default()).unwrap();
    let mut inputs = Vec::new();
    let mut ports = BTreeMap::new();
    for kind in TYPES {
        let port = free_port().unwrap();
        ports.insert(kind, port);
        inputs.push(json!({"type": kind, "name": format!("four-{kind}"), "config": {
            "host": "::", "port": port, "allowed_sources": ["127.0.0.0/8"]}}));
        inputs.push(json!({"type": kind, "name": "six", "config": {
            "host": "::", "port": port, "allowed_sources": ["::1/128"],
            "tenant_id": "umbrella", "dataset_id": format!("six-{kind}")}}));
    }
    let proxy = Proxy::start(&receiver.url(), &json!({ "inputs": inputs })).unwrap();
    for (kind, port) in ports {
        send(kind, ([127, 0, 0, 1], port).into(), &one("over four"));
        send(kind, SocketAddr::new("::1".parse().unwrap(), port), &one("over six"));
        for (tenant, dataset, text) in
            [("acme", format!("four-{kind}"), "over four"), ("umbrella", format!("six-{kind}"), "over six")]
        {
            let lines = receiver
                .wait_text(tenant, &dataset, 1, LIMIT)
                .unwrap_or_else(|error| panic!("{error:#}\n{}", proxy.log_text()));
            assert!(lines.len() == 1 && lines[0].contains(text), "{tenant}/{dataset}: {lines:?}");
        }
    }
    let senders = proxy.json("/api/v1/senders?tenant_id=umbrella").unwrap();
    let rows = senders["senders"].as_array().unwrap();
    assert!(rows.len() == TYPES.len() && rows.iter().all(|row| row["source"] == "::1"), "{senders}");
}

#[test]
fn enabled_and_paused_of_every_type() {
    let off = rack(&TYPES, |_| json!({}), &json!({}));
    drop(off.proxy);
    for switch in ["enabled", "paused"] {
        let ports: Vec<_> = TYPES.iter().map(|kind| (*kind, free_port().unwrap())).collect();
        let inputs: Vec<_> = ports
            .iter()
            .map(|(kind, port)| {
                let mut input =
                    json!({"type": kind, "name": name(kind), "config": {"host": "127.0.0.1", "port": port}});
                input[switch] = json!(switch == "paused");
                input
            })
            .collect();
        let proxy = Proxy::start(&off.receiver.url(), &json!({ "inputs": inputs })).unwrap();
        for (kind, port) in ports {
            let address: SocketAddr = ([127, 0, 0, 1], port).into();
            let listens = !udp_inodes(port).is_empty() || peers::accepts(address);
            assert_eq!(listens, switch == "paused", "{kind} {switch}");
            let status = input_status(&proxy, &name(kind));
            if switch == "enabled" {
                assert!(status.is_none(), "{status:?}");
                continue;
            }
            assert_eq!(status.unwrap()["state"], "paused", "{kind}");
            match kind {
                "http" => assert_eq!(Client::new(address).post("/webhook", b"x").unwrap().status, 503),
                _ => send(kind, address, &one("x")),
            }
            until(LIMIT, &format!("{kind} to count it"), || {
                (input_status(&proxy, &name(kind))?["refused"]["paused"].as_u64()? >= 1).then_some(())
            })
            .unwrap();
        }
    }
    assert_eq!(off.receiver.lines(), 0);
}

/// H-14; only for http it was the clients' token, see `old_webhook_authentication_still_works`.
#[test]
fn an_old_token_of_an_input_is_its_tenants_upload_token() {
    let config =
        |kind: &str| json!({"tenant_id": format!("t-{kind}"), "bearer_token": format!("token-{kind}")});
    let rack = rack(&TYPES, config, &json!({}));
    for kind in TYPES {
        send(kind, rack.address(kind), &one("x"));
        rack.receiver.wait_text(&format!("t-{kind}"), &name(kind), 1, LIMIT).unwrap();
        let path = format!("/t-{kind}/in-{kind}");
        let request = rack.receiver.requests().into_iter().find(|request| request.path == path).unwrap();
        let token = format!("Bearer token-{kind}");
        let expected = (kind != "http").then_some(token.as_str());
        assert_eq!(request.header("authorization"), expected, "{kind}");
    }
    assert!(rack.proxy.log_text().contains("bearer_token"), "said to be old: {}", rack.proxy.log_text());
}

#[test]
fn batching_of_every_type() {
    let lines: Vec<String> =
        (0..60).map(|n| String::from_utf8(load::event(Shape::Json, 1, n, 200)).unwrap()).collect();
    let global = json!({"batching": {"timeout_seconds": 3600}});
    let by_lines = json!({"batching": {"max_lines": 10}});
    // The rest of a limit waits for its age, so each has its own.
    let by_bytes =
        json!({"batching": {"max_bytes": 5000, "timeout_seconds": 1, "compression_enabled": false}});
    for (own, by_bytes) in [(by_lines, false), (by_bytes, true)] {
        let rack = rack(&TYPES, |_| own.clone(), &global);
        for kind in TYPES {
            // A request or a piece of a stream is never divided, so it comes in pieces.
            for lines in lines.chunks(5) {
                send(kind, rack.address(kind), lines);
            }
            assert_eq!(rack.lines(kind, 60).len(), 60);
            for batch in rack.batches(kind) {
                if by_bytes {
                    // The last chunk may go over: 64 KiB of it are one member.
                    assert!(batch.body.len() <= 6500, "{kind}: {} bytes", batch.body.len());
                    assert!(batch.body.len() >= batch.raw_len, "{kind}: compressed");
                } else {
                    assert!(batch.lines <= 10, "{kind}: {} lines", batch.lines);
                    assert!(batch.body.len() < batch.raw_len, "{kind}: not compressed");
                }
            }
        }
    }
}

#[test]
fn compression_level_of_every_type() {
    let lines: Vec<String> =
        (0..600).map(|n| String::from_utf8(load::event(Shape::Text, 1, n, 150)).unwrap()).collect();
    let sizes = |level: u32| {
        let own = json!({"batching": {"compression_level": level, "compression_adaptive": false, "max_lines": 600}});
        let rack = rack(&TYPES, |_| own.clone(), &json!({}));
        TYPES.map(|kind| {
            send(kind, rack.address(kind), &lines);
            assert_eq!(rack.lines(kind, 600).len(), 600);
            rack.batches(kind).iter().map(|batch| batch.body.len()).sum::<usize>()
        })
    };
    let (low, high) = (sizes(1), sizes(9));
    for (kind, (low, high)) in TYPES.into_iter().zip(low.into_iter().zip(high)) {
        assert!(high < low, "{kind}: level 1 {low}, level 9 {high}");
    }
}

#[test]
fn hint_format_and_source_field_of_every_type() {
    let types = ["udp", "tcp", "http"];
    let object = "{\"a\":1.0}".to_owned();
    let text = "plain".to_owned();
    let cases = [
        (json!({}), "raw", ["{\"a\":1.0}", "\"raw\":\"plain\""]),
        (json!({"data_hint": "apache", "data_format": "ndjson"}), "apache", ["{\"a\":1.0}", "plain"]),
        (json!({"data_format": "text"}), "raw", ["\"raw\":\"{\\\"a\\\":1.0}\"", "\"raw\":\"plain\""]),
        (
            json!({"data_hint": "ndjson", "source_field": "from"}),
            "ndjson",
            ["{\"a\":1.0,\"from\":\"127.0.0.1\"", "\"raw\":\"plain\""],
        ),
    ];
    for (own, hint, parts) in cases {
        let rack = rack(&types, |_| own.clone(), &json!({}));
        for kind in types {
            send(kind, rack.address(kind), &[object.clone(), text.clone()]);
            let lines = rack.lines(kind, 2);
            for part in parts {
                assert!(lines.iter().any(|line| line.contains(part)), "{kind} {own}: {part} in {lines:?}");
            }
            assert!(rack.batches(kind).iter().all(|batch| batch.hint() == hint), "{kind} {own}");
        }
    }
}

#[test]
fn read_buffer_size_of_every_datagram_input() {
    let sizes = |size: usize| {
        let rack = rack(&DATAGRAMS, |_| json!({ "read_buffer_size": size }), &json!({}));
        DATAGRAMS
            .map(|kind| input_status(&rack.proxy, &name(kind)).unwrap()["receive_buffer"].as_u64().unwrap())
    };
    for (small, large) in sizes(65_536).into_iter().zip(sizes(200_000)) {
        assert!(small >= 65_536 && large > small, "{small}, {large}");
    }
}
