//! What is not a rate: memory, latencies, start, sizes.

use std::{
    io::Write,
    net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow, ensure};
use e2e::{
    http::Client,
    load::{Plan, Progress, Shape, event, udp},
    process::Proxy,
    receiver::{Fault, Receiver, Scope, Settings},
};
use flate2::{Compression, write::GzEncoder};
use serde_json::{Value, json};

use crate::{
    contestant::Contestant,
    run,
    sink::{self, Sink},
};

/// One line of the second table.
pub struct Figure {
    /// What.
    pub name: &'static str,
    /// How it is measured.
    pub measure: fn() -> Result<String>,
}

/// All of them.
pub const FIGURES: [Figure; 7] = [
    Figure { name: "resident set, idle, one syslog input", measure: idle },
    Figure { name: "one event at rest to the Receiver, timeout_seconds 1", measure: latency },
    Figure {
        name: "HTTP, 1 event a request, 64 clients, closed loop: one dataset",
        measure: || http_loop(1),
    },
    Figure {
        name: "HTTP, 1 event a request, 64 clients, closed loop: 1000 datasets",
        measure: || http_loop(1000),
    },
    Figure { name: "10 000 DLQ entries: GET /api/v1/dlq/stats", measure: dlq_stats },
    Figure { name: "start to first listening socket, 1 GiB in 10 000 backlog files", measure: start },
    Figure {
        name: "uploaded bytes at level 6 against gzip -6 of the same lines in one piece",
        measure: ratio,
    },
];

fn port() -> Result<SocketAddr> {
    Ok(SocketAddr::from((Ipv4Addr::LOCALHOST, e2e::free_port()?)))
}

fn proxy(receiver: &str, inputs: &Value, over: &Value) -> Result<Proxy> {
    let mut config = json!({"inputs": inputs, "logging": {"level": "error"}});
    e2e::process::merge(&mut config, over);
    Proxy::start(receiver, &config)
}

fn syslog(at: SocketAddr) -> Value {
    json!([{"type": "syslog", "name": "web", "config": {"host": "127.0.0.1", "port": at.port()}}])
}

fn webhooks(at: SocketAddr, datasets: usize) -> Value {
    let input = |n: usize| {
        let config = json!({"host": "127.0.0.1", "port": at.port(), "path": format!("/d{n}"), "data_hint": "ndjson",
            "max_payload_size": 4_194_304});
        json!({"type": "http", "name": format!("web-{n}"), "config": config})
    };
    (0..datasets).map(input).collect()
}

fn idle() -> Result<String> {
    let sink = Sink::start()?;
    let proxy = proxy(&sink.url(), &syslog(port()?), &json!({}))?;
    thread::sleep(Duration::from_secs(3));
    Ok(format!("{:.1} MiB", proxy.resident()? as f64 / 1_048_576.0))
}

fn latency() -> Result<String> {
    let sink = Sink::start()?;
    let at = port()?;
    let _proxy = proxy(&sink.url(), &syslog(at), &json!({}))?;
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    let mut took = Vec::new();
    for number in 0..10 {
        sink.take();
        let sent = Instant::now();
        socket.send_to(&event(Shape::Rfc3164, 0, number, 256), at)?;
        e2e::until(Duration::from_secs(10), "the event at the sink", || (sink.bytes() > 0).then_some(()))?;
        let arrived = sink.take().first().map(|stored| stored.at).context("nothing is stored")?;
        took.push(arrived - sent);
    }
    took.sort_unstable();
    Ok(format!("median {:.0} ms, most {:.0} ms", millis(&took, 50), millis(&took, 100)))
}

/// A percentile in milliseconds of sorted times.
fn millis(sorted: &[Duration], percent: usize) -> f64 {
    let at = (sorted.len() * percent / 100).min(sorted.len().saturating_sub(1));
    sorted.get(at).map_or(0.0, |took| took.as_secs_f64() * 1000.0)
}

fn http_loop(datasets: usize) -> Result<String> {
    const CLIENTS: usize = 64;
    const SECONDS: u64 = 10;
    let sink = Sink::start()?;
    let at = port()?;
    let _proxy = proxy(&sink.url(), &webhooks(at, datasets), &json!({}))?;
    let end = Instant::now() + Duration::from_secs(SECONDS);
    let mut took: Vec<Duration> = thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|client| {
                scope.spawn(move || {
                    let mut http = Client::new(at).with_timeout(Duration::from_secs(10));
                    let body = event(Shape::Json, 0, client as u64, 256);
                    let (mut took, mut number) = (Vec::new(), client * 7919);
                    while Instant::now() < end {
                        number += 1;
                        let begun = Instant::now();
                        let answer = http.post(&format!("/d{}", number % datasets), &body)?;
                        ensure!(answer.status == 200, "status {}: {}", answer.status, answer.text());
                        took.push(begun.elapsed());
                    }
                    Ok(took)
                })
            })
            .collect();
        let joined = clients.into_iter().map(|c| c.join().map_err(|_| anyhow!("a client panicked"))?);
        Ok::<_, anyhow::Error>(joined.collect::<Result<Vec<_>>>()?.concat())
    })?;
    took.sort_unstable();
    let rate = took.len() as u64 / SECONDS;
    Ok(format!("{rate}/s, p50 {:.1} ms, p99 {:.1} ms", millis(&took, 50), millis(&took, 99)))
}

