//! Properties of the syslog decoder over generated messages; what holds for any bytes is in `src/fuzzing/syslog.rs`.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::naive_bytecount,
    clippy::format_push_string,
    clippy::format_collect
)]

use std::{
    net::IpAddr,
    time::{Duration, Instant},
};

use bytefreezer_proxy::{
    config::{KeepRaw, SyslogMode, SyslogSource},
    decode::{
        ReceiveTime,
        syslog::{Shape, SyslogRules, push_message},
    },
};
use proptest::prelude::*;
use serde_json::{Value, json};

const NOW: u64 = 1_709_337_600_123_456_789;

fn source(mode: SyslogMode, raw: KeepRaw, timezone: &str) -> SyslogSource {
    SyslogSource {
        udp: None,
        tcp: None,
        mode,
        raw,
        timezone: timezone.to_owned(),
        timezones: vec![
            ("198.51.100.0/24".parse().unwrap(), "Asia/Kolkata".to_owned()),
            ("198.51.100.8/32".parse().unwrap(), "America/New_York".to_owned()),
            ("::ffff:203.0.113.0/120".parse().unwrap(), "+03:00".to_owned()),
            ("2001:db8::/32".parse().unwrap(), "Europe/Berlin".to_owned()),
        ],
    }
}

fn rules() -> SyslogRules {
    SyslogRules::new(&source(SyslogMode::Auto, KeepRaw::Drop, "UTC")).unwrap()
}

fn line(message: &[u8], rules: &SyslogRules, from: &str, now_ns: u64) -> (Shape, Vec<u8>) {
    let mut out = b"before".to_vec();
    let from: IpAddr = from.parse().unwrap();
    let shape = push_message(message, rules, from, &ReceiveTime::new(now_ns), &mut out);
    assert!(out.starts_with(b"before"), "what was there stays there");
    (shape, out.split_off(6))
}

