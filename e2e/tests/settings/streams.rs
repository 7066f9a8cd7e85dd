//! Settings of connections, by an effect seen from outside for each type that takes them.

use std::{
    io::{Read as _, Write as _},
    time::Duration,
};

use e2e::{flows, peers, process::merge, until};
use serde_json::{Value, json};

use crate::{
    common::{LIMIT, certificate, input_status},
    rack::{STREAMS, ended, name, rack},
};

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
