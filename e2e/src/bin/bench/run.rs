//! One run: a contestant, a load at a constant rate, and the account of every number.

use std::{
    fs,
    io::Write,
    process::Command,
    sync::atomic::Ordering::Relaxed,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, anyhow, bail, ensure};
use e2e::{
    datagrams::Version,
    exporters,
    load::{self, Events, Framing, Plan, Progress, Shape},
    sequence,
};
use nix::sys::resource::{UsageWho, getrusage};

use crate::{
    account,
    cases::SIZE,
    contestant::{Contestant, Kind},
    sink::{Sink, Stored},
};

/// How events reach the contestant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wire {
    /// Datagrams.
    Udp(Shape),
    /// This many connections.
    Tcp(u16),
    /// This many clients, events in a request.
    Http(u16, u64),
    /// Datagrams of many exporters, whose records are the events.
    Flows(Version),
}

/// What a run showed.
#[derive(Debug, Clone, Default)]
pub struct Outcome {
    /// Events a second.
    pub rate: u64,
    /// Numbers that did not arrive.
    pub lost: u64,
    /// Seconds between the last send and the last arrival.
    pub tail: f64,
    /// CPU seconds per million events.
    pub cpu_per_million: f64,
    /// Most resident bytes seen.
    pub resident: u64,
    /// Bytes over the wire per event.
    pub wire: f64,
    /// Bytes of what was made of an event, before compression.
    pub text: f64,
    /// The sender could not keep the rate.
    pub late: bool,
    /// Kernel drops.
    pub drops: u64,
    /// Compression level at the end of the load.
    pub level: Option<u64>,
    /// Receive buffer of each socket.
    pub buffer: Option<u64>,
    /// What else there is to say.
    pub note: String,
}

impl Outcome {
    /// Every number arrived, the sender kept its rate, and the queue was not growing.
    pub fn lossless(&self) -> bool {
        self.lost == 0 && !self.late && self.tail < 4.0
    }
}

/// What is sent.
#[derive(Debug, Clone, Copy)]
pub struct Load {
    /// Transport and shape.
    pub wire: Wire,
    /// Bytes of an event.
    pub size: usize,
    /// For so long.
    pub seconds: u64,
}

/// Exporters of flows.
pub const EXPORTERS: u16 = 500;

/// A sender that is so many microseconds behind its plan does not offer the rate it says.
const LATE: u64 = 250_000;

/// Runs `kind` at `rate`, to its end or to the first loss.
pub fn run(kind: &Kind, load: Load, rate: u64) -> Result<Outcome> {
    let sink = Sink::start()?;
    let contestant = Contestant::start(kind, &sink.url())?;
    let cpu = contestant.cpu()?;
    let (progress, sent) = send(&contestant, load, rate)?;
    let ended = Instant::now();
    let total: u64 = sent.iter().map(|s| s.attempted).sum();
    let mut outcome = Outcome {
        rate,
        late: progress.late_us.load(Relaxed) > LATE,
        level: contestant.level(),
        buffer: contestant.receive_buffer(),
        ..Outcome::default()
    };
    settle(&contestant, &sink, Duration::from_millis(1500))?;
    outcome.drops = contestant.kernel_drops()?;
    outcome.cpu_per_million = (contestant.cpu()? - cpu) / total as f64 * 1e6;
    outcome.resident = contestant.peak()?;
    if matches!(kind, Kind::Null) {
        outcome.lost = outcome.drops;
        return Ok(outcome);
    }
    outcome.wire = sink.bytes() as f64 / total as f64;
    let stored = sink.take();
    outcome.tail = tail(&stored, ended);
    let arrived = account::of(load.wire, &sent, &stored, &contestant.file())?;
    outcome.lost = arrived.lost;
    outcome.text = arrived.text as f64 / (total - arrived.lost).max(1) as f64;
    Ok(outcome)
}

/// Seconds between `ended` and the last arrival.
pub fn tail(stored: &[Stored], ended: Instant) -> f64 {
    stored.iter().map(|s| s.at).max().map_or(0.0, |last| last.saturating_duration_since(ended).as_secs_f64())
}

/// All senders of a load, to their end.
pub fn send(contestant: &Contestant, load: Load, rate: u64) -> Result<(Progress, Vec<sequence::Sent>)> {
    let progress = Progress::default();
    let (target, count) = (contestant.target, rate * load.seconds);
    let streams = match load.wire {
        Wire::Udp(_) | Wire::Flows(_) => 1,
        Wire::Tcp(connections) => connections,
        Wire::Http(..) => bail!("HTTP clients wait for answers; they have no rate"),
    };
    let plan = |shape: Shape, stream: u16| Plan {
        target,
        shape,
        stream,
        count: count.div_ceil(u64::from(streams)),
        rate: rate.div_ceil(u64::from(streams)),
        size: load.size,
    };
    let sender = |stream: u16| match load.wire {
        Wire::Udp(shape) => load::udp(&plan(shape, stream), &progress),
        Wire::Flows(version) => {
            exporters::run(&exporters::Plan { target, version, exporters: EXPORTERS, count, rate }, &progress)
        }
        _ => load::tcp(&plan(Shape::Rfc3164, stream), Framing::Line, &progress),
    };
    let sent = thread::scope(|scope| {
        let sender = &sender;
        let senders: Vec<_> = (0..streams).map(|stream| scope.spawn(move || sender(stream))).collect();
        while !senders.iter().all(thread::ScopedJoinHandle::is_finished) {
            // What lost something is not lossless, however long it goes on.
            if progress.late_us.load(Relaxed) > LATE || contestant.kernel_drops().is_ok_and(|drops| drops > 0)
            {
                progress.stop.store(true, Relaxed);
            }
            thread::sleep(Duration::from_millis(200));
        }
        senders
            .into_iter()
            .map(|s| s.join().map_err(|_| anyhow!("a sender panicked"))?)
            .collect::<Result<Vec<_>>>()
    })?;
    Ok((progress, sent))
}

