//! What systemd is told: `Type=notify` and `WatchdogSec=` of the unit rely on it.
#![allow(clippy::unwrap_used)]

mod common;

use std::{os::unix::net::UnixDatagram, time::Duration};

use common::{LIMIT, input};
use e2e::{free_port, peers, process::Proxy, until};
use nix::sys::signal::Signal;
use serde_json::json;

#[test]
fn systemd_is_told_of_readiness_life_and_the_end() {
    let port = free_port().unwrap();
    let config = json!({
        "server": {"shutdown_delay_seconds": 1}, "inputs": [input("tcp", "jobs", port, &json!({}))],
    });
    let mut proxy = Proxy::prepare("http://127.0.0.1:1", &config).unwrap();
    let path = proxy.folder().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(LIMIT)).unwrap();
    let next = || {
        let mut buffer = [0; 256];
        let length = socket.recv(&mut buffer).unwrap();
        String::from_utf8_lossy(&buffer[..length]).trim().to_owned()
    };
    proxy.env("NOTIFY_SOCKET", path.to_str().unwrap());
    proxy.env("WATCHDOG_USEC", "400000");
    proxy.spawn().unwrap();
    assert_eq!(next(), "READY=1");
    assert!(peers::accepts(([127, 0, 0, 1], port).into()), "ready means listening");
    for _ in 0..3 {
        assert_eq!(next(), "WATCHDOG=1");
    }
    proxy.signal(Signal::SIGTERM).unwrap();
    let end = until(LIMIT, "the end", || Some(next()).filter(|message| message != "WATCHDOG=1")).unwrap();
    assert_eq!(end, "STOPPING=1");
    assert!(proxy.wait_exit(Duration::from_secs(30)).unwrap().success());
}
