//! Much of everything at once: the rows of docs/operations.md, "Load".
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use std::{
    fs,
    net::SocketAddr,
    ops::Range,
    path::{Path, PathBuf},
    sync::{Arc, atomic::Ordering::Relaxed},
    thread,
    time::{Duration, Instant},
};

use common::{LIMIT, all_delivered, events, input, plan, world::World};
use e2e::{
    free_port,
    http::Client,
    load::{self, Plan, Progress, Shape},
    process::Proxy,
    receiver::{Receiver, Settings},
    sequence::{Promised, Sent},
    until,
};
use serde_json::{Value, json};

#[test]
fn a_udp_flood_with_the_receiver_down_evicts_nothing_acknowledged() {
    let flood = free_port().unwrap();
    let mut world = World::prepare(&json!({
        "spooling": {"max_size_bytes": 8 << 20, "dlq_max_size_bytes": 2 << 20}, "batching": {"max_bytes": 200_000},
    }));
    let inputs = [
        input("http", "hooks", world.port, &json!({"data_hint": "ndjson"})),
        input("udp", "flood", flood, &json!({"data_hint": "ndjson", "data_format": "ndjson"})),
    ];
    world.proxy.reconfigure(&json!({"inputs": inputs})).unwrap();
    world.proxy.run().unwrap();
    world.receiver.down();
    let progress = Arc::new(Progress::default());
    let datagrams = Plan { size: 800, ..plan(flood, Shape::Json, 1, u64::MAX, 20_000) };
    let shared = Arc::clone(&progress);
    let sender = thread::spawn(move || load::udp(&datagrams, &shared).unwrap());
    let mut sent = vec![world.send(2, 200)];
    // What is acknowledged in the middle of it, until datagrams are pushed out.
    let evicted = || world.metric("spool_evicted_total", &[("class", "unacknowledged")]) > 0.5;
    for stream in 3.. {
        sent.push(world.send(stream, 50));
        if evicted() {
            break;
        }
        assert!(stream < 500, "{}", events(&world.proxy));
        thread::sleep(Duration::from_millis(100));
    }
    progress.stop.store(true, Relaxed);
    let attempted = sender.join().unwrap().attempted;
    world.wait_log("ERROR", "unacknowledged data was evicted from the DLQ and is lost");
    world.wait_log("WARN", "the spool is full: oldest unacknowledged batches were moved to the DLQ");
    assert!(world.place("dlq") > 0 && world.place("evicted") > 0, "{}", events(&world.proxy));
    world.receiver.up().unwrap();
    all_delivered(&world.receiver, &sent, Duration::from_mins(1));
    assert!(world.metric("spool_evicted_total", &[("class", "acknowledged")]) < 0.5);
    let accepted: u64 = sent.iter().map(Sent::promised).sum();
    assert!(accepted >= 200, "{accepted}");
    println!("{accepted} events acknowledged beside {attempted} datagrams");
    events(&world.proxy);
}

/// Batches of one line in a tree of a killed proxy's folder, over some tenants and datasets, all links to some files.
struct Fill<'a> {
    tree: &'a str,
    template: &'a Path,
    /// No two of them use the same numbers.
    numbers: Range<u64>,
    /// What stands beside each.
    meta: Option<Value>,
}

impl Fill<'_> {
    fn write(self, world: &World) {
        let stamp = common::now_ns();
        let mut originals = Vec::<PathBuf>::new();
        let first = self.numbers.start;
        for n in self.numbers {
            let (tenant, dataset) = (n % 4, n / 4 % 5);
            let folder = world.part(self.tree).join(format!("t{tenant}/d{dataset}"));
            let stem = format!("t{tenant}--d{dataset}--{}--ndjson", stamp - (n << 16));
            let (data, meta) = (folder.join(format!("{stem}.gz")), folder.join(format!("{stem}.meta")));
            if n - first < 20 {
                fs::create_dir_all(&folder).unwrap();
                // Files of their own per folder: file systems bound the number of links.
                fs::copy(self.template, &data).unwrap();
                if let Some(content) = &self.meta {
                    fs::write(&meta, content.to_string()).unwrap();
                }
                originals.push(data);
            } else {
                let original = &originals[(n - first) as usize % 20];
                fs::hard_link(original, data).unwrap();
                if self.meta.is_some() {
                    fs::hard_link(original.with_extension("meta"), meta).unwrap();
                }
            }
        }
    }
}

