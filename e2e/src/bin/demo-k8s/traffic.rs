//! The system's `logger`, one process per dataset, and how much each has sent.

use std::{
    io::Write as _,
    net::SocketAddr,
    os::unix::process::CommandExt as _,
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow};
use e2e::{
    peers::program,
    sequence::{self, Promised, Sent},
};

const EVERY: Duration = Duration::from_millis(10);

struct Sender {
    dataset: String,
    sent: Arc<AtomicU64>,
    thread: JoinHandle<Result<Sent>>,
}

/// All of them.
pub(crate) struct Senders {
    stop: Arc<AtomicBool>,
    senders: Vec<Sender>,
}

impl Senders {
    /// One for each dataset and address.
    pub(crate) fn start(targets: &[(String, SocketAddr)]) -> Result<Self> {
        program("logger")?;
        let stop = Arc::new(AtomicBool::new(false));
        let start = |(stream, (dataset, target)): (u16, &(String, SocketAddr))| {
            let (sent, stop, target) = (Arc::new(AtomicU64::new(0)), stop.clone(), *target);
            let counter = sent.clone();
            let thread = thread::spawn(move || logger(target, stream, &counter, &stop));
            Sender { dataset: dataset.clone(), sent, thread }
        };
        let senders = (1..).zip(targets).map(start).collect();
        Ok(Self { stop, senders })
    }

    /// Events sent to a dataset so far.
    pub(crate) fn sent(&self, dataset: &str) -> u64 {
        let of = |sender: &&Sender| sender.dataset == dataset;
        self.senders.iter().find(of).map_or(0, |sender| sender.sent.load(Relaxed))
    }

    /// Stops all and tells what each sent.
    pub(crate) fn finish(self) -> Result<Vec<(String, Sent)>> {
        self.stop.store(true, Relaxed);
        let join = |sender: Sender| {
            let sent = sender.thread.join().map_err(|_| anyhow!("a sender panicked"))?;
            Ok((sender.dataset, sent?))
        };
        self.senders.into_iter().map(join).collect()
    }
}

/// A line on the input of one process each 10 ms; it sends a datagram for each.
fn logger(target: SocketAddr, stream: u16, sent: &AtomicU64, stop: &AtomicBool) -> Result<Sent> {
    let mut child = Command::new(program("logger")?)
        .args(["--server", &target.ip().to_string(), "--port", &target.port().to_string()])
        .args(["--udp", "--rfc5424", "--tag", "demo"])
        .process_group(0)
        .stdin(Stdio::piped())
        .spawn()
        .context("logger")?;
    let mut input = child.stdin.take().context("no input")?;
    let started = Instant::now();
    let mut number = 0;
    while !stop.load(Relaxed) {
        writeln!(input, "unit {} changed state, {}", number % 7, sequence::mark(stream, number))?;
        number += 1;
        sent.store(number, Relaxed);
        let due = EVERY.saturating_mul(u32::try_from(number)?);
        thread::sleep(due.saturating_sub(started.elapsed()));
    }
    drop(input);
    let status = child.wait()?;
    anyhow::ensure!(status.success(), "logger ended with {status}");
    Ok(Sent { stream, attempted: number, promised: Promised::All })
}
