//! Flow records: NetFlow v5, v7, v9 and IPFIX; what they share with sFlow is in [`record`].
//!
//! One line of JSON per record, written straight into a batch's buffer: no tree, nothing allocated per record. The
//! schema is the table in [`record`]; elements without a member there go by the name in IANA's registry, those of
//! enterprises by a known name or `pen:id`, a second one of the same name by `name_2`.
//!
//! ```text
//! message    headers, sets                     bounds of everything that is read
//! template   fields -> flat list of operations compiled once per template
//! fields     operations x record -> members    the tight loop
//! domain     templates, options, sequence, what waits, of one observation domain
//! exporters  all of an input, with limits      the way in
//! ```
//! Every function is total: it takes any bytes, and what it refuses is counted in the [`Outcome`]. Each member takes at
//! least one byte of its record and each line one record of at least a byte, so output is bounded by the datagram.
//!
//! A template is that of (exporter address, port if it counts, version, observation domain, number), because exporters
//! number theirs as they like. One that comes again with other fields replaces the first. Records before their
//! template wait in memory and are decoded when it comes, with the time at which they were received.

#![deny(clippy::indexing_slicing)]

mod address;
mod clock;
mod common;
mod digits;
mod domain;
mod element;
mod exporter;
mod exporters;
mod fields;
mod fixed;
mod iana;
mod knowledge;
mod legacy;
mod lines;
mod list;
mod message;
mod outcome;
mod persist;
pub mod record;
mod report;
mod rules;
pub mod sequence;
mod shared;
mod template;
mod templates;
mod value;
mod vendors;
mod waiting;

pub use clock::Clock;
pub use exporters::{Exporters, Source, Transport};
pub use message::Fault;
pub use outcome::Outcome;
pub use record::MacFormat;
pub use report::{Report, Summary, Totals};
pub use rules::{Limits, Rules};
pub use sequence::Tally;
pub use shared::Shared;
pub use waiting::{Origin, Overflow, PATIENCE_NS, Place, Set};