/// Kills the proxy of a Receiver that is down; returns a batch of one line.
fn killed(world: &mut World) -> PathBuf {
    let sent = world.send_all(1, 1);
    world.wait_backlog(sent.attempted);
    world.proxy.kill().unwrap();
    world.files("batches", "hooks", ".gz").pop().unwrap()
}

#[test]
fn a_hundred_thousand_backlog_files_delay_no_start_and_are_all_delivered() {
    const COUNT: u64 = 100_000;
    let mut world = World::start(&json!({}));
    world.receiver.change(|settings| settings.verify = false);
    world.receiver.down();
    let prepared = Instant::now();
    let template = killed(&mut world);
    Fill { tree: "batches", template: &template, numbers: 0..COUNT, meta: None }.write(&world);
    println!("prepared in {:?}", prepared.elapsed());
    let started = Instant::now();
    world.proxy.spawn().unwrap();
    let mut client = world.client();
    until(LIMIT, "the first 200", || {
        client.post("/webhook", b"{}").ok().filter(|answer| answer.status == 200)
    })
    .unwrap();
    let first = started.elapsed();
    world.proxy.wait_ready(LIMIT).unwrap();
    until(Duration::from_mins(1), "all found", || (world.place("imported") == COUNT + 1).then_some(()))
        .unwrap_or_else(|error| panic!("{error}: {}", events(&world.proxy)));
    let found = started.elapsed();
    let resident = world.proxy.resident().unwrap();
    println!("first 200 after {first:?}, all found after {found:?}, {} MiB", resident >> 20);
    // Far above what it takes; reading the backlog first would take longer.
    assert!(first < Duration::from_secs(3), "{first:?}");
    assert!(resident < 160 << 20, "{resident}");
    let stats = world.proxy.json("/api/v1/dlq/stats").unwrap();
    // Those that were sent before the circuit was open wait in retry.
    let waiting =
        ["total_files_in_queue", "total_files_in_retry"].iter().filter_map(|key| stats[key].as_u64());
    assert!(waiting.sum::<u64>() > COUNT, "{stats}");
    world.receiver.up().unwrap();
    until(Duration::from_mins(3), "all delivered", || (world.place("delivered") == COUNT + 2).then_some(()))
        .unwrap_or_else(|error| panic!("{error}: {}", events(&world.proxy)));
    println!("all delivered after {:?}", started.elapsed());
    assert_eq!(world.receiver.uploads(), COUNT + 2, "each once");
    assert!(world.files("batches", "hooks", ".gz").is_empty());
    assert!(world.proxy.resident().unwrap() < 192 << 20);
}

/// The least of some rounds in two worlds in turn, so that both see the same machine.
fn in_turn(worlds: [&World; 2], mut work: impl FnMut(&World)) -> [Duration; 2] {
    let mut least = [Duration::MAX; 2];
    for _ in 0..7 {
        for (world, least) in worlds.into_iter().zip(&mut least) {
            let started = Instant::now();
            work(world);
            *least = started.elapsed().min(*least);
        }
    }
    least
}

#[test]
fn w36_ten_thousand_entries_each_in_dlq_and_retry_slow_down_neither_ingest_nor_api() {
    const COUNT: u64 = 10_000;
    let config = json!({"spooling": {"retry_attempts": 1000}});
    let empty = World::start(&config);
    let mut full = World::start(&config);
    empty.receiver.down();
    full.receiver.down();
    let template = killed(&mut full);
    let meta = |reason: &str, status: u16| {
        let at = common::now_ns();
        Some(
            json!({"attempts": 3, "reason": reason, "status": status, "message": "of the test", "at_ns": at}),
        )
    };
    let retry = meta("server", 503);
    Fill { tree: "batches", template: &template, numbers: 0..COUNT, meta: retry }.write(&full);
    let dead = meta("rejected", 422);
    Fill { tree: "dlq", template: &template, numbers: COUNT..2 * COUNT, meta: dead }.write(&full);
    full.proxy.run().unwrap();
    full.wait_place("imported", 2 * COUNT + 1);
    full.wait_place("dlq", COUNT);
    assert!(full.place("retry") >= COUNT, "{}", events(&full.proxy));

    let worlds = [&empty, &full];
    let mut stream = 2;
    let [without, with] = in_turn(worlds, |world| {
        stream += 1;
        world.send_all(stream, 1000);
    });
    println!("1000 events in 100 requests: {without:?} without, {with:?} with");
    assert!(with < without * 2, "{with:?} instead of {without:?}");
    // A page of a hundred entries is there in one world alone.
    let paths = ["/api/v1/health", "/api/v1/status", "/api/v1/senders", "/metrics", "/api/v1/dlq/stats"];
    let small = paths.map(|path| (path, Duration::from_millis(4)));
    for (path, more) in small.into_iter().chain([("/api/v1/dlq/files", Duration::from_millis(60))]) {
        let [without, with] = in_turn(worlds, |world| {
            let mut client = world.proxy.client();
            for _ in 0..10 {
                assert_eq!(client.get(path).unwrap().status, 200, "{path}");
            }
        });
        println!("10 of {path}: {without:?} without, {with:?} with");
        assert!(with < without * 2 + more, "{path}: {with:?} instead of {without:?}");
    }
    assert_eq!(full.place("dlq"), COUNT);
}

