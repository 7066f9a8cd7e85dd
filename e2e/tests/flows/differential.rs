//! The same datagrams before other people's decoders: which of our members is which of theirs, and what differs for a
//! reason.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::{
    compare::{self, Row, Rows, assert_same, text},
    decoders::{self, Record},
    known,
    members::{self, Member},
    ours::{FLOWS, OPTIONS, SAMPLES},
};

/// Their records by our names; `read` makes of one of their values what ours would be.
fn rows(records: Vec<Record>, members: &[Member], read: impl Fn(&str, &Value) -> Value) -> Rows {
    let mut rows = Rows::new();
    for (exporter, record) in records {
        let row: Row = members
            .iter()
            .filter_map(|(own, theirs)| {
                let value = theirs.iter().find_map(|name| text(&read(name, record.get(*name)?)))?;
                Some((*own, value))
            })
            .collect();
        rows.entry(exporter).or_default().push(row);
    }
    rows
}

fn names(members: &[Member]) -> Vec<&'static str> {
    members.iter().map(|(own, _)| *own).collect()
}

/// Numbers of protocols that others name.
fn protocol(name: &Value) -> Value {
    let names = [
        ("HOPOPT", 0),
        ("ICMP", 1),
        ("IGMP", 2),
        ("TCP", 6),
        ("UDP", 17),
        ("GRE", 47),
        ("ESP", 50),
        ("IPv6-ICMP", 58),
        ("SCTP", 132),
    ];
    let find = |text: &str| names.iter().find(|(name, _)| name.eq_ignore_ascii_case(text));
    name.as_str().and_then(find).map_or_else(|| name.clone(), |(_, number)| json!(number))
}

fn read_goflow2(name: &str, value: &Value) -> Value {
    match (name, value.as_str()) {
        ("proto", _) => protocol(value),
        ("etype", Some("IPv4")) => json!(0x0800),
        ("etype", Some("IPv6")) => json!(0x86dd),
        // The prefix itself is cut from the address.
        ("src_net" | "dst_net", Some(net)) => json!(net.rsplit('/').next()),
        _ => value.clone(),
    }
}

#[test]
fn goflow2_on_netflow() {
    let theirs = rows(decoders::goflow2(false), members::GOFLOW2, read_goflow2);
    assert_same("goflow2", &compare::ours(&names(members::GOFLOW2), FLOWS), &theirs, known::GOFLOW2);
}

#[test]
fn goflow2_on_sflow() {
    // When it received the datagram is its own.
    let all = members::GOFLOW2.iter().copied();
    let members: Vec<Member> = all.filter(|(own, _)| !own.starts_with("TimeFlow")).collect();
    let theirs = rows(decoders::goflow2(true), &members, read_goflow2);
    assert_same("goflow2", &compare::ours(&names(&members), SAMPLES), &theirs, known::GOFLOW2_SFLOW);
}

fn read_nfdump(name: &str, value: &Value) -> Value {
    match (name, value.as_str()) {
        // `...AP.SF`, of which the first letter is the highest bit.
        ("tcp_flags", Some(flags)) => {
            json!(flags.bytes().fold(0, |bits, letter| bits << 1 | u32::from(letter != b'.')))
        }
        ("first" | "last", Some(time)) => json!(milliseconds(time)),
        _ => value.clone(),
    }
}

/// Unix ms of `2026-10-26T06:16:43.775`.
fn milliseconds(time: &str) -> i64 {
    let numbers: Vec<i64> = time.split(['-', 'T', ':', '.']).map(|part| part.parse().unwrap()).collect();
    let [year, month, day, hour, minute, second, ms] = numbers[..] else { panic!("{time} is no time") };
    // March is the first month, so that the leap day is the last of its year.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 719_469;
    (((days * 24 + hour) * 60 + minute) * 60 + second) * 1000 + ms
}

