//! W-42: how soon data is taken after the start, whatever waits in the spool and whoever does not answer.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking, like the tests")]

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use bytefreezer_proxy::{
    batch::{Body, Chunk, Class, MemoryBudget, Reservation, Stream, StreamKey},
    config::{self, Config},
    ids::{DatasetKey, Hint},
    spool::{Parts, Spool},
};

const BACKLOG: usize = 10_000;
const DATASETS: usize = 20;

struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Batches that nobody took, as an earlier run leaves them.
async fn leave_a_backlog(config: &Config) {
    let spool = Spool::open(Parts {
        settings: config.spooling.clone(),
        memory: MemoryBudget::new(64 << 20),
        ledger: Arc::default(),
        metrics: Arc::default(),
        level: Arc::new(|_| 1),
        max_payload: 1 << 20,
    })
    .unwrap();
    let handle = spool.handle();
    let streams: Vec<_> = (0..DATASETS).map(|number| stream(config, number)).collect();
    for _ in 0..BACKLOG / DATASETS {
        handle.commit(streams.iter().map(|stream| one_line(Arc::clone(stream))).collect()).await.unwrap();
    }
    spool.close(Duration::from_mins(1)).await;
    drop(spool);
}

/// Every line a batch.
fn stream(config: &Config, number: usize) -> Arc<Stream> {
    let dataset =
        DatasetKey { tenant: "acme".parse().unwrap(), dataset: format!("d{number}").parse().unwrap() };
    let key = StreamKey { dataset, hint: Hint::raw(), class: Class::Acknowledged };
    Arc::new(Stream { key, batching: config::Batching { max_lines: 1, ..config.batching.clone() } })
}

fn one_line(stream: Arc<Stream>) -> Chunk {
    let line = b"left behind\n".to_vec();
    Chunk {
        stream,
        first_ns: 1,
        lines: 1,
        raw_len: line.len() as u32,
        raw_crc: crc32fast::hash(&line),
        body: Body::Raw(line),
        memory: Reservation::default(),
    }
}

fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}

/// Whether a line was taken durably.
fn posted(port: u16) -> bool {
    let Ok(mut stream) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)) else { return false };
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let request = "POST /webhook HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nConnection: close\r\n\r\nnow\n";
    let mut answer = String::new();
    stream.write_all(request.as_bytes()).is_ok()
        && stream.read_to_string(&mut answer).is_ok()
        && answer.starts_with("HTTP/1.1 200")
}

#[tokio::test(flavor = "multi_thread")]
async fn w42_data_is_durable_within_a_second_of_the_start_though_ten_thousand_batches_wait() {
    let folder = tempfile::tempdir().unwrap();
    let port = free_port();
    // Accepts connections and never answers.
    let black_hole = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let text = format!(
        "tenant_id: acme\nserver: {{api_host: 127.0.0.1, api_port: 0}}\nreceiver: {{base_url: 'http://{}'}}\n\
         spooling: {{directory: '{}'}}\ninputs:\n  - {{type: http, name: hooks, config: {{host: 127.0.0.1, port: {port}}}}}\n",
        black_hole.local_addr().unwrap(),
        folder.path().join("spool").display(),
    );
    let file = folder.path().join("config.yaml");
    std::fs::write(&file, &text).unwrap();
    leave_a_backlog(&config::load("config.yaml", &text, []).config.unwrap()).await;
    assert!(batch_files(folder.path()) >= BACKLOG, "the backlog is on disk");

    let start = Instant::now();
    let _proxy = Killed(
        Command::new(env!("CARGO_BIN_EXE_bytefreezer-proxy"))
            .arg("--config")
            .arg(&file)
            .stdout(Stdio::null())
            .spawn()
            .unwrap(),
    );
    while !posted(port) {
        assert!(start.elapsed() < Duration::from_secs(30), "nothing was taken");
        std::thread::sleep(Duration::from_millis(2));
    }
    let took = start.elapsed();
    println!("first durable line {took:?} after the start, {BACKLOG} batches waiting");
    assert!(took < Duration::from_secs(1), "{took:?}");
}

fn batch_files(folder: &Path) -> usize {
    let Ok(entries) = std::fs::read_dir(folder) else { return 0 };
    entries
        .flatten()
        .map(|entry| {
            let path = entry.path();
            if path.is_dir() {
                batch_files(&path)
            } else {
                usize::from(path.extension().is_some_and(|end| end == "gz"))
            }
        })
        .sum()
}
