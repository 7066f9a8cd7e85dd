//! Settings that several types of input have, by an effect seen from outside for each type.
use std::{
    collections::BTreeMap,
    io::{Read, Write},
    net::{IpAddr, SocketAddr, TcpStream, UdpSocket},
    time::Duration,
};

use crate::common::{LIMIT, certificate, input_status, udp_inodes};
use e2e::{
    flows, free_port,
    http::Client,
    load::{self, Shape},
    peers,
    process::{Proxy, merge},
    receiver::{Batch, Receiver, Settings},
    until,
};
use serde_json::{Value, json};

const TYPES: [&str; 8] = ["udp", "tcp", "syslog", "http", "netflow", "ipfix", "sflow", "ebpf"];
const STREAMS: [&str; 4] = ["tcp", "syslog", "http", "ipfix"];
const DATAGRAMS: [&str; 6] = ["udp", "syslog", "netflow", "ipfix", "sflow", "ebpf"];

/// A proxy with one input of each of some types.
struct Rack {
    receiver: Receiver,
    proxy: Proxy,
    ports: BTreeMap<&'static str, u16>,
}

/// What an input is called, and its dataset; the type alone is a reserved word.
fn name(kind: &str) -> String {
    format!("in-{kind}")
}

fn rack(types: &[&'static str], config: impl Fn(&str) -> Value, process: &Value) -> Rack {
    let receiver = Receiver::start(Settings::default()).unwrap();
    let ports: BTreeMap<_, _> = types.iter().map(|kind| (*kind, free_port().unwrap())).collect();
    let inputs: Vec<Value> = types
        .iter()
        .map(|kind| {
            let mut own = json!({"host": "127.0.0.1", "port": ports[kind]});
            merge(&mut own, &config(kind));
            json!({"type": kind, "name": name(kind), "config": own})
        })
        .collect();
    let mut all = json!({ "inputs": inputs });
    merge(&mut all, process);
    let proxy = Proxy::start(&receiver.url(), &all).unwrap();
    Rack { receiver, proxy, ports }
}

impl Rack {
    fn address(&self, kind: &str) -> SocketAddr {
        ([127, 0, 0, 1], self.ports[kind]).into()
    }

    fn lines(&self, kind: &str, count: usize) -> Vec<String> {
        let lines = self.receiver.wait_text("acme", &name(kind), count, LIMIT);
        assert_eq!(self.receiver.violations(), [""; 0]);
        lines.unwrap_or_else(|error| panic!("{kind}: {error:#}\n{}", self.proxy.log_text()))
    }

    fn batches(&self, kind: &str) -> Vec<Batch> {
        self.receiver.batches().into_iter().filter(|batch| batch.key.dataset == name(kind)).collect()
    }

    fn refused(&self, kind: &str, cause: &str, count: u64) {
        until(LIMIT, &format!("{kind}: {count} refused: {cause}"), || {
            (input_status(&self.proxy, &name(kind))?["refused"][cause].as_u64()? >= count).then_some(())
        })
        .unwrap_or_else(|error| panic!("{error}: {:?}", input_status(&self.proxy, &name(kind))));
    }

    fn connect(&self, kind: &str) -> TcpStream {
        let stream = TcpStream::connect(self.address(kind)).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        stream
    }
}

/// A line as the type's datagram.
fn datagram(kind: &str, line: &str) -> Vec<u8> {
    match kind {
        "netflow" | "ipfix" => flows::ipfix(line),
        "sflow" => flows::sflow(line),
        _ => line.as_bytes().to_vec(),
    }
}

/// Sends lines as the type takes them; over UDP what may come over both.
fn send(kind: &str, to: SocketAddr, lines: &[String]) {
    match kind {
        kind if DATAGRAMS.contains(&kind) => {
            let own: IpAddr = if to.is_ipv4() { [127, 0, 0, 1].into() } else { "::1".parse().unwrap() };
            let socket = UdpSocket::bind((own, 0)).unwrap();
            for line in lines {
                let datagram = datagram(kind, line);
                assert_eq!(socket.send_to(&datagram, to).unwrap(), datagram.len());
            }
        }
        "tcp" => writeln!(TcpStream::connect(to).unwrap(), "{}", lines.join("\n")).unwrap(),
        _ => {
            let answer = Client::new(to).post("/webhook", lines.join("\n").as_bytes()).unwrap();
            assert_eq!(answer.status, 200, "{}", answer.text());
        }
    }
}

fn one(text: &str) -> [String; 1] {
    [text.to_owned()]
}

/// Whether the peer has ended the connection.
fn ended(stream: &mut TcpStream) -> bool {
    let mut rest = Vec::new();
    match stream.read_to_end(&mut rest) {
        Ok(_) => true,
        Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
    }
}

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

/// A stream's input; over TCP what may come over both.
fn stream(kind: &str, more: &Value) -> Value {
    let mut config = match kind {
        "syslog" | "ipfix" => json!({"protocol": "tcp"}),
        _ => json!({"data_hint": "ndjson", "source_field": "source_ip"}),
    };
    merge(&mut config, more);
    config
}

/// One line as the bytes of a connection.
fn bytes(kind: &str, line: &str) -> Vec<u8> {
    match kind {
        "http" => format!(
            "POST /webhook HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{line}",
            line.len()
        )
        .into_bytes(),
        "ipfix" => flows::ipfix(line),
        _ => format!("{line}\n").into_bytes(),
    }
}

/// How a line says who sent it.
fn sent_by(kind: &str, source: &str) -> String {
    let member = if kind == "ipfix" { "SamplerAddress" } else { "source_ip" };
    format!("\"{member}\":\"{source}\"")
}

#[test]
fn proxy_protocol_of_every_stream() {
    const V1: &[u8] = b"PROXY TCP4 203.0.113.7 127.0.0.1 5000 514\r\n";
    const V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc6\x33\x64\x09\x7f\0\0\x01\x13\x88\x02\x02";
    let from = |peers: &str| json!({"proxy_protocol": true, "proxy_protocol_from": [peers]});
    let listed = rack(&STREAMS, |kind| stream(kind, &from("127.0.0.0/8")), &json!({}));
    for kind in STREAMS {
        for header in [V1, V2] {
            let mut connection = listed.connect(kind);
            connection.write_all(&[header, bytes(kind, "{\"n\":1}").as_slice()].concat()).unwrap();
            connection.shutdown(std::net::Shutdown::Write).unwrap();
            assert!(ended(&mut connection));
        }
        let lines = listed.lines(kind, 2).join("\n");
        for source in ["203.0.113.7", "198.51.100.9"] {
            assert!(lines.contains(&sent_by(kind, source)), "{kind}: {lines}");
        }
        // One that comes without a header is refused.
        let mut bare = listed.connect(kind);
        bare.write_all(&bytes(kind, "no header at all").repeat(3)).unwrap();
        assert!(ended(&mut bare));
        listed.refused(kind, "handshake", 1);
    }
    let other = rack(&STREAMS, |kind| stream(kind, &from("192.0.2.1/32")), &json!({}));
    for kind in STREAMS {
        let mut liar = other.connect(kind);
        let _ = liar.write_all(&[V1, bytes(kind, "{\"n\":1}").as_slice()].concat());
        let _ = liar.shutdown(std::net::Shutdown::Write);
        assert!(ended(&mut liar));
        let mut honest = other.connect(kind);
        honest.write_all(&bytes(kind, "{\"n\":2}")).unwrap();
        honest.shutdown(std::net::Shutdown::Write).unwrap();
        assert!(ended(&mut honest));
        until(LIMIT, "the honest one", || {
            let text = other.receiver.text("acme", &name(kind)).unwrap().join("\n");
            assert!(!text.contains(&sent_by(kind, "203.0.113.7")), "{kind}: {text}");
            text.contains(&sent_by(kind, "127.0.0.1")).then_some(())
        })
        .unwrap_or_else(|error| panic!("{kind}: {error}\n{}", other.proxy.log_text()));
    }
}

#[test]
fn tls_and_client_certificates_of_every_stream() {
    let folder = tempfile::tempdir().unwrap();
    certificate(folder.path());
    let file = |name: &str| folder.path().join(name).display().to_string();
    let (ca, cert, key) = (file("ca.crt"), file("tls.crt"), file("tls.key"));
    for required in [None, Some(true), Some(false)] {
        let mut tls = json!({"cert_file": cert, "key_file": key});
        if let Some(required) = required {
            merge(&mut tls, &json!({"client_ca_file": ca, "client_cert_required": required}));
        }
        let rack = rack(&STREAMS, |kind| stream(kind, &json!({ "tls": tls })), &json!({}));
        for kind in STREAMS {
            let port = rack.ports[kind];
            secret(kind, port, &ca, 1, Some((&cert, &key)));
            secret(kind, port, &ca, 2, None);
            let mut plain = rack.connect(kind);
            let _ = plain.write_all(&bytes(kind, "{\"n\":3}"));
            let admitted = if required == Some(true) { 1 } else { 2 };
            rack.refused(kind, "handshake", 3 - admitted);
            let lines = rack.lines(kind, admitted as usize).join("\n");
            let seen = [1, 2, 3]
                .map(|n| lines.contains(&format!("\"n\\\":{n}")) || lines.contains(&format!("\"n\":{n}")));
            assert_eq!(seen, [true, admitted == 2, false], "{kind} {required:?}: {lines}");
        }
    }
}

/// Sends `{"n":<n>}` over TLS, with a certificate of its own or without. It may be refused.
fn secret(kind: &str, port: u16, ca: &str, n: u32, own: Option<(&str, &str)>) {
    let text = format!("{{\"n\":{n}}}");
    if kind == "http" {
        let own = own.map(|(cert, key)| ["--cert", cert, "--key", key]);
        let all = ["--ipv4", "--cacert", ca, "-d", &text];
        let all: Vec<&str> = all.into_iter().chain(own.into_iter().flatten()).collect();
        let _ = peers::curl(&all, &format!("https://localhost:{port}/webhook"));
    } else {
        let own = own.map(|(cert, key)| ["-cert", cert, "-key", key]);
        let own: Vec<&str> = own.into_iter().flatten().collect();
        let _ = peers::openssl(port, ca, &own, &bytes(kind, &text));
    }
}

#[test]
fn connection_limits_of_every_stream() {
    let rack = rack(
        &STREAMS,
        |kind| {
            stream(kind, &json!({"max_connections": 2, "max_connections_per_source": 2, "read_timeout": 3}))
        },
        &json!({}),
    );
    for kind in STREAMS {
        let mut kept = [rack.connect(kind), rack.connect(kind)];
        for connection in &mut kept {
            // Half a line, half a request.
            connection.write_all(&bytes(kind, "{\"n\":1}")[..5]).unwrap();
        }
        until(LIMIT, "two connections", || {
            (input_status(&rack.proxy, &name(kind))?["connections"] == 2).then_some(())
        })
        .unwrap_or_else(|error| panic!("{kind}: {error}"));
        assert!(ended(&mut rack.connect(kind)), "{kind}: the third is closed");
        rack.refused(kind, "connections", 1);
        assert!(ended(&mut kept[0]), "{kind}: closed for its silence");
        rack.refused(kind, "timeout", 1);
        until(LIMIT, "room for another", || {
            let mut connection = rack.connect(kind);
            connection.write_all(&bytes(kind, "{\"after\":1}")).ok()?;
            connection.shutdown(std::net::Shutdown::Write).ok()?;
            ended(&mut connection);
            let text = rack.receiver.text("acme", &name(kind)).ok()?.join("\n");
            text.contains("after").then_some(())
        })
        .unwrap_or_else(|error| panic!("{kind}: {error}"));
    }
}

#[test]
fn one_source_may_hold_so_many_connections_of_every_stream() {
    let own = json!({"max_connections": 10, "max_connections_per_source": 1});
    let rack = rack(&STREAMS, |kind| stream(kind, &own), &json!({}));
    for kind in STREAMS {
        let mut kept = rack.connect(kind);
        kept.write_all(&bytes(kind, "{\"n\":1}")[..5]).unwrap();
        until(LIMIT, "a connection", || {
            (input_status(&rack.proxy, &name(kind))?["connections"] == 1).then_some(())
        })
        .unwrap_or_else(|error| panic!("{kind}: {error}"));
        assert!(ended(&mut rack.connect(kind)), "{kind}: the second is closed");
        rack.refused(kind, "connections", 1);
    }
}

#[test]
fn long_lines_of_every_stream_of_lines() {
    let long = "a".repeat(300);
    for (oversize, texts) in [
        ("cut", vec!["first", "aaaaaaaaaa", "last"]),
        ("drop", vec!["first", "last"]),
        ("close", vec!["first"]),
    ] {
        let own = json!({"max_line_size": 100, "oversize": oversize});
        let rack = rack(&["tcp", "syslog"], |kind| stream(kind, &own), &json!({}));
        for kind in ["tcp", "syslog"] {
            let mut connection = rack.connect(kind);
            let _ = connection.write_all(format!("first\n{long}\nlast\n").as_bytes());
            let _ = connection.shutdown(std::net::Shutdown::Write);
            assert!(ended(&mut connection));
            rack.refused(kind, "oversize", 1);
            let lines = rack.lines(kind, texts.len());
            assert_eq!(lines.len(), texts.len(), "{kind} {oversize}: {lines:?}");
            for (line, text) in lines.iter().zip(&texts) {
                assert!(line.contains(text), "{kind} {oversize}: {text} in {line}");
                assert!(!line.contains(&"a".repeat(101)), "{kind} {oversize}: {line}");
            }
        }
    }
}

#[test]
fn an_idle_connection_of_http_ends_in_its_time() {
    let with = |seconds: u32| rack(&["http"], |_| json!({ "idle_timeout": seconds }), &json!({}));
    for (rack, ends) in [(with(1), true), (with(3600), false)] {
        let mut stream = rack.connect("http");
        stream.write_all(b"POST /webhook HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\n\r\nx").unwrap();
        let mut answer = [0; 1024];
        assert!(stream.read(&mut answer).unwrap() > 0);
        stream.set_read_timeout(Some(Duration::from_secs(if ends { 30 } else { 4 }))).unwrap();
        assert_eq!(ended(&mut stream), ends);
        let refused = &input_status(&rack.proxy, "in-http").unwrap()["refused"];
        assert_eq!(refused.as_object().map_or(0, serde_json::Map::len), 0, "silence is no error: {refused}");
    }
}
