//! The live table: redrawn in place on a terminal, one line a second elsewhere.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    io::{IsTerminal as _, Write as _},
    time::Instant,
};

use e2e::receiver::Receiver;

use super::{traffic::Senders, world::View};

/// Totals of the last second or more, for rates.
struct Sample {
    at: Instant,
    totals: BTreeMap<String, (u64, u64)>,
}

/// Where and since when it is shown.
pub(crate) struct Table {
    started: Instant,
    /// Redrawn in place.
    pub(crate) live: bool,
    height: usize,
    sample: Sample,
    rates: BTreeMap<String, (f64, f64)>,
}

impl Table {
    pub(crate) fn new() -> Self {
        let now = Instant::now();
        Self {
            started: now,
            live: std::io::stdout().is_terminal(),
            height: 0,
            sample: Sample { at: now, totals: BTreeMap::new() },
            rates: BTreeMap::new(),
        }
    }

    /// A line that stays, above the table.
    pub(crate) fn say(&mut self, text: &str) {
        self.print(&format!("{:>3} s  ** {text}", self.started.elapsed().as_secs()));
        self.height = 0;
    }

    pub(crate) fn show(&mut self, view: &View, receiver: &Receiver, senders: &Senders) {
        let mut stored: BTreeMap<String, u64> = BTreeMap::new();
        for batch in receiver.batches() {
            *stored.entry(batch.key.dataset).or_default() += batch.lines;
        }
        let of = |name: &str| (senders.sent(name), stored.get(name).copied().unwrap_or(0));
        let totals = view.datasets.iter().map(|dataset| (dataset.name.clone(), of(&dataset.name))).collect();
        self.measure(totals);
        let text = if self.live { self.full(view, of) } else { self.line(view, of) };
        self.print(&text);
        self.height = if self.live { text.lines().count() } else { 0 };
    }

    /// The last state of the pods.
    pub(crate) fn end(&mut self, view: &View) {
        self.say(&format!("pods: {}", view.pods()));
    }

    fn measure(&mut self, totals: BTreeMap<String, (u64, u64)>) {
        let seconds = self.sample.at.elapsed().as_secs_f64();
        if seconds < 1.0 {
            return;
        }
        for (name, (sent, stored)) in &totals {
            let (before_sent, before_stored) = self.sample.totals.get(name).copied().unwrap_or_default();
            let rate = |now: u64, before: u64| now.saturating_sub(before) as f64 / seconds;
            self.rates.insert(name.clone(), (rate(*sent, before_sent), rate(*stored, before_stored)));
        }
        self.sample = Sample { at: Instant::now(), totals };
    }

    fn line(&self, view: &View, of: impl Fn(&str) -> (u64, u64)) -> String {
        let mut text = format!("{:>3} s ", self.started.elapsed().as_secs());
        for dataset in &view.datasets {
            let (sent, stored) = of(&dataset.name);
            let ready = dataset.condition("Ready");
            let _ = write!(text, " {} {ready}: sent {sent:>5}, at Receiver {stored:>5};", dataset.name);
        }
        text + " pods: " + &view.pods()
    }

    fn full(&self, view: &View, of: impl Fn(&str) -> (u64, u64)) -> String {
        let mut text = format!(
            "\nsecond {:<4} pods: {}\n\n{:<12} {:<24} {:<10} {:<12} {:>8} {:>8} {:>8} {:>12}\n",
            self.started.elapsed().as_secs(),
            view.pods(),
            "dataset",
            "address",
            "accepted",
            "programmed",
            "sent",
            "sent/s",
            "stored",
            "stored/s",
        );
        for dataset in &view.datasets {
            let (sent, stored) = of(&dataset.name);
            let (sending, storing) = self.rates.get(&dataset.name).copied().unwrap_or_default();
            let _ = writeln!(
                text,
                "{:<12} {:<24} {:<10} {:<12} {sent:>8} {sending:>8.0} {stored:>8} {storing:>12.0}",
                dataset.name,
                dataset.address,
                dataset.condition("Accepted"),
                dataset.condition("Programmed"),
            );
        }
        text
    }

    fn print(&self, text: &str) {
        let mut out = std::io::stdout().lock();
        if self.height > 0 {
            let _ = write!(out, "\x1b[{}A\x1b[J", self.height);
        }
        // A closed pipe is no reason to stop counting.
        let _ = writeln!(out, "{}", text.trim_end_matches('\n'));
    }
}
