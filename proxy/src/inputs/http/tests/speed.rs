//! `cargo test --lib http::tests::speed -- --ignored --nocapture` with optimisation on; clients and server share the
//! machine, so the numbers are lower bounds.

use std::{sync::atomic::AtomicU64, time::Instant};

use super::*;

/// Runs `clients` connections for some seconds; requests per second.
async fn load(address: SocketAddr, clients: usize, request: Vec<u8>) -> f64 {
    const TIME: Duration = Duration::from_secs(4);
    let (count, request) = (Arc::new(AtomicU64::new(0)), Arc::new(request));
    let start = Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..clients {
        let (count, request) = (Arc::clone(&count), Arc::clone(&request));
        tasks.spawn(async move {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.set_nodelay(true).unwrap();
            let mut answer = [0; 1024];
            while start.elapsed() < TIME {
                stream.write_all(&request).await.unwrap();
                let length = stream.read(&mut answer).await.unwrap();
                assert!(answer[..length].ends_with(b"OK"), "{}", String::from_utf8_lossy(&answer[..length]));
                count.fetch_add(1, SeqCst);
            }
        });
    }
    tasks.join_all().await;
    count.load(SeqCst) as f64 / start.elapsed().as_secs_f64()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "measures"]
async fn one_event_per_request_and_one_mebibyte_per_request() {
    let web = input("web", |input, http| {
        input.hint = Hint::ndjson();
        input.batching.compression_level = 6;
        http.max_payload_size = 4 << 20;
        http.max_lines_per_request = 1_000_000;
    });
    let running = start(vec![web]);
    running.store.0.discard.store(true, SeqCst);
    let mut state = 1u64;
    let mut event = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let (user, bytes, path) = (state >> 54, (state >> 20) % 100_000, state >> 40);
        format!(
            r#"{{"user":"u{user}","action":"login","status":200,"bytes":{bytes},"path":"/{path:x}/index.html"}}"#
        )
    };
    let rate = load(running.address, 64, post("/webhook", "", event())).await;
    println!("one event per request, 64 clients: {rate:.0} requests/s");
    let body = (0..10_000).map(|_| event() + "\n").collect::<Vec<_>>().concat();
    let rate = load(running.address, 1, post("/webhook", "", &body)).await;
    println!("1 MiB per request, 1 client: {:.0} MB/s", rate * body.len() as f64 / 1e6);
    let rate = load(running.address, 4, post("/webhook", "", &body)).await;
    println!("1 MiB per request, 4 clients: {:.0} MB/s", rate * body.len() as f64 / 1e6);
    let zstd = zstd::encode_all(body.as_bytes(), 1).unwrap();
    let rate = load(running.address, 4, post("/webhook", "Content-Encoding: zstd\r\n", &zstd)).await;
    println!("1 MiB per request as zstd, 4 clients: {:.0} MB/s", rate * body.len() as f64 / 1e6);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "measures"]
async fn one_event_per_request_with_the_real_spool() {
    let folder = tempfile::tempdir_in(std::env::current_dir().unwrap()).unwrap();
    let proxy = kill::proxy(folder.path(), "", 1024).await;
    for clients in [1, 8, 64, 256] {
        let rate = load(proxy.1, clients, post("/webhook", "", r#"{"user":"ann","action":"login"}"#)).await;
        println!("one event per request, real spool, {clients} clients: {rate:.0} requests/s");
    }
}
