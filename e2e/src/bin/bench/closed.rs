//! HTTP clients that send their next request when the last was answered.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, anyhow, bail, ensure};
use e2e::{
    http::Client,
    load::{Events, Plan, Shape},
    sequence::{Promised, Sent},
};

use crate::{
    account,
    cases::SIZE,
    contestant::{Contestant, Kind},
    rest::millis,
    run::{self, Outcome, Wire},
    sink::Sink,
};

/// Runs the clients of `wire` for so long; each request is for the next dataset.
pub fn run(kind: &Kind, wire: Wire, datasets: usize, seconds: u64) -> Result<Outcome> {
    let Wire::Http(clients, per_request) = wire else { bail!("only HTTP answers") };
    let sink = Sink::start()?;
    let contestant = Contestant::start(kind, &sink.url())?;
    let target = contestant.target;
    let cpu = contestant.cpu()?;
    let begun = Instant::now();
    let end = begun + Duration::from_secs(seconds);
    let done = thread::scope(|scope| {
        let clients: Vec<_> = (0..clients)
            .map(|stream| {
                let plan = Plan { target, shape: Shape::Json, stream, count: 0, rate: 0, size: SIZE };
                scope.spawn(move || client(&plan, datasets, per_request, end))
            })
            .collect();
        let joined = clients.into_iter().map(|c| c.join().map_err(|_| anyhow!("a client panicked"))?);
        joined.collect::<Result<Vec<_>>>()
    })?;
    let ended = Instant::now();
    let level = contestant.level();
    run::settle(&contestant, &sink, Duration::from_millis(1500))?;
    let (sent, took): (Vec<Sent>, Vec<Vec<Duration>>) = done.into_iter().unzip();
    let total: u64 = sent.iter().map(|sent| sent.attempted).sum();
    let mut took = took.concat();
    took.sort_unstable();
    let seconds = (ended - begun).as_secs_f64();
    let stored_bytes = sink.bytes();
    let stored = sink.take();
    let megabytes = total as f64 * (SIZE + 1) as f64 / seconds / 1e6;
    Ok(Outcome {
        rate: (total as f64 / seconds) as u64,
        cpu_per_million: (contestant.cpu()? - cpu) / total as f64 * 1e6,
        resident: contestant.peak()?,
        wire: stored_bytes as f64 / total as f64,
        tail: run::tail(&stored, ended),
        lost: account::of(wire, &sent, &stored, &[])?.lost,
        level,
        note: format!(
            "{}p50 {:.1} ms, p99 {:.1} ms",
            if per_request > 1 { format!("{megabytes:.0} MB/s, ") } else { String::new() },
            millis(&took, 50),
            millis(&took, 99)
        ),
        ..Outcome::default()
    })
}

fn client(plan: &Plan, datasets: usize, per_request: u64, end: Instant) -> Result<(Sent, Vec<Duration>)> {
    let mut http = Client::new(plan.target).with_timeout(Duration::from_secs(10));
    let events = Events::new(plan);
    let (mut took, mut body, mut number) = (Vec::new(), Vec::new(), 0);
    let mut dataset = usize::from(plan.stream) * 7919;
    while Instant::now() < end {
        body.clear();
        for n in number..number + per_request {
            events.append(n, &mut body);
            body.push(b'\n');
        }
        dataset += 1;
        let begun = Instant::now();
        let answer = http.post(&format!("/d{}", dataset % datasets), &body)?;
        ensure!(answer.status == 200, "status {}: {}", answer.status, answer.text());
        took.push(begun.elapsed());
        number += per_request;
    }
    Ok((Sent { stream: plan.stream, attempted: number, promised: Promised::All }, took))
}
