//! What several test files use.
#![allow(dead_code, clippy::unwrap_used, clippy::panic)]

pub mod everything;
pub mod world;

use std::{
    collections::BTreeMap,
    fs,
    io::Write,
    net::SocketAddr,
    path::Path,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use e2e::{
    load::{Plan, Shape},
    process::Proxy,
    receiver::Receiver,
    sequence::{self, Account, Sent},
};
use serde_json::{Value, json};

/// How long a test waits for something that should come soon.
pub const LIMIT: Duration = Duration::from_secs(30);

/// An input of a type on loopback.
pub fn input(kind: &str, name: &str, port: u16, more: &Value) -> Value {
    let mut config = json!({"dataset_id": name, "host": "127.0.0.1", "port": port});
    e2e::process::merge(&mut config, more);
    json!({"type": kind, "name": name, "config": config})
}

/// A stream of numbered events to a port on loopback.
pub fn plan(port: u16, shape: Shape, stream: u16, count: u64, rate: u64) -> Plan {
    Plan { target: SocketAddr::from(([127, 0, 0, 1], port)), shape, stream, count, rate, size: 200 }
}

/// The account of each stream, with no promise broken on the way.
pub fn accounts(receiver: &Receiver, sent: &[Sent]) -> BTreeMap<u16, Account> {
    assert_eq!(receiver.violations(), [""; 0]);
    sequence::account(sent, &receiver.batches()).unwrap()
}

/// Waits until every promised event is stored, then asserts that nothing is lost or twice under two names.
pub fn all_delivered(receiver: &Receiver, sent: &[Sent], limit: Duration) {
    let complete = || {
        let accounts = sequence::account(sent, &receiver.batches()).ok()?;
        accounts.values().all(|account| account.lost == 0).then_some(())
    };
    let _ = e2e::until(limit, "every promised event", complete);
    for (stream, account) in accounts(receiver, sent) {
        assert_eq!((account.lost, account.duplicated), (0, 0), "stream {stream}: {account:?}");
    }
}

/// `events` of the status, and that the identity holds in it.
pub fn events(proxy: &Proxy) -> Value {
    let events = proxy.json("/api/v1/status").unwrap()["events"].clone();
    let of = |name: &str| events[name].as_u64().unwrap_or_else(|| panic!("no {name} in {events}"));
    let places =
        ["memory", "open", "queued", "retry", "dlq", "delivered", "evicted", "deleted", "quarantined"]
            .map(of);
    assert_eq!(of("accepted") + of("imported"), places.iter().sum::<u64>(), "{events}");
    assert_eq!(of("underflow"), 0, "{events}");
    events
}

/// Inode of the UDP sockets bound to a port, sorted.
pub fn udp_inodes(port: u16) -> Vec<String> {
    let mut inodes = Vec::new();
    for file in ["/proc/net/udp", "/proc/net/udp6"] {
        let text = std::fs::read_to_string(file).unwrap_or_default();
        for line in text.lines().skip(1) {
            let fields: Vec<&str> = line.split_whitespace().collect();
            if fields[1].ends_with(&format!(":{port:04X}")) {
                inodes.push(fields[9].to_owned());
            }
        }
    }
    inodes.sort();
    inodes
}

/// The status of an input by name.
pub fn input_status(proxy: &Proxy, name: &str) -> Option<Value> {
    let status = proxy.json("/api/v1/status").ok()?;
    status["inputs"].as_array()?.iter().find(|input| input["name"] == name).cloned()
}

/// A certificate for `localhost` of its own authority, written as `tls.crt`, `tls.key` and `ca.crt`.
pub fn certificate(folder: &Path) {
    let authority_key = rcgen::KeyPair::generate().unwrap();
    let mut authority = rcgen::CertificateParams::new(Vec::<String>::new()).unwrap();
    authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    authority.distinguished_name.push(rcgen::DnType::CommonName, "test authority");
    let ca = authority.self_signed(&authority_key).unwrap();
    let issuer = rcgen::Issuer::new(authority, authority_key);
    let key = rcgen::KeyPair::generate().unwrap();
    let mut own =
        rcgen::CertificateParams::new(vec!["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
    own.distinguished_name.push(rcgen::DnType::CommonName, "localhost");
    let cert = own.signed_by(&key, &issuer).unwrap();
    fs::write(folder.join("tls.crt"), cert.pem()).unwrap();
    fs::write(folder.join("tls.key"), key.serialize_pem()).unwrap();
    fs::write(folder.join("ca.crt"), ca.pem()).unwrap();
}

/// Unix nanoseconds.
pub fn now_ns() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64
}

/// Writes a batch as the old program leaves it: `<spool>/<tenant>/<dataset>/<state>/`, with metadata that holds the
/// file's absolute path when `meta` says in which folder the program believed it was.
pub fn old_spool_entry(
    spool: &Path,
    state: &str,
    tenant: &str,
    dataset: &str,
    stamp: u64,
    lines: &str,
    meta: Option<&Path>,
) {
    let folder = spool.join(tenant).join(dataset).join(state);
    fs::create_dir_all(&folder).unwrap();
    let id = format!("{tenant}--{dataset}--{stamp}--ndjson");
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(lines.as_bytes()).unwrap();
    let body = encoder.finish().unwrap();
    fs::write(folder.join(format!("{id}.gz")), &body).unwrap();
    if let Some(believed) = meta {
        let text = json!({
            "id": id, "tenant_id": tenant, "dataset_id": dataset,
            "filename": believed.join(format!("{id}.gz")), "compressed_size": body.len(),
            "uncompressed_size": lines.len(), "line_count": lines.lines().count(),
            "created_at": "2026-01-01T00:01:00.1Z", "last_retry": "2026-01-01T00:02:00.1Z", "retry_count": 2,
            "status": state, "failure_reason": "HTTP request failed with status 503: busy",
            "trigger_reason": "upload_failed",
        });
        fs::write(folder.join(format!("{id}.meta")), text.to_string()).unwrap();
    }
}
