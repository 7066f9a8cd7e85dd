//! The configuration as its users meet it: what a file means, what is said about a wrong one, where, and how.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail by panicking, like the tests")]

mod environment;
mod former;
mod many;
mod problems;
mod reload;
mod sharing;
mod values;
mod version;

use std::{path::PathBuf, time::Duration};

use bytefreezer_proxy::config::{
    self, Config, DataFormat, Difference, Fault, KeepRaw, Loaded, Oversize, Problem, Secret, Severity, Source,
};

const HEAD: &str = "config_mode: local-only\ntenant_id: acme\nreceiver: {base_url: \"http://r:8080\"}\n";

fn load(text: &str) -> Loaded {
    config::load("x.yaml", text, [])
}

fn with_env(text: &str, variables: &[(&str, &str)]) -> Loaded {
    let variables =
        variables.iter().map(|(name, value)| (format!("BYTEFREEZER_PROXY_{name}"), (*value).to_owned()));
    config::load("x.yaml", text, variables)
}

#[track_caller]
fn good(loaded: Loaded) -> Config {
    assert!(!loaded.has_errors(), "{:#?}", loaded.problems);
    loaded.config.unwrap()
}

/// Head and the given inputs.
fn inputs(text: &str) -> String {
    format!("{HEAD}inputs:\n{text}")
}

#[track_caller]
fn problem<'a>(loaded: &'a Loaded, key: &str) -> &'a Problem {
    loaded
        .problems
        .iter()
        .find(|problem| problem.key == key)
        .unwrap_or_else(|| panic!("nothing about {key}: {:#?}", loaded.problems))
}

fn file(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../examples").join(name)
}
