//! Numbers in events: `seq=<5 digits stream>.<12 digits number>`, fixed in width so that every event of a stream has
//! the same length.

use std::collections::{BTreeMap, HashMap};

use anyhow::Result;
use memchr::memmem;

use crate::receiver::Batch;

const MARK: &[u8] = b"seq=";
const STREAM: usize = 5;
const NUMBER: usize = 12;
/// Bytes of a marker.
pub const LEN: usize = MARK.len() + STREAM + 1 + NUMBER;

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

/// Compares what was sent with what is stored. Streams nobody claims are ignored.
pub fn account(sent: &[Sent], batches: &[Batch]) -> Result<BTreeMap<u16, Account>> {
    let mut accounts: BTreeMap<u16, Account> = BTreeMap::new();
    let mut seen: HashMap<u16, Vec<u8>> = HashMap::new();
    for s in sent {
        seen.insert(s.stream, vec![0; usize::try_from(s.attempted)?]);
        accounts
            .insert(s.stream, Account { sent: s.attempted, promised: s.promised(), ..Account::default() });
    }
    for batch in batches {
        let raw = batch.inflate()?;
        for (stream, number) in find(&raw) {
            let (Some(account), Some(seen)) = (accounts.get_mut(&stream), seen.get_mut(&stream)) else {
                continue;
            };
            account.repeated += u64::from(batch.uploads - 1);
            match seen.get_mut(number as usize) {
                Some(times @ 0) => {
                    *times = 1;
                    account.delivered += 1;
                }
                _ => account.duplicated += 1,
            }
        }
    }
    for s in sent {
        let (Some(account), Some(seen)) = (accounts.get_mut(&s.stream), seen.get(&s.stream)) else {
            continue;
        };
        let absent = |number: &u64| seen.get(*number as usize).is_none_or(|times| *times == 0);
        let missing: Vec<u64> = match &s.promised {
            Promised::All => (0..s.attempted).filter(absent).collect(),
            Promised::These(numbers) => numbers.iter().copied().filter(absent).collect(),
        };
        account.lost = missing.len() as u64;
        account.missing = missing.into_iter().take(20).collect();
    }
    Ok(accounts)
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
}
