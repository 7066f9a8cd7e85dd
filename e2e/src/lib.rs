//! Test parts: fake Receiver, load generator, process harness.
//!
//! | module | job |
//! |---|---|
//! | [`receiver`] | a real HTTP server that answers as the ByteFreezer Receiver does, checks what it gets, and misbehaves on request |
//! | [`load`] | senders at a fixed rate whose events carry a number |
//! | [`exporters`] | the same with flow records, from many addresses |
//! | [`datagrams`] | what exporters send, made beforehand |
//! | [`flows`] | datagrams of exporters and agents that carry a text |
//! | [`sequence`] | which numbers arrived, how often and under which names |
//! | [`http`] | a small blocking HTTP/1.1 client |
//! | [`peers`] | other people's programs: `logger`, rsyslog, syslog-ng, curl as senders, and what starts any other |
//! | [`process`] | starts, watches, signals and kills the real proxy binary |
//! | [`shim`] | disk errors and a clock that steps, in the real binary |
//! | `k8s` | a real cluster: namespaces of tests, objects, conditions (feature `k8s`) |
//!
//! All of it is plain blocking code for its user, so that a test reads from top to bottom.

use std::{
    net::{Ipv4Addr, TcpListener, UdpSocket},
    sync::atomic::{AtomicU16, Ordering::Relaxed},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};

pub mod datagrams;
pub mod exporters;
pub mod flows;
pub mod http;
#[cfg(feature = "k8s")]
pub mod k8s;
pub mod load;
pub mod peers;
pub mod process;
pub mod receiver;
pub mod sequence;
pub mod shim;

/// Waits for a condition; the error names `what` did not come.
pub fn until<T>(limit: Duration, what: &str, mut condition: impl FnMut() -> Option<T>) -> Result<T> {
    let end = Instant::now() + limit;
    loop {
        if let Some(value) = condition() {
            return Ok(value);
        }
        if Instant::now() >= end {
            bail!("waited {limit:?} in vain for: {what}");
        }
        thread::sleep(Duration::from_millis(10));
    }
}

/// A port that nobody holds over TCP or UDP, below the range from which the system gives out source ports, so that
/// nobody takes it while its owner is down.
pub fn free_port() -> Result<u16> {
    const FIRST: u16 = 20000;
    const COUNT: u16 = 12000;
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let start = (std::process::id() % 397) as u16 * 30;
    for _ in 0..COUNT {
        let port = FIRST + start.wrapping_add(NEXT.fetch_add(1, Relaxed)) % COUNT;
        let any = (Ipv4Addr::UNSPECIFIED, port);
        if TcpListener::bind(any).is_ok() && UdpSocket::bind(any).is_ok() {
            return Ok(port);
        }
    }
    bail!("no free port between {FIRST} and {}", FIRST + COUNT)
}
