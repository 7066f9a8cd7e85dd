//! A defect of the program in a part without which it is of no use: the rows of docs/operations.md, "Defects". The places
//! are marked in the code by `failpoint!`, which only builds with debug assertions have.
#![cfg(debug_assertions)]
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use std::{
    net::{TcpStream, UdpSocket},
    os::unix::process::ExitStatusExt,
    process::ExitStatus,
    sync::{Arc, atomic::Ordering::Relaxed},
    thread,
    time::Duration,
};

use common::{LIMIT, all_delivered, input, plan};
use e2e::{
    free_port,
    load::{self, Plan, Progress, Shape},
    process::Proxy,
    receiver::{Receiver, Settings},
    until,
};
use serde_json::json;

/// Events that are acknowledged before the configuration changes.
const SOME: u64 = 200;

/// Runs under load, with datagrams, connections and a change of the inputs, until the process ends at the step. Whatever it has
/// acknowledged the next one delivers. Returns how it ended, and what it said.
fn end_at(step: &str) -> (ExitStatus, String) {
    let receiver = Receiver::start(Settings::default()).unwrap();
    let [web, datagrams, later] = [(); 3].map(|()| free_port().unwrap());
    let quick = json!({"data_hint": "ndjson", "batching": {"timeout_seconds": 1, "max_lines": 50}});
    let mut inputs =
        vec![input("http", "web", web, &quick), input("udp", "datagrams", datagrams, &json!({}))];
    let mut proxy = Proxy::prepare(&receiver.url(), &json!({"inputs": inputs})).unwrap();
    proxy.env("BYTEFREEZER_FAILPOINT", step);
    proxy.spawn().unwrap();

    let progress = Arc::new(Progress::default());
    let (load, counted) = (Plan { ..plan(web, Shape::Json, 1, u64::MAX, 1000) }, Arc::clone(&progress));
    let sender = thread::spawn(move || load::http(&load, "/webhook", 10, &counted).unwrap());
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    inputs.push(input("http", "later", later, &quick));
    let mut change = Some(json!({"inputs": inputs}));
    let ended = until(LIMIT, step, || {
        let _ = socket.send_to(b"a datagram", ("127.0.0.1", datagrams));
        drop(TcpStream::connect(("127.0.0.1", web)));
        if progress.sent.load(Relaxed) > SOME
            && let Some(change) = change.take()
        {
            let _ = proxy.reconfigure(&change);
        }
        thread::sleep(Duration::from_millis(30));
        proxy.exited().unwrap()
    });
    progress.stop.store(true, Relaxed);
    let sent = sender.join().unwrap();
    let said = proxy.log_text();
    let status = ended.unwrap_or_else(|error| panic!("{step}: {error}: {said}"));
    proxy.kill().unwrap();

    proxy.env("BYTEFREEZER_FAILPOINT", "");
    proxy.run().unwrap();
    assert!(sent.promised() > 0, "{step}: nothing was acknowledged");
    all_delivered(&receiver, &[sent], LIMIT);
    (status, said)
}

#[test]
fn a_part_that_panics_ends_the_process_in_order_and_with_a_failure() {
    for step in ["deliver.turn:20", "inputs.accept:3", "inputs.receive:5", "inputs.apply:2"] {
        let (status, said) = end_at(&format!("{step}:panic"));
        assert_eq!(status.code(), Some(1), "{step}: {status}: {said}");
        assert!(said.contains("met a defect and ended"), "{step}: {said}");
    }
}

#[test]
fn a_thread_of_the_spool_that_panics_ends_the_process_at_once() {
    for step in ["log.append:40", "file.write:8", "log.acknowledged:20"] {
        let (status, said) = end_at(&format!("{step}:panic"));
        assert_eq!(status.signal(), Some(6), "{step}: {status}: {said}");
        assert!(said.contains("the process ends, and the next start goes on"), "{step}: {said}");
    }
}
