//! What is told about exporters.

use super::{exporters::Source, outcome::Outcome, sequence::Tally};
use crate::rate::Rate;

/// What an exporter sent since it was first heard.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// When it was first heard, Unix ns.
    pub first_ns: u64,
    /// When it was last heard, Unix ns.
    pub last_ns: u64,
    /// Datagrams whose header could be read.
    pub datagrams: u64,
    /// Lines.
    pub records: u64,
    /// Options records.
    pub options: u64,
    /// Sets that had to wait for their template.
    pub waited: u64,
    /// Sets lost for want of a template.
    pub unknown: u64,
    /// Parts of datagrams that were refused.
    pub faults: u64,
}

impl Totals {
    pub(super) fn add(&mut self, outcome: &Outcome, now_ns: u64) {
        if self.first_ns == 0 {
            self.first_ns = now_ns;
        }
        self.last_ns = self.last_ns.max(now_ns);
        self.records += u64::from(outcome.lines);
        self.options += u64::from(outcome.options);
        self.waited += u64::from(outcome.waiting);
        self.unknown += u64::from(outcome.unknown);
        self.faults += u64::from(outcome.faults);
    }
}

/// An exporter as the API lists it.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// Who.
    pub source: Source,
    /// What it sent.
    pub totals: Totals,
    /// Lines per second.
    pub rate: Rate,
    /// Observation domains.
    pub domains: usize,
    /// Templates.
    pub templates: usize,
    /// Sets that wait.
    pub waiting: usize,
    /// Losses upstream.
    pub sequence: Tally,
}

/// All exporters together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Summary {
    /// Exporters known.
    pub exporters: usize,
    /// Their templates.
    pub templates: usize,
    /// Sets that wait in memory.
    pub waiting: usize,
    /// Losses upstream, those of exporters that were forgotten included.
    pub sequence: Tally,
}
