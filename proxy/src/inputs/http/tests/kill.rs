//! The real spool in a process of its own: what 200 means when it dies, and no descriptors left.

use std::{
    collections::HashSet,
    env, fs,
    path::Path,
    process::{Child, Command, Stdio},
};

use super::*;
use crate::{
    config,
    inputs::Supervisor,
    metrics::Metrics,
    spool::{Parts, Spool, State},
    vital::Vitals,
};

const FOLDER: &str = "HTTP_TEST_FOLDER";

fn parts(folder: &Path) -> (config::Config, Parts) {
    let text = format!(
        "app: {{ name: test }}\nconfig_mode: local-only\ntenant_id: acme\nreceiver: {{ base_url: 'http://127.0.0.1:9' }}\n\
         spooling: {{ directory: '{}' }}\ninputs:\n  - {{ type: http, name: web, config: {{ port: 8080, host: 127.0.0.1 }} }}\n",
        folder.join("spool").display()
    );
    let loaded = config::load("test.yaml", &text, []);
    let mut config = loaded.usable().expect("a configuration").config;
    config.inputs[0].listen.port = 0;
    let parts = Parts {
        settings: config.spooling.clone(),
        memory: MemoryBudget::new(config.limits.memory_bytes),
        ledger: Arc::default(),
        metrics: Arc::default(),
        level: Arc::new(|_| 1),
        max_payload: config.receiver.max_payload_size,
    };
    (config, parts)
}

/// The process that is killed: this test binary again, told by the environment to be it.
async fn child(folder: &Path) {
    let (config, parts) = parts(folder);
    let context = |spool: SpoolHandle| InputContext {
        spool,
        memory: parts.memory.clone(),
        level: Arc::new(Level::new(&config.batching)),
        ledger: Arc::clone(&parts.ledger),
        senders: Arc::new(Senders::new(100)),
        metrics: Arc::<Metrics>::default(),
        runtime: tokio::runtime::Handle::current(),
        vitals: Vitals::default(),
    };
    let spool = Spool::open(parts.clone()).unwrap();
    let supervisor = Supervisor::start(context(spool.handle()), &config).await.unwrap();
    let address = supervisor.status()[0].addresses[0].clone();
    fs::write(folder.join("new"), address.rsplit(' ').next().unwrap()).unwrap();
    fs::rename(folder.join("new"), folder.join("address")).unwrap();
    std::future::pending::<()>().await;
}

/// A process that dies with its test.
struct Proxy(Child, SocketAddr);

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

async fn proxy(folder: &Path, failpoint: &str, descriptors: u32) -> Proxy {
    let mut command = Command::new("sh");
    command
        .args(["-c", &format!("ulimit -n {descriptors}; exec \"$0\" \"$@\"")])
        .arg(env::current_exe().unwrap());
    command.args(["--exact", "inputs::http::tests::kill::what_was_answered_200_is_found_after_kill_9"]);
    command.env(FOLDER, folder).env("BYTEFREEZER_FAILPOINT", failpoint);
    let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let file = folder.join("address");
    until("child listens", || file.exists()).await;
    Proxy(child, fs::read_to_string(file).unwrap().parse().unwrap())
}

/// Sends numbered lines until the server is gone; those that were answered 200.
async fn send_until_gone(address: SocketAddr, client: usize) -> Vec<String> {
    let mut acknowledged = Vec::new();
    let Ok(mut stream) = TcpStream::connect(address).await else { return acknowledged };
    for number in 0.. {
        let line = format!("client {client} line {number}");
        let mut answer = [0; 1024];
        if stream.write_all(&post("/webhook", "", &line)).await.is_err() {
            break;
        }
        match timeout(PATIENCE, stream.read(&mut answer)).await.expect("no answer") {
            Ok(length) if length > 0 => assert!(answer[..length].starts_with(b"HTTP/1.1 200 ")),
            _ => break,
        }
        acknowledged.push(line);
    }
    acknowledged
}

/// The lines that a new start finds.
async fn found(folder: &Path) -> HashSet<String> {
    let (config, parts) = parts(folder);
    let spool = Spool::open(parts).unwrap();
    spool.recovered().await;
    let handle = spool.handle();
    let mut lines = HashSet::new();
    for entry in handle.entries(&config.inputs[0].key, &[State::Queue, State::Retry], None, 100_000) {
        let mut text = String::new();
        let reader = handle.open(entry.stamp).unwrap();
        flate2::read::MultiGzDecoder::new(reader).read_to_string(&mut text).unwrap();
        assert_eq!(text.lines().count() as u64, entry.lines);
        for line in text.lines() {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            lines.insert(line["raw"].as_str().unwrap().to_owned());
        }
    }
    lines
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_answered_200_is_found_after_kill_9() {
    if let Some(folder) = env::var_os(FOLDER) {
        return child(Path::new(&folder)).await;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut proxy = proxy(folder.path(), "", 1024).await;
    let clients: Vec<_> = (0..8).map(|client| tokio::spawn(send_until_gone(proxy.1, client))).collect();
    tokio::time::sleep(Duration::from_secs(2)).await;
    proxy.0.kill().unwrap();
    let mut acknowledged = 0;
    let mut all = Vec::new();
    for client in clients {
        let lines = client.await.unwrap();
        acknowledged += lines.len();
        all.extend(lines);
    }
    drop(proxy);
    let found = found(folder.path()).await;
    assert!(acknowledged > 0);
    let lost: Vec<_> = all.iter().filter(|line| !found.contains(*line)).collect();
    assert!(lost.is_empty(), "{} of {acknowledged} lost: {lost:?}", lost.len());
    assert!(found.len() <= acknowledged + 8);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_dies_before_the_sync_has_not_answered() {
    let folder = tempfile::tempdir().unwrap();
    let proxy = proxy(folder.path(), "log.sync:20", 1024).await;
    let acknowledged = send_until_gone(proxy.1, 0).await;
    drop(proxy);
    let found = found(folder.path()).await;
    assert!(acknowledged.len() > 5 && acknowledged.iter().all(|line| found.contains(line)));
    // The last one was written, though not synced, when the process died.
    assert_eq!(found.len(), acknowledged.len() + 1);
}

/// Processor time of a process in hundredths of a second.
fn processor_time(process: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    let fields: Vec<_> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn without_descriptors_it_waits_instead_of_spinning_and_goes_on_when_there_are_some() {
    let folder = tempfile::tempdir().unwrap();
    let proxy = proxy(folder.path(), "", 60).await;
    let mut held = Vec::new();
    for _ in 0..100 {
        held.push(TcpStream::connect(proxy.1).await.unwrap());
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    let before = processor_time(proxy.0.id());
    tokio::time::sleep(Duration::from_secs(2)).await;
    let spent = processor_time(proxy.0.id()) - before;
    assert!(spent < 50, "{spent} hundredths of a second in 2 s");
    drop(held);
    let mut client = Client::to(proxy.1).await;
    assert_eq!(client.post("/webhook", "", "a").await.status, 200);
}
