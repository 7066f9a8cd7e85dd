//! The command line: what is printed where, and how the program ends.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking, like the tests")]

use std::{fs, process::Command};

struct Outcome {
    code: Option<i32>,
    out: String,
    err: String,
}

fn run(arguments: &[&str], variables: &[(&str, &str)]) -> Outcome {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bytefreezer-proxy"));
    command.args(arguments).env_remove("CONFIG_FILE").envs(variables.iter().copied());
    let output = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Outcome { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
}

const GOOD: &str = "tenant_id: acme\nreceiver: {base_url: 'http://r'}\ninputs:\n  - {type: udp, name: a, config: {port: 5}}\n";

#[test]
fn w41_the_version_is_one_clean_line_in_both_spellings() {
    for spelling in ["--version", "-version", "-V"] {
        let outcome = run(&[spelling], &[]);
        assert_eq!(outcome.out, format!("bytefreezer-proxy {}\n", env!("CARGO_PKG_VERSION")));
        assert_eq!((outcome.code, outcome.err.as_str()), (Some(0), ""));
    }
}

#[test]
fn check_prints_file_line_key_and_remedy_and_fails_on_errors_only() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("c.yaml");
    let file = path.to_str().unwrap();
    fs::write(&path, GOOD.replace("port: 5", "port: 5, prt: 6")).unwrap();
    let warned = run(&["check", file], &[]);
    assert_eq!(warned.code, Some(0), "{}", warned.out);
    assert!(warned.out.contains(&format!(
        "{file}:4:44: warning: inputs[0].config.prt: is no known key and has no effect; did you mean `port`?"
    )), "{}", warned.out);
    assert_eq!(run(&["check", "--strict", file], &[]).code, Some(1));
    fs::write(&path, GOOD.replace("port: 5", "port: 500000")).unwrap();
    let wrong = run(&["check", file], &[]);
    assert_eq!(wrong.code, Some(1));
    assert!(
        wrong.out.contains(":4:41: error: inputs[0].config.port: 500000 is out of range"),
        "{}",
        wrong.out
    );
    let mended = run(&["check", file], &[("BYTEFREEZER_PROXY_INPUTS_0_CONFIG_PORT", "5")]);
    assert_eq!(mended.code, Some(0), "{}", mended.out);
    fs::write(&path, format!("{GOOD}bearer_token_file: /nowhere/token\n")).unwrap();
    let missing = run(&["check", file], &[]);
    assert!(
        missing.code == Some(1)
            && missing.out.contains(":5:20: error: bearer_token_file: /nowhere/token cannot be read"),
        "{}",
        missing.out
    );
}

#[test]
fn the_old_switches_check_as_well_and_the_file_may_come_from_a_variable() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("c.yaml");
    let file = path.to_str().unwrap();
    fs::write(&path, GOOD).unwrap();
    for arguments in [
        ["--config", file, "--validate-config"],
        ["-config", file, "-validate-config"],
        ["--config", file, "--dry-run"],
        ["-config", file, "-dry-run"],
    ] {
        let outcome = run(&arguments, &[]);
        assert_eq!(outcome.code, Some(0), "{arguments:?}: {}", outcome.err);
        assert!(
            outcome.out.ends_with("configuration is valid (errors: 0, warnings: 0)\n"),
            "{}",
            outcome.out
        );
    }
    let joined = format!("-config={file}");
    assert_eq!(run(&[&joined, "--dry-run"], &[]).code, Some(0));
    assert_eq!(run(&["--dry-run"], &[("CONFIG_FILE", file)]).code, Some(0));
    let absent = run(&["--dry-run", "--config", "/nowhere.yaml"], &[]);
    assert!(
        absent.code == Some(1)
            && absent.err.contains("/nowhere.yaml: error: there is neither this file nor /nowhere.yaml.gz"),
        "{}",
        absent.err
    );
}

#[test]
fn a_wrong_file_does_not_start_and_says_everything_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("c.yaml");
    fs::write(&path, "config_mode: control-only\nserver: {api_port: x}\n").unwrap();
    let outcome = run(&["--config", path.to_str().unwrap()], &[]);
    assert_eq!(outcome.code, Some(1));
    for part in
        ["control-only` is not in this version yet", "server.api_port", "receiver.base_url: is missing"]
    {
        assert!(outcome.err.contains(part), "{part}: {}", outcome.err);
    }
    assert_eq!(outcome.out, "", "nothing was started");
}

#[test]
fn the_documentation_is_in_the_binary() {
    assert!(run(&["config", "reference"], &[]).out.starts_with("# Configuration"));
    assert!(run(&["config", "environment"], &[]).out.contains("BYTEFREEZER_PROXY_RECEIVER_BASE_URL\n"));
    let schema: serde_json::Value = serde_json::from_str(&run(&["config", "schema"], &[]).out).unwrap();
    assert_eq!(schema["title"], "Document");
}

/// Options of the start: an unknown one is named.
#[test]
fn an_unknown_option_is_refused() {
    let outcome = run(&["--confg", "x"], &[]);
    assert!(outcome.code == Some(2) && outcome.err.contains("--config"), "{}", outcome.err);
}

#[test]
fn a_spool_that_is_none_is_an_error_on_standard_error() {
    let folder = tempfile::tempdir().unwrap();
    for command in ["ls", "verify", "repair"] {
        let outcome = run(&["spool", command, folder.path().to_str().unwrap(), "--json"], &[]);
        assert_eq!((outcome.code, outcome.out.as_str()), (Some(2), ""), "{command}");
        assert!(outcome.err.contains("cannot be read"), "{}", outcome.err);
    }
}
