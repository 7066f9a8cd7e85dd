//! What the answer to an upload means. Pure: status, header and body in, [`Outcome`] out.

use std::time::{Duration, SystemTime};

use jiff::Timestamp;

use crate::spool::{Failure, Reason};

/// The Receiver's text for a dataset it does not know (yet).
const UNKNOWN_DATASET: &str = "Unknown dataset for tenant";
/// The Receiver's text when the body broke off on its way: the transport's fault, not the batch's.
const BODY_BROKE: &str = "Failed to read request body";
/// A longer `Retry-After` is cut to this.
pub const RETRY_AFTER_MAX: Duration = Duration::from_hours(1);
/// Longest text kept of an answer.
pub const MESSAGE_MAX: usize = 1024;

/// What an upload came to.
#[derive(Debug, Clone)]
pub enum Outcome {
    /// The Receiver has it.
    Delivered,
    /// Nobody would have got through: a circuit opens.
    Unavailable {
        /// What happened.
        failure: Failure,
        /// The Receiver's wish.
        retry_after: Option<Duration>,
    },
    /// This batch failed; it is tried again.
    Failed(Failure),
    /// The whole tenant, or the dataset, is not accepted now.
    Refused {
        /// The tenant, not the dataset alone.
        tenant: bool,
        /// What happened.
        failure: Failure,
    },
    /// 413, or longer than the Receiver takes.
    TooLarge(Failure),
    /// The Receiver will never take this batch.
    Rejected(Failure),
}

/// The outcome of an answer.
pub fn classify(status: u16, retry_after: Option<&str>, body: &[u8], now: SystemTime) -> Outcome {
    let text = String::from_utf8_lossy(body);
    let failure = |reason| Failure { reason, status: Some(status), message: message(status, &text).into() };
    match status {
        200..=299 => Outcome::Delivered,
        300..=399 => Outcome::Failed(failure(Reason::Redirect)),
        400 if text.contains(UNKNOWN_DATASET) => {
            Outcome::Refused { tenant: false, failure: failure(Reason::UnknownDataset) }
        }
        400 if text.contains(BODY_BROKE) => Outcome::Failed(failure(Reason::Network)),
        401 => Outcome::Refused { tenant: true, failure: failure(Reason::Unauthorized) },
        403 => Outcome::Refused { tenant: true, failure: failure(Reason::Forbidden) },
        404 => Outcome::Refused { tenant: false, failure: failure(Reason::NotFound) },
        408 => Outcome::Failed(failure(Reason::Timeout)),
        410 => Outcome::Refused { tenant: true, failure: failure(Reason::Gone) },
        413 => Outcome::TooLarge(failure(Reason::TooLarge)),
        429 | 502..=504 => Outcome::Unavailable {
            failure: failure(if status == 429 { Reason::TooManyRequests } else { Reason::Server }),
            retry_after: retry_after.and_then(|value| parse_retry_after(value, now)),
        },
        400..=499 => Outcome::Rejected(failure(Reason::Rejected)),
        _ => Outcome::Failed(failure(Reason::Server)),
    }
}

/// The outcome when there was no answer.
pub fn unreachable(timed_out: bool, text: &str) -> Outcome {
    let reason = if timed_out { Reason::Timeout } else { Reason::Network };
    Outcome::Unavailable {
        failure: Failure { reason, status: None, message: cut(text).into() },
        retry_after: None,
    }
}

/// Whether a batch set aside for this reason may be accepted later without anybody's doing.
pub fn can_pass(reason: Reason) -> bool {
    !matches!(reason, Reason::TooLarge | Reason::Rejected)
}

/// Whether batches behind one that failed like this go to the DLQ too, instead of waiting.
pub fn diverts(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::Unauthorized | Reason::Forbidden | Reason::NotFound | Reason::Gone | Reason::UnknownDataset
    )
}

