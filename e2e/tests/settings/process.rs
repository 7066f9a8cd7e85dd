//! Settings of the process: names, tokens, logs, the API, its end.

use super::*;

#[test]
fn modes_that_are_not_in_this_version_say_so() {
    for change in [
        json!({"config_mode": "control-only", "account_id": "a1", "control_url": "https://control.example"}),
        json!({"config_mode": "hybrid", "account_id": "a1"}),
    ] {
        let mut proxy = Proxy::prepare("http://127.0.0.1:1", &change).unwrap();
        proxy.spawn().unwrap();
        let status = proxy.wait_exit(LIMIT).unwrap();
        assert!(!status.success());
        until(LIMIT, "the answer", || proxy.log_text().contains("not in this version yet").then_some(()))
            .unwrap_or_else(|error| panic!("{error}: {}", proxy.log_text()));
    }
}

#[test]
fn tenant_and_dataset_have_defaults() {
    let receiver = Receiver::start(Settings::default()).unwrap();
    let [a, b] = [(); 2].map(|()| free_port().unwrap());
    let config = json!({"tenant_id": "umbrella", "inputs": [
        {"type": "udp", "name": "local-events", "config": {"port": a}},
        {"type": "udp", "name": "other", "config": {"port": b, "dataset_id": "own-name"}},
    ]});
    let _proxy = Proxy::start(&receiver.url(), &config).unwrap();
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.send_to(b"x", ("127.0.0.1", a)).unwrap();
    socket.send_to(b"x", ("127.0.0.1", b)).unwrap();
    receiver.wait_text("umbrella", "local-events", 1, LIMIT).unwrap();
    receiver.wait_text("umbrella", "own-name", 1, LIMIT).unwrap();
}

#[test]
fn tokens_go_out_by_tenant() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("global"), "from-file\n").unwrap();
    fs::write(folder.path().join("own"), "own-from-file\n").unwrap();
    let receiver = Receiver::start(Settings::default()).unwrap();
    let [a, b, c] = [(); 3].map(|()| free_port().unwrap());
    let config = json!({
        "bearer_token_file": folder.path().join("global"),
        "tenants": {"one": {"bearer_token": "inline"}, "two": {"bearer_token_file": folder.path().join("own")}},
        "inputs": [
            input("udp", "events", a, &json!({"tenant_id": "acme"})),
            input("udp", "events", b, &json!({"tenant_id": "one"})),
            input("udp", "events", c, &json!({"tenant_id": "two"})),
        ],
    });
    let proxy = Proxy::start(&receiver.url(), &config).unwrap();
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let seen = |tenant: &str| {
        let path = format!("/{tenant}/events");
        let last = receiver.requests().into_iter().rfind(|request| request.path == path);
        last.and_then(|request| request.header("authorization").map(str::to_owned))
    };
    for (tenant, port, token) in [("acme", a, "from-file"), ("one", b, "inline"), ("two", c, "own-from-file")]
    {
        socket.send_to(b"x", ("127.0.0.1", port)).unwrap();
        let token = format!("Bearer {token}");
        until(LIMIT, &token, || (seen(tenant) == Some(token.clone())).then_some(())).unwrap();
    }
    // W-30, W-8: a rotated file needs no reload.
    fs::write(folder.path().join("own"), "rotated\n").unwrap();
    socket.send_to(b"x", ("127.0.0.1", c)).unwrap();
    until(LIMIT, "the new token", || (seen("two").as_deref() == Some("Bearer rotated")).then_some(()))
        .unwrap();
    let shown = proxy.get("/api/v1/config").unwrap().text() + &proxy.log_text();
    assert!(!shown.contains("inline") && !shown.contains("from-file"), "{shown}");
}

#[test]
fn a_global_token_may_stand_in_the_file_or_the_environment() {
    let receiver = Receiver::start(Settings::default()).unwrap();
    let port = free_port().unwrap();
    let config = json!({"bearer_token": "in-the-file", "inputs": [input("udp", "events", port, &json!({}))]});
    let mut proxy = Proxy::start(&receiver.url(), &config).unwrap();
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let authorized = |token: &str| {
        socket.send_to(b"x", ("127.0.0.1", port)).unwrap();
        until(LIMIT, token, || {
            receiver.requests().iter().any(|r| r.header("authorization") == Some(token)).then_some(())
        })
        .unwrap();
    };
    authorized("Bearer in-the-file");
    proxy.terminate(LIMIT).unwrap();
    // W-40: the environment reaches keys with underscores, and beats the file.
    proxy.env("BYTEFREEZER_PROXY_BEARER_TOKEN", "from-environment");
    proxy.run().unwrap();
    authorized("Bearer from-environment");
}

