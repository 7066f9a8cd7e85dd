//! A Receiver and a proxy with an input of every type.

use e2e::{
    free_port,
    process::{Proxy, merge},
    receiver::{Receiver, Settings},
};
use serde_json::{Value, json};

use super::input;

/// Where each of them listens on loopback.
pub struct Ports {
    /// `edge`, over UDP and TCP.
    pub syslog: u16,
    /// `events` over UDP, passed through.
    pub ndjson: u16,
    /// `raw-events` over UDP, as they come.
    pub raw: u16,
    /// `jobs` over TCP.
    pub tcp: u16,
    /// `hooks`.
    pub http: u16,
}

/// `more` is laid over the settings of `hooks`.
pub fn everything(more: &Value) -> (Receiver, Proxy, Ports) {
    let receiver = Receiver::start(Settings::default()).unwrap();
    let [syslog, ndjson, raw, tcp, http] = [(); 5].map(|()| free_port().unwrap());
    let hint = json!({"data_hint": "ndjson"});
    let mut hooks = hint.clone();
    merge(&mut hooks, more);
    let config = json!({"inputs": [
        input("syslog", "edge", syslog, &json!({"protocol": ["udp", "tcp"], "max_line_size": 65536})),
        input("udp", "events", ndjson, &hint),
        input("udp", "raw-events", raw, &json!({})),
        input("tcp", "jobs", tcp, &json!({"data_hint": "ndjson", "max_line_size": 65536})),
        input("http", "hooks", http, &hooks),
    ]});
    let proxy = Proxy::start(&receiver.url(), &config).unwrap();
    (receiver, proxy, Ports { syslog, ndjson, raw, tcp, http })
}
