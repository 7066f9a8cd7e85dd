//! Numbers in events: `seq=<5 digits stream>.<12 digits number>`, fixed in width so that every event of a stream has
//! the same length.

use std::collections::BTreeMap;

use anyhow::Result;
use memchr::memmem;

use crate::receiver::Batch;

const MARK: &[u8] = b"seq=";
const STREAM: usize = 5;
const NUMBER: usize = 12;
/// Bytes of a marker.
pub const LEN: usize = MARK.len() + STREAM + 1 + NUMBER;

/// No sender gets this far; what claims to is no reason to make room for it.
const MOST: u64 = 1 << 36;

/// The marker of an event.
pub fn mark(stream: u16, number: u64) -> String {
    format!("seq={stream:05}.{number:012}")
}

/// Overwrites the number in a marker that starts at `at`.
pub fn renumber(event: &mut [u8], at: usize, mut number: u64) {
    let digits = event.iter_mut().skip(at + MARK.len() + STREAM + 1).take(NUMBER);
    for digit in digits.rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
}

/// Where the marker starts in an event.
pub fn position(event: &[u8]) -> Option<usize> {
    memmem::find(event, MARK)
}

/// Every marker in `text`.
pub fn find(text: &[u8]) -> impl Iterator<Item = (u16, u64)> + '_ {
    memmem::find_iter(text, MARK).filter_map(|at| {
        let rest = text.get(at + MARK.len()..at + LEN)?;
        let (stream, number) = rest.split_at_checked(STREAM)?;
        let number = number.strip_prefix(b".")?;
        Some((digits(stream)? as u16, digits(number)?))
    })
}

fn digits(text: &[u8]) -> Option<u64> {
    text.iter().try_fold(0u64, |value, b| b.is_ascii_digit().then(|| value * 10 + u64::from(b - b'0')))
}

/// What a sender knows of one stream.
#[derive(Debug, Clone, Default)]
pub struct Sent {
    /// Stream.
    pub stream: u16,
    /// Numbers `0..attempted` left the sender.
    pub attempted: u64,
    /// Numbers that must arrive: all for UDP and TCP, those with a 200 for HTTP.
    pub promised: Promised,
}

/// Which numbers must arrive.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Promised {
    /// All that were attempted.
    #[default]
    All,
    /// These.
    These(Vec<u64>),
}

impl Sent {
    /// How many must arrive.
    pub fn promised(&self) -> u64 {
        match &self.promised {
            Promised::All => self.attempted,
            Promised::These(numbers) => numbers.len() as u64,
        }
    }
}

/// The account of one stream.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Account {
    /// Events that left the sender.
    pub sent: u64,
    /// Events that had to arrive.
    pub promised: u64,
    /// Different numbers that arrived.
    pub delivered: u64,
    /// Arrivals beyond the first within stored batches (under another name, or twice in one).
    pub duplicated: u64,
    /// Arrivals again in a batch that was uploaded again under its own name, which overwrites itself.
    pub repeated: u64,
    /// Promised numbers that did not arrive, the first 20 of them.
    pub missing: Vec<u64>,
    /// How many promised numbers did not arrive.
    pub lost: u64,
}

/// Which numbers arrived, a bit each: what batches held may then be forgotten.
#[derive(Debug, Default)]
pub struct Tally(BTreeMap<u16, Seen>);

#[derive(Debug, Default)]
struct Seen {
    numbers: Vec<u64>,
    delivered: u64,
    duplicated: u64,
    repeated: u64,
}

impl Tally {
    /// Takes the lines of a batch that was uploaded so often under its name. A line that has an event's marker twice, in its
    /// message and in the raw line that it keeps, is one event.
    pub fn add(&mut self, raw: &[u8], uploads: u32) {
        let marks = raw.split(|byte| *byte == b'\n').flat_map(|line| {
            let mut before = None;
            find(line).filter(move |mark| before.replace(*mark) != Some(*mark))
        });
        for (stream, number) in marks {
            let seen = self.0.entry(stream).or_default();
            seen.repeated += u64::from(uploads.saturating_sub(1));
            let (word, bit) = (number as usize / 64, 1 << (number % 64));
            if word >= seen.numbers.len() && number < MOST {
                seen.numbers.resize(word + 1, 0);
            }
            match seen.numbers.get_mut(word) {
                Some(word) if *word & bit == 0 => {
                    *word |= bit;
                    seen.delivered += 1;
                }
                _ => seen.duplicated += 1,
            }
        }
    }

    /// The account of what was sent.
    pub fn account(&self, sent: &Sent) -> Account {
        let none = Seen::default();
        let seen = self.0.get(&sent.stream).unwrap_or(&none);
        let absent = |number: &u64| {
            seen.numbers.get(*number as usize / 64).is_none_or(|word| word >> (number % 64) & 1 == 0)
        };
        let mut missing: Box<dyn Iterator<Item = u64>> = match &sent.promised {
            Promised::All => Box::new((0..sent.attempted).filter(absent)),
            Promised::These(numbers) => Box::new(numbers.iter().copied().filter(absent)),
        };
        let first: Vec<u64> = missing.by_ref().take(20).collect();
        Account {
            sent: sent.attempted,
            promised: sent.promised(),
            delivered: seen.delivered,
            duplicated: seen.duplicated,
            repeated: seen.repeated,
            lost: first.len() as u64 + missing.count() as u64,
            missing: first,
        }
    }
}

/// Compares what was sent with what is stored. Streams nobody claims are ignored.
pub fn account(sent: &[Sent], batches: &[Batch]) -> Result<BTreeMap<u16, Account>> {
    let mut tally = Tally::default();
    for batch in batches {
        tally.add(&batch.inflate()?, batch.uploads);
    }
    Ok(sent.iter().map(|sent| (sent.stream, tally.account(sent))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markers_are_written_overwritten_and_found() {
        let mut event = format!("<13>x {} tail", mark(3, 41)).into_bytes();
        let at = position(&event).unwrap();
        renumber(&mut event, at, 999_999_999_999);
        assert_eq!(find(&event).collect::<Vec<_>>(), [(3, 999_999_999_999)]);
        assert_eq!(find(b"seq= seq=00001.00000000000x seq=00002.000000000007").collect::<Vec<_>>(), [(2, 7)]);
    }

    #[test]
    fn a_tally_tells_lost_doubled_and_repeated_apart() {
        let text = |numbers: &[u64]| numbers.iter().map(|number| mark(1, *number) + "\n").collect::<String>();
        let mut tally = Tally::default();
        tally.add(text(&[0, 1, 64, 200]).as_bytes(), 1);
        tally.add(text(&[1, 3]).as_bytes(), 3);
        tally.add(format!("{0} {0}\n", mark(7, 0)).as_bytes(), 1);
        let kept = Sent { stream: 7, attempted: 1, ..Sent::default() };
        assert_eq!(tally.account(&kept).duplicated, 0, "a line that keeps the raw line, too");
        let all = Sent { stream: 1, attempted: 5, promised: Promised::All };
        let account = tally.account(&all);
        assert_eq!((account.delivered, account.duplicated, account.repeated), (5, 1, 4));
        assert_eq!((account.lost, account.missing), (2, vec![2, 4]));
        let some = Sent { promised: Promised::These(vec![0, 2, 3, 63]), ..all };
        assert_eq!(tally.account(&some).missing, [2, 63]);
        assert_eq!(tally.account(&Sent { stream: 2, attempted: 30, ..Sent::default() }).lost, 30);
    }
}
