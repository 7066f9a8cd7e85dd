//! A reload touches what it names: W-5 (as far as a file can cause it), W-6, W-9, W-12, W-23 (SIGHUP).
#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use std::{net::TcpListener, sync::Arc, thread, time::Duration};

use common::{LIMIT, all_delivered, events, input, input_status, plan, udp_inodes};
use e2e::{
    free_port,
    load::{self, Progress, Shape},
    process::Proxy,
    receiver::{Receiver, Settings},
    until,
};
use nix::sys::signal::Signal;
use serde_json::json;

fn listening(proxy: &Proxy, name: &str) {
    until(LIMIT, &format!("{name} to listen"), || {
        (input_status(proxy, name)?["state"] == "listening").then_some(())
    })
    .unwrap_or_else(|error| panic!("{error}\n{}", proxy.log_text()));
}

#[test]
fn w6_reload_by_difference_loses_nothing_of_a_1_khz_stream_and_keeps_the_socket() {
    let receiver = Receiver::start(Settings::default()).unwrap();
    let [a, b, c] = [(); 3].map(|()| free_port().unwrap());
    let stay = input("syslog", "stays", a, &json!({}));
    let mut proxy = Proxy::start(&receiver.url(), &json!({"inputs": [stay]})).unwrap();
    let inodes = udp_inodes(a);
    assert!(!inodes.is_empty());

    let progress = Arc::new(Progress::default());
    let (stream, shared) = (plan(a, Shape::Rfc3164, 1, 6000, 1000), progress.clone());
    let sender = thread::spawn(move || load::udp(&stream, &shared).unwrap());

    // Seen by itself: the file changed.
    proxy.reconfigure(&json!({"inputs": [stay, input("udp", "comes", b, &json!({}))]})).unwrap();
    listening(&proxy, "comes");
    // By SIGHUP: one more, one altered, one gone.
    let altered = input("udp", "comes", c, &json!({"data_hint": "ndjson"}));
    proxy.reconfigure(&json!({"inputs": [altered, stay]})).unwrap();
    proxy.signal(Signal::SIGHUP).unwrap();
    until(LIMIT, "the move", || (udp_inodes(b).is_empty() && !udp_inodes(c).is_empty()).then_some(()))
        .unwrap();
    proxy.reconfigure(&json!({"inputs": [stay], "logging": {"level": "debug"}})).unwrap();
    proxy.signal(Signal::SIGHUP).unwrap();
    until(LIMIT, "the end", || udp_inodes(c).is_empty().then_some(())).unwrap();
    // A file that is wrong changes nothing.
    proxy.reconfigure(&json!({"inputs": [{"type": "nonsense", "name": "x"}]})).unwrap();
    proxy.signal(Signal::SIGHUP).unwrap();
    until(LIMIT, "a word about the wrong file", || proxy.log_text().contains("nonsense").then_some(()))
        .unwrap();

    let sent = sender.join().unwrap();
    assert_eq!(udp_inodes(a), inodes, "the untouched input's sockets are the same ones");
    all_delivered(&receiver, &[sent], LIMIT);
    events(&proxy);
}

/// `config_failing` as it is scraped.
fn failing(proxy: &Proxy) -> bool {
    proxy.metric("bytefreezer_proxy_config_failing", &[]).unwrap() > 0.0
}

#[test]
fn w6_an_input_that_has_become_wrong_goes_on_and_one_that_is_gone_ends() {
    let receiver = Receiver::start(Settings::default()).unwrap();
    let [a, b] = [(); 2].map(|()| free_port().unwrap());
    let [stays, goes] = [("stays", a), ("goes", b)].map(|(name, port)| input("udp", name, port, &json!({})));
    let mut proxy = Proxy::start(&receiver.url(), &json!({"inputs": [stays, goes]})).unwrap();
    let inodes = udp_inodes(a);
    assert!(!failing(&proxy));

    // A misspelt key must not open the input to everybody; nor must it close it.
    let misspelt = input("udp", "stays", a, &json!({"allowed_source": ["192.0.2.1"]}));
    proxy.reconfigure(&json!({"inputs": [misspelt]})).unwrap();
    proxy.signal(Signal::SIGHUP).unwrap();
    until(LIMIT, "the other input to end", || udp_inodes(b).is_empty().then_some(()))
        .unwrap_or_else(|error| panic!("{error}\n{}", proxy.log_text()));
    listening(&proxy, "stays");
    assert_eq!(udp_inodes(a), inodes, "the same sockets");
    let sent = load::udp(&plan(a, Shape::Text, 1, 100, 1000), &Progress::default()).unwrap();
    all_delivered(&receiver, &[sent], LIMIT);
    until(LIMIT, "config_failing", || failing(&proxy).then_some(())).unwrap();
    let status = proxy.json("/api/v1/status").unwrap();
    let left_out = status["config_left_out"][0].as_str().unwrap();
    for part in ["inputs[0].config.allowed_source", "did you mean `allowed_sources`", "goes on as it was"] {
        assert!(left_out.contains(part) && proxy.log_text().contains(part), "{part}: {left_out}");
    }

    // Beyond single inputs nothing at all is applied.
    for wrong in [
        json!({"inputs": [goes], "tenants": {"a--b": {"bearer_token": "x"}}}),
        json!({"tenants": null, "receiver": {"timeout_seconds": 0}}),
        json!({"receiver": {"timeout_seconds": 5}, "server": {"read_token_fil": "/nowhere"}}),
    ] {
        proxy.reconfigure(&wrong).unwrap();
        let answer = proxy.client().post("/api/v1/config/reload", b"").unwrap();
        assert!(answer.text().contains("\"success\":false"), "{wrong}: {}", answer.text());
        assert_eq!(udp_inodes(a), inodes, "{wrong}");
        assert!(failing(&proxy) && udp_inodes(b).is_empty(), "{wrong}");
    }
    proxy.reconfigure(&json!({"inputs": [stays], "server": {"read_token_fil": null}})).unwrap();
    proxy.signal(Signal::SIGHUP).unwrap();
    until(LIMIT, "all well", || (!failing(&proxy)).then_some(())).unwrap();
    assert_eq!(udp_inodes(a), inodes);
}

