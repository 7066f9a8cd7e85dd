//! Any bytes as a syslog message: one line, valid JSON, no member twice.
#![no_main]

mod unique;

use std::sync::LazyLock;

use bytefreezer_proxy::{
    config::{KeepRaw, SyslogMode, SyslogSource},
    decode::{
        ReceiveTime,
        syslog::{SyslogRules, push_message},
    },
};
use libfuzzer_sys::fuzz_target;
use unique::Unique;

/// Every mode with every choice of `raw`.
static RULES: LazyLock<Vec<SyslogRules>> = LazyLock::new(|| {
    let modes = [SyslogMode::Auto, SyslogMode::Rfc3164, SyslogMode::Rfc5424];
    let raws = [KeepRaw::Drop, KeepRaw::Keep, KeepRaw::OnFailure];
    let all = modes.iter().flat_map(|mode| raws.iter().map(|raw| (*mode, *raw)));
    all.map(|(mode, raw)| {
        let timezone = "Europe/Berlin".to_owned();
        SyslogRules::new(&SyslogSource { udp: None, tcp: None, mode, raw, timezone, timezones: Vec::new() }).unwrap()
    })
    .collect()
});

fuzz_target!(|data: &[u8]| {
    let Some((&choice, message)) = data.split_first() else { return };
    let rules = &RULES[usize::from(choice) % RULES.len()];
    let now = ReceiveTime::new(1_709_337_600_123_456_789);
    let mut out = Vec::new();
    push_message(message, rules, [192, 0, 2, 7].into(), &now, &mut out);
    assert_eq!(out.iter().position(|byte| *byte == b'\n'), Some(out.len() - 1));
    assert!(out.ends_with(b",\"BfTs\":1709337600123}\n"));
    serde_json::from_slice::<Unique>(&out).unwrap();
});
