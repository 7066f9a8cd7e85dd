//! The live table: redrawn in place on a terminal, one line a second elsewhere.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    io::{IsTerminal, Write as _},
    time::Instant,
};

use anyhow::Result;
use e2e::{process::Proxy, receiver::Receiver};
use serde_json::Value;

/// Where and since when it is shown.
pub(crate) struct Table {
    started: Instant,
    /// Redrawn in place.
    pub(crate) live: bool,
    height: usize,
}

impl Table {
    pub(crate) fn new() -> Self {
        Self { started: Instant::now(), live: std::io::stdout().is_terminal(), height: 0 }
    }

    pub(crate) fn show(&mut self, proxy: &Proxy, receiver: &Receiver, sent: u64, state: &str) -> Result<()> {
        let status = proxy.json("/api/v1/status")?;
        let text = if self.live {
            self.full(&status, receiver, sent, state)
        } else {
            self.line(&status, sent, state)
        };
        let mut out = std::io::stdout().lock();
        if self.height > 0 {
            write!(out, "\x1b[{}A\x1b[J", self.height)?;
        }
        if self.live {
            self.height = text.lines().count();
        }
        writeln!(out, "{}", text.trim_end())?;
        Ok(())
    }

    fn line(&self, status: &Value, sent: u64, state: &str) -> String {
        let events = &status["events"];
        let drops: u64 = inputs(status).map(|input| number(&input["kernel_drops"])).sum();
        format!(
            "{:>3} s  Receiver {state:<4}  sent {sent:>6}  received {:>6}  spooled {:>6}  queued {:>6}  retried {:>6}  delivered {:>6}  DLQ {:>3}  kernel drops {drops}",
            self.started.elapsed().as_secs(),
            number(&events["accepted"]),
            number(&events["memory"]) + number(&events["open"]),
            number(&events["queued"]),
            number(&events["retry"]),
            number(&events["delivered"]),
            number(&events["dlq"]),
        )
    }

    fn full(&self, status: &Value, receiver: &Receiver, sent: u64, state: &str) -> String {
        let mut stored: BTreeMap<String, u64> = BTreeMap::new();
        for batch in receiver.batches() {
            *stored.entry(batch.key.dataset).or_default() += batch.lines;
        }
        let mut text = String::new();
        let _ = writeln!(
            text,
            "second {:<4} Receiver {state:<6} sent {sent}\n",
            self.started.elapsed().as_secs()
        );
        let _ = writeln!(
            text,
            "{:<14} {:<7} {:>10} {:>10} {:>10} {:>13} {:>13}",
            "input", "type", "received", "lines", "refused", "kernel drops", "at Receiver"
        );
        for input in inputs(status) {
            let refused: u64 = input["refused"].as_object().map_or(0, |all| all.values().map(number).sum());
            let _ = writeln!(
                text,
                "{:<14} {:<7} {:>10} {:>10} {refused:>10} {:>13} {:>13}",
                input["name"].as_str().unwrap_or_default(),
                input["type"].as_str().unwrap_or_default(),
                number(&input["messages"]),
                number(&input["lines"]),
                number(&input["kernel_drops"]),
                input["dataset_id"].as_str().and_then(|dataset| stored.get(dataset)).copied().unwrap_or(0),
            );
        }
        let events = &status["events"];
        let _ = writeln!(
            text,
            "\n{:>10} {:>10} {:>10} {:>10} {:>10} {:>10} {:>10}",
            "received", "memory", "spooled", "queued", "retried", "delivered", "DLQ"
        );
        for member in ["accepted", "memory", "open", "queued", "retry", "delivered", "dlq"] {
            let _ = write!(text, "{:>10} ", number(&events[member]));
        }
        text
    }
}

fn inputs(status: &Value) -> impl Iterator<Item = &Value> {
    status["inputs"].as_array().into_iter().flatten()
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or(0)
}
