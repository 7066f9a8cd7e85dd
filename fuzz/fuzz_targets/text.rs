//! Any bytes as lines of a text input: every line that is appended ends with one line end, and is JSON where the rules
//! say so.
#![no_main]

use bytefreezer_proxy::{
    config::DataFormat,
    decode::{
        ReceiveTime,
        text::{TextRules, push_lines},
    },
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((&choice, payload)) = data.split_first() else { return };
    let rules = TextRules {
        format: [DataFormat::Auto, DataFormat::Ndjson, DataFormat::Text][usize::from(choice) % 3],
        bfts: choice & 64 != 0,
        source_field: (choice & 128 != 0).then(|| "source".to_owned()),
    };
    let mut out = Vec::new();
    let lines = push_lines(payload, &rules, [192, 0, 2, 1].into(), &ReceiveTime::new(1_767_225_600_000_000_001), &mut out);
    assert_eq!(lines as usize, out.split_inclusive(|byte| *byte == b'\n').count());
    assert!(out.is_empty() || out.ends_with(b"\n"));
    for line in out.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        match serde_json::from_slice::<serde_json::Value>(line) {
            Ok(value) if rules.bfts && value.is_object() => assert_eq!(value["BfTs"], 1_767_225_600_000_u64),
            Ok(_) => {}
            // Nesting that is deeper than serde_json reads is passed through all the same.
            Err(_) => assert!(rules.format != DataFormat::Text),
        }
    }
});