/// Times in milliseconds. Of ICMP, type and code and no ports, which are how routers tell these.
fn as_nfdump(row: &mut Row) {
    for name in ["TimeFlowStartNs", "TimeFlowEndNs"] {
        if let Some(time) = row.get_mut(name) {
            *time = (time.parse::<u64>().unwrap() / 1_000_000).to_string();
        }
    }
    if matches!(row.get("Proto").map(String::as_str), Some("1" | "58")) {
        row.remove("SrcPort");
        let port = row.remove("DstPort").map_or(0, |port| port.parse::<u16>().unwrap());
        if !row.contains_key("IcmpType") && !row.contains_key("IcmpCode") {
            let [kind, code] = port.to_be_bytes();
            let both = [("IcmpType", kind), ("IcmpCode", code)].into_iter().filter(|(_, value)| *value > 0);
            row.extend(both.map(|(name, value)| (name, value.to_string())));
        }
    }
}

#[test]
fn nfdump_on_netflow() {
    let mut ours = compare::ours(&names(members::NFDUMP), FLOWS);
    ours.values_mut().flatten().for_each(as_nfdump);
    let theirs = rows(decoders::nfdump(), members::NFDUMP, read_nfdump);
    assert_same("nfdump", &ours, &theirs, known::NFDUMP);
}

#[test]
fn tshark_on_netflow() {
    let theirs = rows(decoders::tshark(false), members::TSHARK, |_, value| value.clone());
    assert_same("tshark", &compare::ours(&names(members::TSHARK), OPTIONS), &theirs, known::TSHARK);
}

#[test]
fn tshark_on_sflow() {
    let theirs = rows(decoders::tshark(true), members::TSHARK_SFLOW, |_, value| value.clone());
    let ours = compare::ours(&names(members::TSHARK_SFLOW), SAMPLES);
    assert_same("tshark", &ours, &theirs, known::TSHARK_SFLOW);
}

fn read_pmacct(name: &str, value: &Value) -> Value {
    if name == "ip_proto" { protocol(value) } else { value.clone() }
}

/// What pmacct does of itself.
fn summed(rows: Rows) -> Rows {
    rows.into_iter().map(|(exporter, rows)| (exporter, sum(rows))).collect()
}

fn sum(rows: Vec<Row>) -> Vec<Row> {
    let mut sums = BTreeMap::<Row, [u64; 2]>::new();
    for mut row in rows {
        let counts =
            ["Bytes", "Packets"].map(|name| row.remove(name).map_or(0, |count| count.parse().unwrap()));
        let sum = sums.entry(row).or_default();
        *sum = [sum[0] + counts[0], sum[1] + counts[1]];
    }
    let rows = sums.into_iter().map(|(mut row, [bytes, packets])| {
        row.extend([("Bytes", bytes.to_string()), ("Packets", packets.to_string())]);
        row.retain(|_, value| value != "0");
        row
    });
    rows.collect()
}

#[test]
fn nfacctd_on_netflow() {
    let theirs = rows(decoders::pmacct(false, members::PMACCT_KEYS), members::PMACCT, read_pmacct);
    let ours = compare::ours(&names(members::PMACCT), FLOWS);
    assert_same("nfacctd", &summed(ours), &summed(theirs), known::NFACCTD);
}

#[test]
fn sfacctd_on_sflow() {
    // Flags are not what it tells samples apart by.
    let all = members::PMACCT.iter().copied();
    let members: Vec<Member> = all.filter(|(own, _)| *own != "TcpFlags").collect();
    let theirs = rows(decoders::pmacct(true, members::PMACCT_KEYS), &members, read_pmacct);
    let ours = compare::ours(&names(&members), SAMPLES);
    assert_same("sfacctd", &summed(ours), &summed(theirs), known::SFACCTD);
}

#[test]
fn times_are_read_as_nfdump_writes_them() {
    assert_eq!(milliseconds("1970-01-01T00:00:00.000"), 0);
    assert_eq!(milliseconds("2026-01-01T00:00:00.700"), 1_767_225_600_700);
    assert_eq!(milliseconds("2024-02-29T23:59:59.999"), 1_709_251_199_999);
}
