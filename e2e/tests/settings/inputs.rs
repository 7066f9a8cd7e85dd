//! Every setting of an input by an effect seen from outside; the table that holds them to the reference is in
//! `table.rs`.

use std::{
    io::{Read, Write},
    net::{TcpStream, UdpSocket},
    thread,
    time::{Duration, Instant},
};

use crate::common::{LIMIT, certificate, input, input_status, udp_inodes};
use e2e::{
    free_port,
    http::Client,
    peers,
    process::Proxy,
    receiver::{Receiver, Settings},
    until,
};
use serde_json::{Value, json};

struct World {
    receiver: Receiver,
    proxy: Proxy,
    port: u16,
}

/// One input called `one` of a type.
fn world(kind: &str, config: &Value) -> World {
    let receiver = Receiver::start(Settings::default()).unwrap();
    let port = free_port().unwrap();
    let proxy =
        Proxy::start(&receiver.url(), &json!({"inputs": [input(kind, "one", port, config)]})).unwrap();
    World { receiver, proxy, port }
}

impl World {
    fn datagram(&self, bytes: &[u8]) {
        UdpSocket::bind("127.0.0.1:0").unwrap().send_to(bytes, ("127.0.0.1", self.port)).unwrap();
    }

    fn stream(&self) -> TcpStream {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        stream
    }

    fn client(&self) -> Client {
        Client::new(([127, 0, 0, 1], self.port).into())
    }

    fn lines(&self, count: usize) -> Vec<String> {
        let lines = self.receiver.wait_text("acme", "one", count, LIMIT);
        assert_eq!(self.receiver.violations(), [""; 0]);
        lines.unwrap_or_else(|error| panic!("{error:#}\n{}", self.proxy.log_text()))
    }

    fn objects(&self, count: usize) -> Vec<Value> {
        self.lines(count)
            .iter()
            .map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}")))
            .collect()
    }

    fn refused(&self, cause: &str, count: u64) {
        until(LIMIT, &format!("{count} refused: {cause}"), || {
            (input_status(&self.proxy, "one")?["refused"][cause].as_u64()? >= count).then_some(())
        })
        .unwrap_or_else(|error| panic!("{error}: {:?}", input_status(&self.proxy, "one")));
    }
}

#[test]
fn enabled_and_paused() {
    let receiver = Receiver::start(Settings::default()).unwrap();
    let [a, b] = [(); 2].map(|()| free_port().unwrap());
    let mut off = input("udp", "off", a, &json!({}));
    off["enabled"] = json!(false);
    let mut paused = input("udp", "one", b, &json!({}));
    paused["paused"] = json!(true);
    let proxy = Proxy::start(&receiver.url(), &json!({"inputs": [off, paused]})).unwrap();
    assert!(udp_inodes(a).is_empty());
    let world = World { receiver, proxy, port: b };
    for _ in 0..3 {
        world.datagram(b"x");
    }
    world.refused("paused", 3);
    assert_eq!(input_status(&world.proxy, "one").unwrap()["state"], "paused");
    assert_eq!(world.receiver.lines(), 0);
}

#[test]
fn old_webhook_authentication_still_works() {
    for auth in [
        json!({"enable_authentication": true, "bearer_token": "secret"}),
        json!({"auth": {"token": "secret"}}),
    ] {
        let world = world("http", &auth);
        assert_eq!(world.client().post("/webhook", b"x").unwrap().status, 401, "{auth}");
        let mut known = world.client().with_header("authorization", "Bearer secret");
        assert_eq!(known.post("/webhook", b"x").unwrap().status, 200, "{auth}");
        world.lines(1);
        // W-30: a webhook's token is not the upload's.
        assert!(world.receiver.requests().iter().all(|request| request.header("authorization").is_none()));
        world.refused("unauthorized", 1);
    }
    let open = world("http", &json!({"bearer_token": "secret"}));
    assert_eq!(open.client().post("/webhook", b"x").unwrap().status, 200);
}

