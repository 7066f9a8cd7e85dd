//! Every setting of the process by an effect seen from outside.
//! [`table`] holds them to the generated reference.
#![allow(clippy::unwrap_used, clippy::panic)]

#[path = "../common/mod.rs"]
mod common;
mod delivery;
mod inputs;
mod process;
mod rack;
mod spool;
mod streams;
mod table;
mod types;

use std::{
    fs,
    net::UdpSocket,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use common::{LIMIT, all_delivered, certificate, events, input, input_status, plan, udp_inodes};
use e2e::{
    free_port,
    http::Client,
    load::{self, Progress, Shape},
    peers,
    process::{Proxy, merge},
    receiver::{Fault, Receiver, Scope, Settings},
    sequence::Sent,
    until,
};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

struct World {
    receiver: Receiver,
    proxy: Proxy,
    port: u16,
}

/// One HTTP input called `hooks` and `config` over that.
fn world(config: &Value) -> World {
    let receiver = Receiver::start(Settings::default()).unwrap();
    let port = free_port().unwrap();
    let mut all = json!({"inputs": [input("http", "hooks", port, &json!({"data_hint": "ndjson"}))]});
    merge(&mut all, config);
    let proxy = Proxy::start(&receiver.url(), &all).unwrap();
    World { receiver, proxy, port }
}

impl World {
    fn send(&self, count: u64) -> Sent {
        let plan = plan(self.port, Shape::Json, 1, count, 0);
        let sent = load::http(&plan, "/webhook", 50, &Progress::default()).unwrap();
        assert_eq!(sent.promised(), count, "{}", self.proxy.log_text());
        sent
    }

    fn event(&self, name: &str) -> u64 {
        events(&self.proxy)[name].as_u64().unwrap()
    }

    fn wait_event(&self, name: &str, count: u64) {
        until(LIMIT, &format!("{count} events in {name}"), || (self.event(name) >= count).then_some(()))
            .unwrap_or_else(|error| panic!("{error}: {}\n{}", events(&self.proxy), self.proxy.log_text()));
    }
}

/// A body that does not compress.
fn noise(bytes: usize) -> Vec<u8> {
    let mut random = 0x2545_f491_4f6c_dd1du64;
    let mut body = Vec::with_capacity(bytes + 100);
    while body.len() < bytes {
        for _ in 0..60 {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            body.extend_from_slice(format!("{random:016x}").as_bytes());
        }
        body.push(b'\n');
    }
    body
}

fn lines_of(body: &[u8]) -> u64 {
    body.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).count() as u64
}
