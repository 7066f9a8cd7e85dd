//! Sequence numbers: what was lost on the way, what came twice, what came late.
//!
//! The header's number says how many units the exporter had sent before this datagram: flows in v5 and v7, datagrams
//! in v9, data records in IPFIX (RFC 7011, 3.1), modulo 2^32. A number beyond the expected one leaves a gap; what
//! arrives for a gap later came out of order and was not lost after all. A number that nothing explains is an old
//! duplicate, unless the next datagram goes on from it: then the exporter began anew.

/// Gaps that are remembered; older ones stay lost.
const GAPS: usize = 16;
/// Starts of the latest datagrams, by which a duplicate is known.
const RECENT: usize = 64;
/// A step further than this, in either direction, is a new beginning.
const FAR: u32 = 1 << 24;

/// Units of one observation domain, or engine, since it was first heard.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Missing for good, so far.
    pub lost: u64,
    /// In datagrams that came twice.
    pub duplicates: u64,
    /// In datagrams that came after later ones.
    pub reordered: u64,
    /// How often the numbers began anew.
    pub restarts: u64,
}

impl std::ops::AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.lost += other.lost;
        self.duplicates += other.duplicates;
        self.reordered += other.reordered;
        self.restarts += other.restarts;
    }
}

/// The numbers of one sequence.
#[derive(Debug)]
pub struct Sequence {
    expected: Option<u32>,
    gaps: [(u32, u32); GAPS],
    recent: [Option<u32>; RECENT],
    next_gap: usize,
    next_recent: usize,
    /// After a number that nothing explains: what would follow it, and the units it counted as duplicates.
    doubt: Option<(u32, u64)>,
    /// What was found.
    pub tally: Tally,
}

impl Default for Sequence {
    fn default() -> Self {
        Self {
            expected: None,
            gaps: [(0, 0); GAPS],
            recent: [None; RECENT],
            next_gap: 0,
            next_recent: 0,
            doubt: None,
            tally: Tally::default(),
        }
    }
}

impl Sequence {
    /// A datagram that starts at `number` with `units`; `None` when how many it has cannot be told (a set whose
    /// template is unknown): what is expected is taken from the next one then.
    pub fn note(&mut self, number: u32, units: Option<u32>) {
        let distance = self.expected.map_or(0, |expected| number.wrapping_sub(expected) as i32);
        let count = u64::from(units.unwrap_or(1));
        if distance < 0 && count > 0 && self.recent.contains(&Some(number)) {
            self.tally.duplicates += count;
            return;
        }
        let is_far = distance.unsigned_abs() > FAR;
        if distance < 0 && !is_far && units.is_some_and(|units| self.fill(number, units)) {
            return self.remember(number);
        }
        let next = units.map(|units| number.wrapping_add(units));
        if is_far || distance < 0 {
            self.doubt(number, next, count);
        } else {
            if distance > 0 {
                self.tally.lost += distance as u64;
                put(&mut self.gaps, &mut self.next_gap, (number.wrapping_sub(distance as u32), number));
            }
            self.expected = next;
        }
        self.remember(number);
    }

    fn remember(&mut self, number: u32) {
        put(&mut self.recent, &mut self.next_recent, Some(number));
    }

    /// A number that nothing explains: an old duplicate, unless the next one goes on from it.
    fn doubt(&mut self, number: u32, next: Option<u32>, units: u64) {
        match self.doubt {
            Some((expected, counted)) if expected == number => {
                let duplicates = self.tally.duplicates.saturating_sub(counted);
                let tally = Tally { duplicates, restarts: self.tally.restarts + 1, ..self.tally };
                *self = Self { tally, expected: next, ..Self::default() };
            }
            _ => {
                self.tally.duplicates += units;
                self.doubt = next.map(|next| (next, units));
            }
        }
    }

    /// Whether the units were missing; they are not any more.
    fn fill(&mut self, number: u32, units: u32) -> bool {
        let end = number.wrapping_add(units);
        for index in 0..GAPS {
            let Some((from, to)) = self.gaps.get_mut(index) else { continue };
            let length = to.wrapping_sub(*from);
            let offset = number.wrapping_sub(*from);
            if offset >= length || length - offset < units {
                continue;
            }
            let behind = (end, *to);
            *to = number;
            if behind.0 != behind.1 {
                put(&mut self.gaps, &mut self.next_gap, behind);
            }
            self.tally.lost = self.tally.lost.saturating_sub(u64::from(units));
            self.tally.reordered += u64::from(units);
            return true;
        }
        false
    }
}

/// Writes over the oldest.
fn put<T>(ring: &mut [T], next: &mut usize, value: T) {
    let at = *next % ring.len().max(1);
    if let Some(place) = ring.get_mut(at) {
        *place = value;
    }
    *next = at + 1;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(datagrams: &[(u32, u32)]) -> (u64, u64, u64, u64) {
        let mut sequence = Sequence::default();
        for (number, units) in datagrams {
            sequence.note(*number, Some(*units));
        }
        let Tally { lost, duplicates, reordered, restarts } = sequence.tally;
        (lost, duplicates, reordered, restarts)
    }

    #[test]
    fn what_is_in_order_is_neither_lost_nor_late() {
        assert_eq!(tally(&[(100, 30), (130, 30), (160, 1), (161, 30)]), (0, 0, 0, 0));
        assert_eq!(tally(&[(u32::MAX - 9, 30), (20, 30)]), (0, 0, 0, 0));
    }

    #[test]
    fn a_gap_is_lost_and_what_fills_it_was_late() {
        assert_eq!(tally(&[(0, 30), (60, 30)]), (30, 0, 0, 0));
        assert_eq!(tally(&[(0, 30), (60, 30), (30, 30), (90, 30)]), (0, 0, 30, 0));
        // The middle of a gap first, then its ends.
        assert_eq!(tally(&[(0, 1), (4, 1), (2, 1), (1, 1), (3, 1), (5, 1)]), (0, 0, 3, 0));
        assert_eq!(tally(&[(u32::MAX, 1), (2, 1), (0, 1)]), (1, 0, 1, 0));
    }

    #[test]
    fn what_came_before_came_twice() {
        assert_eq!(tally(&[(0, 30), (30, 30), (30, 30), (0, 30), (60, 30)]), (0, 60, 0, 0));
        assert_eq!(tally(&[(0, 30), (60, 30), (30, 30), (30, 30)]), (0, 30, 30, 0));
    }

    #[test]
    fn a_new_beginning_loses_nothing() {
        assert_eq!(tally(&[(1 << 30, 30), (0, 30), (30, 30)]), (0, 0, 0, 1));
        assert_eq!(tally(&[(5_000, 30), (0, 30), (30, 30)]), (0, 0, 0, 1));
        // One old datagram among others is none.
        assert_eq!(tally(&[(5_000, 30), (0, 30), (5_030, 30)]), (0, 30, 0, 0));
        assert_eq!(tally(&[(0, 30), (1 << 30, 30), ((1 << 30) + 30, 30)]), (0, 0, 0, 1));
    }

    #[test]
    fn an_unknown_number_of_units_loses_nothing() {
        let mut sequence = Sequence::default();
        sequence.note(0, Some(5));
        sequence.note(5, None);
        sequence.note(17, Some(2));
        sequence.note(19, Some(0));
        sequence.note(19, Some(1));
        assert_eq!(sequence.tally, Tally::default());
    }
}
