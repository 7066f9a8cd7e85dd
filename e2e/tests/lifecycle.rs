//! Start, stop and latency: W-23, W-26, W-37, W-41, W-42.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use std::{
    io::Write,
    net::{TcpStream, UdpSocket},
    process::Command,
    sync::{Arc, atomic::Ordering::Relaxed},
    thread,
    time::{Duration, Instant},
};

use common::{LIMIT, all_delivered, input, plan, udp_inodes};
use e2e::{
    free_port,
    http::Client,
    load::{self, Framing, Progress, Shape},
    process::{self, Proxy},
    receiver::{Fault, Receiver, Scope, Settings},
    sequence::{self, Promised, Sent},
    until,
};
use nix::sys::signal::Signal;
use serde_json::json;

#[test]
fn w23_sigterm_under_load_keeps_what_was_accepted_and_exits_in_time() {
    let receiver = Receiver::start(Settings::default()).unwrap();
    let [a, b] = [(); 2].map(|()| free_port().unwrap());
    let config = json!({
        "server": {"shutdown_grace_seconds": 5},
        "inputs": [
            input("http", "hooks", a, &json!({"data_hint": "ndjson"})),
            input("tcp", "jobs", b, &json!({"data_hint": "ndjson"})),
        ],
    });
    let mut proxy = Proxy::start(&receiver.url(), &config).unwrap();
    let idle = TcpStream::connect(("127.0.0.1", b)).unwrap();
    let progress = Arc::new(Progress::default());
    let shared = progress.clone();
    let sender = thread::spawn(move || {
        load::http(&plan(a, Shape::Json, 1, u64::MAX, 5000), "/webhook", 10, &shared).unwrap()
    });
    let lines = load::tcp(&plan(b, Shape::Json, 2, 1000, 0), Framing::Line, &Progress::default()).unwrap();
    receiver.wait_lines(2000, LIMIT).unwrap();
    let started = Instant::now();
    let status = proxy.terminate(Duration::from_secs(9)).unwrap();
    assert!(status.success(), "{status}: {}", proxy.log_text());
    println!("ended after {:?}", started.elapsed());
    progress.stop.store(true, Relaxed);
    let sent = sender.join().unwrap();
    drop(idle);
    // The Receiver is well, so the grace period is enough for all of it; nothing is left to a next start.
    all_delivered(&receiver, &[sent, lines], Duration::from_secs(1));
}

#[test]
fn w23_a_second_signal_ends_at_once_and_the_next_start_delivers() {
    let receiver = Receiver::start(Settings::default()).unwrap();
    receiver.fault(Scope::All, Fault::Hang);
    let port = free_port().unwrap();
    let config = json!({
        "server": {"shutdown_grace_seconds": 60},
        "receiver": {"timeout_seconds": 60},
        "inputs": [input("http", "hooks", port, &json!({"data_hint": "ndjson"}))],
    });
    let mut proxy = Proxy::start(&receiver.url(), &config).unwrap();
    let sent = load::http(&plan(port, Shape::Json, 1, 500, 0), "/webhook", 10, &Progress::default()).unwrap();
    assert_eq!(sent.promised(), 500);
    until(LIMIT, "an upload in flight", || (!receiver.requests().is_empty()).then_some(())).unwrap();
    proxy.signal(Signal::SIGTERM).unwrap();
    thread::sleep(Duration::from_millis(300));
    assert!(proxy.exited().unwrap().is_none(), "the grace period is still running");
    let started = Instant::now();
    proxy.terminate(Duration::from_secs(2)).unwrap();
    println!("ended after {:?}", started.elapsed());
    receiver.lift(&Scope::All);
    proxy.run().unwrap();
    all_delivered(&receiver, &[sent], LIMIT);
}

#[test]
fn w42_the_first_datagram_is_taken_within_a_second_though_the_receiver_is_a_black_hole() {
    let receiver = Receiver::start(Settings::default()).unwrap();
    receiver.fault(Scope::All, Fault::Hang);
    let port = free_port().unwrap();
    let config = json!({"inputs": [input("udp", "events", port, &json!({}))]});
    let mut proxy = Proxy::prepare(&receiver.url(), &config).unwrap();
    process::binary().unwrap();
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let started = Instant::now();
    proxy.spawn().unwrap();
    until(LIMIT, "the socket", || (!udp_inodes(port).is_empty()).then_some(())).unwrap();
    let listening = started.elapsed();
    socket.send_to(b"first", ("127.0.0.1", port)).unwrap();
    until(LIMIT, "the count", || {
        (proxy.metric("bytefreezer_proxy_input_messages_total", &[]).ok()? >= 1.0).then_some(())
    })
    .unwrap();
    println!("listening after {listening:?}, taken after {:?}", started.elapsed());
    assert!(listening < Duration::from_secs(1), "{listening:?}");
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
}

