use super::{choice, unique::Unique};
use crate::decode::{
    ReceiveTime,
    flow::MacFormat,
    sflow::{Output, SflowRules, push_datagram},
};

/// Any bytes as a datagram of sFlow: whole lines of valid JSON, no member twice, as many as are counted, and no more
/// than the bytes account for.
pub fn sflow(data: &[u8]) {
    let (choice, datagram) = choice(data);
    let rules = SflowRules {
        output: if choice & 1 == 0 { Output::Fields } else { Output::Legacy },
        counters: choice & 2 == 0,
        drops: choice & 4 == 0,
        inner: choice & 8 == 0,
        mac: if choice & 16 == 0 { MacFormat::Number } else { MacFormat::Text },
    };
    let now = ReceiveTime::new(1_709_337_600_123_456_789);
    let mut out = Vec::new();
    let decoded = push_datagram(datagram, &rules, [192, 0, 2, 7].into(), &now, &mut out);
    assert!(out.len() <= 64 * datagram.len());
    let lines = out.split_inclusive(|byte| *byte == b'\n');
    assert_eq!(decoded.lines as usize, lines.clone().count());
    for line in lines {
        assert!(line.ends_with(b",\"BfTs\":1709337600123}\n"));
        serde_json::from_slice::<Unique>(line).unwrap();
    }
}
