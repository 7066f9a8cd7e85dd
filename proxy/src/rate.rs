//! How many events come per second.

/// Over how many seconds rates are averaged, exponentially.
const SECONDS: f64 = 60.0;
const NS: f64 = 1e9;

/// Events per second, averaged over the last minute or so.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Rate {
    /// At `at_ns`.
    per_second: f64,
    at_ns: u64,
}

impl Rate {
    /// Adds `events` of `now_ns`. A clock that steps back is harmless.
    pub fn add(&mut self, events: u64, now_ns: u64) {
        self.per_second = self.decayed(now_ns) + events as f64 / SECONDS;
        self.at_ns = self.at_ns.max(now_ns);
    }

    /// As of `now_ns`, to a thousandth.
    pub fn at(self, now_ns: u64) -> f64 {
        (self.decayed(now_ns) * 1000.0).round() / 1000.0
    }

    fn decayed(self, now_ns: u64) -> f64 {
        self.per_second * (-(now_ns.saturating_sub(self.at_ns) as f64) / NS / SECONDS).exp()
    }
}
