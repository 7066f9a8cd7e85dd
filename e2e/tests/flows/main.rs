//! Flows from outside: real exporters against the whole binary, and the same datagrams before other people's decoders.
//!
//! `make packages` brings all of these programs. Datagrams of real devices are compared too when `FLOW_CAPTURES` names
//! their folder.
#![allow(clippy::unwrap_used, clippy::panic)]

#[path = "../common/mod.rs"]
mod common;
mod compare;
mod datagrams;
mod decoders;
mod differential;
mod killed;
mod known;
mod members;
mod ours;
mod packets;
mod pcap;
mod probes;
mod senders;
mod sources;
mod switch;
