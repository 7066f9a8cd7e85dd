use crate::config::{self, Difference};

/// Any text as a configuration, its first line as a variable: it is read or reported, and what runs has somewhere to
/// deliver to and differs from itself in nothing.
pub fn config(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let (first, rest) = text.split_once('\n').unwrap_or(("", &text));
    let variable =
        first.split_once('=').map(|(name, value)| (format!("BYTEFREEZER_PROXY_{name}"), value.to_owned()));
    let loaded = config::load("fuzz.yaml", rest, variable);
    match &loaded.config {
        Some(config) => {
            assert!(config.receiver.base_url.to_ascii_lowercase().starts_with("http"));
            assert!(Difference::between(config, config).is_empty());
        }
        None => assert!(loaded.has_errors()),
    }
}
