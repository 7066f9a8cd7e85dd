//! `make bench`: the proxy beside its peers and a receiver that does nothing, in one run on one machine.
//!
//! Machines differ and are shared: judge by the ratios. Lossless means: constant rate, every number at the sink, the
//! sender kept its rate, and the queue was empty within four seconds.

use anyhow::Result;
use clap::Parser;
use e2e::load::Shape;
use serde_json::{Value, json};

mod contestant;
mod rest;
mod run;
mod sink;

use contestant::Kind;
use run::{Load, Outcome, Wire};

/// Speed beside peers.
#[derive(Debug, Parser)]
struct Args {
    /// Seconds of a confirming run.
    #[arg(long, default_value_t = 30)]
    seconds: u64,
    /// Confirming runs.
    #[arg(long, default_value_t = 3)]
    runs: u32,
    /// Only cases whose name contains this.
    #[arg(long)]
    only: Option<String>,
    /// Be the null receiver on this port (used by the bench itself).
    #[arg(long, hide = true)]
    null: Option<u16>,
}

fn main() -> Result<()> {
    let args = Args::parse();
    if let Some(port) = args.null {
        return contestant::null(port);
    }
    setting()?;
    println!("| case | events/s lossless | CPU s per million | wire bytes per event | peak RSS MiB |");
    println!("|---|---|---|---|---|");
    for case in cases(&args) {
        if args.only.as_ref().is_some_and(|only| !case.name.contains(only.as_str())) {
            continue;
        }
        eprintln!("{}", case.name);
        match case.measure(args.runs) {
            Ok(outcome) => print(case.name, &outcome),
            Err(error) => println!("| {} | failed: {error:#} | | | |", case.name),
        }
    }
    println!("\n| figure | value |\n|---|---|");
    for figure in
        rest::FIGURES.iter().filter(|f| args.only.as_ref().is_none_or(|only| f.name.contains(only.as_str())))
    {
        eprintln!("{}", figure.name);
        let value = (figure.measure)().unwrap_or_else(|error| format!("failed: {error:#}"));
        println!("| {} | {value} |", figure.name);
    }
    Ok(())
}

struct Case {
    name: &'static str,
    kind: Kind,
    load: Load,
    /// First rate of the search, or the rate when it is fixed.
    rate: u64,
    fixed: bool,
}

impl Case {
    fn measure(&self, runs: u32) -> Result<Outcome> {
        if self.fixed {
            run::run(&self.kind, self.load, self.rate)
        } else {
            run::search(&self.kind, self.load, self.rate, runs)
        }
    }
}

fn cases(args: &Args) -> Vec<Case> {
    let load = |wire, size| Load { wire, size, seconds: args.seconds };
    let udp = load(Wire::Udp(Shape::Rfc3164), 256);
    let case = |name, kind, load, rate| Case { name, kind, load, rate, fixed: false };
    let fixed = |name, kind, load, rate| Case { name, kind, load, rate, fixed: true };
    vec![
        case("null receiver (recvmmsg)", Kind::Null, udp, 200_000),
        case("syslog-ng http(), reliable disk buffer", Kind::SyslogNgHttp, udp, 10_000),
        case("syslog-ng to a file", Kind::SyslogNgFile, udp, 100_000),
        case("rsyslog to a file", Kind::RsyslogFile, udp, 100_000),
        case("proxy, syslog UDP 256 B", syslog(None, 1), udp, 150_000),
        fixed("proxy, syslog UDP 256 B, level 1, 100k/s", syslog(Some(1), 1), udp, 100_000),
        fixed("proxy, syslog UDP 256 B, level 6, 100k/s", syslog(Some(6), 1), udp, 100_000),
        case(
            "proxy, udp raw text 256 B",
            proxy(
                &json!({"type": "udp", "name": "web", "config": {"port": "{port}", "host": "127.0.0.1", "data_format": "text"}}),
                None,
            ),
            load(Wire::Udp(Shape::Text), 256),
            150_000,
        ),
        case(
            "proxy, syslog TCP, 1 connection",
            proxy(
                &json!({"type": "syslog", "name": "web", "config": {"port": "{port}", "host": "127.0.0.1", "protocol": "tcp"}}),
                None,
            ),
            load(Wire::Tcp(1), 256),
            150_000,
        ),
        case(
            "proxy, syslog TCP, 8 connections",
            proxy(
                &json!({"type": "syslog", "name": "web", "config": {"port": "{port}", "host": "127.0.0.1", "protocol": "tcp"}}),
                None,
            ),
            load(Wire::Tcp(8), 256),
            150_000,
        ),
        case(
            "proxy, HTTP, 1 event a request, 64 clients, durable 200",
            proxy(
                &json!({"type": "http", "name": "web", "config": {"port": "{port}", "host": "127.0.0.1", "data_hint": "ndjson"}}),
                None,
            ),
            load(Wire::Http(64, 1), 256),
            8_000,
        ),
        case(
            "proxy, HTTP, 1 MiB bodies of 256 B lines, 4 clients",
            proxy(
                &json!({"type": "http", "name": "web", "config": {"port": "{port}", "host": "127.0.0.1", "data_hint": "ndjson",
                    "max_payload_size": 2_097_152, "max_lines_per_request": 100_000}}),
                None,
            ),
            load(Wire::Http(4, 4096), 256),
            300_000,
        ),
    ]
}

/// The proxy with a syslog input over UDP.
fn syslog(level: Option<u32>, timeout: u32) -> Kind {
    let config = json!({"port": "{port}", "host": "127.0.0.1"});
    with(&json!({"type": "syslog", "name": "web", "config": config}), level, timeout)
}

fn proxy(input: &Value, level: Option<u32>) -> Kind {
    with(input, level, 1)
}

fn with(input: &Value, level: Option<u32>, timeout: u32) -> Kind {
    let mut batching = json!({"timeout_seconds": timeout, "max_bytes": 1_048_576});
    if let (Some(level), Some(members)) = (level, batching.as_object_mut()) {
        members.insert("compression_level".to_owned(), json!(level));
        members.insert("compression_adaptive".to_owned(), json!(false));
    }
    Kind::Proxy(json!({"batching": batching, "inputs": [input], "logging": {"level": "warn"}}))
}

fn print(name: &str, outcome: &Outcome) {
    println!(
        "| {name} | {}{} | {:.2} | {:.1} | {:.0} |",
        outcome.rate,
        if outcome.lossless() { "" } else { " (LOST)" },
        outcome.cpu_per_million,
        outcome.wire,
        outcome.resident as f64 / 1_048_576.0
    );
}

/// What the numbers depend on.
fn setting() -> Result<()> {
    let read =
        |path: &str| std::fs::read_to_string(path).map(|text| text.trim().to_owned()).unwrap_or_default();
    println!(
        "{} cores, kernel {}, net.core.rmem_max {}, rmem_default {}\n",
        std::thread::available_parallelism()?,
        read("/proc/sys/kernel/osrelease"),
        read("/proc/sys/net/core/rmem_max"),
        read("/proc/sys/net/core/rmem_default"),
    );
    Ok(())
}
