//! One run: a contestant, a load at a constant rate, and the account of every number.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, anyhow, bail};
use e2e::{
    load::{self, Framing, Plan, Progress, Shape},
    sequence,
};

use crate::{
    contestant::{Contestant, Kind},
    sink::{self, Sink},
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
}

/// What a run showed.
#[derive(Debug, Clone, Default)]
pub struct Outcome {
    /// Asked for, events a second.
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
    /// The sender could not keep the rate.
    pub late: bool,
    /// Kernel drops.
    pub drops: u64,
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

/// A sender that is this far behind its plan does not offer the rate it says.
const LATE: Duration = Duration::from_millis(250);

/// Runs `kind` at `rate`.
pub fn run(kind: &Kind, load: Load, rate: u64) -> Result<Outcome> {
    let sink = Sink::start()?;
    let contestant = Contestant::start(kind, &sink.url())?;
    let cpu = contestant.cpu()?;
    let (progress, sent) = send(&contestant, load, rate)?;
    let ended = Instant::now();
    let total: u64 = sent.iter().map(|s| s.attempted).sum();
    let mut outcome = Outcome {
        rate,
        late: progress.late_us.load(std::sync::atomic::Ordering::Relaxed) > LATE.as_micros() as u64,
        ..Outcome::default()
    };
    settle(&contestant, &sink, Duration::from_secs(2))?;
    outcome.drops = contestant.kernel_drops()?;
    outcome.cpu_per_million = (contestant.cpu()? - cpu) / total as f64 * 1e6;
    outcome.resident = peak(contestant.pid()?)?;
    if matches!(kind, Kind::Null) {
        outcome.lost = outcome.drops;
        return Ok(outcome);
    }
    outcome.wire = sink.bytes() as f64 / total as f64;
    let stored = sink.take();
    outcome.tail = stored
        .iter()
        .map(|s| s.at)
        .max()
        .map_or(0.0, |last| last.saturating_duration_since(ended).as_secs_f64());
    let mut seen = vec![Vec::new(); sent.len()];
    for (numbers, s) in seen.iter_mut().zip(&sent) {
        *numbers = vec![false; usize::try_from(s.attempted)?];
    }
    let mark = |text: &[u8], seen: &mut Vec<Vec<bool>>| {
        for (stream, number) in sequence::find(text) {
            if let Some(place) = seen.get_mut(usize::from(stream)).and_then(|s| s.get_mut(number as usize)) {
                *place = true;
            }
        }
    };
    for body in &stored {
        mark(&sink::text(&body.body)?, &mut seen);
    }
    mark(&contestant.file(), &mut seen);
    outcome.lost = seen.iter().flatten().filter(|there| !**there).count() as u64;
    Ok(outcome)
}

/// All senders of a load, to their end.
fn send(contestant: &Contestant, load: Load, rate: u64) -> Result<(Progress, Vec<sequence::Sent>)> {
    let progress = Progress::default();
    let streams = match load.wire {
        Wire::Udp(_) => 1,
        Wire::Tcp(connections) => connections,
        Wire::Http(clients, _) => clients,
    };
    let plan = |stream: u16| Plan {
        target: contestant.target,
        shape: match load.wire {
            Wire::Udp(shape) => shape,
            Wire::Tcp(_) => Shape::Rfc3164,
            Wire::Http(..) => Shape::Json,
        },
        stream,
        count: (rate * load.seconds).div_ceil(u64::from(streams)),
        rate: rate.div_ceil(u64::from(streams)),
        size: load.size,
    };
    let sent = thread::scope(|scope| {
        let senders: Vec<_> = (0..streams)
            .map(|stream| {
                let (plan, progress) = (plan(stream), &progress);
                scope.spawn(move || match load.wire {
                    Wire::Udp(_) => load::udp(&plan, progress),
                    Wire::Tcp(_) => load::tcp(&plan, Framing::Line, progress),
                    Wire::Http(_, per_request) => load::http(&plan, "/webhook", per_request, progress),
                })
            })
            .collect();
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
        let now = sink.bytes() + contestant.file().len() as u64;
        if now != last {
            (last, since) = (now, Instant::now());
        }
        if Instant::now() > limit {
            bail!("data still arrives two minutes after the last event was sent");
        }
        thread::sleep(Duration::from_millis(100));
    }
    Ok(())
}

/// `VmHWM` of a process in bytes.
pub fn peak(pid: u32) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let kib = status
        .lines()
        .find_map(|l| l.strip_prefix("VmHWM:")?.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
    Ok(kib.unwrap_or(0) * 1024)
}

/// The highest lossless rate: doubling until it fails, halving the distance to 8 %, then `confirm` runs of full length
/// at the rate found, going down while one of them fails.
pub fn search(kind: &Kind, load: Load, start: u64, confirm: u32) -> Result<Outcome> {
    let probe = Load { seconds: load.seconds.min(5), ..load };
    let (mut low, mut high) = (0, None);
    let mut rate = start;
    loop {
        let outcome = run(kind, probe, rate)?;
        eprintln!(
            "    {rate}/s: {}",
            if outcome.lossless() {
                "lossless".to_owned()
            } else {
                format!("lost {} late {} tail {:.1} s", outcome.lost, outcome.late, outcome.tail)
            }
        );
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
            outcomes.push(outcome);
            if !good {
                break;
            }
        }
        if let Some(outcome) = outcomes.pop_if(|o| o.lossless()) {
            return Ok(outcome);
        }
        low = low * 92 / 100;
        eprintln!("    not held; again at {low}/s");
    }
}