#[test]
fn w37_one_event_at_rest_reaches_the_receiver_soon_after_its_batch_is_due() {
    let receiver = Receiver::start(Settings::default()).unwrap();
    let port = free_port().unwrap();
    let config = json!({"inputs": [input("udp", "events", port, &json!({}))]});
    let _proxy = Proxy::start(&receiver.url(), &config).unwrap();
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let mut worst = Duration::ZERO;
    for n in 1..=4 {
        let sent = Instant::now();
        socket.send_to(b"tick", ("127.0.0.1", port)).unwrap();
        receiver.wait_lines(n, LIMIT).unwrap();
        worst = worst.max(sent.elapsed());
    }
    println!("worst of 4: {worst:?}");
    // batching.timeout_seconds is 1 here. The machine that tests may be busy; `make bench` measures.
    assert!(worst < Duration::from_secs(2), "{worst:?}");
}

/// A stream at this rate over TCP, and when each event was handed to the system.
fn steady(port: u16, rate: u64, count: usize) -> Vec<Instant> {
    let events = load::Events::new(&plan(port, Shape::Json, 1, count as u64, rate));
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let mut sent = Vec::with_capacity(count);
    let mut buffer = Vec::new();
    let started = Instant::now();
    while sent.len() < count {
        let due = count.min((started.elapsed().as_millis() as u64 * rate / 1000) as usize);
        buffer.clear();
        for number in sent.len()..due {
            events.append(number as u64, &mut buffer);
            buffer.push(b'\n');
        }
        sent.resize(due, Instant::now());
        stream.write_all(&buffer).unwrap();
        thread::sleep(Duration::from_millis(1));
    }
    sent
}

#[test]
fn w37_ten_thousand_events_a_second_reach_the_receiver_as_soon_as_one() {
    const RATE: u64 = 10_000;
    const COUNT: usize = 6 * RATE as usize;
    let receiver = Receiver::start(Settings::default()).unwrap();
    let port = free_port().unwrap();
    let config = json!({"inputs": [input("tcp", "jobs", port, &json!({"data_hint": "ndjson"}))]});
    let proxy = Proxy::start(&receiver.url(), &config).unwrap();
    let sender = thread::spawn(move || steady(port, RATE, COUNT));
    let mut slowest = Duration::ZERO;
    while !sender.is_finished() {
        for path in ["/metrics", "/api/v1/health", "/api/v1/status"] {
            let asked = Instant::now();
            assert_eq!(proxy.get(path).unwrap().status, 200, "{path}");
            slowest = slowest.max(asked.elapsed());
        }
        thread::sleep(Duration::from_millis(50));
    }
    let sent = sender.join().unwrap();
    receiver.wait_lines(COUNT as u64, LIMIT).unwrap();
    let stream = Sent { stream: 1, attempted: COUNT as u64, promised: Promised::All };
    all_delivered(&receiver, &[stream], LIMIT);
    let batches = receiver.batches();
    let mut took: Vec<Duration> = Vec::with_capacity(COUNT);
    for batch in &batches {
        let raw = batch.inflate().unwrap();
        took.extend(sequence::find(&raw).map(|(_, number)| batch.first - sent[number as usize]));
    }
    took.sort_unstable();
    let (median, high) = (took[COUNT / 2], took[COUNT / 100 * 99]);
    println!("median {median:?}, p99 {high:?}, {} batches, slowest answer {slowest:?}", batches.len());
    // The same as at rest: `batching.timeout_seconds` and a little, and no upload per message.
    assert!(median < Duration::from_secs(2), "{median:?}");
    assert!(high < Duration::from_secs(3), "{high:?}");
    assert!(batches.len() < COUNT / 1000, "{}", batches.len());
    assert!(slowest < Duration::from_secs(1), "{slowest:?}");
}

