//! Any text as a configuration: it is read or reported, never a panic, and what runs has somewhere to deliver to.
#![no_main]

use bytefreezer_proxy::config::{self, Difference};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let text = String::from_utf8_lossy(data);
    // The first line may set a variable, the rest is the file.
    let (first, rest) = text.split_once('\n').unwrap_or(("", &text));
    let variable = first.split_once('=').map(|(name, value)| (format!("BYTEFREEZER_PROXY_{name}"), value.to_owned()));
    let loaded = config::load("fuzz.yaml", rest, variable);
    match &loaded.config {
        Some(config) => {
            assert!(config.receiver.base_url.to_ascii_lowercase().starts_with("http"));
            assert!(Difference::between(config, config).is_empty());
        }
        None => assert!(loaded.has_errors()),
    }
});
