//! What senders may do wrong: the rows of docs/operations.md, "Senders and inputs". The table itself is checked here too.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use std::{
    collections::BTreeSet,
    fs,
    io::{BufReader, Read, Write},
    net::{TcpListener, TcpStream, UdpSocket},
    path::Path,
    time::{Duration, Instant},
};

use common::{LIMIT, all_delivered, everything::everything, input, input_status, plan, world::World};
use e2e::{
    free_port,
    http::{Answer, read_answer},
    load::{self, Progress, Shape},
    process::Proxy,
    until,
};
use serde_json::{Value, json};

fn datagram(port: u16, bytes: &[u8]) {
    UdpSocket::bind("127.0.0.1:0").unwrap().send_to(bytes, ("127.0.0.1", port)).unwrap();
}

fn stream(port: u16) -> TcpStream {
    let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    stream
}

fn post(port: u16, body: &[u8]) -> Answer {
    e2e::http::Client::new(([127, 0, 0, 1], port).into()).post("/webhook", body).unwrap()
}

/// Most bytes that the process ever held in memory.
fn peak(proxy: &Proxy) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", proxy.pid().unwrap())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

fn wait_refused(proxy: &Proxy, name: &str, cause: &str) {
    let found = || (input_status(proxy, name)?["refused"][cause].as_u64()? >= 1).then_some(());
    until(LIMIT, &format!("{name} refuses for {cause}"), found)
        .unwrap_or_else(|error| panic!("{error}: {:?}", input_status(proxy, name)));
    let labels = [("input", name), ("cause", cause)];
    assert!(proxy.metric("bytefreezer_proxy_input_refused_total", &labels).unwrap() >= 1.0);
}

#[test]
fn w1_null_and_invalid_utf8_are_lines_like_any_other_on_every_port() {
    for (bytes, kept) in [(&b"null"[..], "null"), (b"caf\xe9 \xff end", "caf\u{fffd} \u{fffd} end")] {
        let (receiver, mut proxy, ports) = everything(&json!({"read_timeout": 1}));
        datagram(ports.syslog, bytes);
        datagram(ports.ndjson, bytes);
        stream(ports.tcp).write_all(&[bytes, b"\n"].concat()).unwrap();
        assert_eq!(post(ports.http, bytes).status, 200);
        for dataset in ["edge", "events", "jobs", "hooks"] {
            let lines = receiver.wait_text("acme", dataset, 1, LIMIT).unwrap();
            let object: Value = serde_json::from_str(&lines[0]).unwrap();
            assert!(object.as_object().unwrap().values().any(|value| value == kept), "{dataset}: {object}");
        }
        assert_eq!(input_status(&proxy, "edge").unwrap()["undecoded"], 1);
        assert!(
            proxy.metric("bytefreezer_proxy_input_undecoded_total", &[("input", "edge")]).unwrap() >= 1.0
        );
        assert!(proxy.exited().unwrap().is_none() && !proxy.log_text().contains("panicked"));
        assert_eq!(receiver.violations(), [""; 0]);
    }
}

#[test]
fn w3_a_gibibyte_without_newline_over_tcp_is_cut() {
    let (receiver, proxy, ports) = everything(&json!({"read_timeout": 1}));
    let before = peak(&proxy);
    let started = Instant::now();
    let mut peer = stream(ports.tcp);
    let block = vec![b'a'; 4 << 20];
    for _ in 0..256 {
        peer.write_all(&block).unwrap();
    }
    peer.write_all(b"\nthe next line\n").unwrap();
    let lines = receiver.wait_text("acme", "jobs", 2, LIMIT).unwrap();
    println!("{:?}", started.elapsed());
    assert!(lines[0].len() > 65_000 && lines[0].len() < 70_000, "{}", lines[0].len());
    assert!(lines[1].contains("the next line"));
    wait_refused(&proxy, "jobs", "oversize");
    let after = peak(&proxy);
    assert!(after < before + (48 << 20), "{before} -> {after}");
}

/// Sends chunks of a body without end, up to a gibibyte, until an answer comes; what was sent, and the answer.
fn endless_body(port: u16) -> (usize, Answer) {
    let mut peer = stream(port);
    peer.write_all(b"POST /webhook HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n").unwrap();
    let chunk = [&b"10000\r\n"[..], &vec![b'a'; 0x10000], b"\r\n"].concat();
    let mut sent = 0;
    let mut first = [0];
    while sent < 1 << 30 {
        peer.set_nonblocking(true).unwrap();
        let answered = peer.peek(&mut first).is_ok();
        peer.set_nonblocking(false).unwrap();
        if answered || peer.write_all(&chunk).is_err() {
            break;
        }
        sent += 0x10000;
    }
    (sent, read_answer(&mut BufReader::new(peer)).unwrap())
}

