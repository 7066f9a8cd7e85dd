//! The tables: printed, and written between the marks of the documents that hold them.

use std::{fmt::Write as _, fs, path::Path};

use anyhow::{Context, Result, ensure};

use crate::{
    cases::{Case, MAIN, NULL, PEER},
    run::Outcome,
};

/// Everything that was measured.
pub struct Report {
    seconds: u64,
    runs: u32,
    cases: Vec<(&'static str, Result<Outcome>)>,
    figures: Vec<(&'static str, String)>,
}

impl Report {
    /// Nothing yet.
    pub fn new(seconds: u64, runs: u32) -> Self {
        Self { seconds, runs, cases: Vec::new(), figures: Vec::new() }
    }

    /// Adds a case.
    pub fn case(&mut self, case: &Case, outcome: Result<Outcome>) {
        self.cases.push((case.name, outcome));
    }

    /// Adds a figure.
    pub fn figure(&mut self, name: &'static str, value: String) {
        self.figures.push((name, value));
    }

    fn outcome(&self, name: &str) -> Option<&Outcome> {
        self.cases.iter().find(|(known, _)| *known == name)?.1.as_ref().ok()
    }

    /// Both tables as Markdown; empty when nothing was measured.
    pub fn full(&self) -> String {
        if self.cases.is_empty() && self.figures.is_empty() {
            return String::new();
        }
        let mut out = format!(
            "{}; {} confirming runs of {} s at the highest rate (peers: 1), clients that wait for answers a third of that.\n",
            setting(),
            self.runs,
            self.seconds
        );
        if !self.cases.is_empty() {
            out.push_str(
                "\n| case | lossless events/s | of the null receiver | of syslog-ng `http()` | CPU s per million \
                 | bytes on the wire per event | level | receive buffer | peak RSS | |\n\
                 |---|---|---|---|---|---|---|---|---|---|\n",
            );
        }
        for (name, outcome) in &self.cases {
            match outcome {
                Ok(outcome) => self.row(name, outcome, &mut out),
                Err(error) => _ = writeln!(out, "| {name} | failed: {error:#} | | | | | | | | |"),
            }
        }
        if !self.figures.is_empty() {
            out.push_str("\n| figure | value |\n|---|---|\n");
        }
        for (name, value) in &self.figures {
            let _ = writeln!(out, "| {name} | {value} |");
        }
        out
    }

    fn row(&self, name: &str, outcome: &Outcome, out: &mut String) {
        let to = |other: &str| {
            let other = self.outcome(other).filter(|other| other.rate > 0);
            other.map_or(String::new(), |other| ratio(outcome.rate, other.rate))
        };
        let _ = writeln!(
            out,
            "| {name} | {}{} | {} | {} | {:.2} | {} | {} | {} | {} | {} |",
            grouped(outcome.rate),
            if outcome.lossless() { "" } else { " (not lossless)" },
            to(NULL),
            to(PEER),
            outcome.cpu_per_million,
            some(outcome.wire as u64, ""),
            outcome.level.map_or(String::new(), |level| level.to_string()),
            some(outcome.buffer.unwrap_or(0) >> 10, " KiB"),
            some(outcome.resident >> 20, " MiB"),
            outcome.note,
        );
    }

    /// What the README shows: the main load beside the two it is compared with.
    fn short(&self) -> Result<String> {
        let mut out = String::from(
            "| | lossless events/s | CPU s per million |\n\
             |---|---|---|\n",
        );
        for name in [NULL, PEER, MAIN] {
            let outcome = self.outcome(name).with_context(|| format!("no result of: {name}"))?;
            let (rate, cpu) = (grouped(outcome.rate), outcome.cpu_per_million);
            let _ = writeln!(out, "| {name} | {rate} | {cpu:.2} |");
        }
        Ok(out)
    }

    /// Writes both documents.
    pub fn write(&self) -> Result<()> {
        replace(Path::new("README.md"), "bench", &self.short()?)?;
        replace(Path::new("docs/performance.md"), "bench", &self.full())
    }
}

/// What the numbers depend on.
pub fn setting() -> String {
    let read = |path: &str| fs::read_to_string(path).map(|text| text.trim().to_owned()).unwrap_or_default();
    format!(
        "{} cores, kernel {}, `net.core.rmem_max` {}, `rmem_default` {}, loopback",
        std::thread::available_parallelism().map_or(1, usize::from),
        read("/proc/sys/kernel/osrelease").split('-').next().unwrap_or_default(),
        read("/proc/sys/net/core/rmem_max"),
        read("/proc/sys/net/core/rmem_default"),
    )
}

fn ratio(one: u64, other: u64) -> String {
    let times = one as f64 / other as f64;
    if times < 1.0 { format!("{:.0} %", times * 100.0) } else { format!("{times:.1} x") }
}

/// Nothing instead of 0.
pub fn some(number: u64, unit: &str) -> String {
    if number == 0 { String::new() } else { format!("{number}{unit}") }
}

/// With a space between thousands.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let groups: Vec<_> = digits.as_bytes().rchunks(3).rev().map(String::from_utf8_lossy).collect();
    groups.join(" ")
}

/// Puts `text` between the marks of this name.
pub fn replace(path: &Path, name: &str, text: &str) -> Result<()> {
    let begin = format!("<!-- {name}: written by `make bench-write` -->\n");
    let end = format!("<!-- {name}: end -->");
    let old = fs::read_to_string(path).with_context(|| path.display().to_string())?;
    let (before, rest) = old.split_once(&begin).with_context(|| format!("{}: no mark", path.display()))?;
    let (_, after) = rest.split_once(&end).with_context(|| format!("{}: no end mark", path.display()))?;
    ensure!(!after.contains(&begin), "{}: two marks", path.display());
    Ok(fs::write(path, format!("{before}{begin}{}\n{end}{after}", text.trim_end()))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_and_compared() {
        assert_eq!(
            [7, 999, 1000, 485_000, 1_000_001].map(grouped),
            ["7", "999", "1 000", "485 000", "1 000 001"]
        );
        assert_eq!((ratio(1, 2), ratio(3, 2)), ("50 %".to_owned(), "1.5 x".to_owned()));
    }

    #[test]
    fn only_what_is_between_the_marks_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("page.md");
        assert!(replace(&path, "bench", "new").is_err());
        let page = |table: &str| {
            format!(
                "head\n<!-- bench: written by `make bench-write` -->\n{table}\n<!-- bench: end -->\ntail\n"
            )
        };
        fs::write(&path, page("old\nolder")).unwrap();
        replace(&path, "bench", "new\n").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), page("new"));
        fs::write(&path, "no mark").unwrap();
        assert!(replace(&path, "bench", "new").is_err());
    }
}
