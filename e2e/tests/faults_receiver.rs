//! What happens when the Receiver is not as it should be: the rows of docs/operations.md, "Receiver".
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use std::{
    thread,
    time::{Duration, Instant},
};

use common::{LIMIT, all_delivered, input, plan, world::World};
use e2e::{
    free_port,
    load::{self, Progress, Shape},
    process::Proxy,
    receiver::{Batch, Fault, Receiver, Scope, Settings},
    sequence, until,
};
use serde_json::json;

/// How everything gets to the Receiver once it is well again.
#[derive(Clone, Copy, PartialEq)]
enum Back {
    /// By itself.
    Alone,
    /// With the dataset's next batch.
    WithTheNext,
    /// When a person says so.
    ByHand,
}

/// A fault that lasts, and what is seen of it.
struct Row {
    what: &'static str,
    fault: Option<Fault>,
    /// Scope of the circuit, if one opens.
    circuit: Option<&'static str>,
    reason: &'static str,
    status: Option<u16>,
    /// Label of the metric of uploads.
    outcome: &'static str,
    /// Where the events are.
    place: &'static str,
    back: Back,
}

#[rustfmt::skip]
fn table() -> Vec<Row> {
    let row = |what, fault, circuit, reason, status, outcome, place, back| Row {
        what, fault, circuit, reason, status, outcome, place, back,
    };
    let status = |code| Some(Fault::status(code));
    let (receiver, tenant, dataset) = (Some("receiver"), Some("tenant"), Some("dataset"));
    vec![
        row("refused", None, receiver, "network", None, "network", "retry", Back::Alone),
        row("hanging", Some(Fault::Hang), receiver, "timeout", None, "timeout", "retry", Back::Alone),
        row("reset mid-body", Some(Fault::Reset(10)), receiver, "network", None, "network", "retry", Back::Alone),
        row("301", Some(Fault::redirect(301, "http://127.0.0.1:9/")), None, "redirect", Some(301), "3xx", "dlq", Back::WithTheNext),
        row("400", status(400), None, "rejected", Some(400), "4xx", "dlq", Back::ByHand),
        row("401", status(401), tenant, "unauthorized", Some(401), "4xx", "dlq", Back::Alone),
        row("403", status(403), tenant, "forbidden", Some(403), "4xx", "dlq", Back::Alone),
        row("404", status(404), dataset, "not_found", Some(404), "4xx", "dlq", Back::Alone),
        row("408", status(408), None, "timeout", Some(408), "4xx", "dlq", Back::WithTheNext),
        row("410", status(410), tenant, "gone", Some(410), "4xx", "dlq", Back::Alone),
        row("422", status(422), None, "rejected", Some(422), "4xx", "dlq", Back::ByHand),
        row("429", status(429), receiver, "too_many_requests", Some(429), "4xx", "retry", Back::Alone),
        row("500", status(500), None, "server", Some(500), "5xx", "dlq", Back::WithTheNext),
        row("503", status(503), receiver, "server", Some(503), "5xx", "retry", Back::Alone),
    ]
}

fn check(row: &Row) {
    let what = row.what;
    let world = World::start(&json!({
        "receiver": {"timeout_seconds": 1}, "spooling": {"retry_attempts": 2},
    }));
    match &row.fault {
        None => world.receiver.down(),
        Some(fault) => world.receiver.fault(Scope::All, fault.clone()),
    }
    let mut sent = vec![world.send_all(1, 20)];
    world.wait_place(row.place, 20);
    world.wait_metric("uploads_total", &[("outcome", row.outcome)], 1.0);
    assert_eq!(world.proxy.get("/readyz").unwrap().status, 200, "{what}: data is taken all the same");
    if let Some(scope) = row.circuit {
        world.wait_problem(&format!("delivery to {scope}"));
        let circuit = world.status()["circuits"][0].clone();
        assert_eq!((&circuit["scope"], &circuit["reason"]), (&json!(scope), &json!(row.reason)), "{what}");
        assert_eq!(circuit["status"].as_u64(), row.status.map(u64::from), "{what}: {circuit}");
        assert!(circuit["next_probe"].is_string() || circuit["message"].is_string(), "{what}: {circuit}");
        assert!(world.metric("circuit_open", &[("scope", scope)]) > 0.5, "{what}");
        world.wait_log("WARN", "delivery does not work; batches are kept");
    } else {
        assert_eq!(world.status()["circuits"], json!([]), "{what}");
    }
    if row.place == "dlq" {
        let entry = world.proxy.json("/api/v1/dlq/files").unwrap()["files"][0].clone();
        assert_eq!(entry["http_status"].as_u64(), row.status.map(u64::from), "{what}: {entry}");
        assert!(world.metric("upload_dlq_moves_total", &[("reason", row.reason)]) > 0.5, "{what}");
    }
    if row.back == Back::ByHand {
        world.wait_log("WARN", "it stays in the DLQ for a person");
    }
    world.receiver.lift(&Scope::All);
    world.receiver.up().unwrap();
    match row.back {
        Back::Alone => {}
        Back::WithTheNext => sent.push(world.send_all(2, 1)),
        Back::ByHand => {
            assert_eq!(world.proxy.client().post("/api/v1/dlq/retry", b"{}").unwrap().status, 200);
        }
    }
    world.all_arrives(&sent);
    world.wait_place("delivered", sent.iter().map(sequence::Sent::promised).sum());
    assert_eq!(world.place("dlq"), 0, "{what}");
}