#[test]
fn what_takes_effect_at_the_next_start_is_said_and_taken_back() {
    let receiver = Receiver::start(Settings::default()).unwrap();
    let port = free_port().unwrap();
    let config = |limits: serde_json::Value| json!({"inputs": [input("udp", "a", port, &json!({}))], "limits": limits});
    let mut proxy = Proxy::start(&receiver.url(), &config(json!({"receive_threads": 1}))).unwrap();
    for (threads, expected) in [(2, json!(["limits.receive_threads"])), (1, json!([]))] {
        proxy.reconfigure(&config(json!({"receive_threads": threads}))).unwrap();
        proxy.signal(Signal::SIGHUP).unwrap();
        until(LIMIT, &expected.to_string(), || {
            let status = proxy.json("/api/v1/status").ok()?;
            (status["config_needs_restart"] == expected && status["config_generation"].as_u64() > Some(1))
                .then_some(())
        })
        .unwrap_or_else(|error| panic!("{error}\n{}", proxy.log_text()));
        assert_eq!(udp_inodes(port).len(), 1);
    }
    assert!(proxy.log_text().contains("takes effect at the next start: limits.receive_threads"));
}

#[test]
fn the_api_says_that_it_moves_and_stays_where_it_is_until_it_can() {
    let receiver = Receiver::start(Settings::default()).unwrap();
    let [port, taken] = [(); 2].map(|()| free_port().unwrap());
    let inputs = json!([input("udp", "a", port, &json!({}))]);
    let mut proxy = Proxy::start(&receiver.url(), &json!({"inputs": inputs})).unwrap();
    let old = proxy.api();
    // Where it cannot go it does not go.
    let squatter = TcpListener::bind(("127.0.0.1", taken)).unwrap();
    proxy.reconfigure(&json!({"server": {"api_port": taken}})).unwrap();
    proxy.signal(Signal::SIGHUP).unwrap();
    until(LIMIT, "the problem", || {
        let status = proxy.get("/api/v1/status").ok()?.text();
        status.contains(&format!("the API goes on at {old}")).then_some(())
    })
    .unwrap_or_else(|error| panic!("{error}\n{}", proxy.log_text()));
    assert!(proxy.log_text().contains(&format!("the API moves from {old}")), "{}", proxy.log_text());
    drop(squatter);
    proxy.signal(Signal::SIGHUP).unwrap();
    let mut client = e2e::http::Client::new(([127, 0, 0, 1], taken).into());
    until(LIMIT, "the new port", || client.get("/livez").is_ok().then_some(()))
        .unwrap_or_else(|error| panic!("{error}\n{}", proxy.log_text()));
}

#[test]
fn w6_w12_a_busy_port_stops_that_input_alone_and_is_tried_again() {
    let receiver = Receiver::start(Settings::default()).unwrap();
    let [a, b] = [(); 2].map(|()| free_port().unwrap());
    let squatter = TcpListener::bind(("127.0.0.1", b)).unwrap();
    let config =
        json!({"inputs": [input("udp", "runs", a, &json!({})), input("http", "waits", b, &json!({}))]});
    let proxy = Proxy::start(&receiver.url(), &config).unwrap();
    listening(&proxy, "runs");
    let status = input_status(&proxy, "waits").unwrap();
    assert_eq!(status["state"], "retrying", "{status}");
    assert!(status["error"].as_str().is_some_and(|error| !error.is_empty()), "{status}");

    let sent = load::udp(&plan(a, Shape::Text, 1, 100, 1000), &Progress::default()).unwrap();
    all_delivered(&receiver, &[sent], LIMIT);
    drop(squatter);
    listening(&proxy, "waits");
    let sent = load::http(&plan(b, Shape::Json, 2, 10, 0), "/webhook", 5, &Progress::default()).unwrap();
    assert_eq!(sent.promised(), 10);
    all_delivered(&receiver, &[sent], LIMIT);
}

