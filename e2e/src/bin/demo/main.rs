//! `make demo`: real traffic through the real proxy to an embedded Receiver that is down for some seconds in the
//! middle, and a count of every event at the end.

use std::{
    env,
    net::{SocketAddr, TcpListener, UdpSocket},
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use e2e::{
    process::Proxy,
    receiver::{Receiver, Settings},
    sequence::{self, Sent},
};

mod table;
mod traffic;

const SAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/proxy.yaml");
const TRAFFIC: Duration = Duration::from_secs(18);
const OUTAGE: std::ops::Range<u64> = 5..11;
const DRAIN: Duration = Duration::from_secs(30);
/// What did not arrive after so long without any arrival is lost.
const QUIET: Duration = Duration::from_secs(10);

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("demo: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<bool> {
    let once = env::var_os("ONCE").is_some_and(|value| !value.is_empty() && value != "0");
    let stop = stop_on_signal()?;
    let receiver = Receiver::start(Settings::default())?;
    let (text, ports) = with_free_ports(&std::fs::read_to_string(SAMPLE).context(SAMPLE)?)?;
    let mut proxy = Proxy::from_text(&text)?;
    proxy.env("BYTEFREEZER_PROXY_RECEIVER_BASE_URL", &receiver.url());
    proxy.env("BYTEFREEZER_PROXY_BATCHING_TIMEOUT_SECONDS", "1");
    proxy.env("BYTEFREEZER_PROXY_SPOOLING_RETRY_INTERVAL_SECONDS", "2");
    println!("configuration  examples/proxy.yaml (copy with free ports: {})", proxy.config_path().display());
    println!("spool          {}", proxy.spool().display());
    println!("API            http://{}/api/v1/status", proxy.api());
    println!("Receiver       {} (down from second {} to {})\n", receiver.url(), OUTAGE.start, OUTAGE.end);
    proxy.run()?;

    let senders = traffic::start(ports);
    let mut table = table::Table::new();
    let started = Instant::now();
    while started.elapsed() < TRAFFIC && !stop.load(Relaxed) {
        let down = OUTAGE.contains(&started.elapsed().as_secs());
        if down {
            receiver.down();
        } else {
            receiver.up()?;
        }
        if let Some(status) = proxy.exited()? {
            anyhow::bail!("the proxy ended with {status}:\n{}", proxy.log_text());
        }
        table.show(&proxy, &receiver, senders.sent(), if down { "DOWN" } else { "up" })?;
        thread::sleep(Duration::from_millis(if table.live { 250 } else { 1000 }));
    }
    receiver.up()?;
    let sent = senders.finish()?;
    let promised: u64 = sent.iter().map(|(_, sent)| sent.promised()).sum();
    let end = Instant::now() + DRAIN;
    let mut last = (receiver.lines(), Instant::now());
    while last.0 < promised && Instant::now() < end && last.1.elapsed() < QUIET {
        table.show(&proxy, &receiver, promised, "up")?;
        thread::sleep(Duration::from_millis(250));
        let lines = receiver.lines();
        if lines > last.0 {
            last = (lines, Instant::now());
        }
    }
    table.show(&proxy, &receiver, promised, "up")?;
    if !once && !stop.load(Relaxed) {
        count(&receiver, &sent)?;
        println!("\nThe proxy goes on; try it, and end with Ctrl-C:");
        println!("  curl -d '{{\"user\":\"ann\"}}' http://127.0.0.1:{}/webhook", ports.http);
        println!("  logger -n 127.0.0.1 -P {} -d hello", ports.syslog);
        println!("  curl http://{}/metrics", proxy.api());
        while !stop.load(Relaxed) && proxy.exited()?.is_none() {
            thread::sleep(Duration::from_millis(100));
        }
    }
    let status = proxy.terminate(Duration::from_secs(20))?;
    println!("\nproxy: {status}");
    Ok(count(&receiver, &sent)? && status.success())
}

/// Prints what became of every event; whether all is well.
fn count(receiver: &Receiver, sent: &[(&'static str, Sent)]) -> Result<bool> {
    let streams: Vec<Sent> = sent.iter().map(|(_, sent)| sent.clone()).collect();
    let accounts = sequence::account(&streams, &receiver.batches())?;
    println!("\n{:<34} {:>9} {:>9} {:>10} {:>6}", "event count", "sent", "delivered", "duplicated", "lost");
    let mut total = sequence::Account::default();
    for (name, sent) in sent {
        let account = accounts.get(&sent.stream).cloned().unwrap_or_default();
        println!(
            "{name:<34} {:>9} {:>9} {:>10} {:>6}",
            account.sent, account.delivered, account.duplicated, account.lost
        );
        total.sent += account.sent;
        total.delivered += account.delivered;
        total.duplicated += account.duplicated;
        total.lost += account.lost;
    }
    println!(
        "{:<34} {:>9} {:>9} {:>10} {:>6}",
        "all", total.sent, total.delivered, total.duplicated, total.lost
    );
    let kept = receiver.print_verdict();
    Ok(total.lost == 0 && total.duplicated == 0 && total.sent > 0 && kept)
}

/// Where the sample's inputs listen.
#[derive(Debug, Clone, Copy)]
struct Ports {
    syslog: u16,
    udp: u16,
    tcp: u16,
    http: u16,
}

/// The sample with each port that is taken replaced by a free one.
fn with_free_ports(sample: &str) -> Result<(String, Ports)> {
    let mut text = sample.to_owned();
    let mut ports = [5514, 5515, 5516, 5517];
    for port in &mut ports {
        let line = format!("port: {port}");
        anyhow::ensure!(text.contains(&line), "examples/proxy.yaml has no {line:?} any more");
        let any = SocketAddr::from(([0, 0, 0, 0], *port));
        if TcpListener::bind(any).is_err() || UdpSocket::bind(any).is_err() {
            *port = e2e::free_port()?;
            text = text.replace(&line, &format!("port: {port}"));
        }
    }
    let [syslog, udp, tcp, http] = ports;
    Ok((text, Ports { syslog, udp, tcp, http }))
}

/// Ctrl-C, SIGTERM and SIGHUP end the demo in order.
fn stop_on_signal() -> Result<Arc<AtomicBool>> {
    use tokio::signal::unix::{SignalKind, signal};

    let stop = Arc::new(AtomicBool::new(false));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("signals")?;
    let (mut interrupt, mut terminate, mut hangup) = {
        let _inside = runtime.enter();
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?, signal(SignalKind::hangup())?)
    };
    let flag = stop.clone();
    thread::spawn(move || {
        runtime.block_on(async {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
                _ = hangup.recv() => {}
            }
        });
        flag.store(true, Relaxed);
    });
    Ok(stop)
}
