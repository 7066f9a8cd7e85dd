//! Every line of `golden/syslog/*.txt` decodes to the line of the same number in the `.json` beside it.
//!
//! In the `.txt` files `#` starts a comment, `␤` is a newline, `␀` a NUL, `␉` a tab, `␛XX` the byte XX;
//! `#! timezone: Z` sets the zone of the input from there on. The members that are the same in all lines are checked
//! here and left out of the `.json`. `UPDATE_GOLDEN=1` writes the `.json` anew: read the difference before you
//! commit it.

use std::{fs, path::PathBuf};

use bytefreezer_proxy::{
    config::{KeepRaw, SyslogMode, SyslogSource},
    decode::{
        ReceiveTime,
        syslog::{SyslogRules, push_message},
    },
};
use serde_json::Value;

/// 2024-03-02T00:00:00.123456789Z
const NOW: u64 = 1_709_337_600_123_456_789;
const COMMON: [(&str, &str); 4] = [
    ("source_ip", "\"192.0.2.7\""),
    ("timestamp", "\"2024-03-02T00:00:00Z\""),
    ("received_ns", "1709337600123456789"),
    ("BfTs", "1709337600123"),
];

fn source(timezone: &str) -> SyslogSource {
    SyslogSource {
        udp: None,
        tcp: None,
        mode: SyslogMode::Auto,
        raw: KeepRaw::Drop,
        timezone: timezone.to_owned(),
        timezones: Vec::new(),
    }
}

fn unescape(line: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut chars = line.chars();
    while let Some(char) = chars.next() {
        match char {
            '␤' => bytes.push(b'\n'),
            '␀' => bytes.push(0),
            '␉' => bytes.push(b'\t'),
            '␛' => {
                let hex: String = chars.by_ref().take(2).collect();
                bytes.push(u8::from_str_radix(&hex, 16).unwrap());
            }
            _ => bytes.extend(char.to_string().bytes()),
        }
    }
    bytes
}

fn decode(message: &[u8], rules: &SyslogRules) -> String {
    let mut out = Vec::new();
    push_message(message, rules, "192.0.2.7".parse().unwrap(), &ReceiveTime::new(NOW), &mut out);
    let line = String::from_utf8(out).unwrap();
    let mut value: Value = serde_json::from_str(&line).unwrap();
    let members = value.as_object_mut().unwrap();
    assert_eq!(members.keys().next_back().unwrap(), "BfTs");
    for (name, text) in COMMON {
        assert_eq!(members.shift_remove(name).unwrap().to_string(), text);
    }
    value.to_string()
}

#[test]
fn golden_lines() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden/syslog");
    let update = std::env::var_os("UPDATE_GOLDEN").is_some();
    let mut wrong = Vec::new();
    let mut lines = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "txt") {
            continue;
        }
        let mut rules = SyslogRules::new(&source("UTC")).unwrap();
        let mut messages = Vec::new();
        let mut actual = Vec::new();
        for line in fs::read_to_string(&path).unwrap().lines() {
            if let Some(zone) = line.strip_prefix("#! timezone: ") {
                rules = SyslogRules::new(&source(zone)).unwrap();
            } else if !line.is_empty() && !line.starts_with('#') {
                messages.push(line.to_owned());
                actual.push(decode(&unescape(line), &rules));
            }
        }
        let expected_path = path.with_extension("json");
        if update {
            fs::write(&expected_path, actual.join("\n") + "\n").unwrap();
        }
        let expected = fs::read_to_string(&expected_path).unwrap();
        let expected: Vec<&str> = expected.lines().collect();
        assert_eq!(expected.len(), actual.len(), "{}", expected_path.display());
        for ((message, actual), expected) in messages.iter().zip(&actual).zip(expected) {
            lines += 1;
            if actual != expected {
                wrong.push(format!("{message}\n  is       {actual}\n  expected {expected}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {lines} lines:\n{}", wrong.len(), wrong.join("\n"));
    assert!(lines >= 100, "only {lines} golden lines were found");
}
