//! Datagrams of exporters and agents made here, whose records differ in every field.

use e2e::datagrams::{EXPORT, V5};

use crate::packets::{Flow, flows};

/// The uptime when everything is exported, ms.
const UPTIME: u32 = 90_000;
/// Records of a datagram.
const RECORDS: u32 = 12;

/// Elements and lengths; each may be shorter or longer than the one before.
const IPV4: [(u16, u16); 27] = [
    (8, 4),
    (12, 4),
    (15, 4),
    (18, 4),
    (10, 4),
    (14, 2),
    (2, 8),
    (1, 8),
    (152, 8),
    (153, 8),
    (7, 2),
    (11, 2),
    (4, 1),
    (5, 1),
    (6, 1),
    (16, 4),
    (17, 4),
    (9, 1),
    (13, 1),
    (56, 6),
    (80, 6),
    (58, 2),
    (59, 2),
    (52, 1),
    (54, 2),
    (225, 4),
    (227, 2),
];
const IPV6: [(u16, u16); 16] = [
    (27, 16),
    (28, 16),
    (62, 16),
    (10, 2),
    (14, 4),
    (2, 4),
    (1, 4),
    (22, 4),
    (21, 4),
    (7, 2),
    (11, 2),
    (4, 1),
    (5, 1),
    (31, 4),
    (29, 1),
    (30, 1),
];

/// A datagram of NetFlow 5.
pub fn v5() -> Vec<u8> {
    let fields = V5.map(|(element, length)| (element, length as u16));
    let mut bytes = words(&[5, RECORDS as u16]);
    bytes.extend([UPTIME, EXPORT, 250_000_001, 1000].map(u32::to_be_bytes).as_flattened());
    // Engine, and a sampling of one in 100.
    bytes.extend([3, 7, 0x40, 100]);
    bytes.extend((0..RECORDS).flat_map(|number| record(&fields, number)));
    bytes
}

/// Datagrams of NetFlow 9: templates, then records of both.
pub fn netflow9() -> Vec<Vec<u8>> {
    let templates = set(0, &[template(256, &IPV4), template(257, &IPV6)].concat());
    let data = [set(256, &records(&IPV4)), set(257, &records(&IPV6))].concat();
    vec![v9(0, 7, 2, &templates), v9(1, 7, 2 * RECORDS as u16, &data)]
}

/// The same in IPFIX.
pub fn ipfix() -> Vec<Vec<u8>> {
    // It has no uptime to which times could be relative.
    let ipv6 = IPV6.map(|(element, length)| match element {
        22 => (150, length),
        21 => (151, length),
        _ => (element, length),
    });
    let templates = set(2, &[template(256, &IPV4), template(257, &ipv6)].concat());
    let data = [set(256, &records(&IPV4)), set(257, &records(&ipv6))].concat();
    vec![message(0, 9, &templates), message(0, 9, &data)]
}

/// A datagram of the sFlow agent 192.0.2.`last` with a sampled header of each kind of packet.
pub fn sflow(last: u8) -> Vec<u8> {
    let mut samples = Vec::new();
    let frames: Vec<_> = flows().iter().map(|flow| Flow::frames(flow).swap_remove(0)).collect();
    for (number, frame) in (1_u32..).zip(&frames) {
        let header = &frame[..frame.len().min(128)];
        let mut raw = numbers(&[1, frame.len() as u32 + 4, 4, header.len() as u32]);
        raw.extend_from_slice(header);
        raw.resize(raw.len().next_multiple_of(4), 0);
        let record = [numbers(&[1, raw.len() as u32]), raw].concat();
        let head = numbers(&[number, 3, 512, 512 * number, 0, 3, 7, 1]);
        samples.extend(numbers(&[1, (head.len() + record.len()) as u32]));
        samples.extend([head, record].concat());
    }
    // Version, agent, sub-agent, sequence, uptime.
    let head = numbers(&[5, 1, 0xc000_0200 | u32::from(last), 0, 1, 1000, frames.len() as u32]);
    [head, samples].concat()
}

/// A datagram of NetFlow 9 with this in it.
pub fn v9(sequence: u32, source: u32, count: u16, sets: &[u8]) -> Vec<u8> {
    [words(&[9, count]), numbers(&[UPTIME, EXPORT, sequence, source]), sets.to_vec()].concat()
}

fn message(sequence: u32, domain: u32, sets: &[u8]) -> Vec<u8> {
    let length = 16 + sets.len() as u16;
    [words(&[10, length]), numbers(&[EXPORT, sequence, domain]), sets.to_vec()].concat()
}

/// A set, filled up to four bytes.
pub fn set(id: u16, content: &[u8]) -> Vec<u8> {
    let mut content = content.to_vec();
    content.resize(content.len().next_multiple_of(4), 0);
    [words(&[id, content.len() as u16 + 4]), content].concat()
}

/// A template with fields of (element, length).
pub fn template(id: u16, fields: &[(u16, u16)]) -> Vec<u8> {
    let fields: Vec<u16> = fields.iter().flat_map(|(element, length)| [*element, *length]).collect();
    [words(&[id, fields.len() as u16 / 2]), words(&fields)].concat()
}

fn records(fields: &[(u16, u16)]) -> Vec<u8> {
    (0..RECORDS).flat_map(|number| record(fields, number)).collect()
}

fn record(fields: &[(u16, u16)], number: u32) -> Vec<u8> {
    let values = fields.iter().flat_map(|(element, length)| {
        let value = value(*element, u64::from(number)).to_be_bytes();
        value[16 - usize::from(*length)..].to_vec()
    });
    values.collect()
}

/// Of an element in the record of this number; lengths are those of the templates.
fn value(element: u16, number: u64) -> u128 {
    const NET: u128 = 0x2001_0db8 << 96;
    let ms = u64::from(EXPORT) * 1000;
    let uptime = u64::from(UPTIME);
    match element {
        0 => 0,
        4 => u128::from([6_u8, 17, 50, 132][number as usize % 4]),
        6 => 0x1b,
        8 => u128::from(0x0a00_0001 + number),
        12 => u128::from(0xc633_6401 + number),
        15 | 18 => u128::from(0x0aff_0000 + number + u64::from(element)),
        27 | 28 | 62 => NET + (u128::from(element) << 64) + u128::from(number),
        21 => u128::from(uptime - 1 - number),
        22 => u128::from(uptime - 2000 - number),
        150 | 151 => u128::from(u64::from(EXPORT) - 200 + u64::from(element) - number),
        152 => u128::from(ms - 3000 - number),
        153 => u128::from(ms - 100 - number),
        56 | 80 => u128::from(0x0200_0000_0000 + u64::from(element) * 256 + number),
        9 | 13 | 29 | 30 => u128::from(u64::from(element) - number % 8),
        58 | 59 => u128::from(u64::from(element) + number),
        225 => u128::from(0xcb00_7101 + number),
        5 | 52 => u128::from(u64::from(element) + 8 * number),
        _ => u128::from(u64::from(element) * 100 + number),
    }
}

fn words(words: &[u16]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_be_bytes()).collect()
}

fn numbers(numbers: &[u32]) -> Vec<u8> {
    numbers.iter().flat_map(|number| number.to_be_bytes()).collect()
}
