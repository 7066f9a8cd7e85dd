use std::net::IpAddr;

use super::{choice, unique::Unique};
use crate::{
    config::FlowOutput,
    decode::{
        ReceiveTime,
        flow::{Limits, MacFormat, Rules, Shared, Source, Transport},
    },
};

/// Any datagrams of a few exporters: whole lines of valid JSON, no member twice, as many as are counted; then what was
/// learned survives a restart.
pub fn flow(data: &[u8]) {
    let (choice, mut rest) = choice(data);
    let mac = if choice & 1 == 0 { MacFormat::Number } else { MacFormat::Text };
    let limits = Limits { exporters: 16, domains: 8, fields_per_exporter: 64, fields: 512, waiting: 1 << 16 };
    let output = if choice & 8 == 0 { FlowOutput::Fields } else { FlowOutput::Legacy };
    let rules = Rules { mac, options: choice & 2 != 0, output, limits };
    let transport = if choice & 4 == 0 { Transport::Udp } else { Transport::Tcp };
    let shared = Shared::new(rules);
    let mut now_ns = 1_709_337_600_123_456_789;
    // Each datagram: two bytes of length, the upper bits of which choose the exporter.
    while let Some(([upper, lower], after)) = rest.split_first_chunk() {
        let length = usize::from(u16::from_be_bytes([upper & 0x0f, *lower])).min(after.len());
        let (datagram, after) = after.split_at(length);
        rest = after;
        let source = Source { address: IpAddr::from([192, 0, 2, upper >> 4]), port: 0 };
        let mut out = Vec::new();
        let now = ReceiveTime::new(now_ns);
        let mut outcome = shared.push(datagram, source, transport, &now, &mut out);
        while outcome.more {
            let before = outcome.lines;
            outcome = shared.resume(source, &now, &mut out);
            outcome.lines += before;
        }
        now_ns += 1_000_000_000;
        let lines: Vec<&str> = std::str::from_utf8(&out).unwrap().lines().collect();
        for line in &lines {
            serde_json::from_str::<Unique>(line).unwrap();
        }
        assert_eq!(lines.len(), outcome.lines as usize);
        assert!(out.is_empty() || out.ends_with(b"}\n"));
    }
    let restored = Shared::new(rules);
    assert!(restored.restore(&shared.save().1));
}

/// Any bytes as the file of what exporters have taught: what was taken from it is a file again, and all of that file is
/// good.
pub fn flow_restore(data: &[u8]) {
    let shared = Shared::new(Rules::default());
    shared.restore(data);
    assert!(Shared::new(Rules::default()).restore(&shared.save().1));
}
