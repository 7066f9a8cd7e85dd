use std::sync::LazyLock;

use serde_json::Value;

use super::{choice, unique::Unique};
use crate::{
    config::{KeepRaw, SyslogMode, SyslogSource},
    decode::{
        ReceiveTime,
        syslog::{Shape, SyslogRules, push_message},
    },
};

/// Every mode with every choice of `raw`.
static RULES: LazyLock<Vec<(SyslogMode, KeepRaw, SyslogRules)>> = LazyLock::new(|| {
    let modes = [SyslogMode::Auto, SyslogMode::Rfc3164, SyslogMode::Rfc5424];
    let raws = [KeepRaw::Drop, KeepRaw::Keep, KeepRaw::OnFailure];
    let all = modes.iter().flat_map(|mode| raws.iter().map(|raw| (*mode, *raw)));
    all.map(|(mode, raw)| {
        let timezone = "Europe/Berlin".to_owned();
        let source = SyslogSource { udp: None, tcp: None, mode, raw, timezone, timezones: Vec::new() };
        (mode, raw, SyslogRules::new(&source).unwrap())
    })
    .collect()
});

/// Any bytes as a syslog message: one line of valid JSON with no member twice, whose members have the types and values
/// that they always have.
pub fn syslog(data: &[u8]) {
    let (choice, message) = choice(data);
    let (mode, raw, rules) = &RULES[choice % RULES.len()];
    let mut out = b"before".to_vec();
    let now = ReceiveTime::new(1_709_337_600_123_456_789);
    let shape = push_message(message, rules, [192, 0, 2, 7].into(), &now, &mut out);
    let line = out.strip_prefix(b"before").unwrap();
    assert_eq!(line.iter().position(|byte| *byte == b'\n'), Some(line.len() - 1));
    assert!(line.ends_with(b",\"BfTs\":1709337600123}\n"));
    serde_json::from_slice::<Unique>(line).unwrap();
    let value: Value = serde_json::from_slice(line).unwrap();
    let rfc = match shape {
        Shape::Rfc5424 => "5424",
        Shape::Rfc3164 => "3164",
        Shape::Raw => "raw",
    };
    assert_eq!(value["rfc"], rfc);
    let other = match mode {
        SyslogMode::Auto => "",
        SyslogMode::Rfc3164 => "5424",
        SyslogMode::Rfc5424 => "3164",
    };
    assert_ne!(rfc, other);
    assert_eq!(value["source_ip"], "192.0.2.7");
    assert_eq!(value["timestamp"], "2024-03-02T00:00:00Z");
    assert_eq!(value["received_ns"], 1_709_337_600_123_456_789_u64);
    assert!(value["message"].is_string());
    for (name, member) in value.as_object().unwrap() {
        match name.as_str() {
            "facility" | "severity" | "sequence" | "received_ns" | "BfTs" => assert!(member.is_u64()),
            "structured_data" => assert!(member.is_object()),
            _ => assert!(member.is_string(), "{name}"),
        }
    }
    if let Some(time) = value.get("event_time") {
        time.as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
    }
    match raw {
        KeepRaw::Drop => assert!(value.get("raw").is_none()),
        KeepRaw::Keep => assert_eq!(value["raw"], String::from_utf8_lossy(message).as_ref()),
        KeepRaw::OnFailure => assert!(shape != Shape::Raw || value.get("raw").is_some()),
    }
}
