//! One function for each thing that reads bytes from outside: it takes any bytes and asserts what must hold for them.
//! A panic is a finding.
//!
//! | who runs it | on what |
//! |---|---|
//! | `make test` (`short`) | the corpus in `fuzz/corpus/`, and thousands of mutations of it that are the same each time |
//! | `make fuzz` (libFuzzer, `fuzz/fuzz_targets/`) | what leads to code that no input reached before |
//!
//! A target that needs what is private stands beside it, in a module of the same name. A new one takes a line in
//! `targets!`, a program in `fuzz/` and a corpus; a test says so when one is missing.
#![allow(missing_docs, clippy::unwrap_used, clippy::missing_panics_doc, clippy::indexing_slicing)]

mod config;
mod decoders;
mod ebpf;
mod flow;
#[cfg(test)]
mod mutate;
mod sflow;
mod syslog;
mod unique;

pub use self::{
    config::config,
    decoders::{framing, proxy_protocol, text},
    ebpf::ebpf,
    flow::{flow, flow_restore},
    sflow::sflow,
    syslog::syslog,
};
pub use crate::{
    api::fuzzing::api,
    deliver::fuzzing::receiver_answer,
    inputs::http::fuzzing::http_body,
    spool::fuzzing::{batch_file, log_segment, metadata, names},
};

macro_rules! targets {
    ($($name:ident)*) => {
        /// The names of all targets.
        pub const TARGETS: &[&str] = &[$(stringify!($name)),*];

        #[cfg(test)]
        mod short {
            $(#[test]
            fn $name() {
                super::mutate::run(stringify!($name), super::$name);
            })*
        }
    };
}

targets! {
    api batch_file config ebpf flow flow_restore framing http_body log_segment metadata names proxy_protocol receiver_answer sflow syslog text
}

/// The first byte as a choice, and the rest.
pub(crate) fn choice(data: &[u8]) -> (usize, &[u8]) {
    data.split_first().map_or((0, data), |(first, rest)| (usize::from(*first), rest))
}
