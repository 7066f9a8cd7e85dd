//! `make demo` in the hands of somebody who is impatient, and when the proxy fails.
#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use std::{
    fs,
    process::Command,
    sync::{Mutex, PoisonError},
    thread,
    time::Duration,
};

use common::LIMIT;
use e2e::{peers::Peer, until};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

/// One at a time: two that start at the same moment find the same ports free.
static ONE: Mutex<()> = Mutex::new(());

/// The demo some seconds after its start, and the proxy that it runs.
fn demo() -> (Peer, Pid) {
    let demo = Peer::start(Command::new(env!("CARGO_BIN_EXE_demo")), tempfile::tempdir().unwrap()).unwrap();
    let children = format!("/proc/{0}/task/{0}/children", demo.pid());
    let proxy = until(LIMIT, "the proxy", || {
        let all = fs::read_to_string(&children).ok()?;
        // Among programs that send, which come and go.
        let is_proxy = |pid: &&str| {
            fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.starts_with("bytefreezer"))
        };
        all.split_whitespace().find(is_proxy)?.parse().ok().map(Pid::from_raw)
    })
    .unwrap();
    // Whatever is printed first, the table follows once traffic flows.
    until(LIMIT, "the table", || demo.log().contains("kernel").then_some(()))
        .unwrap_or_else(|error| panic!("{error}: {}", demo.log()));
    thread::sleep(Duration::from_secs(1));
    (demo, proxy)
}

#[test]
fn ctrl_c_ends_the_demo_early_and_cleanly_with_the_count() {
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let (mut demo, proxy) = demo();
    kill(Pid::from_raw(demo.pid() as i32), Signal::SIGINT).unwrap();
    let status = demo.wait(Duration::from_mins(1)).unwrap_or_else(|error| panic!("{error}: {}", demo.log()));
    let said = demo.log();
    assert!(status.success(), "{status}: {said}");
    let all: Vec<u64> = said
        .lines()
        .rfind(|line| line.starts_with("all "))
        .unwrap()
        .split_whitespace()
        .skip(1)
        .map(|number| number.parse().unwrap())
        .collect();
    let [sent, delivered, duplicated, lost] = all[..] else { panic!("{said}") };
    assert!(sent > 0 && delivered >= sent && (duplicated, lost) == (0, 0), "{said}");
    assert!(kill(proxy, None).is_err(), "the proxy is gone");
}

#[test]
fn the_demo_fails_when_the_proxy_does() {
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let (mut demo, proxy) = demo();
    kill(proxy, Signal::SIGKILL).unwrap();
    let status = demo.wait(Duration::from_mins(1)).unwrap_or_else(|error| panic!("{error}: {}", demo.log()));
    assert!(!status.success(), "{}", demo.log());
}
