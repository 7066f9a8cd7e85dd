//! Bytes that must not stop the process, and what it says about them: W-1, W-3, W-12, W-27, W-32.
#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream, UdpSocket},
    thread,
    time::Duration,
};

use common::{LIMIT, all_delivered, events, everything::everything, input, input_status, plan};
use e2e::{
    free_port,
    http::Client,
    load::{self, Progress, Shape},
    process::Proxy,
    receiver::{Receiver, Settings},
    until,
};
use serde_json::json;

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn bytes(&mut self, most: usize) -> Vec<u8> {
        let length = self.next() as usize % most;
        (0..length).map(|_| (self.next() >> 32) as u8).collect()
    }
}

/// Short ones that killed the program this one replaces, and texts with a piece changed.
fn garbage() -> Vec<Vec<u8>> {
    let mut all: Vec<Vec<u8>> = [
        &b"\x00\x0a"[..],
        b"\x00\x09",
        b"null",
        b"\"",
        b"{",
        b"[",
        b"{}",
        b"",
        b"\n",
        b"\0\0\0\0",
        b"<",
        b"<999999999999>1 ",
        b"<13>1 - - - - - [",
        b"<13>1 - - - - - [a b=\"",
        b"99999999999999999999 <13>x",
        b"0 ",
        b"\xff\xfe\xfd",
        b"{\"bfts\":",
        b"{\"\\u0042fTs\":1",
    ]
    .map(<[u8]>::to_vec)
    .to_vec();
    let mut random = Random(0x5eed);
    for n in 0..3000 {
        let shape = [Shape::Rfc3164, Shape::Rfc5424, Shape::Json][n as usize % 3];
        let mut event = load::event(shape, 9, n, 120);
        for _ in 0..=random.next() % 4 {
            let at = random.next() as usize % event.len();
            match random.next() % 3 {
                0 => event[at] = random.next() as u8,
                1 => event.truncate(at.max(1)),
                _ => event.insert(at, b"<>[]{}\"\\=:\n\0"[random.next() as usize % 12]),
            }
        }
        all.push(event);
        all.push(random.bytes(300));
    }
    all.push(vec![b'['; 60_000]);
    all.push(vec![b'{'; 60_000]);
    all.push(vec![0xff; 65_507]);
    all
}

#[test]
fn w1_garbage_on_every_port_stops_nothing() {
    let (receiver, mut proxy, ports) = everything(&json!({}));
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let all = garbage();
    for (n, bytes) in all.iter().enumerate() {
        for port in [ports.syslog, ports.ndjson, ports.raw] {
            socket.send_to(bytes, ("127.0.0.1", port)).unwrap();
        }
        if n % 50 == 0 {
            thread::sleep(Duration::from_millis(2));
        }
    }
    for chunk in all.chunks(100) {
        let bytes = chunk.concat();
        for port in [ports.syslog, ports.tcp, ports.http] {
            // The peer may hang up in the middle; that is its right.
            let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
            let _ = stream.write_all(&bytes);
        }
    }
    let mut client = Client::new(([127, 0, 0, 1], ports.http).into());
    for bytes in &all {
        let answer = client.post("/webhook", bytes).unwrap();
        assert!(answer.status == 200 || answer.status == 413, "{} for {bytes:?}", answer.status);
    }
    assert!(proxy.exited().unwrap().is_none(), "{}", proxy.log_text());
    // Every input still works, for a sender that behaves.
    let progress = Progress::default();
    let sent = [
        load::udp(&plan(ports.syslog, Shape::Rfc5424, 1, 100, 2000), &progress).unwrap(),
        load::udp(&plan(ports.ndjson, Shape::Json, 2, 100, 2000), &progress).unwrap(),
        load::udp(&plan(ports.raw, Shape::Text, 3, 100, 2000), &progress).unwrap(),
        load::tcp(&plan(ports.tcp, Shape::Json, 4, 100, 0), load::Framing::Line, &progress).unwrap(),
        load::tcp(&plan(ports.syslog, Shape::Rfc3164, 5, 100, 0), load::Framing::Octets, &progress).unwrap(),
        load::http(&plan(ports.http, Shape::Json, 6, 100, 0), "/webhook", 10, &progress).unwrap(),
    ];
    all_delivered(&receiver, &sent, LIMIT);
    // What is stored as NDJSON is NDJSON, whatever came.
    for dataset in ["edge", "events", "hooks"] {
        for line in receiver.text("acme", dataset).unwrap() {
            let value: Result<serde_json::Value, _> = serde_json::from_str(&line);
            assert!(value.is_ok_and(|value| value.is_object()), "{dataset}: {line}");
        }
    }
    let syslog = input_status(&proxy, "edge").unwrap();
    assert!(syslog["undecoded"].as_u64().unwrap() > 0, "counted: {syslog}");
    events(&proxy);
    assert!(!proxy.log_text().contains("panicked"), "{}", proxy.log_text());
}