#[test]
fn w3_a_gibibyte_without_newline_over_http_is_refused_whole() {
    let (receiver, proxy, ports) = everything(&json!({"read_timeout": 1}));
    let before = peak(&proxy);
    let (sent, answer) = endless_body(ports.http);
    assert_eq!(answer.status, 413, "after {sent} bytes: {}", answer.text());
    assert!(sent < 64 << 20, "{sent} bytes were taken");
    let mut peer = stream(ports.http);
    peer.write_all(b"POST /webhook HTTP/1.1\r\nhost: x\r\ncontent-length: 1073741824\r\n\r\n").unwrap();
    assert_eq!(read_answer(&mut BufReader::new(peer)).unwrap().status, 413, "before the body");
    wait_refused(&proxy, "hooks", "oversize");
    let after = peak(&proxy);
    assert!(after < before + (32 << 20), "{before} -> {after}");
    assert_eq!(post(ports.http, b"{\"n\":1}").status, 200);
    assert_eq!(
        receiver.wait_text("acme", "hooks", 1, LIMIT).unwrap().len(),
        1,
        "nothing of the body is kept"
    );
}

#[test]
fn a_gzip_bomb_is_refused_whole_and_costs_no_memory() {
    let (receiver, proxy, ports) = everything(&json!({"read_timeout": 1}));
    let before = peak(&proxy);
    let mut member = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    member.write_all(&vec![b'a'; 16 << 20]).unwrap();
    // A gibibyte in a megabyte.
    let bomb = member.finish().unwrap().repeat(64);
    let mut client =
        e2e::http::Client::new(([127, 0, 0, 1], ports.http).into()).with_header("content-encoding", "gzip");
    let answer = client.post("/webhook", &bomb).unwrap();
    assert_eq!(answer.status, 413, "{} bytes: {}", bomb.len(), answer.text());
    wait_refused(&proxy, "hooks", "oversize");
    let after = peak(&proxy);
    assert!(after < before + (32 << 20), "{before} -> {after}");
    assert_eq!(post(ports.http, b"{\"n\":1}").status, 200);
    assert_eq!(receiver.wait_text("acme", "hooks", 1, LIMIT).unwrap().len(), 1);
}

#[test]
fn slow_loris_is_closed_and_counted_and_complete_requests_are_kept() {
    let (receiver, proxy, ports) = everything(&json!({"read_timeout": 1}));
    let head = b"POST /webhook HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n";
    let mut peer = stream(ports.http);
    peer.write_all(&[&head[..], b"half"].concat()).unwrap();
    assert_eq!(post(ports.http, b"{\"n\":1}").status, 200, "others are served meanwhile");
    // A byte now and then does not help.
    let end = Instant::now() + LIMIT;
    while Instant::now() < end && peer.write_all(b"x").is_ok() {
        std::thread::sleep(Duration::from_millis(50));
    }
    let mut rest = Vec::new();
    let _ = peer.read_to_end(&mut rest);
    assert!(!String::from_utf8_lossy(&rest).contains("200 OK"));
    wait_refused(&proxy, "hooks", "timeout");
    let lines = receiver.wait_text("acme", "hooks", 1, LIMIT).unwrap();
    assert!(lines.len() == 1 && lines[0].contains("\"n\":1"), "{lines:?}");
}

#[test]
fn an_oversize_line_datagram_and_body_are_counted_and_bounded() {
    let (receiver, proxy, ports) = everything(&json!({"read_timeout": 1}));
    // The largest datagram there is.
    let long = "b".repeat(65_507);
    datagram(ports.ndjson, long.as_bytes());
    let line = receiver.wait_text("acme", "events", 1, LIMIT).unwrap().remove(0);
    assert_eq!(serde_json::from_str::<Value>(&line).unwrap()["raw"], long);
    // A line beyond `max_line_size` is cut.
    let mut peer = stream(ports.tcp);
    peer.write_all(&[&vec![b'c'; 100_000][..], b"\nnext\n"].concat()).unwrap();
    let lines = receiver.wait_text("acme", "jobs", 2, LIMIT).unwrap();
    assert_eq!(serde_json::from_str::<Value>(&lines[0]).unwrap()["raw"], "c".repeat(65_536));
    wait_refused(&proxy, "jobs", "oversize");
    // A body beyond `max_payload_size` is refused whole.
    assert_eq!(post(ports.http, &"{\"n\":1}\n".repeat(200_000).into_bytes()).status, 413);
    wait_refused(&proxy, "hooks", "oversize");
    assert_eq!(post(ports.http, b"{\"n\":2}").status, 200);
    assert_eq!(receiver.wait_text("acme", "hooks", 1, LIMIT).unwrap().len(), 1);
}

/// Waits for the state of an input.
fn wait_state(world: &World, name: &str, state: &str) -> Value {
    let found = || input_status(&world.proxy, name).filter(|input| input["state"] == state);
    until(LIMIT, &format!("{name} {state}"), found)
        .unwrap_or_else(|error| panic!("{error}: {:?}", input_status(&world.proxy, name)))
}

