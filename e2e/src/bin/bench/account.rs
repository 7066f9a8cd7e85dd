//! Which numbers arrived, counted after the run with all processors.

use std::{
    sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed},
    thread,
};

use anyhow::{Result, anyhow};
use e2e::sequence::{self, Promised, Sent};

use memchr::memmem;

use crate::{
    run::Wire,
    sink::{self, Stored},
};

/// What became of what was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arrived {
    /// Promised numbers that are nowhere.
    pub lost: u64,
    /// Bytes of everything in the bodies, inflated.
    pub text: u64,
}

/// Looks for the promised numbers in the bodies and in `file`.
pub fn of(wire: Wire, sent: &[Sent], stored: &[Stored], file: &[u8]) -> Result<Arrived> {
    let seen: Vec<Vec<AtomicBool>> =
        sent.iter().map(|stream| (0..stream.attempted).map(|_| AtomicBool::new(false)).collect()).collect();
    let mark = |(stream, number): (u16, u64)| {
        if let Some(place) = seen.get(usize::from(stream)).and_then(|s| s.get(number as usize)) {
            place.store(true, Relaxed);
        }
    };
    let mark_all = |text: &[u8]| match wire {
        Wire::Flows(_) => records(text).for_each(|number| mark((0, number))),
        _ => sequence::find(text).for_each(mark),
    };
    mark_all(file);
    let (next, bytes) = (AtomicUsize::new(0), AtomicU64::new(0));
    thread::scope(|scope| {
        let work = || {
            while let Some(body) = stored.get(next.fetch_add(1, Relaxed)) {
                let text = sink::text(&body.body)?;
                bytes.fetch_add(text.len() as u64, Relaxed);
                mark_all(&text);
            }
            anyhow::Ok(())
        };
        let threads: Vec<_> =
            (0..thread::available_parallelism()?.get()).map(|_| scope.spawn(work)).collect();
        threads.into_iter().try_for_each(|t| t.join().map_err(|_| anyhow!("the check panicked"))?)
    })?;
    let absent = |stream: &Vec<AtomicBool>, number: u64| {
        stream.get(number as usize).is_none_or(|there| !there.load(Relaxed))
    };
    let lost = sent
        .iter()
        .zip(&seen)
        .map(|(sent, seen)| match &sent.promised {
            Promised::All => (0..sent.attempted).filter(|number| absent(seen, *number)).count(),
            Promised::These(numbers) => numbers.iter().filter(|number| absent(seen, **number)).count(),
        } as u64)
        .sum();
    Ok(Arrived { lost, text: bytes.into_inner() })
}

/// The numbers of flow records (see `e2e::datagrams`).
fn records(text: &[u8]) -> impl Iterator<Item = u64> + '_ {
    const MEMBER: &[u8] = b"\"Bytes\":";
    memmem::find_iter(text, MEMBER).filter_map(|at| {
        let digits = text.get(at + MEMBER.len()..)?.iter().take_while(|byte| byte.is_ascii_digit());
        Some(digits.fold(0, |number, digit| number * 10 + u64::from(digit - b'0')))
    })
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use e2e::datagrams::Version;

    use super::*;

    #[test]
    fn records_that_are_nowhere_are_lost() {
        let body = Bytes::from_static(b"{\"Bytes\":0,\"x\":1}\n{\"Bytes\":2}\n{\"Bytes\":77}\n");
        let stored = [Stored { at: std::time::Instant::now(), body: body.clone() }];
        let sent = [Sent { stream: 0, attempted: 4, promised: Promised::All }];
        let arrived = of(Wire::Flows(Version::V5), &sent, &stored, b"").unwrap();
        assert_eq!(arrived, Arrived { lost: 2, text: body.len() as u64 });
    }
}
