//! Flow records of many exporters: decoding alone, the way to the Receiver, and other people's collectors.

use std::{fmt, time::Duration};

use anyhow::Result;
use e2e::datagrams::Version;
use serde_json::json;

use crate::{
    Args, cases,
    contestant::{Contestant, Kind},
    run::{self, Load, Outcome, Wire},
    sink::Sink,
};

pub mod collectors;
mod memory;
mod table;

use collectors::Collector;
pub use table::Table;

/// Seconds of decoding alone.
const MEMORY: Duration = Duration::from_secs(3);
/// The highest lossless rate is looked for from this one on.
const START: u64 = 250_000;

/// Who has the records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Who {
    Memory,
    Proxy,
    Collector(Collector),
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Memory => "decoded to JSON in memory, one core",
            Self::Proxy => "proxy: decoded, gzip level 1, synced, uploaded",
            Self::Collector(Collector::Goflow2) => "goflow2, JSON to a file: far less work",
            Self::Collector(Collector::Nfdump) => "nfcapd (sfcapd), binary to a file: far less work",
            Self::Collector(Collector::Pmacct) => "nfacctd (sfacctd), JSON to a file: far less work",
        })
    }
}

/// Measures all of them, or those that are wanted.
pub fn measure(args: &Args) -> Table {
    let mut table = Table::new(args);
    let all = [Who::Memory, Who::Proxy].into_iter().chain(Collector::ALL.map(Who::Collector));
    for who in all {
        for version in Version::ALL {
            let name = format!("{version}, {who}");
            if args.wants(&name) {
                eprintln!("{name}");
                table.add(who, version, outcome(who, version, args));
            }
        }
    }
    table
}

fn outcome(who: Who, version: Version, args: &Args) -> Result<Outcome> {
    let load = |seconds: u64| Load { wire: Wire::Flows(version), size: 0, seconds: seconds.max(2) };
    match who {
        Who::Memory => memory::run(version, MEMORY),
        Who::Collector(collector) => collect(collector, version, load(args.seconds / 6)),
        Who::Proxy => {
            let (kind, load) = (proxy(version), load(args.seconds / 3));
            match args.rate {
                Some(rate) => run::run(&kind, load, rate),
                None => run::search(&kind, load, START, args.runs),
            }
        }
    }
}

fn proxy(version: Version) -> Kind {
    let input = if version == Version::Sflow { "sflow" } else { "netflow" };
    cases::proxy(input, &json!({}), &json!({"compression_level": 1, "compression_adaptive": false}))
}

/// What a record costs a collector, of those that it wrote.
fn collect(collector: Collector, version: Version, load: Load) -> Result<Outcome> {
    // Nothing arrives there.
    let sink = Sink::start()?;
    let mut contestant = Contestant::start(&Kind::Collector(collector, version), &sink.url())?;
    let before = contestant.cpu()?;
    let (_, sent) = run::send(&contestant, load, collector.rate())?;
    run::settle(&contestant, &sink, collectors::QUIET)?;
    let (seconds, resident) = (contestant.cpu()? - before, contestant.peak()?);
    let sent: u64 = sent.iter().map(|sent| sent.attempted).sum();
    let written = contestant.written()?;
    let lost = sent.saturating_sub(written.records);
    let note = if lost == 0 {
        String::new()
    } else {
        format!(", {:.1} % missing", lost as f64 / sent as f64 * 100.0)
    };
    Ok(Outcome {
        rate: collector.rate(),
        lost,
        note,
        cpu_per_million: seconds / written.records as f64 * 1e6,
        text: written.bytes as f64 / written.records as f64,
        resident,
        ..Outcome::default()
    })
}
