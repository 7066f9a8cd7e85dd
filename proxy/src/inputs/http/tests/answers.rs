//! Status, text and headers, and what is counted.

use super::*;

fn counted(running: &Running, cause: Refusal) -> u64 {
    running.stats.iter().map(|stats| stats.refused(cause)).sum()
}

#[tokio::test]
async fn known_cases_are_answered_as_the_old_program_does() {
    let secret = crate::config::Secret::Inline("key".to_owned());
    let running = start(vec![input("web", |_, http| {
        http.auth = Some(secret);
        http.max_payload_size = 20;
        http.max_lines_per_request = 3;
    })]);
    let auth = "Authorization: Bearer key\r\n";
    let cases = [
        ("GET /webhook HTTP/1.1\r\nHost: x\r\n\r\n".into(), 405, "Method not allowed", Refusal::Malformed),
        (post("/webhook", "", "a"), 401, "Unauthorized", Refusal::Unauthorized),
        (post("/webhook", "Authorization: Bearer kez\r\n", "a"), 401, "Unauthorized", Refusal::Unauthorized),
        (post("/webhook", auth, "x".repeat(21)), 413, "Payload too large", Refusal::Oversize),
        (post("/webhook", auth, "a\nb\nc\nd"), 413, "Too many lines (max 3)", Refusal::Oversize),
        (
            chunked("/webhook", auth, &[b"0123456789", b"01234567890"]),
            413,
            "Payload too large",
            Refusal::Oversize,
        ),
        (post("/other", auth, "a"), 404, "Not found", Refusal::Malformed),
        (post("/webhook/", auth, "a"), 404, "Not found", Refusal::Malformed),
        (
            post("/webhook", &format!("{auth}Content-Encoding: br\r\n"), "a"),
            415,
            "Unsupported Content-Encoding",
            Refusal::Malformed,
        ),
        (
            post("/webhook", &format!("{auth}Content-Encoding: gzip\r\n"), "a"),
            400,
            "Error reading request body",
            Refusal::Malformed,
        ),
    ];
    for (request, status, body, cause) in cases {
        let before = counted(&running, cause);
        let reply = once(&running, &request).await;
        let what = String::from_utf8_lossy(&request);
        assert_eq!((reply.status, reply.body.as_str()), (status, body), "{what}");
        assert_eq!(counted(&running, cause), before + 1, "{what}");
        match status {
            405 => assert_eq!(reply.header("allow"), Some("POST")),
            401 => assert_eq!(reply.header("www-authenticate"), Some("Bearer")),
            415 => assert_eq!(reply.header("accept-encoding"), Some("gzip, deflate, zstd")),
            _ => {}
        }
    }
    assert_eq!(running.store.stored("web"), "");
    let reply = once(&running, post("/webhook", "authorization: bEARER key\r\n", "a\nb\nc\n")).await;
    assert_eq!((reply.status, reply.body.as_str()), (200, "OK"));
    assert_eq!(running.store.stored("web"), "a\nb\nc\n");
}

#[tokio::test]
async fn an_empty_body_is_fine_and_stores_nothing() {
    let running = start(vec![input("web", |_, _| {})]);
    for body in ["", "\n", " \r\n\n"] {
        assert_eq!(once(&running, post("/webhook", "", body)).await.status, 200);
    }
    assert_eq!(once(&running, "POST /webhook HTTP/1.1\r\nHost: x\r\n\r\n").await.status, 200);
    assert_eq!(once(&running, chunked("/webhook", "", &[])).await.status, 200);
    assert!(running.store.0.text.lock().is_empty());
    assert_eq!(running.ledger.snapshot().accepted, 0);
}

#[tokio::test]
async fn no_200_before_the_commit_returned() {
    let running = start(vec![input("web", |_, _| {})]);
    running.store.0.gate.forget_permits(1_000_000);
    let mut client = Client::to(running.address).await;
    client.send(post("/webhook", "", "a")).await;
    until("commit asked for", || running.store.0.waiting.load(SeqCst)).await;
    assert!(timeout(Duration::from_millis(200), client.stream.read_u8()).await.is_err());
    running.store.0.gate.add_permits(1);
    assert_eq!(client.reply().await.unwrap().status, 200);
    assert_eq!(running.stats[0].lines.load(SeqCst), 1);
}

#[tokio::test]
async fn a_refusal_of_the_spool_is_503_with_a_time_and_counts_as_never_accepted() {
    let running = start(vec![input("web", |_, _| {})]);
    for (refused, cause, close) in [
        (Refused::Full, Refusal::Full, false),
        (Refused::Unwritable("no disk".to_owned()), Refusal::Unwritable, false),
        (Refused::Stopping, Refusal::Full, true),
    ] {
        let before = counted(&running, cause);
        *running.store.0.refuse.lock() = Some(refused);
        let reply = once(&running, post("/webhook", "", "a\nb")).await;
        assert_eq!(reply.status, 503);
        assert!(reply.header("retry-after").unwrap().parse::<u32>().unwrap() > 0);
        assert_eq!(reply.header("connection"), close.then_some("close"));
        assert_eq!(counted(&running, cause), before + 1);
        assert!(!reply.body.contains("no disk"));
    }
    let events = running.ledger.snapshot();
    assert!(events.balanced() && events.accepted == 0, "{events:?}");
    assert_eq!(running.memory.used(), 0);
}