/// The reason as metric label and machine-readable text.
pub fn label(reason: Reason) -> &'static str {
    match reason {
        Reason::Network => "network",
        Reason::Timeout => "timeout",
        Reason::Server => "server",
        Reason::TooManyRequests => "too_many_requests",
        Reason::Unauthorized => "unauthorized",
        Reason::Forbidden => "forbidden",
        Reason::NotFound => "not_found",
        Reason::Gone => "gone",
        Reason::UnknownDataset => "unknown_dataset",
        Reason::TooLarge => "too_large",
        Reason::Redirect => "redirect",
        Reason::Rejected => "rejected",
        Reason::SpoolFull => "spool_full",
        Reason::Age => "age",
        Reason::NoToken => "no_token",
    }
}

/// Seconds or an HTTP date.
fn parse_retry_after(value: &str, now: SystemTime) -> Option<Duration> {
    let value = value.trim();
    let wait = if let Ok(seconds) = value.parse() {
        Duration::from_secs(seconds)
    } else {
        let at = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(value).ok()?;
        let now = Timestamp::try_from(now).ok()?;
        Duration::try_from(at.duration_since(now)).unwrap_or_default()
    };
    Some(wait.min(RETRY_AFTER_MAX))
}

fn message(status: u16, body: &str) -> String {
    let body = body.trim();
    if body.is_empty() { format!("HTTP {status}") } else { format!("HTTP {status}: {}", cut(body)) }
}

fn cut(text: &str) -> &str {
    text.get(..text.floor_char_boundary(MESSAGE_MAX - 16)).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(status: u16, body: &str) -> Outcome {
        classify(status, None, body.as_bytes(), SystemTime::UNIX_EPOCH)
    }

    #[test]
    fn h1_refusals_that_a_stale_receiver_gives_are_no_poison() {
        for (status, body, tenant, reason) in [
            (400, "Unknown dataset for tenant\n", false, Reason::UnknownDataset),
            (401, "Invalid Bearer token", true, Reason::Unauthorized),
            (403, "", true, Reason::Forbidden),
            (404, "404 page not found", false, Reason::NotFound),
            (410, "Tenant not found or inactive", true, Reason::Gone),
        ] {
            let Outcome::Refused { tenant: of_tenant, failure } = of(status, body) else {
                panic!("{status}")
            };
            assert_eq!((of_tenant, failure.reason, failure.status), (tenant, reason, Some(status)));
            assert!(can_pass(reason) && diverts(reason));
        }
    }

    #[test]
    fn h4_overload_and_gateways_open_the_circuit_other_answers_do_not() {
        for status in [429, 502, 503, 504] {
            assert!(matches!(of(status, ""), Outcome::Unavailable { .. }), "{status}");
        }
        for status in [301, 302, 307, 308, 408, 500, 501, 507, 599, 600] {
            assert!(matches!(of(status, ""), Outcome::Failed(_)), "{status}");
        }
        for status in [400, 402, 405, 409, 411, 422, 499] {
            assert!(matches!(of(status, "no"), Outcome::Rejected(_)), "{status}");
        }
        for status in [200, 201, 202, 204] {
            assert!(matches!(of(status, ""), Outcome::Delivered), "{status}");
        }
        assert!(matches!(of(413, ""), Outcome::TooLarge(_)));
        assert!(matches!(of(400, "Failed to read request body"), Outcome::Failed(_)));
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = Timestamp::from_second(1_445_412_420).map(SystemTime::from).unwrap();
        let after = |value| parse_retry_after(value, now);
        assert_eq!(after("7"), Some(Duration::from_secs(7)));
        assert_eq!(after("Wed, 21 Oct 2015 07:28:00 GMT"), Some(Duration::from_mins(1)));
        assert_eq!(after("Wed, 21 Oct 2015 07:00:00 GMT"), Some(Duration::ZERO));
        assert_eq!(after("999999999999"), Some(RETRY_AFTER_MAX));
        assert_eq!(after("soon"), None);
    }

    #[test]
    fn a_long_body_is_cut_between_characters() {
        let Outcome::Rejected(failure) = of(422, &"ä".repeat(3000)) else { panic!() };
        assert!(failure.message.len() <= MESSAGE_MAX && failure.message.starts_with("HTTP 422: ä"));
    }
}
