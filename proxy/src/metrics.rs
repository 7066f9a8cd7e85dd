//! One Prometheus registry. Each module owns its metrics in a struct and registers them here at construction;
//! names carry the prefix `bytefreezer_proxy_`, units are base units, labels are bounded by configuration
//! (input, tenant, dataset) or by an enum (cause, state, code class).

use parking_lot::Mutex;
use prometheus_client::{
    encoding::text::encode,
    registry::{Metric, Registry},
};

/// The registry of the process.
#[derive(Debug)]
pub struct Metrics(Mutex<Registry>);

impl Default for Metrics {
    fn default() -> Self {
        Self(Mutex::new(Registry::with_prefix("bytefreezer_proxy")))
    }
}

impl Metrics {
    /// Lets a module register what it owns.
    pub fn register<T>(&self, build: impl FnOnce(&mut Registry) -> T) -> T {
        build(&mut self.0.lock())
    }

    /// Registers one metric and hands it back.
    pub fn add<M: Metric + Clone>(&self, name: &str, help: &str, metric: M) -> M {
        self.0.lock().register(name, help, metric.clone());
        metric
    }

    /// The exposition text.
    pub fn encode(&self) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.0.lock())?;
        Ok(text)
    }
}
