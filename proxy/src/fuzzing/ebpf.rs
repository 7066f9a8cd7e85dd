use crate::{
    config::DataFormat,
    decode::{ReceiveTime, ebpf::push_events, text::TextRules},
};

/// Any bytes as a datagram of eBPF events: one line per event, each of them a JSON object.
pub fn ebpf(data: &[u8]) {
    let rules = TextRules { format: DataFormat::Auto, bfts: true, source_field: None };
    let now = ReceiveTime::new(1_767_225_600_000_000_001);
    let mut out = Vec::new();
    let events = push_events(data, &rules, [192, 0, 2, 1].into(), &now, &mut out);
    assert_eq!(events.lines as usize, out.split_inclusive(|byte| *byte == b'\n').count());
    assert!(events.undecoded <= events.lines);
    for line in out.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        match serde_json::from_slice::<serde_json::Value>(line) {
            Ok(value) => assert_eq!(value["BfTs"], 1_767_225_600_000_u64),
            // Nesting that is deeper than serde_json reads is passed through all the same.
            Err(error) => assert!(error.to_string().contains("recursion limit")),
        }
    }
}
