//! SIGKILL at random moments with numbered events: every event with a 200 arrives, and arrives again only under the
//! same name (W-14, W-15, L-4, L-6, D-1, D-2). 100 kills; 500 with `SOAK=1` (`make soak`).
#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use common::{LIMIT, accounts, all_delivered, events, input, plan};
use e2e::{
    free_port,
    load::{self, Progress, Shape},
    process::Proxy,
    receiver::{Fault, Receiver, Scope, Settings},
    sequence::Sent,
    until,
};
use serde_json::json;

/// One numbered stream over HTTP that goes on through restarts of the proxy.
fn hooks(port: u16, stream: u16, rate: u64, progress: &Arc<Progress>) -> thread::JoinHandle<Sent> {
    let (stream, progress) = (plan(port, Shape::Json, stream, u64::MAX, rate), progress.clone());
    thread::spawn(move || load::http(&stream, "/webhook", 3, &progress).unwrap())
}

/// Moments between kills: from before the first answer to some seconds of work.
fn pause(random: &mut u64) -> Duration {
    *random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    let spread = [40, 150, 400, 1500][(*random >> 60) as usize % 4];
    Duration::from_millis((*random >> 33) % spread)
}

#[test]
fn w15_a_hundred_kills_lose_no_acknowledged_event() {
    let kills = if std::env::var_os("SOAK").is_some() { 500 } else { 100 };
    let seed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64;
    println!("seed {seed}");
    let mut random = seed;
    let receiver = Receiver::start(Settings::default()).unwrap();
    let [a, b, c] = [(); 3].map(|()| free_port().unwrap());
    let config = json!({
        "inputs": [
            input("http", "hooks", a, &json!({"data_hint": "ndjson"})),
            input("http", "more", b, &json!({"data_hint": "ndjson"})),
            input("syslog", "edge", c, &json!({"protocol": ["udp", "tcp"]})),
        ],
        // Small batches, so that closes, renames and deletions are often under the knife.
        "batching": {"max_lines": 200},
        "spooling": {"retry_interval_seconds": 1},
    });
    let mut proxy = Proxy::start(&receiver.url(), &config).unwrap();
    let progress = Arc::new(Progress::default());
    let senders = [hooks(a, 1, 1500, &progress), hooks(b, 2, 300, &progress)];
    let (datagrams, shared) = (plan(c, Shape::Rfc5424, 3, u64::MAX, 500), progress.clone());
    let flood = thread::spawn(move || load::udp(&datagrams, &shared).unwrap());

    let started = Instant::now();
    for kill in 0..kills {
        // Every fourth kill happens with the Receiver in some trouble.
        match kill % 16 {
            3 => receiver.down(),
            5 => receiver.up().unwrap(),
            7 => receiver.fault(Scope::All, Fault::Unanswered),
            11 => receiver.fault(Scope::All, Fault::status(503)),
            9 | 13 => receiver.lift(&Scope::All),
            _ => {}
        }
        thread::sleep(pause(&mut random));
        proxy.kill().unwrap();
        proxy.spawn().unwrap();
        if kill % 3 == 0 {
            proxy.wait_ready(LIMIT).unwrap_or_else(|error| panic!("kill {kill}, seed {seed}: {error}"));
            events(&proxy);
        }
    }
    receiver.up().unwrap();
    receiver.lift(&Scope::All);
    proxy.wait_ready(LIMIT).unwrap();
    thread::sleep(Duration::from_millis(500));
    progress.stop.store(true, Relaxed);
    let sent: Vec<Sent> = senders.into_iter().map(|sender| sender.join().unwrap()).collect();
    let datagrams = flood.join().unwrap();
    println!(
        "{kills} kills in {:?}: {} events acknowledged, {} datagrams",
        started.elapsed(),
        sent.iter().map(Sent::promised).sum::<u64>(),
        datagrams.attempted
    );
    assert!(sent.iter().all(|sent| sent.promised() > kills), "too little was acknowledged to judge by");
    let complete = || {
        let accounts = e2e::sequence::account(&sent, &receiver.batches()).ok()?;
        accounts.values().all(|account| account.lost == 0).then_some(())
    };
    if until(Duration::from_secs(90), "every event", complete).is_err() {
        let status = proxy.json("/api/v1/status").unwrap();
        println!("{}\n{}", status["events"], status["circuits"]);
        let log = proxy.log();
        println!("{}", log[log.len().saturating_sub(40)..].join("\n"));
    }
    all_delivered(&receiver, &sent, Duration::from_secs(1));
    let datagrams = &accounts(&receiver, &[datagrams])[&3];
    assert_eq!(datagrams.duplicated, 0, "datagrams may be lost by a kill, never doubled: {datagrams:?}");
    assert!(datagrams.delivered > 0);
    until(LIMIT, "an empty spool", || {
        let events = events(&proxy);
        ["open", "queued", "retry"].iter().all(|place| events[place] == 0).then_some(())
    })
    .unwrap_or_else(|error| panic!("{error}: {}", events(&proxy)));
    assert_eq!(events(&proxy)["dlq"], 0);
    assert_eq!(events(&proxy)["quarantined"], 0, "{}", proxy.log_text());
}