#[test]
fn app_name_is_in_the_user_agent() {
    let world = world(&json!({"app": {"name": "edge-7"}}));
    world.send(1);
    world.receiver.wait_lines(1, LIMIT).unwrap();
    let request = &world.receiver.requests()[0];
    assert!(request.header("user-agent").unwrap().starts_with("edge-7/"), "{request:?}");
}

#[test]
fn logging_level_and_encoding() {
    let level = |line: &str| {
        let value: Value = serde_json::from_str(line).unwrap_or_else(|_| panic!("not JSON: {line}"));
        value["level"].as_str().unwrap_or_default().to_ascii_lowercase()
    };
    let world_info = world(&json!({"logging": {"level": "info", "encoding": "json"}}));
    until(LIMIT, "a line", || world_info.proxy.log().iter().any(|line| level(line) == "info").then_some(()))
        .unwrap();
    assert!(!world_info.proxy.log().iter().any(|line| level(line) == "debug"));
    let quiet = world(&json!({"logging": {"level": "error"}}));
    quiet.send(1);
    quiet.receiver.wait_lines(1, LIMIT).unwrap();
    assert_eq!(quiet.proxy.log(), [""; 0]);
    let text = world(&json!({"logging": {"encoding": "console"}}));
    until(LIMIT, "a line", || (!text.proxy.log().is_empty()).then_some(())).unwrap();
    assert!(text.proxy.log().iter().all(|line| serde_json::from_str::<Value>(line).is_err()));
}

#[test]
fn health_port_serves_health_alone() {
    let health = free_port().unwrap();
    let world = world(&json!({"server": {"health_port": health, "read_token": "r", "admin_token": "a"}}));
    let mut client = Client::new(([127, 0, 0, 1], health).into());
    for (path, status) in [("/livez", 200), ("/readyz", 200), ("/metrics", 200), ("/api/v1/status", 404)] {
        assert_eq!(client.get(path).unwrap().status, status, "{path}");
    }
    assert_eq!(world.proxy.get("/api/v1/status").unwrap().status, 401);
}

#[test]
fn api_tokens_may_stand_in_the_file() {
    let receiver = Receiver::start(Settings::default()).unwrap();
    let mut proxy =
        Proxy::prepare(&receiver.url(), &json!({"server": {"read_token": "r", "admin_token": "a"}})).unwrap();
    proxy.spawn().unwrap();
    let status = |token: &str, method: &str, path: &str| {
        Client::new(proxy.api())
            .with_header("authorization", &format!("Bearer {token}"))
            .with_header("content-type", "application/json")
            .request(method, path, b"{}")
            .map(|answer| answer.status)
    };
    until(LIMIT, "the API", || status("r", "GET", "/api/v1/config").ok().filter(|status| *status == 200))
        .unwrap();
    assert_eq!(status("a", "GET", "/api/v1/config").unwrap(), 200);
    assert_eq!(status("a", "POST", "/api/v1/dlq/retry").unwrap(), 200);
    assert!([401, 403].contains(&status("r", "POST", "/api/v1/dlq/retry").unwrap()));
    assert_eq!(status("x", "GET", "/api/v1/config").unwrap(), 401);
}

#[test]
fn api_over_tls_with_client_certificates() {
    let folder = tempfile::tempdir().unwrap();
    certificate(folder.path());
    let at = folder.path().display().to_string();
    let tls = json!({"cert_file": format!("{at}/tls.crt"), "key_file": format!("{at}/tls.key")});
    let receiver = Receiver::start(Settings::default()).unwrap();
    let ca = format!("{at}/ca.crt");
    let (cert, key) = (format!("{at}/tls.crt"), format!("{at}/tls.key"));
    let table = [(None, true, true), (Some(true), false, true), (Some(false), true, true)];
    for (required, without, with) in table {
        let mut tls = tls.clone();
        if let Some(required) = required {
            merge(&mut tls, &json!({"client_ca_file": ca, "client_cert_required": required}));
        }
        let mut proxy = Proxy::prepare(&receiver.url(), &json!({"server": {"tls": tls}})).unwrap();
        proxy.spawn().unwrap();
        until(LIMIT, "the API", || peers::accepts(proxy.api()).then_some(())).unwrap();
        let url = format!("https://localhost:{}/livez", proxy.api().port());
        let get = |arguments: &[&str]| {
            let all = [&["--ipv4", "--cacert", &ca], arguments].concat();
            peers::curl(&all, &url).is_ok_and(|answer| answer.0 == 200)
        };
        assert_eq!(get(&[]), without, "{required:?}: {}", proxy.log_text());
        assert_eq!(get(&["--cert", &cert, "--key", &key]), with, "{required:?}: {}", proxy.log_text());
    }
}