/// Lines of a body of about a megabyte.
fn megabyte() -> (Vec<u8>, u64) {
    let mut body = Vec::new();
    let mut lines = 0;
    while body.len() < 1_000_000 {
        body.extend(load::event(Shape::Json, 99, lines, 500));
        body.push(b'\n');
        lines += 1;
    }
    (body, lines)
}

/// Fifty datasets whose batches stay open for minutes hold on to the oldest part of the log, beside one that fills it.
#[test]
fn fifty_slow_datasets_beside_a_fast_one_keep_log_and_memory_inside_their_bounds() {
    const BOUND: u64 = 32 << 20;
    const SEGMENT: u64 = BOUND / 4;
    let receiver = Receiver::start(Settings { verify: false, ..Settings::default() }).unwrap();
    let port = free_port().unwrap();
    let slow = |n: usize| {
        let more = json!({
            "path": format!("/slow/{n}"), "data_hint": "ndjson", "batching": {"timeout_seconds": 300},
        });
        input("http", &format!("slow-{n}"), port, &more)
    };
    let fast = json!({
        "path": "/fast", "data_hint": "ndjson", "max_lines_per_request": 100_000, "max_payload_size": 2 << 20,
        "batching": {"timeout_seconds": 1, "compression_level": 1},
    });
    let mut inputs: Vec<Value> = (0..50).map(slow).collect();
    inputs.push(input("http", "fast", port, &fast));
    // An eighth of the spool is the bound of the log.
    let config = json!({"inputs": inputs, "spooling": {"max_size_bytes": 8 * BOUND}});
    let mut proxy = Proxy::start(&receiver.url(), &config).unwrap();
    let (body, lines) = megabyte();
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let mut client = Client::new(address);
    let started = Instant::now();
    let (mut bodies, mut events_slow) = (0_u64, 0_u64);
    let (mut longest, mut largest) = (0, 0);
    // 240 MB at 20 MB/s at most: more than seven times the bound.
    while bodies < 240 {
        let due = (started.elapsed().as_millis() / 50) as u64;
        if bodies >= due {
            thread::sleep(Duration::from_millis(2));
            continue;
        }
        let answer = client.post("/fast", &body).unwrap();
        assert_eq!(answer.status, 200, "{}", answer.text());
        bodies += 1;
        let event = load::event(Shape::Json, 1, events_slow, 200);
        assert_eq!(client.post(&format!("/slow/{}", events_slow % 50), &event).unwrap().status, 200);
        events_slow += 1;
        let log = proxy.metric("bytefreezer_proxy_spool_log_bytes", &[]).unwrap() as u64;
        longest = longest.max(log);
        largest = largest.max(proxy.resident().unwrap());
    }
    let rate = bodies * 1000 / started.elapsed().as_millis() as u64;
    println!("{rate} MB/s, log up to {} MiB, memory up to {} MiB", longest >> 20, largest >> 20);
    assert!(longest <= BOUND + 2 * SEGMENT, "{longest}");
    assert!(largest < 192 << 20, "{largest}");
    assert!(proxy.metric("bytefreezer_proxy_spool_checkpoints_total", &[]).unwrap() > 0.5);
    let open = events(&proxy)["open"].as_u64().unwrap();
    assert!(open >= events_slow, "no slow batch was closed early: {open}");
    // The end closes what is open, and all of it is delivered.
    assert!(proxy.terminate(Duration::from_mins(1)).unwrap().success());
    let slow = Sent { stream: 1, attempted: events_slow, promised: Promised::All };
    all_delivered(&receiver, &[slow], LIMIT);
    assert_eq!(receiver.lines(), bodies * lines + events_slow);
}
