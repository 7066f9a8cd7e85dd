//! Datagrams made by hand, and what becomes of them.

use std::net::IpAddr;

use bytefreezer_proxy::decode::{
    ReceiveTime,
    flow::{Exporters, Outcome, Rules, Source, Transport},
};
use serde_json::{Map, Value};

/// When everything is received, Unix ns.
pub const NOW_NS: u64 = 1_767_225_600_123_456_789;
/// When everything is exported, Unix s.
pub const EXPORT: u32 = 1_767_225_600;
/// The exporter's uptime then, ms.
pub const UPTIME: u32 = 90_000;

pub struct Rig {
    pub exporters: Exporters,
    pub source: Source,
    pub transport: Transport,
    pub now_ns: u64,
}

impl Rig {
    pub fn new() -> Self {
        Self::with(Rules::default())
    }

    pub fn with(rules: Rules) -> Self {
        let source = Source { address: IpAddr::from([192, 0, 2, 1]), port: 0 };
        Self { exporters: Exporters::new(rules), source, transport: Transport::Udp, now_ns: NOW_NS }
    }

    pub fn from(&mut self, last: u8) -> &mut Self {
        self.source.address = IpAddr::from([192, 0, 2, last]);
        self
    }

    /// What became of a datagram, and its lines.
    pub fn send(&mut self, datagram: &[u8]) -> (Outcome, Vec<Map<String, Value>>) {
        let mut out = Vec::new();
        let now = ReceiveTime::new(self.now_ns);
        let outcome = self.exporters.push(datagram, self.source, self.transport, &now, &mut out);
        let lines = lines(&out);
        assert_eq!(lines.len(), outcome.lines as usize);
        (outcome, lines)
    }

    /// The lines of a datagram in which nothing is wrong.
    pub fn lines(&mut self, datagram: &[u8]) -> Vec<Map<String, Value>> {
        let (outcome, lines) = self.send(datagram);
        assert_eq!(outcome.fault, None);
        lines
    }

    /// The one line of a datagram in which nothing is wrong.
    pub fn line(&mut self, datagram: &[u8]) -> Map<String, Value> {
        let mut lines = self.lines(datagram);
        assert_eq!(lines.len(), 1);
        lines.remove(0)
    }
}

/// Parses lines; every one is an object that has no member twice.
pub fn lines(out: &[u8]) -> Vec<Map<String, Value>> {
    let text = std::str::from_utf8(out).unwrap();
    assert!(text.is_empty() || text.ends_with('\n'));
    text.lines().map(|line| serde_json::from_str::<Unique>(line).unwrap().0).collect()
}

struct Unique(Map<String, Value>);

impl<'de> serde::Deserialize<'de> for Unique {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'de> serde::de::Visitor<'de> for Members {
            type Value = Map<String, Value>;
            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("an object")
            }
            fn visit_map<A: serde::de::MapAccess<'de>>(self, mut access: A) -> Result<Self::Value, A::Error> {
                let mut map = Map::new();
                while let Some((name, value)) = access.next_entry::<String, Value>()? {
                    if map.insert(name.clone(), value).is_some() {
                        return Err(serde::de::Error::custom(format!("{name} comes twice")));
                    }
                }
                Ok(map)
            }
        }
        deserializer.deserialize_map(Members).map(Unique)
    }
}

/// Asserts that these members have these values.
#[track_caller]
pub fn assert_members(line: &Map<String, Value>, members: Value) {
    let Value::Object(members) = members else { panic!("{members} is no object") };
    for (name, value) in members {
        assert_eq!(line.get(&name), Some(&value), "{name} in {}", serde_json::to_string(line).unwrap());
    }
}

pub fn set(id: u16, content: &[u8]) -> Vec<u8> {
    let length = content.len() as u16 + 4;
    [&id.to_be_bytes(), &length.to_be_bytes(), content].concat()
}

