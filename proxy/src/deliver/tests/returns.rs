//! What comes back from the DLQ, and when: never so much that the door shuts for all.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use super::{
    receiver::{Act, FakeReceiver},
    site::{Plan, taken, until},
};
use crate::spool::State;

/// W-8: a tenant's DLQ holds more than the spool may; its token is mended.
#[tokio::test(flavor = "multi_thread")]
async fn w8_a_dlq_larger_than_the_spool_returns_without_filling_it() {
    const LIMIT: u64 = 4 << 20;
    let mended = Arc::new(AtomicBool::new(false));
    let switch = Arc::clone(&mended);
    let fake = FakeReceiver::new(move |request| match request.key() {
        "a/one" if !switch.load(Relaxed) => Act::say("401 Unauthorized", ""),
        "a/one" => Act::Slow(Duration::from_millis(50)),
        _ => Act::ok(),
    })
    .await;
    let mut plan = Plan::new(&fake.url);
    plan.spooling.max_size_bytes = LIMIT;
    plan.batching.max_bytes = 400_000;
    let site = plan.start();
    let mut lines = 0;
    while site.spool.usage().dlq_bytes < LIMIT + LIMIT / 2 {
        site.send_padded("a/one", 100, 4000).await;
        lines += 100;
        until("the batch is in the DLQ", || site.events().dlq == lines).await;
    }
    let largest = site.entries("a/one", State::Dlq).iter().map(|entry| entry.file_bytes).max().unwrap();
    mended.store(true, Relaxed);
    let mut most = 0;
    until("all lines delivered", || {
        let usage = site.spool.usage();
        most = most.max(usage.batch_bytes);
        assert!(!usage.full.unacknowledged, "{usage:?}");
        site.events().delivered >= lines
    })
    .await;
    assert!(most <= LIMIT / 2 + largest, "{most} bytes at a time, {largest} in one batch");
    site.send("b/one", 1).await;
    site.delivered(lines + 1).await;
    assert_eq!(taken(&fake, |request| request.key() == "b/one").len(), 1);
}

/// The entries of a refused tenant are deleted: nothing is left that could close its circuit.
#[tokio::test(flavor = "multi_thread")]
async fn a_circuit_closes_when_a_person_deletes_what_it_is_about() {
    let fake = FakeReceiver::new(|_| Act::say("410 Gone", "Tenant not found or inactive")).await;
    let site = Plan::new(&fake.url).start();
    site.send("a/one", 1).await;
    site.send("a/two", 1).await;
    site.in_dlq(2).await;
    site.circuit("tenant", "gone").await;
    for name in ["a/one", "a/two"] {
        for entry in site.entries(name, State::Dlq) {
            site.spool.delete(entry.stamp).await.unwrap();
        }
    }
    until("no circuit", || site.deliverer.circuits().is_empty()).await;
}
