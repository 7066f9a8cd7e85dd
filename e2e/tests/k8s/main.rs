//! Tests on a real cluster, `make e2e`.
//!
//! Each installs the chart into a namespace of its own and runs alone: the operator serves all namespaces, node ports are shared, and
//! times are measured.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod changes;
mod common;
mod conditions;
mod deaths;
mod examples;
mod flow;
mod host_network;
mod install;
mod ports;
mod receiver_down;
mod refusals;
mod rest;
mod rights;
mod scale;
mod tokens;
