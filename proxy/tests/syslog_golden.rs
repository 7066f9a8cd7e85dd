//! Every line of `golden/syslog/*.txt` decodes to the line of the same number in the `.json` beside it.
//!
//! The members that are the same in all lines are checked here and left out of the `.json`. `UPDATE=1` writes the
//! `.json` anew: read the difference before you commit it.

#![allow(clippy::unwrap_used)]

mod syslog_corpus;

use std::fs;

use bytefreezer_proxy::{
    config::{KeepRaw, SyslogMode, SyslogSource},
    decode::{
        ReceiveTime,
        syslog::{SyslogRules, push_message},
    },
};
use serde_json::Value;
use syslog_corpus::{FILES, Sample, folder, samples};

/// 2024-03-02T00:00:00.123456789Z
const NOW: u64 = 1_709_337_600_123_456_789;
const COMMON: [(&str, &str); 4] = [
    ("source_ip", "\"192.0.2.7\""),
    ("timestamp", "\"2024-03-02T00:00:00Z\""),
    ("received_ns", "1709337600123456789"),
    ("BfTs", "1709337600123"),
];

fn decode(sample: &Sample) -> String {
    let rules = SyslogRules::new(&SyslogSource {
        udp: None,
        tcp: None,
        mode: SyslogMode::Auto,
        raw: KeepRaw::Drop,
        timezone: sample.timezone.clone(),
        timezones: Vec::new(),
    })
    .unwrap();
    let mut out = Vec::new();
    push_message(&sample.bytes, &rules, "192.0.2.7".parse().unwrap(), &ReceiveTime::new(NOW), &mut out);
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
    let mut wrong = Vec::new();
    let mut lines = 0;
    for file in FILES {
        let samples = samples(file);
        let actual: Vec<String> = samples.iter().map(decode).collect();
        let path = folder().join(file).with_extension("json");
        if std::env::var_os("UPDATE").is_some() {
            fs::write(&path, actual.join("\n") + "\n").unwrap();
        }
        let expected = fs::read_to_string(&path).unwrap();
        let expected: Vec<&str> = expected.lines().collect();
        assert_eq!(expected.len(), actual.len(), "{}", path.display());
        for ((sample, actual), expected) in samples.iter().zip(&actual).zip(expected) {
            lines += 1;
            if actual != expected {
                wrong.push(format!("{}\n  is       {actual}\n  expected {expected}", sample.line));
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {lines} lines:\n{}", wrong.len(), wrong.join("\n"));
    assert!(lines >= 300, "only {lines} golden lines were found");
}