#[test]
fn w7_w8_every_answer_is_shown_keeps_everything_and_passes() {
    for rows in table().chunks(5) {
        thread::scope(|scope| {
            for row in rows {
                scope.spawn(|| check(row));
            }
        });
    }
}

#[test]
fn a_slow_200_is_a_200() {
    let world = World::start(&json!({}));
    world.receiver.fault(Scope::All, Fault::Slow(Duration::from_millis(1500)));
    let sent = world.send_all(1, 20);
    world.all_arrives(&[sent]);
    world.wait_metric("uploads_total", &[("outcome", "2xx")], 1.0);
    world.wait_metric("upload_duration_seconds_sum", &[], 1.5);
    assert!(world.receiver.batches().iter().all(|batch| batch.uploads == 1));
    assert_eq!(world.status()["circuits"], json!([]));
}

#[test]
fn h4_retry_after_of_429_is_kept_to() {
    let world = World::start(&json!({}));
    world.receiver.fault_times(Scope::All, Fault::retry_after(429, 4), 1);
    let sent = world.send_all(1, 20);
    world.wait_problem("429");
    let circuit = world.status()["circuits"][0].clone();
    assert_eq!((&circuit["reason"], &circuit["diverts"]), (&json!("too_many_requests"), &json!(false)));
    world.all_arrives(&[sent]);
    let times: Vec<Instant> = world.receiver.requests().iter().map(|request| request.at).collect();
    assert!(times.len() >= 2 && times[1] - times[0] >= Duration::from_millis(3900), "{times:?}");
}

#[test]
fn w22_413_cuts_the_batch_and_a_single_line_stays_for_a_person() {
    let world = World::start(&json!({}));
    world.receiver.fault_times(Scope::All, Fault::status(413), 1);
    let mut sent = vec![world.send_all(1, 20)];
    world.all_arrives(&sent);
    world.wait_log("INFO", "too large for the Receiver: cut in two");
    assert!(world.receiver.batches().len() >= 2);
    world.receiver.fault(Scope::All, Fault::status(413));
    sent.push(world.send_all(2, 1));
    world.wait_place("dlq", 1);
    let entry = world.proxy.json("/api/v1/dlq/files").unwrap()["files"][0].clone();
    assert_eq!(entry["http_status"], 413, "{entry}");
    assert!(world.metric("upload_dlq_moves_total", &[("reason", "too_large")]) > 0.5);
    world.receiver.lift(&Scope::All);
    assert_eq!(world.proxy.client().post("/api/v1/dlq/retry", b"{}").unwrap().status, 200);
    world.all_arrives(&sent);
}

#[test]
fn w21_an_endless_answer_costs_neither_memory_nor_time() {
    let world = World::start(&json!({}));
    let before = world.proxy.resident().unwrap();
    world.receiver.fault(Scope::All, Fault::Endless(200));
    let sent = world.send_all(1, 20);
    world.all_arrives(&[sent]);
    world.wait_place("delivered", 20);
    let after = world.proxy.resident().unwrap();
    assert!(after < before + (16 << 20), "{before} -> {after}");
    assert!(
        world.receiver.batches().iter().all(|batch| batch.uploads == 1),
        "{:?}",
        world.receiver.requests()
    );
}