#[test]
fn shutdown_delay_keeps_everything_and_readiness_goes_first() {
    let mut world = world(&json!({"server": {"shutdown_delay_seconds": 2}}));
    let started = Instant::now();
    world.proxy.signal(Signal::SIGTERM).unwrap();
    thread::sleep(Duration::from_millis(700));
    assert_eq!(world.proxy.get("/readyz").unwrap().status, 200, "still ready");
    until(LIMIT, "the end of readiness", || {
        (world.proxy.get("/readyz").unwrap().status == 503).then_some(())
    })
    .unwrap();
    assert!(started.elapsed() >= Duration::from_secs(2), "{:?}", started.elapsed());
    let sent = world.send(10);
    world.proxy.wait_exit(LIMIT).unwrap();
    all_delivered(&world.receiver, &[sent], Duration::from_secs(1));
}

#[test]
fn limits_of_senders_and_threads() {
    let receiver = Receiver::start(Settings::default()).unwrap();
    let port = free_port().unwrap();
    let config = json!({
        "limits": {"max_senders": 5, "receive_threads": 3},
        "inputs": [input("udp", "events", port, &json!({}))],
    });
    let proxy = Proxy::start(&receiver.url(), &config).unwrap();
    assert_eq!(udp_inodes(port).len(), 3);
    for n in 1..=40 {
        let socket = UdpSocket::bind(format!("127.0.1.{n}:0")).unwrap();
        socket.send_to(b"x", ("127.0.0.1", port)).unwrap();
    }
    receiver.wait_lines(40, LIMIT).unwrap();
    let senders = proxy.json("/api/v1/senders").unwrap();
    let rows = senders["senders"].as_array().or(senders.as_array()).unwrap().len();
    assert!((1..=5).contains(&rows), "{senders}");
}

#[test]
fn shutdown_grace_bounds_the_delivery_at_the_end() {
    let takes = |grace: u64| {
        let mut world = world(&json!({
            "server": {"shutdown_grace_seconds": grace}, "receiver": {"timeout_seconds": 60},
        }));
        world.receiver.fault(Scope::All, Fault::Hang);
        let sent = world.send(10);
        until(LIMIT, "an upload", || (!world.receiver.requests().is_empty()).then_some(())).unwrap();
        let started = Instant::now();
        assert!(world.proxy.terminate(LIMIT).unwrap().success());
        let took = started.elapsed();
        // What was not delivered is still there.
        world.receiver.lift(&Scope::All);
        world.proxy.run().unwrap();
        all_delivered(&world.receiver, &[sent], LIMIT);
        took
    };
    let (short, long) = (takes(1), takes(5));
    assert!(short >= Duration::from_secs(1) && long >= Duration::from_secs(5), "{short:?}, {long:?}");
    assert!(short < Duration::from_secs(5), "{short:?}");
}

#[test]
fn the_compression_level_falls_while_memory_fills_unless_it_is_pinned() {
    for (adaptive, lowest) in [(true, 1.0), (false, 6.0)] {
        let config = json!({"max_payload_size": 8 << 20, "read_timeout": 60});
        let world = world(&json!({
            "limits": {"memory_bytes": 8 << 20}, "batching": {"compression_adaptive": adaptive},
            "inputs": null,
        }));
        let port = free_port().unwrap();
        let mut proxy = world.proxy;
        proxy.reconfigure(&json!({"inputs": [input("http", "hooks", port, &config)]})).unwrap();
        proxy.signal(Signal::SIGHUP).unwrap();
        until(LIMIT, "the input", || peers::accepts(([127, 0, 0, 1], port).into()).then_some(())).unwrap();
        let level = || proxy.metric("bytefreezer_proxy_compression_level", &[]).unwrap();
        let small = || {
            let answer = Client::new(([127, 0, 0, 1], port).into()).post("/webhook", b"x").unwrap();
            assert!(answer.status == 200 || answer.status == 503, "{}", answer.text());
            level()
        };
        assert!((level() - 6.0).abs() < f64::EPSILON);
        // Bodies that do not end, each a part of the budget.
        let slow: Vec<_> = (0..8)
            .map(|_| {
                use std::io::Write;
                let mut stream = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
                stream
                    .write_all(b"POST /webhook HTTP/1.1\r\nhost: x\r\ncontent-length: 4000000\r\n\r\n")
                    .unwrap();
                stream.set_write_timeout(Some(Duration::from_secs(2))).unwrap();
                let _ = stream.write_all(&vec![b'a'; 700_000]);
                stream
            })
            .collect();
        let mut seen = small();
        for _ in 0..if adaptive { 1000 } else { 50 } {
            seen = small().min(seen);
            if seen <= lowest && adaptive {
                break;
            }
            thread::sleep(Duration::from_millis(20));
        }
        assert!((seen - lowest).abs() < f64::EPSILON, "{seen} with compression_adaptive: {adaptive}");
        drop(slow);
        until(LIMIT, "the level at rest", || (small() >= 6.0).then_some(())).unwrap();
    }
}