fn decode(message: &[u8], rules: &SyslogRules) -> Value {
    serde_json::from_slice(&line(message, rules, "192.0.2.7", NOW).1).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    /// W-20: nothing of the structured data is lost.
    #[test]
    fn w20_rfc5424_from_parts_round_trips(
        priority in 0_u16..192,
        version in 1_u8..100,
        host in "-|[!-~]{1,40}",
        app in "-|[!-9;-~]{1,20}",
        process in "-|[!-9;-~]{1,12}",
        id in "-|[!-9;-~]{1,12}",
        elements in prop::collection::btree_map("[a-zA-Z0-9.@_-]{1,12}", prop::collection::vec(("[a-zA-Z0-9_.-]{1,3}", "\\PC{0,12}|[\"\\\\\\]a]{0,6}"), 0..6), 0..4),
        bom in any::<bool>(),
        text in "|[!-~ü€😀][ -~ü€😀\n\t]{0,80}[!-~ü€😀]",
    ) {
        prop_assume!(!host.ends_with(':'));
        let mut data = String::new();
        let mut expected = serde_json::Map::new();
        for (id, params) in &elements {
            data += &format!("[{id}");
            let mut object = serde_json::Map::new();
            for (name, value) in params {
                let escaped = value.replace('\\', "\\\\").replace('"', "\\\"").replace(']', "\\]");
                data += &format!(" {name}=\"{escaped}\"");
                match object.get_mut(name) {
                    None => { object.insert(name.clone(), json!(value)); }
                    Some(Value::Array(values)) => values.push(json!(value)),
                    Some(one) => *one = json!([one.clone(), value]),
                }
            }
            data += "]";
            expected.insert(id.clone(), Value::Object(object));
        }
        let nil = data.is_empty();
        if nil { data = "-".to_owned(); }
        let mark = if bom { "\u{feff}" } else { "" };
        let end = if text.is_empty() { String::new() } else { format!(" {mark}{text}") };
        let message = format!("<{priority}>{version} 2024-03-01T18:46:11.120Z {host} {app} {process} {id} {data}{end}");
        // A message that wraps another is another case.
        prop_assume!(!text.starts_with('<'));
        let value = decode(message.as_bytes(), &rules());
        prop_assert_eq!(&value["rfc"], "5424");
        prop_assert_eq!(&value["priority"], &priority.to_string());
        prop_assert_eq!(&value["facility"], priority / 8);
        prop_assert_eq!(&value["severity"], priority % 8);
        prop_assert_eq!(&value["version"], &version.to_string());
        prop_assert_eq!(&value["syslog_timestamp"], "2024-03-01T18:46:11.120Z");
        prop_assert_eq!(&value["event_time"], "2024-03-01T18:46:11.120Z");
        prop_assert_eq!(&value["hostname"], &host);
        prop_assert_eq!(&value["app_name"], &app);
        prop_assert_eq!(&value["proc_id"], &process);
        prop_assert_eq!(&value["msg_id"], &id);
        prop_assert_eq!(&value["message"], &text);
        if nil {
            prop_assert!(value.get("structured_data").is_none());
        } else {
            prop_assert_eq!(&value["structured_data"], &Value::Object(expected));
        }
    }

    #[test]
    fn rfc3164_from_parts_round_trips(
        priority in 0_u16..192,
        host in "[a-z][a-z0-9-]{0,20}[a-z0-9](\\.[a-z]{2,8}){0,2}|192\\.0\\.2\\.[1-9]|2001:db8::[1-9]",
        tag in "[a-zA-Z/_][a-zA-Z0-9/_.-]{1,30}[a-z0-9]",
        process in prop::option::of("[0-9]{1,7}"),
        text in "[!-~ü€😀][ -~ü€😀\n\t]{0,80}[!-~ü€😀]",
    ) {
        prop_assume!(!matches!(host.as_str(), "last" | "message"));
        let tag = process.as_ref().map_or(tag.clone(), |process| format!("{tag}[{process}]"));
        let message = format!("<{priority}>Mar  1 18:46:11 {host} {tag}: {text}");
        let value = decode(message.as_bytes(), &rules());
        prop_assert_eq!(&value["rfc"], "3164");
        prop_assert_eq!(&value["priority"], &priority.to_string());
        prop_assert_eq!(&value["syslog_timestamp"], "Mar  1 18:46:11");
        prop_assert_eq!(&value["event_time"], "2024-03-01T18:46:11Z");
        prop_assert_eq!(&value["hostname"], &host);
        prop_assert_eq!(&value["tag"], &tag);
        prop_assert_eq!(value.get("proc_id").and_then(Value::as_str), process.as_deref());
        prop_assert_eq!(&value["message"], &text);
    }

    /// The year of a stamp that says none: right for every event less than half a year away.
    #[test]
    fn a_missing_year_is_found(now in 0_i64..4_000_000_000, away in -15_724_800_i64..15_724_800) {
        let event = now + away;
        prop_assume!(event > 0);
        let event = jiff::Timestamp::from_second(event).unwrap();
        // The eight years without a leap day around 2100 are out of reach.
        let stamp = event.strftime("%b %e %H:%M:%S").to_string();
        let message = format!("<13>{stamp} host app: text");
        let (_, line) = line(message.as_bytes(), &rules(), "192.0.2.7", now as u64 * 1_000_000_000);
        let value: Value = serde_json::from_slice(&line).unwrap();
        prop_assert_eq!(&value["event_time"], &event.to_string());
    }

    /// A local time in a configured zone, found by the sender's address, becomes UTC.
    #[test]
    fn zones_by_source_are_applied(seconds in 1_000_000_000_i64..2_000_000_000, choice in 0_usize..5) {
        let (from, zone) = [
            ("192.0.2.7", "Australia/Sydney"),
            ("198.51.100.7", "Asia/Kolkata"),
            ("198.51.100.8", "America/New_York"),
            ("::ffff:203.0.113.9", "+03:00"),
            ("2001:db8::1", "Europe/Berlin"),
        ][choice];
        let zone = if zone.starts_with('+') { jiff::tz::TimeZone::fixed(jiff::tz::offset(3)) } else { jiff::tz::TimeZone::get(zone).unwrap() };
        let event = jiff::Timestamp::from_second(seconds).unwrap();
        let local = zone.to_datetime(event);
        prop_assume!(!zone.to_ambiguous_timestamp(local).is_ambiguous());
        let rules = SyslogRules::new(&source(SyslogMode::Auto, KeepRaw::Drop, "Australia/Sydney")).unwrap();
        let message = format!("<13>{} host app: text", local.strftime("%Y-%m-%dT%H:%M:%S"));
        let (_, line) = line(message.as_bytes(), &rules, from, NOW);
        let value: Value = serde_json::from_slice(&line).unwrap();
        prop_assert_eq!(&value["event_time"], &event.to_string());
    }
}

