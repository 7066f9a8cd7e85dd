//! The decoder beside crate `syslog_loose`, rsyslog and syslog-ng, on the same bytes, member by member.
//!
//! What the two daemons answered is recorded in `golden/syslog/oracles.ndjson`. When they are there (from
//! `.ci/packages`) they are also asked again and must answer as recorded; `UPDATE=1` records anew. Every
//! disagreement must stand in `golden/syslog/disagreements.md` under the reason why the decoder is no less right than
//! the other, and every entry there must be a disagreement.

#![allow(clippy::unwrap_used, clippy::panic)]

mod syslog_corpus;
mod syslog_oracles;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
};

use bytefreezer_proxy::{
    config::{KeepRaw, SyslogMode, SyslogSource},
    decode::{
        ReceiveTime,
        syslog::{SyslogRules, push_message},
    },
};
use serde_json::Value;
use syslog_corpus::{FILES, Sample, folder, samples};
use syslog_oracles::{Recorded, View};

/// 2024-03-02T00:00:00.123456789Z
const NOW: u64 = 1_709_337_600_123_456_789;

/// Daemons and crate run in UTC, and what they make of the end of February depends on the year it is.
fn corpus() -> Vec<Sample> {
    let comparable = |sample: &Sample| {
        sample.timezone == "UTC" && !sample.line.contains(">Feb 29 ") && !sample.line.contains(">Feb 30 ")
    };
    FILES.iter().flat_map(|file| samples(file)).filter(comparable).collect()
}

fn decode(message: &[u8]) -> Value {
    let rules = SyslogRules::new(&SyslogSource {
        udp: None,
        tcp: None,
        mode: SyslogMode::Auto,
        raw: KeepRaw::Drop,
        timezone: "UTC".to_owned(),
        timezones: Vec::new(),
    })
    .unwrap();
    let mut out = Vec::new();
    push_message(message, &rules, "192.0.2.7".parse().unwrap(), &ReceiveTime::new(NOW), &mut out);
    serde_json::from_slice(&out).unwrap()
}

fn text(value: &Value, name: &str) -> Option<String> {
    value.get(name).and_then(Value::as_str).map(str::to_owned)
}

/// What the decoder says, in the terms of the others.
fn ours(value: &Value) -> View {
    let tag = text(value, "tag");
    let program = tag.map(|tag| match tag.rfind('[') {
        Some(at) if tag.ends_with(']') => tag[..at].to_owned(),
        _ => tag,
    });
    View {
        pri: text(value, "priority").and_then(|text| text.parse().ok()),
        time: text(value, "event_time"),
        host: text(value, "hostname"),
        program: text(value, "app_name").or(program),
        pid: text(value, "proc_id"),
        msgid: text(value, "msg_id"),
        data: value.get("structured_data").cloned(),
        message: text(value, "message"),
    }
}

fn loose(message: &[u8]) -> View {
    use syslog_loose::{ProcId, Variant, parse_message_with_year_tz};
    let message = String::from_utf8_lossy(message);
    let parsed = parse_message_with_year_tz(&message, |_| 2024, Some(chrono::Utc), Variant::Either);
    let pri = match (parsed.facility, parsed.severity) {
        (Some(facility), Some(severity)) => Some((facility as u16) * 8 + severity as u16),
        _ => None,
    };
    let mut data = serde_json::Map::new();
    for element in &parsed.structured_data {
        let params: serde_json::Map<String, Value> =
            element.params().map(|(name, value)| ((*name).to_owned(), Value::from(value.clone()))).collect();
        data.insert(element.id.to_owned(), Value::Object(params));
    }
    View {
        pri,
        time: parsed.timestamp.map(|time| time.to_rfc3339()),
        host: parsed.hostname.map(str::to_owned),
        program: parsed.appname.map(str::to_owned),
        pid: parsed.procid.map(|id| match id {
            ProcId::PID(number) => number.to_string(),
            ProcId::Name(name) => name.to_owned(),
        }),
        msgid: parsed.msgid.map(str::to_owned),
        data: (!data.is_empty()).then_some(Value::Object(data)),
        message: Some(parsed.msg.to_owned()),
    }
}

/// Differences that are none: blanks around the text, NIL, digits of the fraction, the year where none was sent,
/// a priority where none was sent, a BOM.
fn normal(mut view: View, stamp: Option<&str>, message: &[u8]) -> View {
    let nil = |field: Option<String>| field.filter(|text| !text.is_empty() && text != "-");
    if !message.trim_ascii_start().starts_with(b"<") {
        view.pri = None;
    }
    view.host = nil(view.host);
    view.program = nil(view.program);
    view.pid = nil(view.pid);
    view.msgid = nil(view.msgid);
    view.message = view
        .message
        .map(|text| text.trim_start_matches('\u{feff}').trim().trim_matches('\0').trim().to_owned());
    let yearless = stamp.is_some_and(|stamp| !names_year(stamp));
    view.time = view.time.and_then(|time| {
        let time: jiff::Timestamp = time.parse().ok()?;
        let text = time.round(jiff::Unit::Microsecond).ok()?.to_string();
        Some(if yearless { text.get(5..)?.to_owned() } else { text })
    });
    view
}

