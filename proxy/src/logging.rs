//! Logs on standard output: one JSON object a line, or text for people. The level changes without a restart.

use std::io::IsTerminal;

use tracing::{Level, Subscriber, level_filters::LevelFilter};
use tracing_subscriber::{
    Layer, Registry,
    filter::Targets,
    fmt,
    layer::SubscriberExt,
    registry::LookupSpan,
    reload::{self, Handle},
    util::SubscriberInitExt,
};

use crate::config::{Logging, Problem, Severity};

/// Changes the level of the running process.
#[derive(Debug, Clone)]
pub struct Logs(Option<Handle<Targets, Registry>>);

impl Logs {
    /// Starts logging. In a process that logs already (a test) nothing changes.
    pub fn start(settings: &Logging) -> Self {
        let (filter, handle) = reload::Layer::new(filter(settings));
        let started = tracing_subscriber::registry().with(filter).with(lines(settings)).try_init();
        Self(started.is_ok().then_some(handle))
    }

    /// Takes the level of `settings` over.
    pub fn configure(&self, settings: &Logging) {
        if let Some(handle) = &self.0 {
            // Fails only when the subscriber is gone, and with it all logs.
            let _ = handle.reload(filter(settings));
        }
    }
}

/// Ours from the level on; of the libraries only what is wrong.
fn filter(settings: &Logging) -> Targets {
    let level = settings.level.parse().unwrap_or(LevelFilter::INFO);
    let libraries = level.min(LevelFilter::from(Level::WARN));
    Targets::new().with_default(libraries).with_target("bytefreezer_proxy", level)
}

fn lines<S>(settings: &Logging) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
{
    if settings.json {
        fmt::layer().json().flatten_event(true).with_current_span(false).with_span_list(false).boxed()
    } else {
        fmt::layer().with_ansi(std::io::stdout().is_terminal()).boxed()
    }
}

/// Says what was found in a configuration.
pub fn report(problems: &[Problem]) {
    for problem in problems {
        match problem.severity {
            Severity::Notice => tracing::info!("{problem}"),
            Severity::Warning | Severity::Error => tracing::warn!("{problem}"),
        }
    }
}

/// A panic costs one task; it must not cost its reason.
pub fn report_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let thread = std::thread::current();
        let text = panic.payload_as_str().unwrap_or("no text");
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!(
            thread = thread.name().unwrap_or("unnamed"),
            place,
            "defect: {text}; please report it"
        );
    }));
}