#[test]
fn unknown_zones_are_refused_by_name() {
    let error = SyslogRules::new(&source(SyslogMode::Auto, KeepRaw::Drop, "Mars/Olympus")).unwrap_err();
    assert!(error.to_string().contains("Mars/Olympus"), "{error}");
}

#[test]
fn ipv4_mapped_senders_are_written_as_ipv4() {
    let (_, line) = line(b"<13>x", &rules(), "::ffff:192.0.2.7", NOW);
    assert!(line.starts_with(b"{\"source_ip\":\"192.0.2.7\","));
}

#[test]
fn raw_is_kept_as_it_came() {
    let rules = SyslogRules::new(&source(SyslogMode::Auto, KeepRaw::OnFailure, "UTC")).unwrap();
    let whole = decode(b"<13>1 2024-03-01T18:46:11Z h a p m [a x=1] t \n", &rules);
    assert_eq!(whole["raw"], "<13>1 2024-03-01T18:46:11Z h a p m [a x=1] t \n");
    assert_eq!(whole["message"], "[a x=1] t");
    for understood in [
        "<13>1 - h a p m - t",
        "<13>Mar  1 18:46:11 h a: t",
        "<13>1 2024-03-01T18:46:11Z h a p m [a x=\"1\"] t",
    ] {
        assert!(decode(understood.as_bytes(), &rules).get("raw").is_none(), "{understood}");
    }
    for not in ["text", "<13>text", "<13>Feb 30 18:46:11 h a: t", "<13>1 yesterday h a p m - t"] {
        assert_eq!(decode(not.as_bytes(), &rules)["raw"], not);
    }
}

#[test]
fn modes_accept_their_format_only() {
    let modern = "<13>1 2024-03-01T18:46:11Z host app 1 - - text";
    let old = "<13>Mar  1 18:46:11 host app: text";
    let modern_inside = "<13>Mar  1 18:46:11 relay <13>1 2024-03-01T18:46:11Z host app 1 - - text";
    let old_inside = "<13>1 2024-03-01T18:46:11Z relay - - - - <13>Mar  1 18:46:11 host app: text";
    for (mode, message, rfc) in [
        (SyslogMode::Auto, modern, "5424"),
        (SyslogMode::Auto, old, "3164"),
        (SyslogMode::Rfc5424, modern, "5424"),
        (SyslogMode::Rfc5424, old, "raw"),
        (SyslogMode::Rfc3164, modern, "raw"),
        (SyslogMode::Rfc3164, old, "3164"),
        (SyslogMode::Auto, modern_inside, "5424"),
        (SyslogMode::Rfc3164, modern_inside, "raw"),
        (SyslogMode::Auto, old_inside, "3164"),
        (SyslogMode::Rfc5424, old_inside, "5424"),
    ] {
        let rules = SyslogRules::new(&source(mode, KeepRaw::Drop, "UTC")).unwrap();
        let value = decode(message.as_bytes(), &rules);
        assert_eq!(value["rfc"], rfc);
        if rfc == "raw" {
            assert_eq!(value["message"], message);
        }
    }
}

