//! The messages of `golden/syslog/*.txt`.
//!
//! `#` starts a comment, `␤` is a newline, `␀` a NUL, `␉` a tab, `␛XX` the byte XX; `#! timezone: Z` sets the zone of
//! the input from there on.

use std::{fs, path::PathBuf};

/// One message.
pub struct Sample {
    /// As it stands in the file.
    pub line: String,
    pub bytes: Vec<u8>,
    pub timezone: String,
}

pub fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden/syslog")
}

/// The names of the files, without `.txt`.
pub const FILES: [&str; 3] = ["rfc5424", "rfc3164", "vendors"];

pub fn samples(file: &str) -> Vec<Sample> {
    let mut timezone = "UTC".to_owned();
    let mut samples = Vec::new();
    for line in fs::read_to_string(folder().join(file).with_extension("txt")).unwrap().lines() {
        if let Some(zone) = line.strip_prefix("#! timezone: ") {
            zone.clone_into(&mut timezone);
        } else if !line.is_empty() && !line.starts_with('#') {
            samples.push(Sample { line: line.to_owned(), bytes: unescape(line), timezone: timezone.clone() });
        }
    }
    samples
}

fn unescape(line: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut chars = line.chars();
    while let Some(char) = chars.next() {
        match char {
            '␤' => bytes.push(b'\n'),
            '␀' => bytes.push(0),
            '␉' => bytes.push(b'\t'),
            '␛' => {
                let hex: String = chars.by_ref().take(2).collect();
                bytes.push(u8::from_str_radix(&hex, 16).unwrap());
            }
            _ => bytes.extend(char.to_string().bytes()),
        }
    }
    bytes
}
