//! Times of records as Unix nanoseconds.

/// Seconds from 1900 to 1970.
const NTP_EPOCH: u32 = 2_208_988_800;
/// A time relative to the uptime may lie this far ahead of it; what is further ahead has wrapped.
const AHEAD_MS: u32 = 3_600_000;
const NS_PER_MS: u64 = 1_000_000;

/// What the header of a datagram, or its exporter's options, says of the time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Clock {
    /// When it was exported, Unix ns.
    pub export_ns: u64,
    /// The exporter's uptime then, where the header has it.
    pub uptime_ms: Option<u32>,
    /// When the exporter started, Unix ms, where a record or an option says it.
    pub started_ms: Option<u64>,
}

impl Clock {
    /// A time given as the uptime then. Relative to a header's uptime it wraps every 49.7 days, so it is the one
    /// nearest before the export. `None` when nothing says what it is relative to.
    pub fn at_uptime(self, then_ms: u32) -> Option<u64> {
        if let Some(started) = self.started_ms {
            return Some(milliseconds(started.saturating_add(u64::from(then_ms))));
        }
        let ago = self.uptime_ms?.wrapping_sub(then_ms);
        let ahead = then_ms.wrapping_sub(self.uptime_ms?);
        Some(if ahead <= AHEAD_MS {
            self.export_ns.saturating_add(u64::from(ahead) * NS_PER_MS)
        } else {
            self.export_ns.saturating_sub(u64::from(ago) * NS_PER_MS)
        })
    }

    /// A time given as microseconds before the export (RFC 5102, `…DeltaMicroseconds`).
    pub fn before(self, microseconds: u64) -> u64 {
        self.export_ns.saturating_sub(microseconds.saturating_mul(1000))
    }
}

/// Nanoseconds of whole seconds.
pub fn seconds(seconds: u64) -> u64 {
    seconds.saturating_mul(1_000_000_000)
}

/// Nanoseconds of whole milliseconds.
pub fn milliseconds(milliseconds: u64) -> u64 {
    milliseconds.saturating_mul(NS_PER_MS)
}

/// Microseconds of an NTP time stamp whose lowest 11 bits say nothing (RFC 7011, 6.1.9). The nearest, because a sender
/// has cut what 32 bits do not hold. The seconds are those of 1970 to 2106.
pub fn ntp_microseconds(stamp: u64) -> u64 {
    let fraction = stamp & 0xffff_f800;
    ntp_seconds(stamp) * 1_000_000 + ((fraction * 1_000_000 + (1 << 31)) >> 32)
}

/// Nanoseconds of an NTP time stamp (RFC 7011, 6.1.10), the nearest.
pub fn ntp_nanoseconds(stamp: u64) -> u64 {
    let fraction = stamp & 0xffff_ffff;
    ntp_seconds(stamp) * 1_000_000_000 + ((fraction * 1_000_000_000 + (1 << 31)) >> 32)
}

fn ntp_seconds(stamp: u64) -> u64 {
    u64::from(((stamp >> 32) as u32).wrapping_sub(NTP_EPOCH))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: Clock =
        Clock { export_ns: 1_767_225_600_000_000_000, uptime_ms: Some(5_000), started_ms: None };

    #[test]
    fn uptimes_are_relative_to_the_export_and_wrap() {
        assert_eq!(NOW.at_uptime(4_999), Some(NOW.export_ns - 1_000_000));
        assert_eq!(NOW.at_uptime(5_001), Some(NOW.export_ns + 1_000_000));
        assert_eq!(NOW.at_uptime(u32::MAX), Some(NOW.export_ns - 5_001_000_000));
        assert_eq!(Clock { uptime_ms: None, ..NOW }.at_uptime(0), None);
        let started = Clock { started_ms: Some(1_000), ..NOW };
        assert_eq!(started.at_uptime(500), Some(1_500_000_000));
        assert_eq!(NOW.before(3), NOW.export_ns - 3_000);
        assert_eq!(NOW.before(u64::MAX), 0);
    }

    #[test]
    fn ntp_goes_on_after_2036() {
        assert_eq!(ntp_nanoseconds(u64::from(NTP_EPOCH) << 32), 0);
        // 7 February 2036, 06:28:16, where the 32 bits start again.
        assert_eq!(ntp_nanoseconds(0), 2_085_978_496_000_000_000);
        assert_eq!(ntp_microseconds(0), 2_085_978_496_000_000);
    }

    proptest! {
        #[test]
        fn what_a_sender_encodes_comes_back(seconds in 0_u32..u32::MAX, ns in 0_u32..1_000_000_000) {
            let stamp = |fraction: u64| u64::from(seconds.wrapping_add(NTP_EPOCH)) << 32 | fraction;
            let fraction = (u64::from(ns) << 32) / 1_000_000_000;
            prop_assert_eq!(
                ntp_nanoseconds(stamp(fraction)), u64::from(seconds) * 1_000_000_000 + u64::from(ns)
            );
            let us = ns / 1000;
            let fraction = (u64::from(us) << 32) / 1_000_000;
            for low in [fraction, fraction & !0x7ff, fraction | 0x7ff] {
                prop_assert_eq!(ntp_microseconds(stamp(low)), u64::from(seconds) * 1_000_000 + u64::from(us));
            }
        }
    }
}
