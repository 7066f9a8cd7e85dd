//! How busy something is that alternates between work and waiting: what lets the compression level fall where no queue
//! shows that processors are short.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    thread::available_parallelism,
    time::Duration,
};

/// Shorter looks say little: a burst that is worked off in less than this is none.
pub const WINDOW: Duration = Duration::from_millis(100);
/// Busy for less than this counts as an empty queue.
const EASY: f32 = 0.25;

/// The share of the time that was spent working as the fill of a queue, 0 to 1.
pub fn fill(busy: Duration, elapsed: Duration) -> f32 {
    let share = busy.as_secs_f32() / elapsed.as_secs_f32().max(f32::EPSILON);
    ((share - EASY) / (1.0 - EASY)).clamp(0.0, 1.0)
}

/// Work of all threads together, over windows of [`WINDOW`].
#[derive(Debug)]
pub struct Effort {
    busy_us: AtomicU64,
    /// Begin of the window, microseconds after some moment of the caller's.
    since_us: AtomicU64,
    threads: u32,
}

impl Default for Effort {
    fn default() -> Self {
        let threads = available_parallelism().map_or(1, |threads| threads.get() as u32);
        Self { busy_us: AtomicU64::new(0), since_us: AtomicU64::new(0), threads }
    }
}

impl Effort {
    /// Adds what ended at `now` and took `spent`; the fill at the end of a window.
    pub fn add(&self, spent: Duration, now: Duration) -> Option<f32> {
        self.busy_us.fetch_add(spent.as_micros() as u64, Relaxed);
        let (now, since) = (now.as_micros() as u64, self.since_us.load(Relaxed));
        let elapsed = now.saturating_sub(since);
        let over = elapsed >= WINDOW.as_micros() as u64
            // Of several threads that see the end of a window, one tells.
            && self.since_us.compare_exchange(since, now, Relaxed, Relaxed).is_ok();
        if !over {
            return None;
        }
        let busy = self.busy_us.swap(0, Relaxed);
        Some(fill(Duration::from_micros(busy) / self.threads, Duration::from_micros(elapsed)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_tells_how_busy_all_threads_were() {
        let effort = Effort { threads: 2, ..Effort::default() };
        let ms = Duration::from_millis;
        assert_eq!(effort.add(ms(60), ms(50)), None);
        assert_eq!(effort.add(ms(90), ms(90)), None);
        let full = effort.add(ms(50), ms(100)).unwrap();
        assert!((full - 1.0).abs() < 0.01, "{full}");
        assert_eq!(effort.add(ms(40), ms(150)), None);
        let easy = effort.add(ms(10), ms(200)).unwrap();
        assert!(easy.abs() < 0.01, "{easy}");
        assert_eq!(effort.add(ms(1), ms(10_000)), Some(0.0));
    }

    #[test]
    fn half_of_the_time_is_a_third_of_a_queue() {
        let of = |busy| fill(Duration::from_millis(busy), Duration::from_millis(100));
        for (busy, expected) in [(0, 0.0), (25, 0.0), (50, 0.333), (100, 1.0), (150, 1.0)] {
            assert!((of(busy) - expected).abs() < 0.01, "{busy}");
        }
        assert!(fill(Duration::ZERO, Duration::ZERO).abs() < f32::EPSILON);
    }
}
