//! Pure functions from bytes to lines. No I/O, no clock except the one passed in, no panic on any input.
//!
//! Every decoder appends complete lines, each ended by one `\n`, to a caller's buffer, so that nothing is allocated
//! per message.

#![deny(clippy::indexing_slicing)]

pub mod ebpf;
pub mod flow;
pub mod framing;
pub mod json;
mod object;
pub mod sflow;
pub mod syslog;
pub mod text;
mod time;

pub use time::ReceiveTime;
