//! Inputs over real sockets into a real spool.
#![allow(clippy::unwrap_used, clippy::panic, clippy::format_collect, missing_docs)]

mod agents;
mod exporters;
#[allow(dead_code, reason = "the tests of the decoder use more of it")]
#[path = "../flow/rig.rs"]
mod flow;
mod garbage;
mod listeners;
mod memory;
mod messages;
mod reload;
mod rig;
mod secure;
mod tcp;
mod teaching;
mod udp;
