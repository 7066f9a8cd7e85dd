//! Moderate load for long while the Receiver is down, refuses, is slow and loses answers in turn, and the configuration
//! changes: memory, files and threads stay flat, and every event is accounted for. Seconds in `make test`, as long as
//! `SOAK_MINUTES` says in `make soak`.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use std::{
    fs,
    sync::{Arc, atomic::Ordering::Relaxed},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use common::{events, input, input_status, plan};
use e2e::{
    free_port,
    load::{self, Framing, Plan, Progress, Shape},
    process::Proxy,
    receiver::{Fault, Receiver, Scope, Settings},
    sequence::Sent,
    until,
};
use serde_json::{Value, json};

const MIB: u64 = 1 << 20;
/// Merged datagrams (`UDP_GRO`) that the kernel drops count once; the sender sends no more than this at a time.
const MERGED: u64 = 64;

/// What the Receiver does, each for as long as the next. Twice through in the shortest run.
const PHASES: [Phase; 12] = [
    Phase::Well,
    Phase::Down,
    Phase::Well,
    Phase::Fault(|| Fault::retry_after(429, 1)),
    Phase::Well,
    Phase::Fault(|| Fault::status(500)),
    Phase::Well,
    Phase::Fault(|| Fault::Slow(Duration::from_secs(2))),
    Phase::Well,
    Phase::Fault(|| Fault::Unanswered),
    Phase::Well,
    Phase::Fault(|| Fault::Hang),
];

#[derive(Clone, Copy)]
enum Phase {
    /// It takes everything, and the proxy's configuration changes.
    Well,
    /// Connections are refused.
    Down,
    /// Every request gets this.
    Fault(fn() -> Fault),
}

impl Phase {
    fn begin(self, receiver: &Receiver) {
        receiver.lift(&Scope::All);
        match self {
            Self::Well => receiver.up().unwrap(),
            Self::Down => receiver.down(),
            Self::Fault(fault) => {
                receiver.up().unwrap();
                receiver.fault(Scope::All, fault());
            }
        }
    }
}

/// What stays flat.
#[derive(Clone, Copy)]
struct Sample {
    at: Duration,
    resident: u64,
    files: u64,
    threads: u64,
    spool: u64,
    dlq: u64,
    delivered: u64,
}

impl Sample {
    fn take(proxy: &Proxy, at: Duration) -> Self {
        let proc = format!("/proc/{}", proxy.pid().unwrap());
        let entries = |name: &str| fs::read_dir(format!("{proc}/{name}")).unwrap().count() as u64;
        let events = events(proxy);
        let metric = |name: &str| proxy.metric(&format!("bytefreezer_proxy_{name}"), &[]).unwrap() as u64;
        Self {
            at,
            resident: proxy.resident().unwrap(),
            files: entries("fd"),
            threads: entries("task"),
            spool: metric("spool_log_bytes") + metric("spool_bytes"),
            dlq: events["dlq"].as_u64().unwrap(),
            delivered: events["delivered"].as_u64().unwrap(),
        }
    }

    fn print(&self) {
        println!(
            "{:>7.1} {:>8.1} {:>6} {:>8} {:>9.1} {:>9} {:>11}",
            self.at.as_secs_f64(),
            self.resident as f64 / MIB as f64,
            self.files,
            self.threads,
            self.spool as f64 / MIB as f64,
            self.dlq,
            self.delivered
        );
    }
}

