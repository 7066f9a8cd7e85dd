//! Senders: the system's `logger` in four dialects, plain sockets, HTTP.

use std::{
    io::Write,
    net::SocketAddr,
    os::unix::process::CommandExt,
    process::{Command, Stdio},
    sync::{Arc, atomic::Ordering::Relaxed},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow};
use e2e::{
    load::{self, Framing, Plan, Progress, Shape},
    sequence::{self, Promised, Sent},
};

use super::Ports;

/// All senders at work.
pub(crate) struct Senders {
    progress: Arc<Progress>,
    threads: Vec<(&'static str, JoinHandle<Result<Sent>>)>,
}

/// Starts them.
pub(crate) fn start(ports: Ports) -> Senders {
    let mut senders = Senders { progress: Arc::default(), threads: Vec::new() };
    let at = |port: u16| SocketAddr::from(([127, 0, 0, 1], port));
    let plan = |stream, port, shape, rate, size| Plan {
        target: at(port),
        shape,
        stream,
        count: u64::MAX,
        rate,
        size,
    };
    let dialects: [(&str, &[&str]); 4] = [
        ("logger, UDP, RFC 3164", &["-d", "--rfc3164"]),
        ("logger, UDP, RFC 5424", &["-d", "--rfc5424"]),
        ("logger, TCP, newline", &["-T", "--rfc3164"]),
        ("logger, TCP, octet counting", &["-T", "--rfc5424", "--octet-count"]),
    ];
    for (stream, (name, arguments)) in (1..).zip(dialects) {
        let syslog = ports.syslog;
        senders.add(name, move |progress| logger(syslog, arguments, stream, progress));
    }
    let flood = plan(5, ports.syslog, Shape::Rfc5424, 1000, 256);
    senders.add("socket, syslog over UDP", move |progress| load::udp(&flood, progress));
    let datagrams = plan(6, ports.udp, Shape::Text, 500, 200);
    senders.add("socket, text over UDP", move |progress| load::udp(&datagrams, progress));
    let lines = plan(7, ports.tcp, Shape::Json, 500, 200);
    senders.add("socket, JSON lines over TCP", move |progress| load::tcp(&lines, Framing::Line, progress));
    let requests = plan(8, ports.http, Shape::Json, 200, 200);
    senders.add("HTTP, JSON", move |progress| load::http(&requests, "/webhook", 10, progress));
    senders
}

impl Senders {
    fn add(&mut self, name: &'static str, run: impl FnOnce(&Progress) -> Result<Sent> + Send + 'static) {
        let progress = self.progress.clone();
        self.threads.push((name, thread::spawn(move || run(&progress))));
    }

    /// Events sent so far.
    pub(crate) fn sent(&self) -> u64 {
        self.progress.sent.load(Relaxed)
    }

    /// Stops all and tells what each sent.
    pub(crate) fn finish(self) -> Result<Vec<(&'static str, Sent)>> {
        self.progress.stop.store(true, Relaxed);
        let join = |(name, thread): (&'static str, JoinHandle<Result<Sent>>)| {
            let sent = thread.join().map_err(|_| anyhow!("{name} panicked"))?;
            Ok((name, sent.with_context(|| name)?))
        };
        self.threads.into_iter().map(join).collect()
    }
}

/// One `logger` process, a line of its input every 20 ms.
fn logger(port: u16, arguments: &[&str], stream: u16, progress: &Progress) -> Result<Sent> {
    let mut child = Command::new("logger")
        .args(["-n", "127.0.0.1", "-P", &port.to_string(), "-t", "demo", "-p", "daemon.notice"])
        .args(arguments)
        .process_group(0)
        .stdin(Stdio::piped())
        .spawn()
        .context("logger (Debian: bsdutils)")?;
    let mut input = child.stdin.take().context("no input")?;
    let started = Instant::now();
    let mut number = 0;
    while !progress.stop.load(Relaxed) {
        writeln!(input, "unit {} changed state, {}", number % 7, sequence::mark(stream, number))?;
        number += 1;
        progress.sent.fetch_add(1, Relaxed);
        thread::sleep(Duration::from_millis(20 * number).saturating_sub(started.elapsed()));
    }
    drop(input);
    let status = child.wait()?;
    anyhow::ensure!(status.success(), "logger ended with {status}");
    Ok(Sent { stream, attempted: number, promised: Promised::All })
}