#[test]
fn w3_a_line_without_end_is_cut_and_counted_and_memory_stays() {
    let (receiver, proxy, ports) = everything(&json!({}));
    let before = proxy.resident().unwrap();
    let mut stream = TcpStream::connect(("127.0.0.1", ports.tcp)).unwrap();
    let block = vec![b'a'; 1 << 20];
    for _ in 0..256 {
        stream.write_all(&block).unwrap();
    }
    stream.write_all(b"\nthe next line\n").unwrap();
    let lines = receiver.wait_text("acme", "jobs", 2, LIMIT).unwrap();
    assert!(lines[0].len() > 65_000 && lines[0].len() < 70_000, "{}", lines[0].len());
    assert!(lines[1].contains("the next line"));
    let after = proxy.resident().unwrap();
    assert!(after < before + (48 << 20), "{before} -> {after}");
    until(LIMIT, "the count", || {
        (input_status(&proxy, "jobs")?["refused"]["oversize"].as_u64()? >= 1).then_some(())
    })
    .unwrap();
}

#[test]
fn w32_a_hundred_thousand_bad_packets_make_a_handful_of_log_lines() {
    let (_receiver, proxy, ports) = everything(&json!({}));
    let before = proxy.log().len();
    let plan = load::Plan {
        target: SocketAddr::from(([127, 0, 0, 1], ports.syslog)),
        shape: Shape::Text,
        stream: 1,
        count: 100_000,
        rate: 50_000,
        size: 100,
    };
    load::udp(&plan, &Progress::default()).unwrap();
    for _ in 0..300 {
        let mut client = Client::new(([127, 0, 0, 1], ports.http).into());
        let _ = client.raw(b"POST /webhook HTTP/1.1\r\ncontent-length: x\r\n\r\n");
        let mut stream = TcpStream::connect(("127.0.0.1", ports.syslog)).unwrap();
        stream.write_all(b"999999999 <13>x").unwrap();
    }
    until(LIMIT, "100 000 counted", || {
        let status = input_status(&proxy, "edge")?;
        let seen = status["undecoded"].as_u64()? + status["kernel_drops"].as_u64()?;
        (seen >= 99_000).then_some(())
    })
    .unwrap_or_else(|error| panic!("{error}: {:?}", input_status(&proxy, "edge")));
    let said = proxy.log().len() - before;
    assert!(said < 20, "{said} lines: {:#?}", &proxy.log()[before..]);
}

#[test]
fn w27_no_id_of_the_api_reaches_a_path() {
    let (_receiver, proxy, _) = everything(&json!({}));
    let outside = proxy.folder().join("victim/dlq");
    std::fs::create_dir_all(&outside).unwrap();
    std::fs::write(outside.join("secret.txt"), "x").unwrap();
    let mut client = proxy.client();
    let long = "x".repeat(300);
    for bad in ["..", "../victim", "/etc", "%2e%2e", "a\\u0000b", ".", "a/b", long.as_str()] {
        let body = format!("{{\"tenant_id\":\"{bad}\",\"dataset_id\":\"victim\"}}");
        let answer = client.post("/api/v1/dlq/retry", body.as_bytes()).unwrap();
        assert_eq!(answer.status, 400, "{bad}: {}", answer.text());
    }
    for path in [
        "/api/v1/dlq/files/..%2f..%2fvictim",
        "/api/v1/dlq/files?tenant_id=..",
        "/api/v1/dlq/files?tenant_id=%2e%2e%2f",
    ] {
        let status = client.get(path).unwrap().status;
        assert!(status == 400 || status == 404, "{path}: {status}");
    }
    assert!(outside.join("secret.txt").exists());
    assert!(!proxy.folder().join("victim/retry").exists());
    // An unknown tenant is no reason to make a folder.
    client.post("/api/v1/dlq/retry", b"{\"tenant_id\":\"nobody\",\"dataset_id\":\"none\"}").unwrap();
    assert!(!proxy.spool().join("nobody").exists());
}

#[test]
fn slow_loris_and_idle_connections_do_not_keep_others_out() {
    let receiver = Receiver::start(Settings::default()).unwrap();
    let port = free_port().unwrap();
    let limits = json!({"read_timeout": 1, "idle_timeout": 1, "max_connections": 50, "max_connections_per_source": 50});
    let config = json!({"inputs": [input("http", "hooks", port, &limits)]});
    let proxy = Proxy::start(&receiver.url(), &config).unwrap();
    let mut slow: Vec<TcpStream> = (0..50)
        .map(|_| {
            let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
            stream
                .write_all(b"POST /webhook HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\nhalf")
                .unwrap();
            stream
        })
        .collect();
    until(LIMIT, "room again", || {
        Client::new(([127, 0, 0, 1], port).into())
            .with_timeout(Duration::from_millis(500))
            .post("/webhook", b"x")
            .ok()
            .filter(|answer| answer.status == 200)
    })
    .unwrap();
    for stream in &mut slow {
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest);
        assert!(!String::from_utf8_lossy(&rest).contains("200 OK"));
    }
    let refused = input_status(&proxy, "hooks").unwrap()["refused"].clone();
    assert!(refused.as_object().is_some_and(|causes| !causes.is_empty()), "{refused}");
}
