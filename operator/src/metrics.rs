//! What the operator counts, for Prometheus. Labels are bounded by an enum or by the kinds of objects; no metric has the
//! name of an object. docs/operator-metrics.md describes them.

use prometheus_client::{
    encoding::text::encode,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};

/// One label.
pub type Label = [(&'static str, &'static str); 1];
/// Two labels.
pub type Labels2 = [(&'static str, &'static str); 2];

/// All metrics.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    /// Passes over a Proxy, by `result`.
    pub passes: Family<Label, Counter>,
    /// How long a pass took, in seconds.
    pub pass_seconds: Histogram,
    /// Proxies whose time has come and that wait.
    pub queued: Gauge,
    /// Objects that are known, by `kind`.
    pub objects: Family<Label, Gauge>,
    /// Writes to the API server, by `kind` and `verb`.
    pub writes: Family<Labels2, Counter>,
    /// Writes that were held back because this replica does not lead.
    pub fenced: Counter,
    /// Failures of a watch, by `kind`.
    pub watch_failures: Family<Label, Counter>,
    /// 1 in the replica that leads.
    pub leads: Gauge,
    /// Events, by `result`.
    pub events: Family<Label, Counter>,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("bytefreezer_operator");
        let mut metrics = Self {
            passes: Family::default(),
            pass_seconds: Histogram::new([0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0]),
            queued: Gauge::default(),
            objects: Family::default(),
            writes: Family::default(),
            fenced: Counter::default(),
            watch_failures: Family::default(),
            leads: Gauge::default(),
            events: Family::default(),
            registry: Registry::default(),
        };
        registry.register("passes", "Passes over a Proxy", metrics.passes.clone());
        registry.register("pass_seconds", "How long a pass took", metrics.pass_seconds.clone());
        registry.register("queued", "Proxies that wait for their pass", metrics.queued.clone());
        registry.register("objects", "Objects that are known", metrics.objects.clone());
        registry.register("writes", "Writes to the API server", metrics.writes.clone());
        registry.register(
            "fenced_writes",
            "Writes held back in a replica that does not lead",
            metrics.fenced.clone(),
        );
        registry.register("watch_failures", "Failures of a watch", metrics.watch_failures.clone());
        registry.register("leads", "1 in the replica that leads", metrics.leads.clone());
        registry.register("events", "Events that were made", metrics.events.clone());
        metrics.registry = registry;
        metrics
    }
}

impl Metrics {
    /// The exposition text.
    pub fn encode(&self) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }
}
