//! Inputs over real sockets into a real spool.
#![allow(clippy::unwrap_used, clippy::panic, clippy::format_collect, missing_docs)]

mod garbage;
mod listeners;
mod memory;
mod reload;
mod rig;
mod secure;
mod tcp;
mod udp;