/// Waits until nothing has arrived for so long (at most two minutes).
pub fn settle(contestant: &Contestant, sink: &Sink, quiet: Duration) -> Result<()> {
    let (mut last, mut since) = (u64::MAX, Instant::now());
    let limit = Instant::now() + Duration::from_mins(2);
    while since.elapsed() < quiet {
        let now = sink.bytes() + contestant.file_len();
        if now != last {
            (last, since) = (now, Instant::now());
        }
        if Instant::now() > limit {
            bail!("data still arrives two minutes after the last event was sent");
        }
        thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

/// `VmHWM` of a process in bytes.
pub fn peak(pid: u32) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let kib = status
        .lines()
        .find_map(|l| l.strip_prefix("VmHWM:")?.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
    Ok(kib.unwrap_or(0) * 1024)
}

/// The highest lossless rate: growing by half until it fails, halving the distance to 8 %, then `confirm` runs of full
/// length at the rate found, going down while one of them fails.
pub fn search(kind: &Kind, load: Load, start: u64, confirm: u32) -> Result<Outcome> {
    let probe = Load { seconds: load.seconds.min(3), ..load };
    let (mut low, mut high) = (0, None);
    let mut rate = start;
    loop {
        let outcome = run(kind, probe, rate)?;
        eprintln!("    {rate}/s: {}", said(&outcome));
        if outcome.lossless() {
            low = rate;
        } else {
            high = Some(rate);
        }
        rate = match high {
            None => low * 3 / 2,
            Some(high) if low == 0 && high < 1000 => bail!("not lossless at {high} events a second"),
            Some(high) if (high - low) * 100 <= high * 8 => break,
            Some(high) => low.midpoint(high),
        };
    }
    loop {
        let mut outcomes = Vec::new();
        for _ in 0..confirm {
            let outcome = run(kind, load, low)?;
            let good = outcome.lossless();
            eprintln!("    {low}/s for {} s: {}", load.seconds, said(&outcome));
            outcomes.push(outcome);
            if !good {
                break;
            }
        }
        if let Some(outcome) = outcomes.pop_if(|o| o.lossless()) {
            return Ok(outcome);
        }
        low = low * 92 / 100;
        ensure!(low > 100, "no rate held");
    }
}

fn said(outcome: &Outcome) -> String {
    let Outcome { lost, late, tail, drops, cpu_per_million, .. } = outcome;
    if outcome.lossless() {
        format!("lossless, {cpu_per_million:.2} CPU s per million")
    } else {
        format!("lost {lost} (kernel drops {drops}), sender late {late}, tail {tail:.1} s")
    }
}

/// `cp` of a file with four million events, and `sync` of the copy.
pub fn copy() -> Result<Outcome> {
    const EVENTS: u64 = 4_000_000;
    let folder = tempfile::Builder::new().prefix("bytefreezer-bench-").tempdir()?;
    let (from, to) = (folder.path().join("from"), folder.path().join("to"));
    let plan = Plan {
        target: ([127, 0, 0, 1], 9).into(),
        shape: Shape::Rfc3164,
        stream: 0,
        count: EVENTS,
        rate: 0,
        size: SIZE,
    };
    let events = Events::new(&plan);
    let mut file = fs::File::create(&from)?;
    let mut buffer = Vec::new();
    for number in 0..EVENTS {
        events.append(number, &mut buffer);
        if buffer.len() > 1 << 20 || number + 1 == EVENTS {
            file.write_all(&buffer)?;
            buffer.clear();
        }
    }
    file.sync_all()?;
    let cpu = || seconds(UsageWho::RUSAGE_CHILDREN);
    let (before, begun) = (cpu()?, Instant::now());
    ensure!(Command::new("cp").args([&from, &to]).status()?.success(), "cp failed");
    ensure!(Command::new("sync").arg(&to).status()?.success(), "sync failed");
    let took = begun.elapsed().as_secs_f64();
    Ok(Outcome {
        rate: (EVENTS as f64 / took) as u64,
        cpu_per_million: (cpu()? - before) / EVENTS as f64 * 1e6,
        note: format!("{:.0} MB/s", EVENTS as f64 * SIZE as f64 / took / 1e6),
        ..Outcome::default()
    })
}

/// CPU seconds, user and system.
pub fn seconds(who: UsageWho) -> Result<f64> {
    let usage = getrusage(who)?;
    let seconds = |time: nix::sys::time::TimeVal| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6;
    Ok(seconds(usage.user_time()) + seconds(usage.system_time()))
}
