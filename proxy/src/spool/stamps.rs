//! Names of batches: strictly increasing, whatever the clock does.

use super::Stamp;

const ID: u64 = 0xffff;
/// A clock beyond this (the year 2262) is not followed: names have 19 digits.
pub const LATEST_NS: u64 = i64::MAX as u64;
/// How far ahead of the newest stamp the reserved one is set: more than what can wait for a sync, and little, since every
/// start begins above what the one before reserved.
const AHEAD_NS: u64 = 2_000_000_000;

/// Hands out stamps of one spool.
#[derive(Debug, Clone, Copy)]
pub struct Stamps {
    last: u64,
    reserved: u64,
    id: u16,
}

impl Stamps {
    /// Stamps above `newest` (every one handed out before) and not before `now_ns`.
    pub fn new(id: u16, newest: u64, now_ns: u64) -> Self {
        let last = newest.max(now_ns.min(LATEST_NS)) & !ID;
        Self { last, reserved: last + AHEAD_NS, id }
    }

    /// Stamps with this id that were handed out before are not above it, those after it are.
    pub fn floor(&self) -> Stamp {
        Stamp(self.last | u64::from(self.id))
    }

    /// The next one.
    pub fn next(&mut self, now_ns: u64) -> Stamp {
        self.last = (now_ns.min(LATEST_NS) & !ID).max(self.last + ID + 1);
        Stamp(self.last | u64::from(self.id))
    }

    /// What a segment header must say: above every stamp handed out.
    pub fn reserved(&self) -> u64 {
        self.reserved
    }

    /// A new reserved stamp when the old one is nearly used up. It must be on the disk before the stamps are.
    pub fn renew(&mut self) -> Option<u64> {
        (self.last + AHEAD_NS / 2 > self.reserved).then(|| {
            self.reserved = self.last + AHEAD_NS;
            self.reserved
        })
    }

    /// Not below any stamp handed out so far.
    pub fn newest(&self) -> u64 {
        self.last | ID
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn h13_stamps_increase_when_the_clock_stands_still_steps_back_or_the_process_starts_again() {
        let mut stamps = Stamps::new(7, 0, 1_767_225_600_000_000_000);
        let mut before = Stamp(0);
        for now in [1_767_225_600_000_000_000, 1_767_225_600_000_000_000, 1_500_000_000_000_000_000] {
            let stamp = stamps.next(now);
            assert!(stamp > before);
            assert_eq!((stamp.0 & 0xffff, format!("{:019}", stamp.0).len()), (7, 19));
            before = stamp;
        }
        assert!(before.0 < stamps.reserved());
        let mut again = Stamps::new(7, stamps.reserved(), 1_500_000_000_000_000_000);
        assert!(again.next(1_500_000_000_000_000_000) > before);
    }

    #[test]
    fn a_clock_that_is_centuries_ahead_gives_names_that_are_read_back() {
        let mut stamps = Stamps::new(7, 0, u64::MAX);
        let first = stamps.next(u64::MAX);
        let second = stamps.next(u64::MAX);
        assert!(second > first && format!("{:019}", second.0).len() == 19, "{second:?}");
    }

    #[test]
    fn the_reserved_stamp_stays_ahead() {
        let mut stamps = Stamps::new(1, 0, 1_000_000_000_000);
        for second in 0..60 {
            let stamp = stamps.next(1_000_000_000_000 + second * 1_000_000_000);
            stamps.renew();
            assert!(stamp.0 < stamps.reserved());
        }
    }
}
