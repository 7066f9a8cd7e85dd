//! The compression level now: the configured one at rest, lower while queues fill, so that a burst is taken in rather
//! than compressed well.

use std::{
    sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed},
    time::{Duration, Instant},
};

use prometheus_client::metrics::gauge::Gauge;

use super::effort::Effort;
use crate::{config::Batching, metrics::Metrics};

/// Above this fill of the fullest queue the level falls by one per observation.
const FILLING: f32 = 0.5;
/// Above this it falls by three.
const NEARLY_FULL: f32 = 0.8;
/// Below this for [`CALM_TIME`] it rises by one.
const CALM: f32 = 0.1;
const CALM_TIME: Duration = Duration::from_secs(2);
/// From level 9 to level 1.
const MAX_STEPS: u32 = 8;
const NOT_CALM: u64 = u64::MAX;

/// How far compression is below what was configured; shared by all inputs.
#[derive(Debug)]
pub struct Level {
    /// Steps below the configured level.
    steps: AtomicU32,
    /// Milliseconds after `start` since when queues are nearly empty, or [`NOT_CALM`].
    calm_since: AtomicU64,
    start: Instant,
    /// `batching` of the file, for [`Level::now`]: the level at rest, and whether it may fall.
    at_rest: AtomicU32,
    adaptive: AtomicU32,
    effort: Effort,
    gauge: Gauge,
}

impl Level {
    /// At rest.
    pub fn new(batching: &Batching) -> Self {
        let level = Self {
            steps: AtomicU32::new(0),
            calm_since: AtomicU64::new(NOT_CALM),
            start: Instant::now(),
            at_rest: AtomicU32::new(0),
            adaptive: AtomicU32::new(0),
            effort: Effort::default(),
            gauge: Gauge::default(),
        };
        level.configure(batching);
        level
    }

    /// Shows [`Level::now`] as a metric.
    pub fn register(&self, metrics: &Metrics) {
        let help = "Compression level now; lower than configured while queues are filled";
        metrics.register(|registry| registry.register("compression_level", help, self.gauge.clone()));
    }

    /// Takes new settings over; how far the level has fallen stays.
    pub fn configure(&self, batching: &Batching) {
        self.at_rest.store(at_rest(batching), Relaxed);
        self.adaptive.store(u32::from(batching.compression_adaptive), Relaxed);
        self.gauge.set(i64::from(self.now()));
    }

    /// The level now by the settings for all inputs.
    pub fn now(&self) -> u32 {
        self.below(self.at_rest.load(Relaxed), self.adaptive.load(Relaxed) != 0)
    }

    /// The level now for a stream with settings of its own.
    pub fn of(&self, batching: &Batching) -> u32 {
        self.below(at_rest(batching), batching.compression_adaptive)
    }

    /// Takes note of how full the fullest queue is, 0 to 1.
    pub fn observe(&self, fill: f32) {
        self.observe_at(fill, u64::try_from(self.start.elapsed().as_millis()).unwrap_or(NOT_CALM - 1));
    }

    /// Takes note of work on input that ended now and took `spent`, on one of many threads.
    pub fn worked(&self, spent: Duration) {
        if let Some(fill) = self.effort.add(spent, self.start.elapsed()) {
            self.observe(fill);
        }
    }

    fn below(&self, at_rest: u32, adaptive: bool) -> u32 {
        let steps = if adaptive { self.steps.load(Relaxed) } else { 0 };
        at_rest.saturating_sub(steps).max(at_rest.min(1))
    }

    fn observe_at(&self, fill: f32, now_ms: u64) {
        if fill >= CALM {
            self.calm_since.store(NOT_CALM, Relaxed);
            if fill > FILLING {
                self.step(if fill > NEARLY_FULL { 3 } else { 1 });
            }
            return;
        }
        if self.steps.load(Relaxed) == 0 {
            return;
        }
        let since = self.calm_since.load(Relaxed);
        if since == NOT_CALM {
            self.calm_since.store(now_ms, Relaxed);
        } else if now_ms.saturating_sub(since) >= CALM_TIME.as_millis() as u64
            // Of several threads that see the time has come, one raises the level.
            && self.calm_since.compare_exchange(since, now_ms, Relaxed, Relaxed).is_ok()
        {
            self.step(-1);
        }
    }

    fn step(&self, down: i32) {
        let moved = |steps: u32| Some(steps.saturating_add_signed(down).min(MAX_STEPS));
        let before = self.steps.fetch_update(Relaxed, Relaxed, moved).unwrap_or_else(|steps| steps);
        if moved(before) != Some(before) {
            self.gauge.set(i64::from(self.now()));
        }
    }
}

fn at_rest(batching: &Batching) -> u32 {
    if batching.compression_enabled { batching.compression_level.clamp(1, 9) } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::{super::builder::tests::batching, *};

    #[test]
    fn it_falls_while_queues_fill_and_rises_again_in_calm() {
        let level = Level::new(&batching());
        assert_eq!(level.now(), 6);
        level.observe_at(0.5, 0);
        assert_eq!(level.now(), 6);
        level.observe_at(0.6, 0);
        assert_eq!(level.now(), 5);
        level.observe_at(0.9, 0);
        assert_eq!(level.now(), 2);
        level.observe_at(1.0, 0);
        assert_eq!(level.now(), 1);
        level.observe_at(0.05, 1000);
        level.observe_at(0.05, 2999);
        assert_eq!(level.now(), 1);
        level.observe_at(0.3, 3000);
        level.observe_at(0.05, 3001);
        level.observe_at(0.05, 5000);
        assert_eq!(level.now(), 1);
        for second in 0..20 {
            level.observe_at(0.0, 5001 + second * 1000);
        }
        assert_eq!(level.now(), 6);
    }

    #[test]
    fn settings_of_a_stream_decide_where_it_starts_and_whether_it_falls() {
        let level = Level::new(&batching());
        let best = Batching { compression_level: 9, ..batching() };
        let pinned = Batching { compression_adaptive: false, ..batching() };
        let off = Batching { compression_enabled: false, ..batching() };
        let all = || [&best, &pinned, &off].map(|batching| level.of(batching));
        assert_eq!(all(), [9, 6, 0]);
        level.observe_at(0.6, 0);
        assert_eq!(all(), [8, 6, 0]);
        for _ in 0..9 {
            level.observe_at(1.0, 0);
        }
        assert_eq!(all(), [1, 6, 0]);
        level.configure(&pinned);
        assert_eq!(level.now(), 6);
        level.configure(&off);
        assert_eq!(level.now(), 0);
    }

    #[test]
    fn the_level_is_a_metric() {
        let (level, metrics) = (Level::new(&batching()), Metrics::default());
        level.register(&metrics);
        level.observe_at(0.6, 0);
        assert!(metrics.encode().unwrap().contains("bytefreezer_proxy_compression_level 5"));
    }
}