#[tokio::test]
async fn expect_is_answered_before_the_body_when_it_will_be_refused() {
    let running = start(vec![
        input("web", |_, http| http.max_payload_size = 100),
        input("locked", |_, http| {
            http.path = "/locked".to_owned();
            http.auth = Some(crate::config::Secret::Inline("key".to_owned()));
        }),
    ]);
    let ask = |path: &str, length: usize| {
        format!("POST {path} HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: {length}\r\n\r\n")
    };
    let first = |request: String| async { once(&running, request).await.status };
    assert_eq!(first(ask("/webhook", 101)).await, 413);
    assert_eq!(first(ask("/locked", 10)).await, 401);
    assert_eq!(first(ask("/nowhere", 10)).await, 404);
    let mut client = Client::to(running.address).await;
    client.send(ask("/webhook", 3)).await;
    assert_eq!(client.reply().await.unwrap().status, 100);
    client.send("a\nb").await;
    assert_eq!(client.reply().await.unwrap().status, 200);
    running.store.0.full.store(true, SeqCst);
    assert_eq!(first(ask("/webhook", 3)).await, 503);
}

#[tokio::test]
async fn a_paused_dataset_takes_nothing_and_says_so() {
    let running = start(vec![input("web", |input, _| input.paused = true)]);
    let reply = once(&running, post("/webhook", "", "a")).await;
    assert_eq!((reply.status, reply.header("retry-after")), (503, Some("60")));
    assert_eq!(counted(&running, Refusal::Paused), 1);
}

#[tokio::test]
async fn w12_health_is_never_an_input_and_no_path_breaks_the_listener() {
    let odd = ["/health", "/a b", "/{", "/{}", "/{x...}", "", "webhook", "/ä", "//", "/%zz", "/a?b=c#d"];
    let inputs = odd
        .iter()
        .enumerate()
        .map(|(index, path)| input(&format!("web{index}"), |_, http| (*path).clone_into(&mut http.path)));
    let running = start(inputs.collect());
    let reply = once(&running, "GET /health HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert_eq!(reply.status, 200);
    let reply = once(&running, post("/health", "", "a")).await;
    assert_eq!((reply.status, reply.header("allow")), (405, Some("GET, HEAD")));
    assert_eq!(once(&running, post("/webhook", "", "a")).await.status, 200);
    assert_eq!(running.store.stored("web6"), "a\n");
    assert_eq!(once(&running, post("/{x...}", "", "a")).await.status, 200);
}

#[tokio::test]
async fn h51_health_is_valid_json_with_counters_and_no_settings() {
    let secret = crate::config::Secret::Inline("key".to_owned());
    let running = start(vec![input("web", |_, http| http.auth = Some(secret))]);
    assert_eq!(once(&running, post("/webhook", "Authorization: Bearer key\r\n", "abc")).await.status, 200);
    assert_eq!(once(&running, post("/webhook", "", "a")).await.status, 401);
    let ask = "GET /health HTTP/1.1\r\nHost: x\r\n\r\n";
    let reply = once(&running, ask).await;
    assert_eq!((reply.status, reply.header("content-type")), (200, Some("application/json")));
    let health: serde_json::Value = serde_json::from_str(&reply.body).unwrap();
    let members: Vec<_> = health.as_object().unwrap().keys().map(String::as_str).collect();
    let known =
        ["status", "message", "requests_received", "bytes_received", "requests_rejected", "last_updated"];
    assert_eq!(members, known);
    assert_eq!((&health["status"], &health["requests_received"]), (&"healthy".into(), &2.into()));
    assert_eq!((&health["bytes_received"], &health["requests_rejected"]), (&3.into(), &1.into()));
    running.store.0.full.store(true, SeqCst);
    let health: serde_json::Value = serde_json::from_str(&once(&running, ask).await.body).unwrap();
    assert_eq!(health["status"], "unhealthy");
}

#[tokio::test]
async fn every_request_shows_in_the_table_of_senders() {
    let running = start(vec![input("web", |_, _| {})]);
    let mut client = Client::to(running.address).await;
    client.post("/webhook", "", "a\nb\n").await;
    client.post("/webhook", "Content-Encoding: gzip\r\n", "no gzip").await;
    let rows = running.http.shared.senders.query(&crate::inputs::senders::SenderQuery::default());
    assert_eq!(rows.len(), 1);
    let row = serde_json::to_value(&rows[0]).unwrap();
    assert_eq!((&row["messages"], &row["errors"]), (&2.into(), &1.into()), "{row}");
}