#[test]
fn w41_the_command_line_is_clean() {
    let run = |arguments: &[&str]| Command::new(process::binary().unwrap()).args(arguments).output().unwrap();
    let version = run(&["--version"]);
    let text = String::from_utf8(version.stdout).unwrap();
    assert!(
        version.status.success() && text.lines().count() == 1 && text.starts_with("bytefreezer-proxy "),
        "{text}"
    );
    assert!(version.stderr.is_empty());
    assert!(run(&["--help"]).status.success());

    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("proxy.yaml");
    std::fs::write(
        &file,
        "config_mode: local-only\ntenant_id: acme\nreceiver:\n  base_ur: http://127.0.0.1:1\ninputs: []\n",
    )
    .unwrap();
    let path = file.to_str().unwrap();
    let check = run(&["check", path]);
    let said =
        format!("{}{}", String::from_utf8_lossy(&check.stdout), String::from_utf8_lossy(&check.stderr));
    assert!(!check.status.success(), "{said}");
    assert!(
        said.contains("proxy.yaml:4") && said.contains("base_url"),
        "file, line and the nearest key: {said}"
    );
    std::fs::write(
        &file,
        "config_mode: local-only\ntenant_id: acme\nreceiver:\n  base_url: http://127.0.0.1:1\ninputs: []\n",
    )
    .unwrap();
    for arguments in
        [&["check", path][..], &["--config", path, "--validate-config"], &["--config", path, "--dry-run"]]
    {
        let output = run(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
    assert!(!run(&["--config", "/nonexistent/proxy.yaml"]).status.success());
}

#[test]
fn every_sample_configuration_is_accepted() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut samples: Vec<_> =
        std::fs::read_dir(root.join("examples")).unwrap().map(|entry| entry.unwrap().path()).collect();
    samples.push(root.join("packaging/etc/config.yaml"));
    assert!(samples.len() >= 4, "{samples:?}");
    for sample in samples {
        let output = Command::new(process::binary().unwrap()).arg("check").arg(&sample).output().unwrap();
        let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        // The one with TLS names files that its reader is to make.
        let wrong: Vec<&str> = said
            .lines()
            .filter(|line| line.contains("error: ") && !line.contains("cannot be read"))
            .collect();
        assert!(wrong.is_empty() && !said.contains("warning: "), "{}: {said}", sample.display());
        assert!(output.status.success() || said.contains("cannot be read"), "{}: {said}", sample.display());
    }
}

#[test]
fn w26_without_a_token_the_api_answers_loopback_only_and_with_one_it_asks_for_it() {
    let receiver = Receiver::start(Settings::default()).unwrap();
    let other = other_address();
    let folder = tempfile::tempdir().unwrap();
    for (name, token) in [("read", "r-token"), ("admin", "a-token")] {
        std::fs::write(folder.path().join(name), token).unwrap();
    }
    let open =
        Proxy::start(&receiver.url(), &json!({"server": {"api_host": "0.0.0.0", "admin_token": null}}))
            .unwrap();
    assert_eq!(open.get("/api/v1/config").unwrap().status, 200);
    let denied = open.client().post("/api/v1/dlq/retry", b"{}").unwrap().status;
    assert!(denied == 401 || denied == 403, "reads only: {denied}");
    if let Some(other) = other {
        let mut client = Client::new((other, open.api().port()).into());
        for path in ["/api/v1/config", "/api/v1/status", "/api/v1/dlq/stats"] {
            let status = client.get(path).unwrap().status;
            assert!(status == 401 || status == 403, "{path} from {other}: {status}");
        }
    }
    let config = json!({"server": {
        "admin_token": null,
        "read_token_file": folder.path().join("read"), "admin_token_file": folder.path().join("admin"),
    }});
    let mut closed = Proxy::prepare(&receiver.url(), &config).unwrap();
    closed.spawn().unwrap();
    until(LIMIT, "the API", || closed.get("/livez").ok().filter(|answer| answer.status == 200)).unwrap();
    let status = |token: Option<&str>, method: &str, path: &str| {
        let mut client = Client::new(closed.api()).with_header("content-type", "application/json");
        if let Some(token) = token {
            client = client.with_header("authorization", &format!("Bearer {token}"));
        }
        client.request(method, path, b"{}").unwrap().status
    };
    assert_eq!(status(None, "GET", "/api/v1/config"), 401);
    assert_eq!(status(Some("wrong"), "GET", "/api/v1/config"), 401);
    assert_eq!(status(Some("r-token"), "GET", "/api/v1/config"), 200);
    let denied = status(Some("r-token"), "POST", "/api/v1/dlq/retry");
    assert!(denied == 401 || denied == 403, "{denied}");
    assert_eq!(status(Some("a-token"), "POST", "/api/v1/dlq/retry"), 200);
}

/// An address of this machine that is not loopback.
fn other_address() -> Option<std::net::IpAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("192.0.2.1:9").ok()?;
    let address = socket.local_addr().ok()?.ip();
    (!address.is_loopback()).then_some(address)
}
