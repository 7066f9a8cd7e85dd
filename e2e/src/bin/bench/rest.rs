//! What is not a rate: memory, latencies, start, sizes.

use std::{
    io::{BufRead, Write},
    net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket},
    process::Command,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow, bail, ensure};
use e2e::{
    http::Client,
    load::{Plan, Progress, Shape, event, udp},
    process::Proxy,
    receiver::{Fault, Receiver, Scope, Settings},
};
use serde_json::{Value, json};

use crate::{
    cases::{self, webhook_inputs},
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
pub const FIGURES: [Figure; 5] = [
    Figure { name: "resident set, idle, one syslog input", measure: idle },
    Figure { name: "one event at rest to the Receiver, timeout_seconds 1", measure: latency },
    Figure { name: "10 000 DLQ entries: GET /api/v1/dlq/stats", measure: dlq_stats },
    Figure { name: "start to first listening socket, 1 GiB in 10 000 backlog files", measure: start },
    Figure {
        name: "uploaded bytes at level 6 against `gzip -6` of the same lines in one piece",
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
pub fn millis(sorted: &[Duration], percent: usize) -> f64 {
    let at = (sorted.len() * percent / 100).min(sorted.len().saturating_sub(1));
    sorted.get(at).map_or(0.0, |took| took.as_secs_f64() * 1000.0)
}

fn dlq_stats() -> Result<String> {
    const ENTRIES: u64 = 10_000;
    let receiver = Receiver::start(Settings::default())?;
    receiver.fault(Scope::All, Fault::status(422));
    let at = port()?;
    let proxy = proxy(
        &receiver.url(),
        &webhook_inputs(&json!(at.port()), 1),
        &json!({"batching": {"max_lines": 1}}),
    )?;
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
                        accepted(&mut http, body)?;
                    }
                    Ok(())
                })
            })
            .collect();
        clients.into_iter().try_for_each(|client| client.join().map_err(|_| anyhow!("a client panicked"))?)
    })
}

/// Sends it until it is taken: a disk that is slow for a moment is answered with 503, as every client has to expect.
fn accepted(http: &mut Client, body: &[u8]) -> Result<()> {
    let end = Instant::now() + Duration::from_mins(2);
    loop {
        let answer = http.post("/d0", body)?;
        match answer.status {
            200 => return Ok(()),
            503 if Instant::now() < end => thread::sleep(Duration::from_millis(20)),
            status => bail!("status {status}: {}", answer.text()),
        }
    }
}

/// Waits until so many batches wait for delivery, and how many bytes they are.
fn backlog(proxy: &Proxy, files: u64) -> Result<u64> {
    e2e::until(Duration::from_mins(2), "the backlog", || {
        let counted = proxy.json("/api/v1/dlq/stats").ok()?;
        let sum =
            |names: [&str; 2]| names.iter().map(|name| counted.get(name)?.as_u64()).sum::<Option<u64>>();
        let found = sum(["total_files_in_queue", "total_files_in_retry"])?;
        (found >= files).then(|| sum(["total_bytes_in_queue", "total_bytes_in_retry"]))?
    })
}

fn start() -> Result<String> {
    const FILES: u64 = 10_000;
    let receiver = Receiver::start(Settings::default())?;
    receiver.down();
    let at = port()?;
    let over = json!({
        "batching": {"max_lines": 1, "compression_level": 1, "compression_adaptive": false},
        "spooling": {"max_size_bytes": 4_u64 << 30},
    });
    let mut proxy = proxy(&receiver.url(), &webhook_inputs(&json!(at.port()), 1), &over)?;
    // Hexadecimal digits of a generator, of which the lowest level makes nothing smaller.
    let mut state = 1_u64;
    let mut body = b"{\"x\":\"".to_vec();
    while (body.len() as u64) < (1 << 30) / FILES {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        write!(body, "{:08x}", state >> 32)?;
    }
    body.extend_from_slice(b"\"}\n");
    post(at, FILES, &body)?;
    backlog(&proxy, FILES)?;
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
    let bytes = backlog(&proxy, FILES)?;
    Ok(format!(
        "median {:.0} ms, most {:.0} ms of 5 after SIGKILL ({} MiB)",
        millis(&took, 50),
        millis(&took, 100),
        bytes >> 20
    ))
}

fn ratio() -> Result<String> {
    const EVENTS: u64 = 60_000;
    let sink = Sink::start()?;
    let contestant = Contestant::start(&cases::at_rest(), &sink.url())?;
    let plan = Plan {
        target: contestant.target,
        shape: Shape::Rfc3164,
        stream: 0,
        count: EVENTS,
        rate: EVENTS / 10,
        size: cases::SIZE,
    };
    udp(&plan, &Progress::default())?;
    // The last batch is closed within its timeout.
    run::settle(&contestant, &sink, Duration::from_secs(cases::REST_SECONDS + 2))?;
    let (mut wire, mut raw) = (0, Vec::new());
    for stored in sink.take() {
        wire += stored.body.len();
        raw.extend_from_slice(&sink::text(&stored.body)?);
    }
    ensure!(raw.as_slice().lines().count() as u64 == EVENTS, "not every event arrived");
    let folder = tempfile::Builder::new().prefix("bytefreezer-bench-").tempdir()?;
    let file = folder.path().join("lines");
    std::fs::write(&file, &raw)?;
    let gzip = Command::new("gzip").args(["-6", "-c"]).arg(&file).output().context("gzip")?;
    ensure!(gzip.status.success(), "gzip: {}", String::from_utf8_lossy(&gzip.stderr));
    let whole = gzip.stdout.len();
    let per_event = |bytes: usize| bytes as f64 / EVENTS as f64;
    Ok(format!(
        "{:.3} x ({:.1} against {:.1} bytes per event)",
        wire as f64 / whole as f64,
        per_event(wire),
        per_event(whole)
    ))
}
