use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::{Map, Value, json};

use super::*;

mod bounds;
mod packets;
mod samples;

const NOW: u64 = 1_767_225_600_123_456_789;
const ALL: SflowRules =
    SflowRules { output: Output::Fields, counters: true, drops: true, inner: true, mac: MacFormat::Text };
const LEGACY: SflowRules = SflowRules { output: Output::Legacy, ..ALL };

/// XDR of numbers, and of bytes with their length.
#[derive(Clone, Debug, Default)]
struct Xdr(Vec<u8>);

impl Xdr {
    fn words(words: &[u32]) -> Self {
        Self(words.iter().flat_map(|word| word.to_be_bytes()).collect())
    }

    fn and(mut self, other: impl AsRef<[u8]>) -> Self {
        self.0.extend_from_slice(other.as_ref());
        self
    }

    fn opaque(self, bytes: &[u8]) -> Self {
        let padding = bytes.len().wrapping_neg() & 3;
        self.and((bytes.len() as u32).to_be_bytes()).and(bytes).and(vec![0; padding])
    }

    fn tagged(self, format: u32, body: &Self) -> Self {
        self.and(format.to_be_bytes()).opaque(&body.0)
    }
}

impl AsRef<[u8]> for Xdr {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

fn head(samples: u32) -> Xdr {
    Xdr::words(&[5, 1, 0xc000_02fe, 7, 4711, 90_000, samples])
}

fn datagram(samples: &[(u32, Xdr)]) -> Xdr {
    samples.iter().fold(head(samples.len() as u32), |all, (format, body)| all.tagged(*format, body))
}

fn flow(records: &[(u32, Xdr)]) -> (u32, Xdr) {
    let head = Xdr::words(&[9, 0x0100_0003, 512, 2048, 1, 3, 7, records.len() as u32]);
    (1, records.iter().fold(head, |all, (format, body)| all.tagged(*format, body)))
}

fn raw(protocol: u32, header: &[u8]) -> (u32, Xdr) {
    (1, Xdr::words(&[protocol, 1514, 4]).opaque(header))
}

fn bytes(hex: &str) -> Vec<u8> {
    let digits: String = hex.chars().filter(|char| !char.is_whitespace()).collect();
    (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap()).collect()
}

/// Every line is JSON without a member that comes twice, and ends as it must.
fn decode(datagram: &[u8], rules: SflowRules) -> (Decoded, Vec<Map<String, Value>>) {
    let (mut out, now) = (b"before\n".to_vec(), ReceiveTime::new(NOW));
    let decoded = push_datagram(datagram, &rules, "192.0.2.7".parse().unwrap(), &now, &mut out);
    assert!(out.starts_with(b"before\n") && out.ends_with(b"\n"));
    let text = std::str::from_utf8(&out[7..]).unwrap();
    let lines: Vec<_> = text
        .lines()
        .map(|line| {
            assert!(line.ends_with(",\"BfTs\":1767225600123}"), "{line}");
            serde_json::from_str::<Members>(line).unwrap().0
        })
        .collect();
    assert_eq!(decoded.lines as usize, lines.len());
    (decoded, lines)
}

/// An object without members that come twice.
struct Members(Map<String, Value>);

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Members;
            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut members = Map::new();
                while let Some((name, value)) = map.next_entry::<String, Value>()? {
                    assert!(members.insert(name.clone(), value).is_none(), "{name} comes twice");
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Object)
    }
}

fn one(records: &[(u32, Xdr)]) -> Map<String, Value> {
    let (decoded, mut lines) = decode(&datagram(&[flow(records)]).0, ALL);
    assert_eq!((decoded.damage, lines.len()), (None, 1));
    lines.remove(0)
}

/// What the packet alone gives.
fn packet(protocol: u32, hex: &str) -> Value {
    let mut line = one(&[raw(protocol, &bytes(hex))]);
    let fixed = one(&[raw(99, &[])]);
    line.retain(|name, _| !fixed.contains_key(name) || name == "Header");
    line.into()
}

const MACS: &str = "02005e100001 02005e100002";
/// TCP of 192.0.2.1:443 to 198.51.100.2:51000, SYN and ACK.
const IPV4: &str =
    "45b80034 1234 4000 3f06 0000 c0000201 c6336402 01bb c738 00000001 00000002 8012 ffff 0000 0000";
/// UDP of 2001:db8::1 to 2001:db8::2.
const IPV6: &str = "6123 4567 0010 11 40 20010db8000000000000000000000001 20010db8000000000000000000000002";

fn tcp(prefix: &str) -> Vec<(String, Value)> {
    [
        ("Etype", json!(2048)),
        ("SrcAddr", json!("192.0.2.1")),
        ("DstAddr", json!("198.51.100.2")),
        ("Proto", json!(6)),
        ("IpTos", json!(0xb8)),
        ("IpTtl", json!(63)),
        ("IpFlags", json!(2)),
        ("FragmentId", json!(0x1234)),
        ("FragmentOffset", json!(0)),
        ("SrcPort", json!(443)),
        ("DstPort", json!(51000)),
        ("TcpFlags", json!(0x12)),
    ]
    .map(|(name, value)| (format!("{prefix}{name}"), value))
    .into()
}

fn with(members: Value, rest: Vec<(String, Value)>) -> Value {
    let Value::Object(mut members) = members else { unreachable!() };
    members.extend(rest);
    members.into()
}

fn macs() -> Value {
    json!({"SrcMac": "02:00:5e:10:00:02", "DstMac": "02:00:5e:10:00:01"})
}
