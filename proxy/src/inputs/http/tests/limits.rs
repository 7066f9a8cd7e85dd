//! Time, size, memory, and the end.

use super::*;

fn fast() -> Input {
    input("web", |_, http| {
        http.read_timeout = Duration::from_secs(2);
        http.idle_timeout = Duration::from_secs(3);
        http.write_timeout = Duration::from_secs(2);
    })
}

#[tokio::test]
async fn w31_a_header_that_trickles_in_is_cut_off() {
    let running = start(vec![fast()]);
    let mut client = Client::to(running.address).await;
    client.send("POST /webhook HTTP/1.1\r\nHost: x\r\n").await;
    let trickle = async {
        while client.stream.write_all(b"X: y\r\n").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(PATIENCE, trickle).await.expect("the connection stays");
    assert_eq!(running.stats[0].refused(Refusal::Timeout), 1);
}

#[tokio::test]
async fn w31_a_body_that_trickles_in_is_answered_408() {
    let running = start(vec![fast()]);
    let (mut near, mut far) = TcpStream::connect(running.address).await.unwrap().into_split();
    far.write_all(b"POST /webhook HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n").await.unwrap();
    let trickle = tokio::spawn(async move {
        while far.write_all(b"y").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    let mut answer = Vec::new();
    timeout(PATIENCE, near.read_to_end(&mut answer)).await.unwrap().unwrap();
    trickle.abort();
    let answer = String::from_utf8(answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 408 ") && answer.ends_with("Request timeout"), "{answer}");
    assert_eq!(running.stats[0].refused(Refusal::Timeout), 1);
    assert_eq!(running.store.stored("web"), "");
}

#[tokio::test]
async fn w31_silence_closes_a_connection_and_is_no_error() {
    let running = start(vec![fast()]);
    let mut fresh = Client::to(running.address).await;
    let mut used = Client::to(running.address).await;
    assert_eq!(used.post("/webhook", "", "a").await.status, 200);
    assert!(fresh.is_closed().await);
    assert!(used.is_closed().await);
    assert_eq!(running.stats[0].refused(Refusal::Timeout), 0);
    until("both counted as closed", || running.stats[0].connections.load(SeqCst) == 0).await;
}

#[tokio::test]
async fn w31_a_peer_that_does_not_read_its_answers_is_cut_off() {
    let running = start(vec![fast()]);
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut stream = socket.connect(running.address).await.unwrap();
    let many = "GET /health HTTP/1.1\r\nHost: x\r\n\r\n".repeat(1000);
    let flood = async { while stream.write_all(many.as_bytes()).await.is_ok() {} };
    timeout(PATIENCE, flood).await.expect("the connection stays");
    assert_eq!(running.stats[0].refused(Refusal::Timeout), 1);
}

#[tokio::test]
async fn a_request_longer_in_the_spool_than_its_time_to_be_read_is_answered() {
    let running = start(vec![fast()]);
    running.store.0.gate.forget_permits(1_000_000);
    let mut client = Client::to(running.address).await;
    client.send(post("/webhook", "", "a")).await;
    tokio::time::sleep(Duration::from_secs(4)).await;
    running.store.0.gate.add_permits(1);
    assert_eq!(client.reply().await.unwrap().status, 200);
}

#[tokio::test]
async fn requests_follow_each_other_on_one_connection_also_unasked() {
    let running = start(vec![input("web", |_, _| {})]);
    let mut client = Client::to(running.address).await;
    for index in 0..5 {
        assert_eq!(client.post("/webhook", "", format!("k{index}")).await.status, 200);
    }
    let pipeline: Vec<u8> = (0..50).flat_map(|index| post("/webhook", "", format!("p{index}\n"))).collect();
    client.send(pipeline).await;
    for _ in 0..50 {
        assert_eq!(client.reply().await.unwrap().status, 200);
    }
    let single = (0..5).map(|index| format!("k{index}\n"));
    let expected = single.chain((0..50).map(|index| format!("p{index}\n"))).collect::<Vec<_>>().concat();
    assert_eq!(running.store.stored("web"), expected);
    client.send(post("/webhook", "Connection: close\r\n", "x")).await;
    assert_eq!(client.reply().await.unwrap().status, 200);
    assert!(client.is_closed().await);
}

#[tokio::test]
async fn an_early_answer_arrives_although_the_body_is_still_being_sent() {
    let running = start(vec![input("web", |_, http| http.max_payload_size = 1000)]);
    for _ in 0..20 {
        let mut client = Client::to(running.address).await;
        let body = vec![b'x'; 3 << 20];
        client.send(post("/webhook", "", body)).await;
        assert_eq!(client.reply().await.unwrap().status, 413);
        assert!(client.is_closed().await);
    }
}

#[tokio::test]
async fn w31_a_header_above_its_limit_is_431() {
    let running = start(vec![input("web", |_, _| {})]);
    let big = format!("X: {}\r\n", "y".repeat(200_000));
    let mut client = Client::to(running.address).await;
    let _ = client.stream.write_all(&post("/webhook", &big, "a")).await;
    assert_eq!(client.reply().await.unwrap().status, 431);
    until("counted", || running.stats[0].refused(Refusal::Oversize) == 1).await;
}

#[tokio::test]
async fn a_request_with_two_lengths_is_no_request() {
    let running = start(vec![input("web", |_, _| {})]);
    let two = "POST /webhook HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 9\r\n\r\na";
    assert_eq!(once(&running, two).await.status, 400);
    // RFC 9112 6.1: the chunks count and the connection ends, so that nothing is smuggled behind them.
    let both = "POST /webhook HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nPOST /webhook HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\na";
    let mut client = Client::to(running.address).await;
    client.send(both).await;
    let first = client.reply().await.unwrap();
    assert!(
        first.status == 400 || client.reply().await.is_none_or(|second| second.status == 200),
        "{first:?}"
    );
}

#[tokio::test]
async fn memory_is_bounded_by_the_budget() {
    let large = input("web", |_, http| {
        http.max_payload_size = 64 << 20;
        http.max_lines_per_request = 1_000_000;
    });
    let running = start_with(vec![large], "127.0.0.1", AcceptSettings::default(), 1 << 20);
    // More than there is at all can never succeed.
    let line = "x".repeat(999) + "\n";
    assert_eq!(once(&running, post("/webhook", "", line.repeat(3000))).await.status, 413);
    assert_eq!(once(&running, chunked("/webhook", "", &[line.repeat(3000).as_bytes()])).await.status, 413);
    // What others hold now comes back.
    let held = running.memory.try_reserve(500 * 1024);
    let more = running.memory.try_reserve(300 * 1024);
    let body = line.repeat(500);
    let reply = once(&running, post("/webhook", "", &body)).await;
    assert_eq!((reply.status, reply.header("retry-after")), (503, Some("1")));
    assert_eq!(running.store.stored("web"), "");
    assert!(held.is_some() && more.is_some());
    drop((held, more));
    assert_eq!(once(&running, post("/webhook", "", &body)).await.status, 200);
    assert_eq!(running.memory.used(), 0);
}

#[tokio::test]
async fn with_the_end_a_request_in_flight_is_answered_and_the_connection_closed() {
    let mut running = start(vec![input("web", |_, _| {})]);
    running.store.0.gate.forget_permits(1_000_000);
    let mut busy = Client::to(running.address).await;
    let mut idle = Client::to(running.address).await;
    running.store.0.gate.add_permits(1);
    assert_eq!(idle.post("/webhook", "", "first").await.status, 200);
    running.store.0.waiting.store(false, SeqCst);
    busy.send(post("/webhook", "", "second")).await;
    until("commit asked for", || running.store.0.waiting.load(SeqCst)).await;
    running.stop.cancel();
    assert!(idle.is_closed().await);
    running.store.0.gate.add_permits(1);
    let reply = busy.reply().await.unwrap();
    assert_eq!((reply.status, reply.header("connection")), (200, Some("close")));
    assert!(busy.is_closed().await);
    timeout(PATIENCE, &mut running.task).await.unwrap().unwrap();
    assert_eq!(running.store.stored("web"), "first\nsecond\n");
}

#[tokio::test]
async fn a_connection_that_ends_during_the_commit_leaves_the_books_right() {
    let mut running = start(vec![input("web", |_, _| {})]);
    running.store.0.gate.forget_permits(1_000_000);
    *running.store.0.refuse.lock() = Some(Refused::Full);
    let mut client = Client::to(running.address).await;
    client.send(post("/webhook", "", "a\nb\n")).await;
    until("commit asked for", || running.store.0.waiting.load(SeqCst)).await;
    assert_eq!(running.ledger.snapshot().memory, 2);
    running.stop.cancel();
    timeout(PATIENCE, &mut running.task).await.unwrap().unwrap();
    assert!(client.is_closed().await);
    running.store.0.gate.add_permits(1);
    until("taken back", || running.ledger.snapshot().accepted == 0).await;
    assert!(running.ledger.snapshot().balanced());
    assert_eq!(running.memory.used(), 0);
}

#[tokio::test]
async fn a_reload_moves_paths_under_an_open_connection() {
    let running = start(vec![input("web", |_, _| {})]);
    let mut client = Client::to(running.address).await;
    assert_eq!(client.post("/webhook", "", "a").await.status, 200);
    running.http.set_routes(&routes(vec![input("other", |_, http| http.path = "/in/".to_owned())]));
    assert_eq!(client.post("/in/here", "", "b").await.status, 200);
    assert_eq!(client.post("/webhook", "", "a").await.status, 404);
    assert_eq!((running.store.stored("web"), running.store.stored("other")), ("a\n".into(), "b\n".into()));
}