#[test]
fn w6_w12_a_busy_port_at_start_and_at_reload_stops_that_input_alone() {
    let [at_start, at_reload] = [(); 2].map(|()| free_port().unwrap());
    let squatters = [at_start, at_reload].map(|port| TcpListener::bind(("127.0.0.1", port)).unwrap());
    let mut world = World::prepare(&json!({}));
    let hint = json!({"data_hint": "ndjson"});
    let mut inputs = vec![input("http", "hooks", world.port, &hint), input("http", "first", at_start, &hint)];
    world.proxy.reconfigure(&json!({"inputs": inputs})).unwrap();
    world.proxy.run().unwrap();
    let mut sent = Vec::new();
    for (stream, name) in [(1, "first"), (3, "second")] {
        if name == "second" {
            inputs.push(input("http", name, at_reload, &hint));
            world.proxy.reconfigure(&json!({"inputs": inputs})).unwrap();
        }
        let input = wait_state(&world, name, "retrying");
        assert!(input["error"].as_str().unwrap().contains("in use"), "{input}");
        world.wait_problem(&format!("input {name}"));
        assert!(world.metric("input_up", &[("input", name)]) < 0.5);
        assert!(world.metric("input_up", &[("input", "hooks")]) > 0.5);
        world.wait_log("WARN", "trying again until it works");
        assert_eq!(world.proxy.get("/readyz").unwrap().status, 200, "the other one takes data");
        sent.push(world.send_all(stream, 20));
    }
    drop(squatters);
    for (stream, name, port) in [(2, "first", at_start), (4, "second", at_reload)] {
        wait_state(&world, name, "listening");
        let plan = plan(port, Shape::Json, stream, 20, 0);
        sent.push(load::http(&plan, "/webhook", 10, &Progress::default()).unwrap());
        assert_eq!(sent.last().unwrap().promised(), 20);
    }
    all_delivered(&world.receiver, &sent, LIMIT);
    world.wait_healthy();
}

#[test]
fn a_wrong_configuration_at_reload_leaves_the_old_one_running() {
    let mut world = World::start(&json!({}));
    world.proxy.reconfigure(&json!({"batching": {"timeout_seconds": "soon"}})).unwrap();
    // A change right after the start may come before the file is watched, and is then seen some time later only.
    world.proxy.signal(nix::sys::signal::Signal::SIGHUP).unwrap();
    world.wait_problem("configuration not applied");
    let said = world.wait_log("WARN", "configuration not applied, the one before goes on");
    assert!(said.contains("proxy.yaml:") && said.contains("timeout_seconds"), "file, line and key: {said}");
    world.wait_metric("config_failing", &[], 1.0);
    let sent = world.send_all(1, 20);
    all_delivered(&world.receiver, &[sent], LIMIT);
    world.proxy.reconfigure(&json!({"batching": {"timeout_seconds": 1}})).unwrap();
    world.wait_healthy();
    assert!(world.metric("config_failing", &[]) < 0.5);
}

/// Whether `place` (`file::name`, the file below one of the folders of tests, without its end) is a test.
fn exists(root: &Path, place: &str) -> bool {
    let Some((file, name)) = place.rsplit_once("::") else { return false };
    ["e2e/tests", "proxy/tests", "proxy/src"].iter().any(|folder| {
        let text = fs::read_to_string(root.join(folder).join(format!("{file}.rs"))).unwrap_or_default();
        let function = format!("fn {name}()");
        text.find(&function).is_some_and(|at| {
            let before: Vec<&str> = text[..at].lines().rev().take(4).collect();
            before.iter().any(|line| line.contains("#[test]") || line.contains("#[tokio::test"))
        })
    })
}

#[test]
fn every_row_of_the_fault_table_names_tests_that_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let text = fs::read_to_string(root.join("docs/operations.md")).unwrap();
    let (_, section) = text.split_once("## When things go wrong").unwrap();
    let mut rows = 0;
    let mut named = BTreeSet::new();
    for line in section.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| fault")) {
        rows += 1;
        let cells: Vec<&str> = line.trim_matches('|').split(" | ").collect();
        assert_eq!(cells.len(), 5, "{line}");
        let tests: Vec<&str> = cells[4].split('`').skip(1).step_by(2).collect();
        assert!(!tests.is_empty(), "no test: {line}");
        for test in tests {
            assert!(exists(root, test), "{test} does not exist: {line}");
            named.insert(test.to_owned());
        }
    }
    assert!(rows >= 40, "{rows} rows");
    // And the other way round: a test of a fault has a row.
    for file in [
        "faults_input",
        "faults_disk",
        "faults_damage",
        "faults_receiver",
        "faults_load",
        "faults_crash",
        "faults_defect",
    ] {
        let text = fs::read_to_string(root.join(format!("e2e/tests/{file}.rs"))).unwrap();
        let all = text.split("#[test]\nfn ").skip(1).filter_map(|rest| rest.split("()").next());
        for name in all.filter(|name| !name.starts_with("every_")) {
            assert!(named.contains(&format!("{file}::{name}")), "{file}::{name} has no row");
        }
    }
}