#[test]
fn a_lost_answer_means_the_same_name_again() {
    let world = World::start(&json!({}));
    world.receiver.fault_times(Scope::All, Fault::Unanswered, 1);
    let sent = world.send_all(1, 20);
    world.wait_place("delivered", 20);
    world.all_arrives(&[sent]);
    assert_eq!(world.receiver.batches().iter().map(|batch| batch.uploads).max(), Some(2));
    world.wait_metric("uploads_total", &[("outcome", "network")], 1.0);
}

/// For each batch of a stream that was sent at `rate` since `start`: how long after its first event it was stored.
fn latencies(batches: &[Batch], stream: u16, start: Instant, rate: u64) -> Vec<Duration> {
    let mut all: Vec<Duration> = batches
        .iter()
        .filter_map(|batch| {
            let raw = batch.inflate().unwrap();
            let first =
                sequence::find(&raw).filter(|(of, _)| *of == stream).map(|(_, number)| number).min()?;
            let sent = start + Duration::from_micros(first * 1_000_000 / rate);
            Some(batch.first.saturating_duration_since(sent))
        })
        .collect();
    all.sort();
    all
}

/// An hour of refusal, in attempts and probes: these are the same after some seconds, since distances are bounded.
#[test]
fn w25_one_tenant_of_three_refused_for_long_delays_nobody_else() {
    const RATE: u64 = 200;
    let receiver = Receiver::start(Settings::default()).unwrap();
    let ports = [(); 3].map(|()| free_port().unwrap());
    let tenants = ["refused", "busy", "quiet"];
    let inputs: Vec<_> = tenants
        .iter()
        .zip(ports)
        .map(|(tenant, port)| {
            input("http", "web", port, &json!({"tenant_id": tenant, "data_hint": "ndjson"}))
        })
        .collect();
    let config = json!({
        "inputs": inputs, "receiver": {"timeout_seconds": 1}, "batching": {"max_lines": 100},
        "spooling": {"retry_attempts": 2},
    });
    let proxy = Proxy::start(&receiver.url(), &config).unwrap();
    // First without the fault, then with it, on whatever machine this is.
    let mut medians = Vec::new();
    let mut sent = Vec::new();
    let refused = Scope::Tenant("refused".to_owned());
    for (phase, fault) in [None, Some(Fault::status(403)), Some(Fault::Hang)].into_iter().enumerate() {
        receiver.lift(&refused);
        if let Some(fault) = fault {
            receiver.fault(refused.clone(), fault);
        }
        let start = Instant::now();
        let senders: Vec<_> = ports
            .into_iter()
            .enumerate()
            .map(|(n, port)| {
                let stream = plan(port, Shape::Json, (10 * phase + n) as u16, RATE * 6, RATE);
                thread::spawn(move || load::http(&stream, "/webhook", 2, &Progress::default()).unwrap())
            })
            .collect();
        let mut now: Vec<_> = senders.into_iter().map(|sender| sender.join().unwrap()).collect();
        assert!(now.iter().all(|sent| sent.promised() == RATE * 6), "everybody is served");
        all_delivered(&receiver, &now[1..], LIMIT);
        let batches = receiver.batches();
        let medians_now = [1, 2].map(|n| {
            let all = latencies(&batches, (10 * phase + n) as u16, start, RATE);
            all[all.len() / 2]
        });
        println!("phase {phase}: median latencies {medians_now:?}");
        medians.push(medians_now.into_iter().max().unwrap());
        if phase > 0 {
            let scope = proxy.json("/api/v1/status").unwrap()["circuits"][0]["tenant_id"].clone();
            assert_eq!(scope, "refused", "only that tenant's circuit is open");
        }
        sent.append(&mut now);
    }
    let most = medians[0] + Duration::from_secs(1);
    assert!(medians[1] < most && medians[2] < most, "{medians:?}");
    receiver.lift(&refused);
    // A probe that hangs takes its time before the next one.
    all_delivered(&receiver, &sent, Duration::from_mins(3));
    until(LIMIT, "an empty spool", || {
        let events = common::events(&proxy);
        ["queued", "retry", "dlq"].iter().all(|place| events[place] == 0).then_some(())
    })
    .unwrap();
}
