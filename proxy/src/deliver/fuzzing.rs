//! What the Receiver answers, and what is sent to it: see [`crate::fuzzing`].
#![allow(missing_docs, clippy::missing_panics_doc)]

use std::time::{Duration, SystemTime};

use super::{
    body::Check,
    outcome::{MESSAGE_MAX, Outcome, RETRY_AFTER_MAX, classify, unreachable},
};

/// Any answer: status, `Retry-After` and body. What is kept of it is bounded, and a batch counts as delivered only by 2xx.
pub fn receiver_answer(data: &[u8]) {
    let [high, low, rest @ ..] = data else { return };
    let status = u16::from_be_bytes([*high, *low]);
    let end = rest.iter().position(|byte| *byte == b'\n').unwrap_or(0);
    let (after, body) = rest.split_at(end);
    let after = String::from_utf8_lossy(after);
    let now = SystemTime::UNIX_EPOCH + Duration::from_hours(490_896);
    let outcome = classify(status, (end > 0).then_some(&after), body, now);
    assert_eq!(matches!(outcome, Outcome::Delivered), (200..300).contains(&status));
    for outcome in [outcome, unreachable(false, &after)] {
        let failure = match outcome {
            Outcome::Delivered => continue,
            Outcome::Unavailable { failure, retry_after } => {
                assert!(retry_after.is_none_or(|wait| wait <= RETRY_AFTER_MAX));
                failure
            }
            Outcome::Refused { failure, .. }
            | Outcome::Failed(failure)
            | Outcome::TooLarge(failure)
            | Outcome::Rejected(failure) => failure,
        };
        assert!(failure.message.len() <= MESSAGE_MAX, "{} bytes", failure.message.len());
    }
}

/// Whether the check of an upload lets a file pass that is read in pieces of so many bytes.
pub fn is_sound(file: &[u8], piece: usize) -> bool {
    let mut check = Check::default();
    file.chunks(piece).try_for_each(|piece| check.feed(piece)).and_then(|()| check.end()).is_ok()
}
