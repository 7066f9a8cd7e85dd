//! Log lines that a peer can cause: one per interval and cause, with the number of those left out.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// Lets one log line through per interval.
#[derive(Debug)]
pub struct Throttle {
    every: Duration,
    state: Mutex<(Option<Instant>, u64)>,
}

impl Default for Throttle {
    /// One line per ten seconds.
    fn default() -> Self {
        Self::new(Duration::from_secs(10))
    }
}

impl Throttle {
    /// One line per `every`.
    pub const fn new(every: Duration) -> Self {
        Self { every, state: Mutex::new((None, 0)) }
    }

    /// `Some(left out since the last one)` when a line may be written now.
    pub fn pass(&self) -> Option<u64> {
        let mut state = self.state.lock();
        let (last, left_out) = &mut *state;
        if last.is_some_and(|last| last.elapsed() < self.every) {
            *left_out += 1;
            return None;
        }
        *last = Some(Instant::now());
        Some(std::mem::take(left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_per_interval_and_the_rest_is_counted() {
        let throttle = Throttle::new(Duration::from_hours(1));
        assert_eq!([throttle.pass(), throttle.pass(), throttle.pass()], [Some(0), None, None]);
        throttle.state.lock().0 = None;
        assert_eq!(throttle.pass(), Some(2));
    }
}
