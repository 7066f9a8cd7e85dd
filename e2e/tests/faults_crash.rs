//! The process dies at a chosen step of the spool, under load, and the next one goes on (W-15). Steps are marked in the
//! code by `failpoint!`, which only builds with debug assertions have.
#![cfg(debug_assertions)]
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use std::{
    collections::BTreeSet,
    fs,
    os::unix::process::ExitStatusExt,
    path::Path,
    sync::{Arc, atomic::Ordering::Relaxed},
    thread,
    time::Duration,
};

use common::{LIMIT, accounts, events, input, plan};
use e2e::{
    free_port,
    load::{self, Plan, Progress, Shape},
    process::Proxy,
    receiver::{Fault, Receiver, Scope, Settings},
    sequence::{self, Sent},
    until,
};
use serde_json::json;

/// Steps by what they belong to, and at which passages the process dies.
const STEPS: [(&str, &[&str], &[u64]); 10] = [
    // First: every crash puts the names of the next process some seconds ahead, and then this step is not due.
    ("names", &["log.reserved"], &[1]),
    ("append", &["log.append", "log.write", "log.written"], &[1, 40]),
    ("sync", &["log.sync", "log.synced", "log.acknowledged"], &[1, 2]),
    ("close", &["close.frame", "close.synced", "close.publish", "file.write", "file.written"], &[1, 8]),
    ("checkpoint", &["checkpoint.begin", "checkpoint.files", "checkpoint.synced"], &[1, 3]),
    ("rename", &["meta.write", "replace.synced", "meta.written", "file.rename", "file.renamed"], &[1, 3]),
    ("remove", &["file.remove", "file.removed", "done.unlinked"], &[1, 8]),
    ("split", &["split.intent", "split.half", "split.synced", "split.removed", "split.done"], &[1, 2]),
    (
        "segment",
        &[
            "segment.create",
            "segment.created",
            "segment.prepared",
            "retire.folders",
            "retire.removed",
            "retire.synced",
            "recovery.drop",
            "recovery.dropped",
        ],
        &[1, 2],
    ),
    ("recovery", &["recovery.read", "recovery.replayed", "recovery.synced"], &[1]),
];

fn dataset(name: &str) -> Scope {
    Scope::Dataset("acme".to_owned(), name.to_owned())
}

struct Site {
    receiver: Receiver,
    proxy: Proxy,
    ports: [u16; 4],
}

const DATASETS: [&str; 4] = ["flow", "slow", "failing", "large"];

impl Site {
    /// Small batches and a short log, so that every step is passed within a second or two.
    fn new() -> Self {
        let receiver = Receiver::start(Settings::default()).unwrap();
        let ports = [(); 4].map(|()| free_port().unwrap());
        let inputs: Vec<_> = DATASETS
            .iter()
            .zip(ports)
            .map(|(name, port)| {
                let timeout = if *name == "slow" { 300 } else { 1 };
                let batching = json!({"timeout_seconds": timeout, "max_lines": 60});
                input("http", name, port, &json!({"data_hint": "ndjson", "batching": batching}))
            })
            .collect();
        let config = json!({
            "inputs": inputs,
            "spooling": {"max_size_bytes": 6 << 20, "retry_attempts": 2, "retry_interval_seconds": 1},
        });
        let proxy = Proxy::prepare(&receiver.url(), &config).unwrap();
        // Never well, so that batches go to retry, to the DLQ and back again.
        receiver.fault(dataset("failing"), Fault::status(500));
        receiver.fault(dataset("large"), Fault::LinesAbove(20));
        Self { receiver, proxy, ports }
    }

