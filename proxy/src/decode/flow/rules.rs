//! Settings of an input, and what is kept at most.

use super::{record::MacFormat, template::Style};
use crate::config::FlowOutput;

/// Settings of an input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// How MAC addresses are written.
    pub mac: MacFormat,
    /// Whether options records become lines too. They are read in any case.
    pub options: bool,
    /// The shape of lines.
    pub output: FlowOutput,
    /// What is kept at most.
    pub limits: Limits,
}

impl Default for Rules {
    fn default() -> Self {
        Self { mac: MacFormat::Number, options: false, output: FlowOutput::Fields, limits: Limits::default() }
    }
}

impl Rules {
    /// Those of lines, as far as they are settled with a template. The lines of before know one form of MAC addresses.
    pub(super) fn style(&self) -> Style {
        let legacy = self.output == FlowOutput::Legacy;
        Style { mac: if legacy { MacFormat::Number } else { self.mac }, legacy }
    }

    /// Whether options records become lines; never in the shape of before.
    pub(super) fn options(&self) -> bool {
        self.options && self.output == FlowOutput::Fields
    }
}

/// What is kept at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Exporters.
    pub exporters: usize,
    /// Observation domains of an exporter.
    pub domains: usize,
    /// Fields of an exporter's templates.
    pub fields_per_exporter: usize,
    /// Fields of all templates.
    pub fields: usize,
    /// Bytes of sets that wait for their template.
    pub waiting: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            exporters: 16_384,
            domains: 256,
            fields_per_exporter: 1 << 16,
            fields: 1 << 19,
            waiting: 64 << 20,
        }
    }
}