fn dlq_stats() -> Result<String> {
    const ENTRIES: u64 = 10_000;
    let receiver = Receiver::start(Settings::default())?;
    receiver.fault(Scope::All, Fault::status(422));
    let at = port()?;
    let proxy = proxy(&receiver.url(), &webhooks(at, 1), &json!({"batching": {"max_lines": 1}}))?;
    post(at, ENTRIES, b"{\"a\":1}\n")?;
    let dlq = || {
        let stats = proxy.json("/api/v1/dlq/stats").ok()?;
        (stats.get("total_files_in_dlq")?.as_u64()? >= ENTRIES).then_some(())
    };
    e2e::until(Duration::from_mins(3), "10 000 DLQ entries", dlq)?;
    let mut took = Vec::new();
    for _ in 0..50 {
        let begun = Instant::now();
        proxy.json("/api/v1/dlq/stats")?;
        took.push(begun.elapsed());
    }
    took.sort_unstable();
    Ok(format!("median {:.1} ms, p99 {:.1} ms", millis(&took, 50), millis(&took, 99)))
}

fn post(at: SocketAddr, requests: u64, body: &[u8]) -> Result<()> {
    thread::scope(|scope| {
        let clients: Vec<_> = (0..16)
            .map(|_| {
                scope.spawn(|| {
                    let mut http = Client::new(at).with_timeout(Duration::from_secs(30));
                    for _ in 0..requests.div_ceil(16) {
                        let answer = http.post("/d0", body)?;
                        ensure!(answer.status == 200, "status {}: {}", answer.status, answer.text());
                    }
                    Ok(())
                })
            })
            .collect();
        clients.into_iter().try_for_each(|client| client.join().map_err(|_| anyhow!("a client panicked"))?)
    })
}

fn start() -> Result<String> {
    const FILES: u64 = 10_000;
    let receiver = Receiver::start(Settings::default())?;
    receiver.down();
    let at = port()?;
    let over = json!({
        "batching": {"max_lines": 1},
        "spooling": {"max_size_bytes": 4_u64 << 30},
    });
    let mut proxy = proxy(&receiver.url(), &webhooks(at, 1), &over)?;
    // Hexadecimal digits of a generator: gzip makes about half of them.
    let mut state = 1_u64;
    let mut body = b"{\"x\":\"".to_vec();
    while body.len() < 200_000 {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        write!(body, "{:08x}", state >> 32)?;
    }
    body.extend_from_slice(b"\"}\n");
    post(at, FILES, &body)?;
    e2e::until(Duration::from_mins(2), "10 000 batches", || {
        let counted = proxy.json("/api/v1/dlq/stats").ok()?;
        (counted.get("total_files_in_queue")?.as_u64()? >= FILES).then_some(())
    })?;
    let mut took = Vec::new();
    for _ in 0..5 {
        proxy.kill()?;
        let begun = Instant::now();
        proxy.spawn()?;
        while TcpStream::connect(at).is_err() {
            ensure!(begun.elapsed() < Duration::from_secs(30), "no socket after 30 s");
            thread::sleep(Duration::from_micros(500));
        }
        took.push(begun.elapsed());
        proxy.wait_ready(Duration::from_mins(1))?;
    }
    took.sort_unstable();
    Ok(format!("median {:.0} ms, most {:.0} ms of 5", millis(&took, 50), millis(&took, 100)))
}

fn ratio() -> Result<String> {
    let sink = Sink::start()?;
    let kind = crate::syslog(Some(6), 30);
    let contestant = Contestant::start(&kind, &sink.url())?;
    let plan = Plan {
        target: contestant.target,
        shape: Shape::Rfc3164,
        stream: 0,
        count: 200_000,
        rate: 5_000,
        size: 256,
    };
    udp(&plan, &Progress::default())?;
    run::settle(&contestant, &sink, Duration::from_secs(35))?;
    let (mut wire, mut raw) = (0, Vec::new());
    for stored in sink.take() {
        wire += stored.body.len();
        raw.extend_from_slice(&sink::text(&stored.body)?);
    }
    let mut whole = GzEncoder::new(Vec::new(), Compression::new(6));
    whole.write_all(&raw)?;
    let whole = whole.finish()?.len();
    Ok(format!("{:.3} ({wire} against {whole} bytes)", wire as f64 / whole as f64))
}
