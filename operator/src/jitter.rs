//! Pauses that do not fall together.

use std::{
    hash::{BuildHasher as _, Hasher as _, RandomState},
    time::Duration,
};

/// A random duration from half of `pause` to all of it.
pub fn jitter(pause: Duration) -> Duration {
    // The keys of a new state are random; no secret depends on them.
    let random = RandomState::new().build_hasher().finish() >> 32;
    pause / 2 + pause.mul_f64(random as f64 / f64::from(u32::MAX) / 2.0)
}

/// A pause that doubles with each failure, up to a bound.
#[derive(Clone, Copy, Debug)]
pub struct Backoff {
    first: Duration,
    longest: Duration,
    next: Duration,
}

impl Backoff {
    /// From `first` to `longest`.
    pub fn new(first: Duration, longest: Duration) -> Self {
        Self { first, longest, next: first }
    }

    /// The next pause, jittered.
    pub fn pause(&mut self) -> Duration {
        let pause = self.next;
        self.next = (self.next * 2).min(self.longest);
        jitter(pause)
    }

    /// All is well again.
    pub fn reset(&mut self) {
        self.next = self.first;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_their_bound_and_differ() {
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(8));
        let pauses: Vec<_> = (0..6).map(|_| backoff.pause()).collect();
        for (pause, most) in pauses.iter().zip([1, 2, 4, 8, 8, 8].map(Duration::from_secs)) {
            assert!((most / 2..=most).contains(pause), "{pause:?} of {most:?}");
        }
        assert_ne!(pauses[3], pauses[4]);
        backoff.reset();
        assert!(backoff.pause() <= Duration::from_secs(1));
    }
}
