//! Settings of batches and of their delivery.

use super::*;

#[test]
fn receiver_timeout_ends_an_upload() {
    let world = world(&json!({"receiver": {"timeout_seconds": 1}}));
    world.receiver.fault_times(Scope::All, Fault::Slow(Duration::from_secs(4)), 1);
    let sent = world.send(10);
    until(LIMIT, "a second upload", || (world.receiver.requests().len() >= 2).then_some(())).unwrap();
    let requests = world.receiver.requests();
    all_delivered(&world.receiver, &[sent], LIMIT);
    assert_eq!(world.receiver.batches().len(), 1);
    assert_eq!(requests[0].name, requests[1].name, "the same name again");
}

#[test]
fn receiver_workers_and_idle_connections() {
    for (workers, idle) in [(2, 1), (6, 4)] {
        let world = world(&json!({
            "receiver": {"upload_worker_count": workers, "max_idle_conns": idle},
            "batching": {"max_lines": 50},
        }));
        world.receiver.fault(Scope::All, Fault::Slow(Duration::from_millis(400)));
        world.send(1000);
        let address = world.receiver.address().port();
        let mut most = 0;
        until(LIMIT, "all of it", || {
            most = most.max(connections(address));
            (world.receiver.lines() >= 1000).then_some(())
        })
        .unwrap();
        assert!(most <= workers, "{most} connections with {workers} workers");
        assert!(workers == 2 || most > 2, "{most} connections with {workers} workers");
        until(LIMIT, "idle connections to go", || (connections(address) <= idle).then_some(())).unwrap();
    }
}

/// Established connections to a port on loopback.
fn connections(port: u16) -> usize {
    let remote = format!("0100007F:{port:04X}");
    let table = fs::read_to_string("/proc/net/tcp").unwrap();
    table
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        .filter(|f| f[2] == remote && f[3] == "01")
        .count()
}

#[test]
fn w22_no_body_is_larger_than_the_receiver_takes() {
    let world = world(&json!({
        "receiver": {"max_payload_size": 65536},
        "batching": {"max_bytes": 0},
        "inputs": null,
    }));
    // Lines that compress badly, in two ways: known to the proxy beforehand, and learnt by 413.
    world.receiver.change(|settings| settings.max_payload_size = 30_000);
    let port = free_port().unwrap();
    let mut proxy = world.proxy;
    proxy
        .reconfigure(
            &json!({"inputs": [input("http", "noise", port, &json!({"max_lines_per_request": 100_000}))]}),
        )
        .unwrap();
    proxy.signal(Signal::SIGHUP).unwrap();
    until(LIMIT, "the input", || peers::accepts(([127, 0, 0, 1], port).into()).then_some(())).unwrap();
    let mut client = Client::new(([127, 0, 0, 1], port).into());
    let mut total = 0;
    for _ in 0..4 {
        let body = noise(160_000);
        total += lines_of(&body);
        assert_eq!(client.post("/webhook", &body).unwrap().status, 200);
    }
    world.receiver.wait_lines(total, LIMIT).unwrap();
    assert_eq!(world.receiver.lines(), total, "no line twice");
    for request in world.receiver.requests() {
        let length: u64 = request.header("content-length").unwrap().parse().unwrap();
        assert!(length <= 65536, "{length}");
    }
    assert!(world.receiver.requests().iter().any(|request| request.status == 413), "a batch was cut");
    assert_eq!(world.receiver.violations(), [""; 0]);
}

#[test]
fn batches_are_cut_by_lines_bytes_and_age() {
    let by_lines = world(&json!({"batching": {"max_lines": 100, "timeout_seconds": 3600}}));
    by_lines.send(1000);
    by_lines.receiver.wait_lines(900, LIMIT).unwrap();
    assert!(by_lines.receiver.batches().iter().all(|batch| batch.lines <= 100));

    let by_bytes = world(&json!({"batching": {"max_bytes": 20_000, "timeout_seconds": 3600}}));
    by_bytes.send(3000);
    by_bytes.receiver.wait_lines(1000, LIMIT).unwrap();
    assert!(by_bytes.receiver.batches().iter().all(|batch| batch.body.len() <= 20_000));

    let by_age = world(&json!({"batching": {"timeout_seconds": 2}}));
    let started = Instant::now();
    by_age.send(1);
    by_age.receiver.wait_lines(1, LIMIT).unwrap();
    let age = started.elapsed();
    assert!(age >= Duration::from_millis(1900) && age < Duration::from_secs(4), "{age:?}");
}

#[test]
fn compression_off_low_and_high() {
    let size = |batching: Value| {
        let world = world(&json!({"batching": batching}));
        world.send(2000);
        world.receiver.wait_lines(2000, LIMIT).unwrap();
        assert_eq!(world.receiver.violations(), [""; 0]);
        let batches = world.receiver.batches();
        let bytes: usize = batches.iter().map(|batch| batch.body.len()).sum();
        let raw: usize = batches.iter().map(|batch| batch.raw_len).sum();
        (bytes, raw)
    };
    let (off, raw) = size(json!({"compression_enabled": false}));
    let (low, _) = size(json!({"compression_level": 1, "compression_adaptive": false}));
    let (high, _) = size(json!({"compression_level": 9, "compression_adaptive": false}));
    assert!(off >= raw && low < raw / 2 && high < low, "{raw} raw: off {off}, 1: {low}, 9: {high}");
}

#[test]
fn attempts_and_their_distance() {
    let world = world(&json!({"spooling": {"retry_attempts": 3, "retry_interval_seconds": 2}}));
    world.receiver.fault(Scope::All, Fault::status(500));
    world.send(5);
    world.wait_event("dlq", 5);
    let times: Vec<Instant> = world.receiver.requests().iter().map(|request| request.at).collect();
    assert_eq!(times.len(), 3, "attempts");
    for pair in times.windows(2) {
        assert!(pair[1] - pair[0] >= Duration::from_millis(1900), "{:?}", pair[1] - pair[0]);
    }
    let files = world.proxy.json("/api/v1/dlq/files").unwrap();
    let entry = &files["files"][0];
    assert!(entry["failure_reason"].as_str().is_some_and(|reason| reason.contains("500")), "{entry}");
}

#[test]
fn w8_dlq_entries_return_by_themselves_unless_told_not_to() {
    for auto in [true, false] {
        let world = world(&json!({"spooling": {"dlq_auto_retry": auto}}));
        world.receiver.fault(Scope::All, Fault::status(401));
        let sent = world.send(20);
        world.wait_event("dlq", 20);
        world.receiver.lift(&Scope::All);
        if auto {
            all_delivered(&world.receiver, &[sent], Duration::from_secs(45));
            until(LIMIT, "an empty DLQ", || (world.event("dlq") == 0).then_some(())).unwrap();
        } else {
            // Something else gets through: the tenant's path is well again.
            let mut client = Client::new(([127, 0, 0, 1], world.port).into());
            assert_eq!(client.post("/webhook", b"{\"more\":1}").unwrap().status, 200);
            thread::sleep(Duration::from_secs(3));
            assert!(world.event("dlq") >= 20, "{}", events(&world.proxy));
            let answer = world.proxy.client().post("/api/v1/dlq/retry", b"{}").unwrap();
            assert_eq!(answer.status, 200);
            all_delivered(&world.receiver, &[sent], LIMIT);
        }
    }
}