#[test]
fn host_chooses_the_address_family() {
    let six = UdpSocket::bind("[::1]:0").is_ok();
    let v4 = world("udp", &json!({"host": "127.0.0.1"}));
    v4.datagram(b"x");
    v4.lines(1);
    if !six {
        return;
    }
    let both = world("udp", &json!({"host": "::", "data_hint": "ndjson", "source_field": "from"}));
    both.datagram(b"{\"by\":4}");
    UdpSocket::bind("[::1]:0").unwrap().send_to(b"{\"by\":6}", ("::1", both.port)).unwrap();
    for object in both.objects(2) {
        let from = if object["by"] == 4 { "127.0.0.1" } else { "::1" };
        assert_eq!(object["from"], from, "an IPv4 sender is shown as IPv4: {object}");
    }
}

#[test]
fn batching_of_one_input_beats_the_global_one() {
    let receiver = Receiver::start(Settings::default()).unwrap();
    let port = free_port().unwrap();
    let own = json!({"data_hint": "ndjson", "batching": {
        "max_lines": 120, "max_bytes": 60_000, "timeout_seconds": 1, "compression_enabled": false,
        "compression_level": 1, "compression_adaptive": false,
    }});
    let config = json!({"batching": {"timeout_seconds": 3600}, "inputs": [input("http", "one", port, &own)]});
    let proxy = Proxy::start(&receiver.url(), &config).unwrap();
    let world = World { receiver, proxy, port };
    // A request is never divided, so batches hold as many whole ones as fit.
    let mut client = world.client();
    for (requests, length) in [(6, 500), (6, 10)] {
        let body = format!("{{\"text\":\"{}\"}}\n", "a".repeat(length)).repeat(50);
        for _ in 0..requests {
            assert_eq!(client.post("/webhook", body.as_bytes()).unwrap().status, 200);
        }
    }
    world.lines(600);
    for batch in world.receiver.batches() {
        assert!(
            batch.lines <= 120 && batch.body.len() <= 60_000,
            "{} lines, {} bytes",
            batch.lines,
            batch.body.len()
        );
        assert!(batch.body.len() >= batch.raw_len, "not compressed");
    }
}

#[test]
fn hint_format_and_source_field() {
    let lines: [&[u8]; 3] = [b"{\"a\":1.0,\"a\":2}", b"plain \"text\" \xe9", b"[1]"];
    let send = |config: Value| {
        let world = world("udp", &config);
        for line in lines {
            world.datagram(line);
        }
        let mut lines = world.lines(3);
        lines.sort();
        (lines, world.receiver.batches()[0].hint().to_owned())
    };
    // W-19: decided per line, whatever came first.
    let (auto, hint) = send(json!({"data_hint": "ndjson"}));
    assert_eq!(hint, "ndjson");
    assert!(auto.iter().any(|line| line.starts_with("{\"a\":1.0,\"a\":2,\"BfTs\":")), "{auto:?}");
    assert_eq!(auto.iter().filter(|line| line.contains("\"raw\":")).count(), 2, "{auto:?}");
    for line in &auto {
        assert!(serde_json::from_str::<Value>(line).is_ok(), "{line}");
    }
    let (plain, hint) = send(json!({"data_format": "ndjson", "data_hint": "apache"}));
    assert_eq!(hint, "apache", "W-22: the hint is not rewritten");
    assert!(
        plain.contains(&"[1]".to_owned()) && plain.contains(&"{\"a\":1.0,\"a\":2}".to_owned()),
        "{plain:?}"
    );
    let (wrapped, hint) = send(json!({"data_format": "text"}));
    assert_eq!(hint, "raw");
    assert_eq!(wrapped.iter().filter(|line| line.contains("\"raw\":")).count(), 3, "{wrapped:?}");
    let (named, _) = send(json!({"data_hint": "ndjson", "source_field": "sender"}));
    let with = named.iter().filter(|line| line.contains("\"sender\":\"127.0.0.1\"")).count();
    assert!(with >= 1, "{named:?}");
}

