//! Any bytes as a syslog message: one line, valid JSON, no member twice.
#![no_main]

use std::{collections::HashSet, sync::LazyLock};

use bytefreezer_proxy::{
    config::{KeepRaw, SyslogMode, SyslogSource},
    decode::{
        ReceiveTime,
        syslog::{SyslogRules, push_message},
    },
};
use libfuzzer_sys::fuzz_target;
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

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

/// Any value; an error when an object has a member twice.
struct Unique;

impl<'de> Deserialize<'de> for Unique {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Unique;
            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("a value without repeated members")
            }
            fn visit_str<E>(self, _: &str) -> Result<Unique, E> {
                Ok(Unique)
            }
            fn visit_u64<E>(self, _: u64) -> Result<Unique, E> {
                Ok(Unique)
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Unique, A::Error> {
                while seq.next_element::<Unique>()?.is_some() {}
                Ok(Unique)
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Unique, A::Error> {
                let mut names = HashSet::new();
                while let Some(name) = map.next_key::<String>()? {
                    map.next_value::<Unique>()?;
                    if !names.insert(name) {
                        return Err(serde::de::Error::custom("a member twice"));
                    }
                }
                Ok(Unique)
            }
        }
        deserializer.deserialize_any(Any)
    }
}
