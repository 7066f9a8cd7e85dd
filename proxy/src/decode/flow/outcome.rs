//! What became of a datagram.

use super::message::Fault;

/// Counts of one datagram; lines of sets that waited are those of the datagram that brought their template.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Lines written.
    pub lines: u32,
    /// Of these, lines of sets that had waited for their template.
    pub late: u32,
    /// Options records read, whether they became lines or not.
    pub options: u32,
    /// Templates that are new or other than before.
    pub templates: u32,
    /// Sets that wait for their template.
    pub waiting: u32,
    /// Sets lost for want of a template: no room to wait, waited too long, or their exporter was forgotten.
    pub unknown: u32,
    /// Parts of the datagram that were refused.
    pub faults: u32,
    /// Why the first of them was.
    pub fault: Option<Fault>,
    /// Whether there are more lines of sets that had waited: ask for them with `resume`.
    pub more: bool,
    /// Whether the exporter takes more memory than before, or said something new.
    pub(super) grown: bool,
}

impl Outcome {
    pub(super) fn fault(&mut self, fault: Fault) {
        self.faults += 1;
        self.fault.get_or_insert(fault);
    }
}
