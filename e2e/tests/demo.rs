//! `make demo` in the hands of somebody who is impatient, and when the proxy fails.
#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::Mutex,
    thread,
    time::Duration,
};

use common::LIMIT;
use e2e::{peers::Peer, until};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

/// The demo some seconds after its start, and the proxy that it runs.
fn demo() -> (Peer, Pid) {
    // The next one looks for free ports only when this one's are taken.
    static STARTING: Mutex<()> = Mutex::new(());
    let _one = STARTING.lock();
    let demo = Peer::start(Command::new(env!("CARGO_BIN_EXE_demo")), tempfile::tempdir().unwrap()).unwrap();
    let children = format!("/proc/{0}/task/{0}/children", demo.pid());
    // Another child, before it, brings the program up to date.
    let is_proxy = |pid: &&str| {
        fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.starts_with("bytefreezer"))
    };
    let proxy = until(LIMIT, "the proxy", || {
        let pids = fs::read_to_string(&children).ok()?;
        pids.split_whitespace().find(is_proxy)?.parse().ok().map(Pid::from_raw)
    })
    .unwrap();
    // Whatever is printed first, the table follows once traffic flows.
    until(LIMIT, "the table", || demo.log().contains("kernel").then_some(()))
        .unwrap_or_else(|error| panic!("{error}: {}", demo.log()));
    thread::sleep(Duration::from_secs(1));
    (demo, proxy)
}

/// Events sent, delivered, duplicated and lost by the last count.
fn total(said: &str) -> [u64; 4] {
    let line = said.lines().rfind(|line| line.starts_with("all ")).unwrap_or_else(|| panic!("{said}"));
    let numbers: Vec<u64> = line.split_whitespace().skip(1).map(|number| number.parse().unwrap()).collect();
    numbers.try_into().unwrap()
}

/// Files of batches below a folder.
fn batches(folder: &Path) -> Vec<PathBuf> {
    let Ok(listed) = fs::read_dir(folder) else { return Vec::new() };
    let paths = listed.map(|entry| entry.unwrap().path());
    paths
        .flat_map(|path| if path.is_dir() { batches(&path) } else { vec![path] })
        .filter(|path| path.extension().is_some_and(|end| end == "gz"))
        .collect()
}

#[test]
fn ctrl_c_ends_the_demo_early_and_cleanly_with_the_count() {
    let (mut demo, proxy) = demo();
    kill(Pid::from_raw(demo.pid() as i32), Signal::SIGINT).unwrap();
    let status = demo.wait(Duration::from_mins(1)).unwrap_or_else(|error| panic!("{error}: {}", demo.log()));
    let said = demo.log();
    assert!(status.success(), "{status}: {said}");
    let [sent, delivered, duplicated, lost] = total(&said);
    assert!(sent > 0 && delivered >= sent && (duplicated, lost) == (0, 0), "{said}");
    assert!(kill(proxy, None).is_err(), "the proxy is gone");
}

#[test]
fn the_demo_fails_when_the_proxy_does() {
    let (mut demo, proxy) = demo();
    kill(proxy, Signal::SIGKILL).unwrap();
    let status = demo.wait(Duration::from_mins(1)).unwrap_or_else(|error| panic!("{error}: {}", demo.log()));
    assert!(!status.success(), "{}", demo.log());
}

/// Somebody removes batches during the outage.
#[test]
fn the_demo_fails_when_an_event_is_lost() {
    let (mut demo, _) = demo();
    let said = demo.log();
    let spool = said.lines().find_map(|line| line.strip_prefix("spool")).unwrap().trim();
    let waiting = Path::new(spool).join(".instance-0/batches");
    let files = until(LIMIT, "batches that wait for the Receiver", || {
        let down = demo.log().lines().next_back()?.contains("DOWN");
        Some(batches(&waiting)).filter(|files| down && files.len() >= 3)
    })
    .unwrap_or_else(|error| panic!("{error}: {}", demo.log()));
    for file in &files {
        // One that is gone by itself was delivered just before the outage.
        let _ = fs::remove_file(file);
    }
    kill(Pid::from_raw(demo.pid() as i32), Signal::SIGINT).unwrap();
    let status = demo.wait(Duration::from_mins(1)).unwrap_or_else(|error| panic!("{error}: {}", demo.log()));
    let said = demo.log();
    let [sent, delivered, _, lost] = total(&said);
    assert!(lost > 0 && sent == delivered + lost, "{said}");
    assert_eq!(status.code(), Some(1), "{said}");
}
