//! The table of flows.

use std::{fmt::Write, path::Path};

use anyhow::Result;
use e2e::datagrams::Version;

use super::{Who, collectors::Collector};
use crate::{
    Args,
    report::{grouped, replace, setting, some},
    run::{EXPORTERS, Outcome},
};

/// What was measured.
pub struct Table {
    seconds: u64,
    runs: u32,
    rows: Vec<(Who, Version, Result<Outcome>)>,
}

impl Table {
    /// Nothing yet.
    pub fn new(args: &Args) -> Self {
        Self { seconds: args.seconds / 3, runs: args.runs, rows: Vec::new() }
    }

    /// Adds a row.
    pub(super) fn add(&mut self, who: Who, version: Version, outcome: Result<Outcome>) {
        self.rows.push((who, version, outcome));
    }

    /// As Markdown; empty when nothing was measured.
    pub fn text(&self) -> String {
        if self.rows.is_empty() {
            return String::new();
        }
        let (setting, seconds, runs) = (setting(), self.seconds, self.runs);
        let mut out = format!(
            "{setting}; {EXPORTERS} exporters; {runs} confirming runs of {seconds} s at the highest rate.\n\n\
             | flows | records/s | records per CPU second | of goflow2 | of nfcapd | of nfacctd | bytes per record \
             | on the wire | peak RSS |\n|---|---|---|---|---|---|---|---|---|\n"
        );
        for (who, version, outcome) in &self.rows {
            match outcome {
                Ok(outcome) => self.row(*who, *version, outcome, &mut out),
                Err(error) => _ = writeln!(out, "| {version}, {who} | failed: {error:#} | | | | | | | |"),
            }
        }
        out
    }

    /// Writes it into its document.
    pub fn write(&self) -> Result<()> {
        replace(Path::new("docs/performance.md"), "flows", &self.text())
    }

    fn row(&self, who: Who, version: Version, outcome: &Outcome, out: &mut String) {
        let offered = match who {
            Who::Collector(_) => format!(" offered{}", outcome.note),
            Who::Proxy if !outcome.lossless() => " (not lossless)".to_owned(),
            Who::Proxy | Who::Memory => String::new(),
        };
        let [goflow2, nfdump, pmacct] = Collector::ALL.map(|other| self.ratio(who, version, outcome, other));
        let _ = writeln!(
            out,
            "| {version}, {who} | {}{offered} | {} | {goflow2} | {nfdump} | {pmacct} | {} | {} | {} |",
            grouped(outcome.rate),
            grouped(per_second(outcome) as u64),
            some(outcome.text as u64, ""),
            some(outcome.wire as u64, ""),
            some(outcome.resident >> 20, " MiB"),
        );
    }

    /// Records per CPU second, compared with those of a collector in this run.
    fn ratio(&self, who: Who, version: Version, outcome: &Outcome, other: Collector) -> String {
        let is_other = |row: &&(Who, Version, _)| row.0 == Who::Collector(other) && row.1 == version;
        if matches!(who, Who::Collector(_)) {
            return String::new();
        }
        let Some((_, _, Ok(other))) = self.rows.iter().find(is_other) else { return String::new() };
        let times = per_second(outcome) / per_second(other);
        if times < 10.0 { format!("{times:.2} x") } else { format!("{times:.0} x") }
    }
}

fn per_second(outcome: &Outcome) -> f64 {
    1e6 / outcome.cpu_per_million.max(f64::MIN_POSITIVE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_compared_with_the_collector_of_their_version() {
        let mut table = Table { seconds: 10, runs: 3, rows: Vec::new() };
        let outcome = |cpu_per_million| Ok(Outcome { rate: 1000, cpu_per_million, ..Outcome::default() });
        table.add(Who::Memory, Version::V5, outcome(2.0));
        table.add(Who::Collector(Collector::Goflow2), Version::V5, outcome(100.0));
        table.add(Who::Collector(Collector::Goflow2), Version::V9, outcome(1.0));
        let text = table.text();
        let row = text.lines().find(|line| line.contains("in memory")).unwrap();
        assert!(row.starts_with("| NetFlow v5, decoded"), "{row}");
        assert!(row.contains("| 1 000 | 500 000 | 50 x |  |  |"), "{row}");
    }
}
