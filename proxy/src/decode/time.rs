//! The moment of reception.

use jiff::{Timestamp, tz::TimeZone};

/// The moment a message was received, with its text forms made once per batch of messages.
#[derive(Debug, Clone)]
pub struct ReceiveTime {
    unix_ns: u64,
    text: String,
    digits: String,
    date: (i16, i8),
}

/// Length of `2026-01-01T00:00:00`.
const SECONDS: usize = 19;

impl ReceiveTime {
    /// From nanoseconds since the Unix epoch.
    pub fn new(unix_ns: u64) -> Self {
        let time = Timestamp::from_nanosecond(i128::from(unix_ns)).unwrap_or(Timestamp::UNIX_EPOCH);
        let civil = time.to_zoned(TimeZone::UTC).datetime();
        let text = format!(
            "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:09}Z",
            civil.year(),
            civil.month(),
            civil.day(),
            civil.hour(),
            civil.minute(),
            civil.second(),
            civil.subsec_nanosecond()
        );
        Self { unix_ns, text, digits: unix_ns.to_string(), date: (civil.year(), civil.month()) }
    }

    /// The clock now.
    pub fn now() -> Self {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Self::new(u64::try_from(now.as_nanos()).unwrap_or(u64::MAX))
    }

    /// Nanoseconds since the Unix epoch.
    pub fn unix_ns(&self) -> u64 {
        self.unix_ns
    }

    /// Milliseconds since the Unix epoch: `BfTs`.
    pub fn unix_ms(&self) -> u64 {
        self.unix_ns / 1_000_000
    }

    /// [`Self::unix_ns`] in decimal digits.
    pub fn unix_ns_digits(&self) -> &str {
        &self.digits
    }

    /// [`Self::unix_ms`] in decimal digits.
    pub fn unix_ms_digits(&self) -> &str {
        let milliseconds = self.digits.len().checked_sub(6).and_then(|end| self.digits.get(..end));
        milliseconds.filter(|digits| !digits.is_empty()).unwrap_or("0")
    }

    /// Year and month in UTC.
    pub fn year_and_month(&self) -> (i16, i8) {
        self.date
    }

    /// RFC 3339, UTC, nine fractional digits: `2026-01-01T00:00:00.000000001Z`.
    pub fn nanos(&self) -> &str {
        &self.text
    }

    /// RFC 3339, UTC, whole seconds, without the final `Z`: `2026-01-01T00:00:00`.
    pub fn seconds(&self) -> &str {
        self.text.get(..SECONDS).unwrap_or(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_forms_are_utc_and_exact() {
        let time = ReceiveTime::new(1_767_225_600_123_456_789);
        assert_eq!(time.nanos(), "2026-01-01T00:00:00.123456789Z");
        assert_eq!(time.seconds(), "2026-01-01T00:00:00");
        assert_eq!(time.unix_ms(), 1_767_225_600_123);
        assert_eq!(time.year_and_month(), (2026, 1));
        for ns in [0, 999_999, 1_000_000, 1_767_225_600_123_456_789] {
            let time = ReceiveTime::new(ns);
            assert_eq!(time.unix_ns_digits(), time.unix_ns().to_string());
            assert_eq!(time.unix_ms_digits(), time.unix_ms().to_string());
        }
    }
}