#[test]
fn w7_an_outage_with_a_kill_in_the_middle_ends_with_everything_delivered_once() {
    let receiver = Receiver::start(Settings::default()).unwrap();
    let [a, b] = [(); 2].map(|()| free_port().unwrap());
    let config = json!({
        "inputs": [
            input("http", "hooks", a, &json!({"data_hint": "ndjson"})),
            input("syslog", "edge", b, &json!({"protocol": "tcp"})),
        ],
    });
    let mut proxy = Proxy::start(&receiver.url(), &config).unwrap();
    let progress = Arc::new(Progress::default());
    let sender = hooks(a, 1, 1000, &progress);
    receiver.wait_lines(500, LIMIT).unwrap();
    receiver.down();
    let before = progress.sent.load(Relaxed);
    until(LIMIT, "a backlog", || (progress.sent.load(Relaxed) > before + 1500).then_some(())).unwrap();
    proxy.kill().unwrap();
    proxy.run().unwrap();
    // Inputs come first at a start; what is on disk is read beside them.
    until(LIMIT, "the backlog to be found", || (events(&proxy)["imported"].as_u64()? > 1000).then_some(()))
        .unwrap_or_else(|error| panic!("{error}: {}", events(&proxy)));
    let before = progress.sent.load(Relaxed);
    until(LIMIT, "more", || (progress.sent.load(Relaxed) > before + 1000).then_some(())).unwrap();
    assert_eq!(events(&proxy)["dlq"], 0, "an outage is no reason for the DLQ");
    receiver.up().unwrap();
    progress.stop.store(true, Relaxed);
    let sent = sender.join().unwrap();
    all_delivered(&receiver, &[sent], Duration::from_mins(1));
    let status = proxy.terminate(LIMIT).unwrap();
    assert!(status.success(), "{status}");
}

/// Writers as fast as they can be beside small batches that are closed, renamed, uploaded and deleted all the time.
#[test]
fn w14_two_hundred_thousand_lines_of_fast_writers_survive_an_outage_and_a_kill() {
    const MINUTE: Duration = Duration::from_mins(1);
    let receiver = Receiver::start(Settings::default()).unwrap();
    let port = free_port().unwrap();
    let mut proxy = Proxy::start(
        &receiver.url(),
        &json!({
            "inputs": [input("http", "hooks", port, &json!({"data_hint": "ndjson"}))],
            "batching": {"max_lines": 2000},
        }),
    )
    .unwrap();
    let progress = Arc::new(Progress::default());
    let writers = [1, 2, 3, 4].map(|stream| {
        let (plan, progress) = (plan(port, Shape::Json, stream, u64::MAX, 0), Arc::clone(&progress));
        thread::spawn(move || load::http(&plan, "/webhook", 100, &progress).unwrap())
    });
    let started = Instant::now();
    let accepted = |proxy: &Proxy, count: u64| {
        until(MINUTE, "more events", || (events(proxy)["accepted"].as_u64()? >= count).then_some(()))
            .unwrap_or_else(|error| panic!("{error}: {}", events(proxy)));
    };
    accepted(&proxy, 70_000);
    receiver.down();
    // A body of each writer may be accepted and not answered when the kill comes.
    accepted(&proxy, 130_400);
    proxy.kill().unwrap();
    proxy.run().unwrap();
    accepted(&proxy, 35_000);
    receiver.up().unwrap();
    accepted(&proxy, 70_400);
    progress.stop.store(true, Relaxed);
    let sent = writers.map(|writer| writer.join().unwrap());
    let acknowledged: u64 = sent.iter().map(Sent::promised).sum();
    assert!(acknowledged >= 200_000, "{acknowledged}");
    receiver.wait_lines(acknowledged, MINUTE).unwrap_or_else(|error| panic!("{error}: {}", events(&proxy)));
    all_delivered(&receiver, &sent, MINUTE);
    let events = events(&proxy);
    assert!(events["dlq"] == 0 && events["quarantined"] == 0, "{events}");
    println!("{acknowledged} events in {} batches, {:?}", receiver.batches().len(), started.elapsed());
}
