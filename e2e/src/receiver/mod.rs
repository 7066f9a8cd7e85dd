//! The fake Receiver: routes, order of checks, status codes and texts of the real one; stores bodies by file name
//! (the same name overwrites); notes every breach of what the proxy promises.
//!
//! It runs on threads of its own; every method may be called from plain code.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use parking_lot::Mutex;
use tokio::{net::TcpListener, runtime::Runtime, sync::Notify};
use tokio_util::sync::CancellationToken;

use crate::sequence::{Account, Sent};

mod faults;
mod http;
mod store;

pub use faults::{Fault, Scope};
pub use store::{Batch, Key, Store};

/// How the Receiver behaves.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Tenants and their datasets; `None` takes every name.
    pub tenants: Option<BTreeMap<String, BTreeSet<String>>>,
    /// Tokens by tenant; `None` asks for none.
    pub tokens: Option<BTreeMap<String, String>>,
    /// `max_payload_size`: compressed bytes; 0 is no limit.
    pub max_payload_size: u64,
    /// Inflate and check each body when it comes. Off only while speed is measured.
    pub verify: bool,
    /// Keep the bodies of batches. Else, with `verify`, only which numbers they held: [`Receiver::accounts`].
    pub keep: bool,
    /// Also write bodies here as `<tenant>/<dataset>/<name>`.
    pub folder: Option<PathBuf>,
    /// Address to listen on.
    pub address: IpAddr,
    /// Port to listen on; 0 takes a free one.
    pub port: u16,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            tenants: None,
            tokens: None,
            max_payload_size: 10 << 20,
            verify: true,
            folder: None,
            address: Ipv4Addr::LOCALHOST.into(),
            keep: true,
            port: 0,
        }
    }
}

/// One request as it came, whatever the answer was.
#[derive(Debug, Clone)]
pub struct Request {
    /// When its head was complete.
    pub at: Instant,
    /// Path.
    pub path: String,
    /// Headers in order, names in lower case.
    pub headers: Vec<(String, String)>,
    /// `X-Proxy-Filename`, empty when absent.
    pub name: String,
    /// Bytes of the body that were read.
    pub body: usize,
    /// Status that was answered; 0 when the connection was left without one.
    pub status: u16,
}

impl Request {
    /// Value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }
}

#[derive(Debug)]
struct Shared {
    settings: Mutex<Settings>,
    faults: faults::Faults,
    store: Mutex<Store>,
    requests: Mutex<Vec<Request>>,
    /// Ends hanging answers when faults are lifted.
    lifted: Notify,
}

/// A running fake Receiver.
#[derive(Debug)]
pub struct Receiver {
    runtime: Option<Runtime>,
    address: SocketAddr,
    shared: Arc<Shared>,
    serving: Mutex<Option<CancellationToken>>,
}

