//! How many large bodies are being compressed at a time: what lets the compression level fall when the processors are
//! what requests wait for.

use std::{
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
    thread::available_parallelism,
};

/// Bodies per processor, beside the first, that count as a full queue.
const FULL: usize = 2;

/// Large bodies of one listener.
#[derive(Debug)]
pub struct Queue {
    bodies: AtomicUsize,
    full: usize,
}

/// A place in the queue, left on drop.
#[derive(Debug)]
pub struct Turn<'a>(&'a Queue);

impl Default for Queue {
    fn default() -> Self {
        let processors = available_parallelism().map_or(1, usize::from);
        Self { bodies: AtomicUsize::new(0), full: processors * FULL }
    }
}

impl Queue {
    /// One more.
    pub fn join(&self) -> Turn<'_> {
        self.bodies.fetch_add(1, Relaxed);
        Turn(self)
    }

    /// 0 with one body at a time, 1 with two more per processor.
    pub fn fill(&self) -> f32 {
        let waiting = self.bodies.load(Relaxed).saturating_sub(1);
        waiting.min(self.full) as f32 / self.full as f32
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.bodies.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_fills_with_bodies_at_a_time_and_empties_as_they_end() {
        let queue = Queue { bodies: AtomicUsize::new(0), full: 4 };
        let first = queue.join();
        assert!(queue.fill() < f32::EPSILON);
        let others: Vec<_> = (0..9).map(|_| queue.join()).collect();
        assert!((queue.fill() - 1.0).abs() < f32::EPSILON);
        drop(others);
        drop(first);
        assert!(queue.fill() < f32::EPSILON);
    }
}