/// What is compared: its name, what it may grow by beside a tenth, and itself.
type Bound = (&'static str, u64, fn(&Sample) -> u64);

/// The second quarter against the last one, each several rounds of phases long in `make soak`; the first warms up.
fn assert_flat(samples: &[Sample]) {
    let quarter = samples.len() / 4;
    let bounds: [Bound; 4] = [
        ("resident bytes", 8 * MIB, |sample| sample.resident),
        ("open files", 16, |sample| sample.files),
        ("threads", 6, |sample| sample.threads),
        ("bytes in the spool", 64 * MIB, |sample| sample.spool),
    ];
    for (name, slack, of) in bounds {
        let [early, late] = [&samples[quarter..2 * quarter], &samples[3 * quarter..]].map(|window| {
            let mut values: Vec<u64> = window.iter().map(of).collect();
            values.sort_unstable();
            values[values.len() / 2]
        });
        println!("{name}: median {early} early, {late} late, most {}", samples.iter().map(of).max().unwrap());
        assert!(late <= early + early / 10 + slack, "{name} grow: {early} early, {late} late");
    }
    let most = samples.iter().map(|sample| sample.resident).max().unwrap();
    assert!(most < 160 * MIB, "{most} bytes");
}

/// Three numbered streams, each through a protocol of its own.
struct Load {
    progress: Arc<Progress>,
    senders: Vec<JoinHandle<Sent>>,
}

impl Load {
    fn start(rate: u64, [udp, tcp, http]: [u16; 3]) -> Self {
        let progress = Arc::new(Progress::default());
        let start = |plan: Plan, send: fn(&Plan, &Progress) -> Sent| {
            let progress = Arc::clone(&progress);
            thread::spawn(move || send(&plan, &progress))
        };
        let senders = vec![
            start(plan(udp, Shape::Rfc3164, 1, u64::MAX, rate), |plan, progress| {
                load::udp(plan, progress).unwrap()
            }),
            start(plan(tcp, Shape::Rfc5424, 2, u64::MAX, rate / 10), |plan, progress| {
                load::tcp(plan, Framing::Octets, progress).unwrap()
            }),
            start(plan(http, Shape::Json, 3, u64::MAX, rate / 20), |plan, progress| {
                load::http(plan, "/webhook", 10, progress).unwrap()
            }),
        ];
        Self { progress, senders }
    }

    fn end(self) -> Vec<Sent> {
        self.progress.stop.store(true, Relaxed);
        self.senders.into_iter().map(|sender| sender.join().unwrap()).collect()
    }
}

/// By itself the dead-letter queue returns once in 5 to 15 minutes; a person does not wait for that.
fn send_back(proxy: &Proxy) {
    let answer = proxy.client().post("/api/v1/dlq/retry", b"").unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
}

/// An input that comes and goes, settings of one that stays: nothing that touches a socket in use.
fn changed(inputs: &[Value], extra: u16, round: u32) -> Value {
    let mut inputs = inputs.to_vec();
    if round % 2 == 1 {
        inputs.push(input("udp", "comes-and-goes", extra, &json!({})));
    }
    json!({
        "inputs": inputs,
        "batching": {"max_lines": 50_000 + round % 3},
        "logging": {"level": if round.is_multiple_of(4) { "info" } else { "warn" }},
    })
}

#[test]
fn outages_under_load_leave_memory_flat_and_every_event_accounted_for() {
    let minutes = std::env::var("SOAK_MINUTES").ok().map(|text| text.parse::<u64>().unwrap());
    let length = minutes.map_or(Duration::from_secs(20), Duration::from_mins);
    let rate = if minutes.is_some() { 20_000 } else { 2_000 };
    // 15 s in the long run.
    let phase = Duration::from_secs(15).min(length / (2 * PHASES.len() as u32));
    let every = Duration::from_secs(10).min(length / 60);

    let receiver = Receiver::start(Settings { keep: false, ..Settings::default() }).unwrap();
    let ports @ [udp, tcp, http] = [(); 3].map(|()| free_port().unwrap());
    let extra = free_port().unwrap();
    let inputs = [
        input("syslog", "datagrams", udp, &json!({"protocol": "udp"})),
        input("syslog", "stream", tcp, &json!({"protocol": "tcp"})),
        input("http", "hooks", http, &json!({"data_hint": "ndjson"})),
    ];
    let mut proxy = Proxy::start(&receiver.url(), &changed(&inputs, extra, 0)).unwrap();
    let load = Load::start(rate, ports);
    let started = Instant::now();
    println!("seconds  RSS MiB  files  threads spool MiB  dlq lines   delivered");
    let (mut samples, mut round) = (Vec::new(), 0);
    while started.elapsed() < length {
        let at = started.elapsed();
        if at >= phase * round {
            let now = PHASES[round as usize % PHASES.len()];
            now.begin(&receiver);
            if matches!(now, Phase::Well) {
                send_back(&proxy);
                proxy.reconfigure(&changed(&inputs, extra, round / 2)).unwrap();
            }
            round += 1;
        }
        if at >= every * samples.len() as u32 {
            let sample = Sample::take(&proxy, at);
            sample.print();
            samples.push(sample);
        }
        thread::sleep(Duration::from_millis(20));
    }

    Phase::Well.begin(&receiver);
    let sent = load.end();
    until(Duration::from_mins(2), "an empty spool", || {
        send_back(&proxy);
        let events = events(&proxy);
        ["memory", "open", "queued", "retry", "dlq"].iter().all(|place| events[place] == 0).then_some(())
    })
    .unwrap_or_else(|error| panic!("{error}: {}\n{}", events(&proxy), proxy.log_text()));

    assert_eq!(receiver.violations(), [""; 0]);
    let accounts = receiver.accounts(&sent);
    println!("{accounts:?}\n{}", events(&proxy));
    for account in accounts.values() {
        assert_eq!(account.duplicated, 0, "under two names: {account:?}");
    }
    for stream in [2, 3] {
        assert_eq!(accounts[&stream].lost, 0, "{:?}", accounts[&stream]);
    }
    assert!(accounts[&3].promised > accounts[&3].sent / 2, "{:?}", accounts[&3]);
    // Datagrams may be dropped, never silently.
    let status = input_status(&proxy, "datagrams").unwrap();
    let refused: u64 = status["refused"].as_object().unwrap().values().filter_map(Value::as_u64).sum();
    let drops = status["kernel_drops"].as_u64().unwrap();
    let lost = accounts[&1].lost;
    println!("{lost} datagrams lost: {refused} refused, {drops} drops in the kernel");
    assert!((refused + drops..=refused + MERGED * drops).contains(&lost), "{lost}: {status}");
    let end = events(&proxy);
    let delivered: u64 = accounts.values().map(|account| account.delivered).sum();
    assert_eq!(
        (&end["delivered"], &end["evicted"], &end["quarantined"]),
        (&json!(delivered), &json!(0), &json!(0))
    );
    assert_flat(&samples);
}