/// Whether a time stamp says the year, or counts seconds.
fn names_year(stamp: &str) -> bool {
    let whole = stamp.split(['.', '+']).next().unwrap_or_default();
    let digits = |part: &str| part.len() >= 4 && part.bytes().all(|byte| byte.is_ascii_digit());
    whole.split(|char: char| !char.is_ascii_alphanumeric() || char == 'T').any(digits)
        || stamp.split(' ').any(digits)
}

/// syslog-ng writes Cisco's number and clock marker as structured data; here they are `sequence` and part of
/// `syslog_timestamp`.
fn without_cisco_data(mut view: View, value: &Value) -> View {
    let sequence = value.get("sequence").map(Value::to_string).unwrap_or_default();
    if let Some(data) = &view.data
        && value["rfc"] == "3164"
        && data.pointer("/meta/sequenceId").is_none_or(|id| *id == sequence)
    {
        view.data = None;
    }
    view
}

fn members(one: &View, other: &View) -> BTreeSet<&'static str> {
    let mut names = BTreeSet::new();
    let mut compare = |name, same: bool| {
        if !same {
            names.insert(name);
        }
    };
    compare("pri", one.pri == other.pri);
    compare("time", one.time == other.time);
    compare("host", one.host == other.host);
    compare("program", one.program == other.program);
    compare("pid", one.pid == other.pid);
    compare("msgid", one.msgid == other.msgid);
    compare("data", one.data == other.data);
    compare("message", one.message == other.message);
    names
}

/// `oracle members line` of every disagreement.
fn disagreements() -> BTreeMap<String, String> {
    let recorded = Recorded::read();
    let mut found = BTreeMap::new();
    for sample in corpus() {
        let value = decode(&sample.bytes);
        let stamp = value.get("syslog_timestamp").and_then(Value::as_str);
        let mine = normal(ours(&value), stamp, &sample.bytes);
        let answers = recorded.of(&sample.line);
        for (name, view) in [
            ("loose", Some(loose(&sample.bytes))),
            ("rsyslog", answers.rsyslog.clone()),
            ("syslog-ng", answers.syslog_ng.clone()),
        ] {
            // A daemon that drops the message says nothing.
            let Some(view) = view else { continue };
            let other = without_cisco_data(normal(view, stamp, &sample.bytes), &value);
            let names = members(&mine, &other);
            if !names.is_empty() {
                let names: Vec<&str> = names.into_iter().collect();
                found.insert(
                    format!("{name} {} {}", names.join(","), sample.line),
                    format!("{mine:?}\n      {other:?}"),
                );
            }
        }
    }
    found
}

/// The lines in code blocks of `disagreements.md`.
fn allowed() -> BTreeSet<String> {
    let mut inside = false;
    let mut entries = BTreeSet::new();
    for line in fs::read_to_string(folder().join("disagreements.md")).unwrap().lines() {
        if line.starts_with("```") {
            inside = !inside;
        } else if inside {
            assert!(entries.insert(line.to_owned()), "twice: {line}");
        }
    }
    entries
}

#[test]
fn every_disagreement_has_a_reason() {
    let found = disagreements();
    let allowed = allowed();
    let unexplained: Vec<String> = found
        .iter()
        .filter(|(entry, _)| !allowed.contains(*entry))
        .map(|(entry, views)| format!("{entry}\n  ours{views}"))
        .collect();
    let gone: Vec<&String> = allowed.iter().filter(|entry| !found.contains_key(*entry)).collect();
    assert!(unexplained.is_empty(), "{} without a reason:\n{}", unexplained.len(), unexplained.join("\n"));
    assert!(gone.is_empty(), "no disagreements any more: {gone:#?}");
}

#[test]
fn the_daemons_still_answer_as_recorded() {
    let Some(daemons) = syslog_oracles::Daemons::find() else {
        eprintln!("rsyslog and syslog-ng are not here: .ci/packages fetches them");
        return;
    };
    let corpus = corpus();
    let messages: Vec<&[u8]> = corpus.iter().map(|sample| sample.bytes.as_slice()).collect();
    let rsyslog = daemons.ask_rsyslog(&messages);
    let syslog_ng = daemons.ask_syslog_ng(&messages);
    let live = Recorded::new(corpus.iter().map(|sample| sample.line.clone()), rsyslog, syslog_ng);
    if std::env::var_os("UPDATE").is_some() {
        live.write();
    }
    let differences = Recorded::read().differences(&live);
    assert!(differences.is_empty(), "recorded and live:\n{}", differences.join("\n"));
}