#[test]
fn read_buffer_size_is_asked_for_and_reported() {
    let reported = |size: usize| {
        let world = world("udp", &json!({"read_buffer_size": size}));
        input_status(&world.proxy, "one").unwrap()["receive_buffer"].as_u64().unwrap()
    };
    let (small, large) = (reported(65_536), reported(400_000));
    assert!(small >= 65_536 && small < large, "{small}, {large}");
}

#[test]
fn proxy_protocol_tells_the_sender() {
    let config = json!({
        "data_hint": "ndjson", "source_field": "from", "proxy_protocol": true, "proxy_protocol_from": ["127.0.0.1/32"],
    });
    let world = world("tcp", &config);
    let mut v1 = world.stream();
    v1.write_all(b"PROXY TCP4 203.0.113.7 127.0.0.1 5000 514\r\n{\"v\":1}\n").unwrap();
    let mut v2 = world.stream();
    v2.write_all(b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c").unwrap();
    v2.write_all(&[198, 51, 100, 9, 127, 0, 0, 1, 0x13, 0x88, 2, 2]).unwrap();
    v2.write_all(b"{\"v\":2}\n").unwrap();
    for object in world.objects(2) {
        let from = if object["v"] == 1 { "203.0.113.7" } else { "198.51.100.9" };
        assert_eq!(object["from"], from, "{object}");
    }
    let mut none = world.stream();
    none.write_all(b"{\"v\":3}\n{\"v\":3}\n{\"v\":3}\n").unwrap();
    world.refused("handshake", 1);

    // A peer that is not a load balancer of ours is not believed.
    let config = json!({
        "data_hint": "ndjson", "source_field": "from", "proxy_protocol": true, "proxy_protocol_from": ["192.0.2.1/32"],
    });
    let world = self::world("tcp", &config);
    let mut liar = world.stream();
    liar.write_all(b"PROXY TCP4 203.0.113.7 127.0.0.1 5000 514\r\n{\"v\":1}\n").unwrap();
    until(LIMIT, "a line or a refusal", || {
        let refused =
            input_status(&world.proxy, "one")?["refused"].as_object().is_some_and(|all| !all.is_empty());
        (refused || world.receiver.lines() > 0).then_some(())
    })
    .unwrap();
    let text = world.receiver.text("acme", "one").unwrap().join("\n");
    assert!(!text.contains("\"from\":\"203.0.113.7\""), "{text}");
}

#[test]
fn client_certificates_of_inputs() {
    let folder = tempfile::tempdir().unwrap();
    certificate(folder.path());
    let at = folder.path().display().to_string();
    let (ca, cert, key) = (format!("{at}/ca.crt"), format!("{at}/tls.crt"), format!("{at}/tls.key"));
    for (required, without) in [(true, false), (false, true)] {
        let tls = json!({
            "cert_file": cert, "key_file": key, "client_ca_file": ca, "client_cert_required": required,
        });
        let world = world("http", &json!({"tls": tls}));
        let url = format!("https://localhost:{}/webhook", world.port);
        let post = |arguments: &[&str]| {
            let all = [&["--ipv4", "--cacert", &ca, "-d", "x"], arguments].concat();
            peers::curl(&all, &url).is_ok_and(|answer| answer.0 == 200)
        };
        assert!(post(&["--cert", &cert, "--key", &key]), "{}", world.proxy.log_text());
        assert_eq!(post(&[]), without, "required: {required}");
        if required {
            world.refused("handshake", 1);
        }
    }
}

#[test]
fn connection_limits_of_tcp() {
    let world = world("tcp", &json!({"max_connections": 2, "read_timeout": 4, "data_hint": "ndjson"}));
    let mut kept = [world.stream(), world.stream()];
    for (n, stream) in kept.iter_mut().enumerate() {
        writeln!(stream, "{{\"n\":{n}}}").unwrap();
    }
    until(LIMIT, "two connections", || {
        (input_status(&world.proxy, "one")?["connections"] == 2).then_some(())
    })
    .unwrap();
    let mut third = world.stream();
    let mut buffer = [0; 16];
    assert!(matches!(third.read(&mut buffer), Ok(0) | Err(_)), "the third is closed");
    world.refused("connections", 1);
    assert_eq!(kept[0].read(&mut buffer).unwrap(), 0, "closed for its silence");
    world.refused("timeout", 1);
    let mut fourth = world.stream();
    fourth.write_all(b"{\"n\":4}\n").unwrap();
    world.lines(3);
}

#[test]
fn one_source_does_not_keep_others_out() {
    for (per_source, most) in [(None, 7), (Some(2), 2), (Some(8), 8)] {
        let mut config = json!({"max_connections": 8, "data_hint": "ndjson"});
        if let Some(limit) = per_source {
            config["max_connections_per_source"] = json!(limit);
        }
        let world = world("tcp", &config);
        let kept: Vec<_> = (0..9).map(|_| world.stream()).collect();
        world.refused("connections", 9 - most);
        assert_eq!(input_status(&world.proxy, "one").unwrap()["connections"], most);
        drop(kept);
    }
}

#[test]
fn a_client_that_does_not_read_is_left() {
    let world = world("http", &json!({"write_timeout": 1, "max_connections": 1, "max_payload_size": 1024}));
    // Answers pile up unread until the connection cannot be written to.
    let mut deaf = world.stream();
    deaf.set_write_timeout(Some(Duration::from_millis(200))).unwrap();
    let request = b"POST /webhook HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\n\r\nx".repeat(2000);
    let end = Instant::now() + LIMIT;
    let mut stuck = 0;
    while Instant::now() < end && stuck < 3 {
        match deaf.write(&request) {
            Ok(_) => stuck = 0,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => stuck += 1,
            Err(_) => break,
        }
    }
    // What was sent is answered first, each on disk: some ten thousand events.
    until(Duration::from_mins(3), "room for another", || {
        world
            .client()
            .with_timeout(Duration::from_millis(500))
            .post("/webhook", b"y")
            .ok()
            .filter(|a| a.status == 200)
    })
    .unwrap_or_else(|error| panic!("{error}: {:?}", input_status(&world.proxy, "one")));
}

#[test]
fn long_lines_are_cut_dropped_or_end_the_connection() {
    let long = "a".repeat(300);
    for (oversize, lines, goes_on) in [("cut", 3, true), ("drop", 2, true), ("close", 1, false)] {
        let config =
            json!({"max_line_size": 100, "oversize": oversize, "delimiter": ";", "data_format": "ndjson"});
        let world = world("tcp", &config);
        let mut stream = world.stream();
        stream.write_all(format!("first;{long};last without a delimiter").as_bytes()).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let all = world.lines(lines);
        world.refused("oversize", 1);
        assert_eq!(all[0], "first");
        assert_eq!(all.len(), lines, "{oversize}: {all:?}");
        assert_eq!(all.contains(&"last without a delimiter".to_owned()), goes_on, "{oversize}: {all:?}");
        if oversize == "cut" {
            assert_eq!(all[1], "a".repeat(100));
        }
    }
}

#[test]
fn protocol_opens_udp_tcp_or_both() {
    for (protocol, udp, tcp) in [
        (json!("udp"), true, false),
        (json!("tcp"), false, true),
        (json!(["udp", "tcp"]), true, true),
        (Value::Null, true, false),
    ] {
        let world = world("syslog", &json!({"protocol": protocol}));
        assert_eq!(!udp_inodes(world.port).is_empty(), udp, "{protocol}");
        assert_eq!(peers::accepts(([127, 0, 0, 1], world.port).into()), tcp, "{protocol}");
    }
}

#[test]
fn syslog_mode_raw_and_time_zones() {
    let old = b"<34>Oct 11 22:14:15 gw su[7]: denied";
    let new = b"<34>1 2026-10-11T22:14:15.003Z gw su 7 ID47 - denied";
    let rfc = |mode: &str| {
        let world = world("syslog", &json!({"syslog_mode": mode}));
        world.datagram(old);
        world.datagram(new);
        let mut all: Vec<String> =
            world.objects(2).iter().map(|o| o["rfc"].as_str().unwrap().to_owned()).collect();
        all.sort();
        all
    };
    assert_eq!(rfc("auto"), ["3164", "5424"]);
    assert_eq!(rfc("rfc3164").iter().filter(|rfc| *rfc == "3164").count(), 1);
    assert!(!rfc("rfc3164").contains(&"5424".to_owned()));
    assert!(rfc("rfc5424").contains(&"5424".to_owned()) && !rfc("rfc5424").contains(&"3164".to_owned()));

    for (raw, understood, not) in [("drop", false, false), ("keep", true, true), ("on_failure", false, true)]
    {
        let world = world("syslog", &json!({"raw": raw}));
        world.datagram(new);
        world.datagram(b"no syslog at all");
        for object in world.objects(2) {
            let expected = if object["rfc"] == "raw" { not } else { understood };
            assert_eq!(object.get("raw").is_some(), expected, "{raw}: {object}");
        }
    }

    let zones = json!({
        "timezone": "Asia/Tokyo", "timezones": [{"source": "127.0.0.2/32", "timezone": "America/New_York"}],
    });
    let world = world("syslog", &zones);
    for source in ["127.0.0.1:0", "127.0.0.2:0"] {
        let socket = UdpSocket::bind(source).unwrap();
        socket.send_to(b"<34>Jan 15 12:00:00 gw su: x", ("127.0.0.1", world.port)).unwrap();
    }
    for object in world.objects(2) {
        let time = object["event_time"].as_str().unwrap_or_else(|| panic!("{object}"));
        let utc_hour = if object["source_ip"] == "127.0.0.1" { "03:00" } else { "17:00" };
        let zone = if object["source_ip"] == "127.0.0.1" { "+09:00" } else { "-05:00" };
        assert!(time.contains(&format!("T{utc_hour}")) || time.ends_with(zone), "{object}");
    }
}

#[test]
fn path_and_body_limits_of_http() {
    let config = json!({
        "path": "/in/", "max_payload_size": 2000, "max_lines_per_request": 3, "max_compression_ratio": 10,
    });
    let world = world("http", &config);
    let post = |path: &str, body: &[u8]| world.client().post(path, body).unwrap().status;
    assert_eq!(post("/in/below/it", b"1\n2\n3\n"), 200, "three lines with a last newline are three");
    assert_eq!(post("/webhook", b"1"), 404);
    assert_eq!(post("/in/", b"1\n2\n3\n4\n"), 413);
    assert_eq!(post("/in/", &[b'a'; 2001]), 413);
    // Chunked, without a length: never cut, refused (the old program kept the first bytes and said 200).
    let mut chunked = b"POST /in/ HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
    for _ in 0..3 {
        chunked.extend_from_slice(b"3e8\r\n");
        chunked.extend_from_slice(&[b'a'; 1000]);
        chunked.extend_from_slice(b"\r\n");
    }
    chunked.extend_from_slice(b"0\r\n\r\n");
    assert_eq!(world.client().raw(&chunked).unwrap().status, 413);
    thread::sleep(Duration::from_millis(1500));
    assert_eq!(world.lines(3).len(), 3, "what was refused is not kept in part");
}

#[test]
fn compressed_bombs_are_refused_by_ratio_and_by_size() {
    let bomb = |bytes: usize| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(&vec![b'a'; bytes]).unwrap();
        encoder.finish().unwrap()
    };
    let status = |config: Value, bytes: usize| {
        let world = world("http", &config);
        let mut client = world.client().with_header("content-encoding", "gzip");
        let status = client.post("/webhook", &bomb(bytes)).unwrap().status;
        if status == 413 {
            world.refused("oversize", 1);
        }
        status
    };
    let room = json!({"max_payload_size": 4 << 20, "max_compression_ratio": 10});
    assert_eq!(status(room, 1 << 20), 413, "1000 : 1");
    let loose = json!({"max_payload_size": 4 << 20, "max_compression_ratio": 5000});
    assert_eq!(status(loose.clone(), 1 << 20), 200);
    assert_eq!(status(loose, 5 << 20), 413, "above the size");
}