    /// Runs under load until the process dies at the step.
    fn die_at(&mut self, step: &str, passage: u64, stream: u16) -> Vec<Sent> {
        self.proxy.env("BYTEFREEZER_FAILPOINT", &format!("{step}:{passage}"));
        self.proxy.spawn().unwrap();
        let progress = Arc::new(Progress::default());
        let senders: Vec<_> = [(0, 800, 900), (1, 100, 100), (2, 200, 100), (3, 200, 100)]
            .into_iter()
            .map(|(n, rate, size)| {
                let stream = stream + n as u16;
                let plan = Plan { size, ..plan(self.ports[n], Shape::Json, stream, u64::MAX, rate) };
                let progress = Arc::clone(&progress);
                thread::spawn(move || load::http(&plan, "/webhook", 10, &progress).unwrap())
            })
            .collect();
        let died = until(LIMIT, step, || {
            // A person is impatient.
            let _ = self.proxy.client().post("/api/v1/dlq/retry", b"{}");
            thread::sleep(Duration::from_millis(30));
            self.proxy.exited().unwrap()
        });
        progress.stop.store(true, Relaxed);
        let sent = senders.into_iter().map(|sender| sender.join().unwrap()).collect();
        let status =
            died.unwrap_or_else(|error| panic!("{step}:{passage}: {error}: {}", events(&self.proxy)));
        assert_eq!(status.signal(), Some(6), "{step}: {}", self.proxy.log_text());
        self.proxy.kill().unwrap();
        sent
    }

    /// A last start without a crash: everything acknowledged arrives, under one name.
    fn settle(&mut self, sent: &[Sent]) {
        self.proxy.env("BYTEFREEZER_FAILPOINT", "");
        self.receiver.lift(&dataset("failing"));
        self.proxy.run().unwrap();
        let empty = || {
            let _ = self.proxy.client().post("/api/v1/dlq/retry", b"{}");
            let events = events(&self.proxy);
            ["memory", "open", "queued", "retry", "dlq"].iter().all(|place| events[place] == 0).then_some(())
        };
        // What earlier processes left is read beside the rest, so an empty spool alone says nothing.
        let all = || {
            empty()?;
            thread::sleep(Duration::from_millis(200));
            let accounts = sequence::account(sent, &self.receiver.batches()).ok()?;
            accounts.values().all(|account| account.lost == 0).then_some(())
        };
        let arrived = until(Duration::from_mins(1), "every acknowledged event", all);
        println!("{arrived:?}: {}", events(&self.proxy));
        let accounts = accounts(&self.receiver, sent);
        for (n, sent) in sent.iter().enumerate() {
            let account = &accounts[&sent.stream];
            let clean = (account.lost, account.duplicated) == (0, 0);
            assert!(clean, "incarnation {} {}: {account:?}", n / 4, DATASETS[n % 4]);
        }
        assert_eq!(events(&self.proxy)["quarantined"], 0, "{}", self.proxy.log_text());
    }
}

/// A process dies at each step of the given kinds, and the one after it at the next.
fn crash_at_steps_of(kinds: &[&str]) {
    let mut site = Site::new();
    let mut sent = Vec::new();
    for (_, steps, passages) in STEPS.iter().filter(|(kind, ..)| kinds.contains(kind)) {
        for passage in *passages {
            for step in *steps {
                println!("{}: {step}:{passage}", sent.len() / 4);
                let stream = sent.len() as u16 + 1;
                sent.extend(site.die_at(step, *passage, stream));
            }
        }
    }
    site.settle(&sent);
    let promised: u64 = sent.iter().map(Sent::promised).sum();
    println!("{promised} events were acknowledged by {} processes", sent.len() / 4);
    assert!(promised > 1000, "too few to judge by");
}

#[test]
fn w15_a_crash_at_any_step_of_append_sync_and_close() {
    crash_at_steps_of(&["names", "append", "sync", "close"]);
}

#[test]
fn w15_a_crash_at_any_step_of_checkpoint_and_removal_of_segments() {
    crash_at_steps_of(&["checkpoint", "segment", "recovery"]);
}

#[test]
fn w15_a_crash_at_any_step_of_rename_remove_and_split() {
    crash_at_steps_of(&["rename", "remove", "split"]);
}

#[test]
fn every_failpoint_of_the_spool_is_in_the_table() {
    fn read(folder: &Path, found: &mut BTreeSet<String>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                read(&path, found);
            } else {
                let text = fs::read_to_string(&path).unwrap();
                let names = text.split("failpoint!(\"").skip(1).filter_map(|rest| rest.split('"').next());
                found.extend(names.map(str::to_owned));
            }
        }
    }
    let mut found = BTreeSet::new();
    read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../proxy/src/spool"), &mut found);
    // Those of the import have a test of their own; `name` is the macro's documentation.
    found.retain(|name| !name.starts_with("import.") && name != "name");
    let listed: BTreeSet<String> =
        STEPS.iter().flat_map(|(_, steps, _)| steps.iter().map(|step| (*step).to_owned())).collect();
    assert_eq!(listed, found);
}
