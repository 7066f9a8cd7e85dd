//! What is measured as events a second.

use e2e::load::Shape;
use serde_json::{Value, json};

use crate::{contestant::Kind, run::Wire};

/// Bytes of an event.
pub const SIZE: usize = 256;
/// The two that the others are compared with.
pub const NULL: &str = "null receiver, `recvmmsg` and nothing else";
/// The peer that does the same job, but for gzip and sync.
pub const PEER: &str = "syslog-ng `http()`, reliable disk buffer; no gzip, no sync";
/// The load that everything is judged by.
pub const MAIN: &str = "proxy, syslog UDP: parsed, gzip, synced, uploaded";

/// How a case is measured.
#[derive(Debug, Clone, Copy)]
pub enum How {
    /// The highest lossless rate, looked for from this one on.
    Search(u64),
    /// What this rate costs.
    At(u64),
    /// Clients that wait for their answers, over so many datasets.
    Closed {
        /// Number of datasets.
        datasets: usize,
    },
    /// `cp` and a sync of a file of such events.
    Copy,
}

/// One line of the table.
pub struct Case {
    /// What.
    pub name: &'static str,
    /// Who.
    pub kind: Kind,
    /// How events come.
    pub wire: Wire,
    /// How it is measured.
    pub how: How,
    /// Not the proxy: one confirming run is enough for comparison.
    pub peer: bool,
}

/// All of them.
pub fn all() -> Vec<Case> {
    let udp = Wire::Udp(Shape::Rfc3164);
    let peer = |name, kind, how| Case { name, kind, wire: udp, how, peer: true };
    let case = |name, kind, wire, how| Case { name, kind, wire, how, peer: false };
    vec![
        peer("`cp` of the events as a file, and `sync`", Kind::Null, How::Copy),
        peer(NULL, Kind::Null, How::Search(400_000)),
        peer("syslog-ng to a file: far less work", Kind::SyslogNgFile, How::Search(100_000)),
        peer("rsyslog to a file: far less work", Kind::RsyslogFile, How::Search(100_000)),
        Case { peer: false, ..peer(PEER, Kind::SyslogNgHttp, How::Search(20_000)) },
        case(MAIN, syslog("udp", &json!({})), udp, How::Search(250_000)),
        case("the same at 100 000/s, level 1 pinned", pinned(1), udp, How::At(100_000)),
        case("the same at 100 000/s, level 6 pinned", pinned(6), udp, How::At(100_000)),
        case(
            "proxy, UDP raw text, same path",
            proxy("udp", &json!({"data_format": "text"}), &json!({})),
            Wire::Udp(Shape::Text),
            How::Search(250_000),
        ),
        case(
            "proxy, syslog TCP, 1 connection",
            syslog("tcp", &json!({})),
            Wire::Tcp(1),
            How::Search(200_000),
        ),
        case(
            "proxy, syslog TCP, 8 connections",
            syslog("tcp", &json!({})),
            Wire::Tcp(8),
            How::Search(200_000),
        ),
        case(
            "proxy, HTTP, 1 event a request, durable 200, 64 clients",
            webhooks(1),
            Wire::Http(64, 1),
            How::Closed { datasets: 1 },
        ),
        case(
            "the same spread over 1000 datasets",
            webhooks(1000),
            Wire::Http(64, 1),
            How::Closed { datasets: 1000 },
        ),
        case(
            "proxy, HTTP, 1 MiB NDJSON bodies, durable 200, 4 clients",
            webhooks(1),
            Wire::Http(4, 4096),
            How::Closed { datasets: 1 },
        ),
        case("the same, 1 client", webhooks(1), Wire::Http(1, 4096), How::Closed { datasets: 1 }),
    ]
}

/// The proxy with one input of a kind on `{port}`.
pub fn proxy(kind: &str, config: &Value, batching: &Value) -> Kind {
    let mut input = json!({"port": "{port}", "host": "127.0.0.1"});
    e2e::process::merge(&mut input, config);
    inputs(&json!([{"type": kind, "name": "web", "config": input}]), batching)
}

fn syslog(protocol: &str, batching: &Value) -> Kind {
    proxy("syslog", &json!({"protocol": protocol}), batching)
}

fn pinned(level: u32) -> Kind {
    syslog("udp", &json!({"compression_level": level, "compression_adaptive": false}))
}

/// After so long [`at_rest`] closes a batch.
pub const REST_SECONDS: u64 = 5;

/// Few events, compressed as well as by default.
pub fn at_rest() -> Kind {
    let batching =
        json!({"compression_level": 6, "compression_adaptive": false, "timeout_seconds": REST_SECONDS});
    syslog("udp", &batching)
}

fn webhooks(datasets: usize) -> Kind {
    inputs(&webhook_inputs(&json!("{port}"), datasets), &json!({}))
}

/// HTTP inputs on the paths `/d0`, `/d1`, ... of one port.
pub fn webhook_inputs(port: &Value, datasets: usize) -> Value {
    let input = |n: usize| {
        let config = json!({"host": "127.0.0.1", "port": port, "path": format!("/d{n}"), "data_hint": "ndjson",
            "max_payload_size": 4_194_304, "max_lines_per_request": 100_000});
        json!({"type": "http", "name": format!("web-{n}"), "config": config})
    };
    (0..datasets).map(input).collect()
}

fn inputs(inputs: &Value, over: &Value) -> Kind {
    let mut batching = json!({"timeout_seconds": 1, "max_bytes": 1_048_576});
    e2e::process::merge(&mut batching, over);
    Kind::Proxy(json!({"batching": batching, "inputs": inputs, "logging": {"level": "warn"}}))
}
