//! `make bench`: the proxy beside its peers and a receiver that does nothing, in one run on one machine.
//!
//! Machines differ and are shared: judge by the ratios. Lossless means: constant rate, every number at the sink, the
//! sender kept its rate, and the queue was empty within four seconds of the last event, in every confirming run.
//! HTTP clients wait for their answers, so their rate is what is answered 200; the other conditions are the same.

use std::time::Instant;

use anyhow::Result;
use clap::{Parser, ValueEnum};

mod account;
mod cases;
mod closed;
mod contestant;
mod flows;
mod report;
mod rest;
mod run;
mod sink;

use cases::Case;
use report::Report;

/// Speed beside peers.
#[derive(Debug, Parser)]
struct Args {
    /// Only this part.
    part: Option<Part>,
    /// Seconds of a confirming run.
    #[arg(long, default_value_t = 30)]
    seconds: u64,
    /// Confirming runs.
    #[arg(long, default_value_t = 3)]
    runs: u32,
    /// Only cases and figures whose name contains this.
    #[arg(long)]
    only: Option<String>,
    /// Do not search for the highest rate; run once at this one.
    #[arg(long)]
    rate: Option<u64>,
    /// Writes the tables into README.md and docs/performance.md, between their `bench` marks.
    #[arg(long)]
    write: bool,
    /// Be the null receiver on this port (used by the bench itself).
    #[arg(long, hide = true)]
    null: Option<u16>,
}

/// What can be measured by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Lines over syslog, raw UDP and HTTP, and figures.
    Lines,
    /// Flow records.
    Flows,
}

impl Args {
    fn includes(&self, part: Part) -> bool {
        self.part.is_none_or(|only| only == part)
    }

    fn wants(&self, name: &str) -> bool {
        self.only.as_ref().is_none_or(|only| name.contains(only.as_str()))
    }
}

fn main() -> Result<()> {
    let args = Args::parse();
    if let Some(port) = args.null {
        return contestant::null(port);
    }
    let begun = Instant::now();
    let report = args.includes(Part::Lines).then(|| lines(&args));
    let table = args.includes(Part::Flows).then(|| flows::measure(&args));
    if let Some(report) = &report {
        println!("{}", report.full());
    }
    if let Some(table) = &table {
        println!("{}", table.text());
    }
    eprintln!("took {} s", begun.elapsed().as_secs());
    if args.write {
        report.map_or(Ok(()), |report| report.write())?;
        table.map_or(Ok(()), |table| table.write())?;
    }
    Ok(())
}

fn lines(args: &Args) -> Report {
    let mut report = Report::new(args.seconds, args.runs);
    for case in cases::all().into_iter().filter(|case| args.wants(case.name)) {
        eprintln!("{}", case.name);
        let outcome = measure(&case, args);
        report.case(&case, outcome);
    }
    for figure in rest::FIGURES.iter().filter(|figure| args.wants(figure.name)) {
        eprintln!("{}", figure.name);
        let value = (figure.measure)().unwrap_or_else(|error| format!("failed: {error:#}"));
        report.figure(figure.name, value);
    }
    report
}

fn measure(case: &Case, args: &Args) -> Result<run::Outcome> {
    let load = run::Load { wire: case.wire, size: cases::SIZE, seconds: args.seconds };
    match case.how {
        cases::How::Closed { datasets } => {
            closed::run(&case.kind, case.wire, datasets, (args.seconds / 3).max(2))
        }
        cases::How::Copy => run::copy(),
        cases::How::At(rate) => run::run(&case.kind, load, args.rate.unwrap_or(rate)),
        cases::How::Search(rate) => match args.rate {
            Some(rate) => run::run(&case.kind, load, rate),
            None => run::search(&case.kind, load, rate, if case.peer { 1 } else { args.runs }),
        },
    }
}
