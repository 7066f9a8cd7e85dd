//! What the operator relies on in a pod: a configuration that is mounted and changes by a swap, a status that says what
//! became of each entry, an API behind a mounted Secret, a spool that outlives its process, and last words.
#![allow(clippy::unwrap_used, clippy::panic)]

mod access;
#[path = "../common/mod.rs"]
mod common;
mod document;
mod many;
mod mount;
mod privilege;
mod spool;
mod start;

use std::path::PathBuf;

use common::{LIMIT, all_delivered, certificate, input_status, plan, udp_inodes};
use e2e::{
    free_port,
    http::Client,
    load::{self, Progress, Shape},
    peers,
    process::{self, Proxy, merge},
    receiver::{Fault, Receiver, Scope, Settings},
    until,
};
use mount::Mount;
use serde_json::{Value, json};

/// A proxy as in a pod: its document is mounted, and it writes its last words to a file.
struct Pod {
    receiver: Receiver,
    proxy: Proxy,
    mount: Mount,
}

impl Pod {
    /// Not started, nothing mounted yet.
    fn new() -> Self {
        let receiver = Receiver::start(Settings::default()).unwrap();
        let mut proxy = Proxy::prepare(&receiver.url(), &json!({"schema_version": 1})).unwrap();
        let mount = Mount::new(proxy.folder(), "mounted");
        proxy.config_at(&mount.path("config.yaml"));
        let words = proxy.folder().join("termination-log");
        proxy.arguments(&["--wait-for-config", "--termination-message", words.to_str().unwrap()]);
        Self { receiver, proxy, mount }
    }

    /// A document with these inputs and `more` over it.
    fn document(&self, inputs: &Value, more: &Value) -> Value {
        let mut document = self.proxy.config().clone();
        merge(&mut document, &json!({"inputs": inputs}));
        merge(&mut document, more);
        document
    }

    /// Started with these inputs.
    fn start(inputs: &Value, more: &Value) -> Self {
        let mut pod = Self::new();
        let document = pod.document(inputs, more);
        pod.mount.document(&document);
        pod.proxy.run().unwrap();
        pod
    }

    fn words_file(&self) -> PathBuf {
        self.proxy.folder().join("termination-log")
    }

    /// The last words.
    fn words(&self) -> Value {
        let text = std::fs::read(self.words_file()).unwrap();
        assert!(text.len() <= 4096);
        serde_json::from_slice(&text).unwrap()
    }

    fn status(&self) -> Value {
        self.proxy.json("/api/v1/status").unwrap()
    }

    /// Waits until an input's status is as wanted.
    fn wait(&self, name: &str, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        until(LIMIT, &format!("{name}: {what}"), || input_status(&self.proxy, name).filter(&wanted))
            .unwrap_or_else(|error| {
                panic!("{error}: {:#}\n{}", self.status()["inputs"], self.proxy.log_text())
            })
    }
}

/// An input as the operator names it; no dataset has a slash in its id.
fn input(kind: &str, name: &str, port: u16, more: &Value) -> Value {
    let mut config = json!({"dataset_id": name.replace('/', "-")});
    merge(&mut config, more);
    common::input(kind, name, port, &config)
}

fn udp(name: &str, port: u16) -> Value {
    input("udp", name, port, &json!({"data_hint": "ndjson"}))
}

fn hooks(name: &str, port: u16, more: &Value) -> Value {
    let mut config = json!({"data_hint": "ndjson"});
    merge(&mut config, more);
    input("http", name, port, &config)
}