/// A template with fields of (element, length).
pub fn template(id: u16, fields: &[(u16, u16)]) -> Vec<u8> {
    let fields: Vec<_> = fields.iter().map(|(element, length)| (0, *element, *length)).collect();
    template_of(id, &fields)
}

/// A template with fields of (enterprise, element, length).
pub fn template_of(id: u16, fields: &[(u32, u16, u16)]) -> Vec<u8> {
    [id.to_be_bytes().to_vec(), (fields.len() as u16).to_be_bytes().to_vec(), specifiers(fields)].concat()
}

fn specifiers(fields: &[(u32, u16, u16)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (pen, element, length) in fields {
        let flag = if *pen == 0 { 0 } else { 0x8000 };
        bytes.extend((element | flag).to_be_bytes());
        bytes.extend(length.to_be_bytes());
        if *pen != 0 {
            bytes.extend(pen.to_be_bytes());
        }
    }
    bytes
}

/// An options template of IPFIX.
pub fn ipfix_options(id: u16, scopes: &[(u16, u16)], options: &[(u16, u16)]) -> Vec<u8> {
    let all: Vec<_> = scopes.iter().chain(options).map(|(element, length)| (0, *element, *length)).collect();
    let counts = [id, all.len() as u16, scopes.len() as u16];
    [counts.map(u16::to_be_bytes).concat(), specifiers(&all)].concat()
}

/// An options template of v9; scopes are its own types.
pub fn v9_options(id: u16, scopes: &[(u16, u16)], options: &[(u16, u16)]) -> Vec<u8> {
    let all: Vec<_> = scopes.iter().chain(options).map(|(element, length)| (0, *element, *length)).collect();
    let counts = [id, scopes.len() as u16 * 4, options.len() as u16 * 4];
    [counts.map(u16::to_be_bytes).concat(), specifiers(&all)].concat()
}

pub fn v5(sequence: u32, claimed: u16, sampling: u16, records: &[[u8; 48]]) -> Vec<u8> {
    let mut bytes = [5_u16, claimed].map(u16::to_be_bytes).concat();
    bytes.extend([UPTIME, EXPORT, 250_000_001, sequence].map(u32::to_be_bytes).concat());
    bytes.extend([3, 7]);
    bytes.extend(sampling.to_be_bytes());
    bytes.extend(records.concat());
    bytes
}

pub fn v9(sequence: u32, source: u32, sets: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = [9_u16, sets.len() as u16].map(u16::to_be_bytes).concat();
    bytes.extend([UPTIME, EXPORT, sequence, source].map(u32::to_be_bytes).concat());
    bytes.extend(sets.concat());
    bytes
}

pub fn ipfix(sequence: u32, domain: u32, sets: &[Vec<u8>]) -> Vec<u8> {
    let length = 16 + sets.concat().len() as u16;
    let mut bytes = [10_u16, length].map(u16::to_be_bytes).concat();
    bytes.extend([EXPORT, sequence, domain].map(u32::to_be_bytes).concat());
    bytes.extend(sets.concat());
    bytes
}

/// One record of v5 whose parts all differ.
pub fn v5_record() -> [u8; 48] {
    let mut record = [0; 48];
    let parts: [&[u8]; 20] = [
        &[10, 0, 0, 1],
        &[10, 0, 0, 2],
        &[10, 0, 0, 254],
        &[0, 3],
        &[0, 4],
        &[0, 0, 0, 5],
        &[0xff, 0xff, 0xff, 0xff],
        &(UPTIME - 2_000).to_be_bytes(),
        &(UPTIME - 1).to_be_bytes(),
        &[0x01, 0xbb],
        &[0, 0],
        &[0],
        &[0x1b],
        &[6],
        &[0xb8],
        &[0xfb, 0xf0],
        &[0xfb, 0xf1],
        &[24],
        &[0],
        &[0, 0],
    ];
    record.copy_from_slice(&parts.concat());
    record
}