impl Receiver {
    /// Starts.
    pub fn start(mut settings: Settings) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("receiver")
            .enable_all()
            .build()?;
        if settings.port == 0 {
            settings.port = crate::free_port()?;
        }
        let receiver = Self {
            runtime: Some(runtime),
            address: (settings.address, settings.port).into(),
            shared: Arc::new(Shared {
                settings: Mutex::new(settings),
                faults: faults::Faults::default(),
                store: Mutex::new(Store::default()),
                requests: Mutex::default(),
                lifted: Notify::new(),
            }),
            serving: Mutex::new(None),
        };
        receiver.up()?;
        Ok(receiver)
    }

    /// `base_url` for the proxy.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Listens (again).
    pub fn up(&self) -> Result<()> {
        let mut serving = self.serving.lock();
        if serving.is_some() {
            return Ok(());
        }
        let runtime = self.runtime.as_ref().context("the Receiver has ended")?;
        let listener = crate::until(Duration::from_secs(5), "the Receiver's port", || {
            runtime.block_on(TcpListener::bind(self.address)).ok()
        })?;
        let stop = CancellationToken::new();
        runtime.spawn(http::serve(listener, self.shared.clone(), stop.clone()));
        *serving = Some(stop);
        Ok(())
    }

    /// Closes the listener and every connection: connects are refused from now on.
    pub fn down(&self) {
        if let Some(stop) = self.serving.lock().take() {
            stop.cancel();
        }
    }

    /// Requests that match `scope` get `fault` until it is lifted; the newest matching rule wins.
    pub fn fault(&self, scope: Scope, fault: Fault) {
        self.shared.faults.add(scope, fault, None);
    }

    /// The next `times` requests that match `scope` get `fault`.
    pub fn fault_times(&self, scope: Scope, fault: Fault, times: u32) {
        self.shared.faults.add(scope, fault, Some(times));
    }

    /// Lifts the faults of exactly this scope.
    pub fn lift(&self, scope: &Scope) {
        self.shared.faults.lift(scope);
        self.shared.lifted.notify_waiters();
    }

    /// Changes settings while it runs (tokens, tenants, payload limit).
    pub fn change(&self, change: impl FnOnce(&mut Settings)) {
        change(&mut self.shared.settings.lock());
    }

    /// Requests so far, including refused ones.
    pub fn requests(&self) -> Vec<Request> {
        self.shared.requests.lock().clone()
    }

    /// What is stored: by file name, the last upload of each.
    pub fn batches(&self) -> Vec<Batch> {
        self.shared.store.lock().batches()
    }

    /// Lines stored, each name once.
    pub fn lines(&self) -> u64 {
        self.shared.store.lock().lines()
    }

    /// Uploads that were stored, repeats included.
    pub fn uploads(&self) -> u64 {
        self.shared.store.lock().uploads()
    }

    /// The account of each stream by what was not kept.
    pub fn accounts(&self, sent: &[Sent]) -> BTreeMap<u16, Account> {
        let store = self.shared.store.lock();
        sent.iter().map(|sent| (sent.stream, store.tally().account(sent))).collect()
    }

    /// Every breach of a promise so far: a body that is not gzip, a wrong count, a name with another content.
    pub fn violations(&self) -> Vec<String> {
        self.shared.store.lock().violations().to_vec()
    }

    /// Prints every breach and how much was checked; whether there is none.
    pub fn print_verdict(&self) -> bool {
        let violations = self.violations();
        for violation in &violations {
            println!("WRONG: {violation}");
        }
        println!(
            "{} batches in {} uploads; checked: gzip, line counts, names, one content per name",
            self.batches().len(),
            self.uploads()
        );
        violations.is_empty()
    }

    /// All lines of a dataset in the order of their batches' names.
    pub fn text(&self, tenant: &str, dataset: &str) -> Result<Vec<String>> {
        let mut lines = Vec::new();
        for batch in self.batches().iter().filter(|b| b.key.tenant == tenant && b.key.dataset == dataset) {
            let raw = batch.inflate()?;
            lines.extend(String::from_utf8_lossy(&raw).lines().map(str::to_owned));
        }
        Ok(lines)
    }

    /// Waits until `count` lines are stored.
    pub fn wait_lines(&self, count: u64, limit: Duration) -> Result<()> {
        crate::until(limit, &format!("{count} lines at the Receiver"), || {
            (self.lines() >= count).then_some(())
        })
        .with_context(|| format!("{} lines there", self.lines()))
    }

    /// Waits until `count` lines of one dataset are stored and returns them.
    pub fn wait_text(
        &self,
        tenant: &str,
        dataset: &str,
        count: usize,
        limit: Duration,
    ) -> Result<Vec<String>> {
        crate::until(limit, &format!("{count} lines of {tenant}/{dataset}"), || {
            self.text(tenant, dataset).ok().filter(|lines| lines.len() >= count)
        })
        .with_context(|| format!("got {:?}", self.text(tenant, dataset)))
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.down();
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
