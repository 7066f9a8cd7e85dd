//! Logs on standard output: one JSON object a line, or text for people. The level changes without a restart.

use std::{io::IsTerminal, time::Duration};

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

mod sink;

use sink::Sink;

/// For the last lines, when standard output does not take them.
const LAST_LINES: Duration = Duration::from_secs(1);

/// The logs of the process; clones share them.
#[derive(Debug, Clone)]
pub struct Logs {
    level: Handle<Targets, Registry>,
    sink: Sink,
}

impl Logs {
    /// Starts logging; once per process.
    pub fn start(settings: &Logging) -> anyhow::Result<Self> {
        let sink = Sink::new(std::io::stdout())?;
        let (filter, level) = reload::Layer::new(filter(settings));
        tracing_subscriber::registry().with(filter).with(lines(settings, sink.clone())).try_init()?;
        Ok(Self { level, sink })
    }

    /// Takes the level of `settings` over.
    pub fn configure(&self, settings: &Logging) {
        // Fails only when the subscriber is gone, and with it all logs.
        let _ = self.level.reload(filter(settings));
    }

    /// Waits a moment until all lines are written; for the end of the process.
    pub fn flush(&self) {
        self.sink.flush(LAST_LINES);
    }
}

/// Ours from the level on; of the libraries only what is wrong.
fn filter(settings: &Logging) -> Targets {
    let level = settings.level.parse().unwrap_or(LevelFilter::INFO);
    let libraries = level.min(LevelFilter::from(Level::WARN));
    Targets::new().with_default(libraries).with_target("bytefreezer_proxy", level)
}

fn lines<S>(settings: &Logging, sink: Sink) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
{
    let layer = fmt::layer().with_writer(sink);
    if settings.json {
        layer.json().flatten_event(true).with_current_span(false).with_span_list(false).boxed()
    } else {
        layer.with_ansi(std::io::stdout().is_terminal()).boxed()
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
pub fn report_panics(logs: Logs) {
    std::panic::set_hook(Box::new(move |panic| {
        let thread = std::thread::current();
        let text = panic.payload_as_str().unwrap_or("no text");
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!(
            thread = thread.name().unwrap_or("unnamed"),
            place,
            "defect: {text}; please report it"
        );
        // It may be the last line.
        logs.flush();
    }));
}
