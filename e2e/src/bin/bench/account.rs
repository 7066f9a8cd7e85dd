//! Which numbers arrived, counted after the run with all processors.

use std::{
    sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    thread,
};

use anyhow::{Result, anyhow};
use e2e::sequence::{self, Promised, Sent};

use crate::sink::{self, Stored};

/// How many promised numbers are in none of the bodies and not in `file`.
pub fn lost(sent: &[Sent], stored: &[Stored], file: &[u8]) -> Result<u64> {
    let seen: Vec<Vec<AtomicBool>> =
        sent.iter().map(|stream| (0..stream.attempted).map(|_| AtomicBool::new(false)).collect()).collect();
    let mark = |text: &[u8]| {
        for (stream, number) in sequence::find(text) {
            if let Some(place) = seen.get(usize::from(stream)).and_then(|s| s.get(number as usize)) {
                place.store(true, Relaxed);
            }
        }
    };
    mark(file);
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        let work = || {
            while let Some(body) = stored.get(next.fetch_add(1, Relaxed)) {
                mark(&sink::text(&body.body)?);
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
    Ok(sent
        .iter()
        .zip(&seen)
        .map(|(sent, seen)| match &sent.promised {
            Promised::All => (0..sent.attempted).filter(|number| absent(seen, *number)).count(),
            Promised::These(numbers) => numbers.iter().filter(|number| absent(seen, **number)).count(),
        } as u64)
        .sum())
}
