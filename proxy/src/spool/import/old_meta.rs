//! Metadata of the old program: one JSON object beside a batch in `retry/` and `dlq/`.
//!
//! Its `filename` is an absolute path of the day it was written and is not looked at: the data beside it counts.

use std::{fs, path::Path};

use serde::Deserialize;

use super::super::{
    Reason,
    meta::{self, Meta},
};

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct OldMeta {
    retry_count: i64,
    failure_reason: String,
    created_at: String,
    last_retry: String,
}

/// What is known of the attempts with a batch. Missing or torn: none, for an unknown reason.
pub fn read(path: &Path) -> Meta {
    parse(&fs::read(path).unwrap_or_default())
}

/// The same from the file's bytes.
pub fn parse(bytes: &[u8]) -> Meta {
    let old: OldMeta = serde_json::from_slice(bytes).unwrap_or_default();
    let mut message = if old.failure_reason.is_empty() {
        "adopted from an old spool; why it failed there is not known".to_owned()
    } else {
        old.failure_reason
    };
    message.truncate(meta::cut(&message).len());
    let status = status_in(&message);
    Meta {
        attempts: old.retry_count.clamp(0, i64::from(u32::MAX)) as u32,
        reason: Some(reason(status, &message)),
        status,
        at_ns: nanoseconds(&old.last_retry).or_else(|| nanoseconds(&old.created_at)).unwrap_or(0),
        message,
    }
}

/// The three digits after the word `status`.
fn status_in(message: &str) -> Option<u16> {
    let (_, after) = message.split_once("status")?;
    let digits = after.trim_start_matches(|c: char| !c.is_ascii_digit()).get(..3)?;
    digits.parse().ok().filter(|status| (100..600).contains(status))
}

fn reason(status: Option<u16>, message: &str) -> Reason {
    match status {
        Some(300..=399) => Reason::Redirect,
        Some(401) => Reason::Unauthorized,
        Some(403) => Reason::Forbidden,
        Some(404) => Reason::NotFound,
        Some(410) => Reason::Gone,
        Some(413) => Reason::TooLarge,
        Some(429) => Reason::TooManyRequests,
        Some(400..=499) => Reason::Rejected,
        Some(_) => Reason::Server,
        None if message.contains("timeout") || message.contains("deadline") => Reason::Timeout,
        None => Reason::Network,
    }
}

fn nanoseconds(time: &str) -> Option<u64> {
    let time: jiff::Timestamp = time.parse().ok()?;
    u64::try_from(time.as_nanosecond()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Meta {
        parse(text.as_bytes())
    }

    #[test]
    fn attempts_reason_status_and_time_come_over() {
        let meta = parsed(
            r#"{"id":"x","filename":"/gone/x.gz","created_at":"2026-01-01T00:01:00.1Z",
            "last_retry":"2026-01-01T02:02:00.1+02:00","retry_count":2,"status":"retry",
            "failure_reason":"HTTP request failed with status 503: busy"}"#,
        );
        assert_eq!((meta.attempts, meta.status, meta.reason), (2, Some(503), Some(Reason::Server)));
        assert_eq!(meta.at_ns, 1_767_225_720_100_000_000);
        let never = parsed(
            r#"{"created_at":"2026-01-01T00:01:00Z","last_retry":"0001-01-01T00:00:00Z","retry_count":-3}"#,
        );
        assert_eq!((never.attempts, never.at_ns), (0, 1_767_225_660_000_000_000));
    }

    #[test]
    fn l6_torn_or_missing_metadata_is_no_attempts_and_no_loss() {
        for text in ["", "{\"id\":", "[]", "{\"retry_count\":\"two\"}"] {
            let meta = parsed(text);
            assert_eq!((meta.attempts, meta.status), (0, None), "{text}");
            assert!(meta.reason.is_some());
        }
        assert_eq!(read(Path::new("/nonexistent/x.meta")).attempts, 0);
    }

    #[test]
    fn a_status_is_three_digits_after_the_word() {
        assert_eq!(status_in("status 413: too big"), Some(413));
        assert_eq!(status_in("failed with status code: 404"), Some(404));
        assert_eq!(status_in("status ä"), None);
        assert_eq!(status_in("status 12"), None);
        assert_eq!(status_in("after 4 attempts"), None);
    }
}