/// Each of these makes a decoder that looks back or nests take minutes; a linear one takes a blink. The deadline only
/// tells the two apart.
#[test]
fn the_time_is_linear_in_the_length() {
    const SIZE: usize = 1 << 20;
    let start = Instant::now();
    let header = "<13>1 2024-03-01T18:46:11Z h a p m ";
    for (head, piece) in [
        ("", "<13>"),
        ("", "1: "),
        ("", ": "),
        ("", "*"),
        ("", "["),
        ("<13>Mar  1 18:46:11 ", "h <13>Mar  1 18:46:11 "),
        ("<13>Mar  1 18:46:11 ", "h Mar  1 18:46:11 "),
        ("<13>Mar  1 18:46:11 h ", "a("),
        ("<13>Mar  1 18:46:11 h ", "a,"),
        ("<13>Mar  1 18:46:11.", "1"),
        ("<13>", "date="),
        ("<13>", "time="),
        (header, "["),
        (header, "[a]"),
        (header, "[a b=\"c\"]"),
        (header, "[a b=\"\\"),
        ("<13>1 2024-03-01T18:46:11Z h a p m [a", " b=\"c\""),
        ("<13>1 2024-03-01T18:46:11Z h a p m [a", " bcdefgh=\"\""),
        ("<13>1 2024-03-01T18:46:11Z h a p m [a b=\"", "\\\\"),
        ("<13>1 2024-03-01T18:46:11Z", " "),
        ("", "\u{fffd}\u{1}"),
    ] {
        for tail in ["", "\"]", " x"] {
            let message = format!("{head}{}{tail}", piece.repeat(SIZE / piece.len()));
            let (_, line) = line(message.as_bytes(), &rules(), "192.0.2.7", NOW);
            serde_json::from_slice::<Value>(&line).unwrap();
        }
    }
    let distinct: String = (0..SIZE / 12).map(|n| format!(" n{n:07}=\"\"")).collect();
    let (_, line) = line(format!("{header}[a{distinct}]").as_bytes(), &rules(), "192.0.2.7", NOW);
    serde_json::from_slice::<Value>(&line).unwrap();
    assert!(start.elapsed() < Duration::from_mins(1), "took {:?}", start.elapsed());
}

/// W-20 and what else the program before this one made of syslog: structured data lost, `-` and the byte order mark in
/// the text, no tag, an ISO time stamp or a line break and all was raw.
#[test]
fn w20_quirks_of_the_program_before_are_gone() {
    let header = "<13>1 2024-03-01T18:46:11Z host app 1 id";
    for (message, rfc, text) in [
        (format!("{header} - hello there"), "5424", "hello there"),
        (format!("{header} [a@1 b=\"c\"] hello"), "5424", "hello"),
        (format!("{header} [a@1 b=\"c\"]"), "5424", ""),
        (format!("{header} - \u{feff}hello"), "5424", "hello"),
        (format!("{header} - one\ntwo"), "5424", "one\ntwo"),
        ("<13>Mar  1 18:46:11 host no tag here".to_owned(), "3164", "no tag here"),
        ("<13>2024-03-01T18:46:11Z host app: text".to_owned(), "3164", "text"),
        ("<13>Mar  1 18:46:11 host app: one\ntwo".to_owned(), "3164", "one\ntwo"),
    ] {
        let value = decode(message.as_bytes(), &rules());
        assert_eq!((value["rfc"].as_str(), value["message"].as_str()), (Some(rfc), Some(text)), "{message}");
        assert_eq!(value["hostname"], "host");
        let data = message.contains("[a@1").then(|| json!({"a@1": {"b": "c"}}));
        assert_eq!(value.get("structured_data"), data.as_ref());
    }
}

#[test]
fn the_nearest_year_is_that_of_the_day_and_not_of_the_month() {
    // 2024-12-31: 1 July is 183 days back and 182 ahead.
    let (_, line) =
        line(b"<13>Jul  1 00:00:00 host app: text", &rules(), "192.0.2.7", 1_735_633_753_000_000_000);
    let value: Value = serde_json::from_slice(&line).unwrap();
    assert_eq!(value["event_time"], "2025-07-01T00:00:00Z");
}