#[test]
fn w9_two_datasets_of_one_name_in_two_tenants_and_two_reloads() {
    let receiver = Receiver::start(Settings::default()).unwrap();
    let [a, b, c] = [(); 3].map(|()| free_port().unwrap());
    let two = [
        input("udp", "events", a, &json!({"tenant_id": "acme"})),
        input("udp", "events", b, &json!({"tenant_id": "umbrella"})),
    ];
    let mut proxy = Proxy::start(&receiver.url(), &json!({"inputs": two})).unwrap();
    let inodes = [udp_inodes(a), udp_inodes(b)];
    for (name, port) in [("third", c), ("fourth", c)] {
        let three = [two[0].clone(), two[1].clone(), input("udp", name, port, &json!({}))];
        proxy.reconfigure(&json!({"inputs": three})).unwrap();
        proxy.signal(Signal::SIGHUP).unwrap();
        listening(&proxy, name);
    }
    assert_eq!([udp_inodes(a), udp_inodes(b)], inodes);
    let mut sent = Vec::new();
    for (stream, port) in [(1, a), (2, b)] {
        sent.push(load::udp(&plan(port, Shape::Text, stream, 50, 2000), &Progress::default()).unwrap());
    }
    all_delivered(&receiver, &sent, LIMIT);
    assert_eq!(receiver.text("acme", "events").unwrap().len(), 50);
    assert_eq!(receiver.text("umbrella", "events").unwrap().len(), 50);
}

#[test]
fn two_datasets_on_one_port_are_told_apart_by_source_and_others_are_counted() {
    let receiver = Receiver::start(Settings::default()).unwrap();
    let port = free_port().unwrap();
    let on = |name: &str, sources: &[&str]| {
        input("udp", name, port, &json!({"host": "0.0.0.0", "allowed_sources": sources}))
    };
    let config = json!({"inputs": [on("wide", &["127.0.0.0/30"]), on("narrow", &["127.0.0.2/32"])]});
    let proxy = Proxy::start(&receiver.url(), &config).unwrap();
    for (source, times) in [("127.0.0.1", 3), ("127.0.0.2", 5), ("127.0.0.9", 7)] {
        let socket = std::net::UdpSocket::bind((source, 0)).unwrap();
        for n in 0..times {
            socket.send_to(format!("from {source} {n}").as_bytes(), ("127.0.0.1", port)).unwrap();
        }
    }
    let wide = receiver.wait_text("acme", "wide", 3, LIMIT).unwrap();
    let narrow = receiver.wait_text("acme", "narrow", 5, LIMIT).unwrap();
    assert!(wide.len() == 3 && wide.iter().all(|line| line.contains("from 127.0.0.1 ")), "{wide:?}");
    assert!(narrow.len() == 5 && narrow.iter().all(|line| line.contains("from 127.0.0.2 ")), "{narrow:?}");
    // Nobody's datagrams are counted for the listener.
    until(LIMIT, "7 refusals", || {
        let refused =
            proxy.metric("bytefreezer_proxy_listener_refused_total", &[("cause", "source")]).ok()?;
        (refused >= 7.0).then_some(())
    })
    .unwrap();
}

#[test]
fn a_thousand_datasets_in_one_process() {
    let receiver = Receiver::start(Settings::default()).unwrap();
    let port = free_port().unwrap();
    let inputs: Vec<_> = (0..1000)
        .map(|n| input("http", &format!("ds-{n:04}"), port, &json!({"path": format!("/hooks/{n}")})))
        .collect();
    let proxy = Proxy::start(&receiver.url(), &json!({"inputs": inputs})).unwrap();
    let mut client = e2e::http::Client::new(([127, 0, 0, 1], port).into());
    for round in 0..2 {
        for n in 0..1000 {
            let answer =
                client.post(&format!("/hooks/{n}"), format!("{{\"round\":{round}}}").as_bytes()).unwrap();
            assert_eq!(answer.status, 200);
        }
    }
    receiver.wait_lines(2000, Duration::from_mins(1)).unwrap();
    assert_eq!(receiver.violations(), [""; 0]);
    let mut per_dataset = std::collections::BTreeMap::new();
    for batch in receiver.batches() {
        *per_dataset.entry(batch.key).or_insert(0) += batch.lines;
    }
    assert_eq!(per_dataset.len(), 1000);
    assert!(per_dataset.values().all(|lines| *lines == 2));
    assert_eq!(proxy.json("/api/v1/status").unwrap()["inputs"].as_array().unwrap().len(), 1000);
    events(&proxy);
}
