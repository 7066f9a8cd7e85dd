//! The configuration that runs, and how another one takes its place: by difference and one at a time. An input that is
//! wrong in it goes on as it runs; when something beyond single inputs is wrong, everything does.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use arc_swap::ArcSwap;
use jiff::Timestamp;
use parking_lot::Mutex;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
};
use tracing::{info, warn};

use crate::{
    api::{Api, Running},
    batch::Level,
    cli,
    config::{self, Config, Difference, Problem, Severity, Usable},
    deliver::Deliverer,
    inputs::Supervisor,
    logging::{self, Logs},
    metrics::Metrics,
    source::{self, SourceError},
    spool::SpoolHandle,
};

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    /// There is no text.
    #[error(transparent)]
    NoText(#[from] SourceError),
    /// The file is wrong.
    #[error("{}", listed(.0))]
    Wrong(Vec<Problem>),
}

fn listed(problems: &[Problem]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

/// A configuration as read.
#[derive(Debug)]
pub struct Read {
    /// What runs.
    pub running: Running,
    /// What was found in it.
    pub problems: Vec<Problem>,
}

/// Reads `file` under the environment; at a reload `before` is what runs.
pub fn read(file: &Path, before: Option<&Running>) -> Result<Read, Unusable> {
    let source::Found { file, text } = source::read(file)?;
    let (name, variables) = (file.display().to_string(), cli::environment());
    let loaded = match before {
        None => config::load(&name, &text, variables),
        Some(before) => config::reload(&name, &text, variables, &before.config),
    };
    let Usable { config, problems, refused } = loaded.usable().map_err(Unusable::Wrong)?;
    let errors = problems.iter().filter(|problem| problem.severity == Severity::Error);
    let left_out = errors.map(ToString::to_string).collect();
    let running = Running {
        config,
        hash: config::document_hash(&text),
        generation: before.map_or(1, |before| before.generation + 1),
        since: Timestamp::now(),
        left_out,
        refused,
        needs_restart: Vec::new(),
    };
    Ok(Read { running, problems })
}

/// Everything that follows the configuration.
#[derive(Debug)]
pub struct Parts {
    /// The inputs.
    pub inputs: Arc<Supervisor>,
    /// Delivery.
    pub deliverer: Arc<Deliverer>,
    /// Compression.
    pub level: Arc<Level>,
    /// Limits and intervals of the spool.
    pub spool: SpoolHandle,
    /// Logs.
    pub logs: Logs,
    /// The API's ports.
    pub api: Arc<Api>,
}

/// Applies changes of the file.
#[derive(Debug)]
pub struct Reloader {
    file: PathBuf,
    running: Arc<ArcSwap<Running>>,
    /// What the process was started with.
    started: Config,
    /// Set once everything has started.
    parts: tokio::sync::Mutex<Option<Parts>>,
    /// Why the last attempt changed nothing, and the text's hash it was about.
    failure: Mutex<Option<(String, String)>>,
    metrics: ReloadMetrics,
}

impl Reloader {
    /// For the configuration that runs already.
    pub fn new(file: PathBuf, running: Arc<ArcSwap<Running>>, metrics: &Metrics) -> Self {
        let metrics = ReloadMetrics::new(metrics);
        let start = running.load();
        metrics.applied(&start);
        metrics.failing.set(i64::from(!start.left_out.is_empty()));
        let started = start.config.clone();
        Self {
            file,
            running,
            started,
            parts: tokio::sync::Mutex::new(None),
            failure: Mutex::new(None),
            metrics,
        }
    }

    /// From now on changes can be applied.
    pub async fn arm(&self, parts: Parts) {
        *self.parts.lock().await = Some(parts);
    }

    /// Why the file as it is now does not run, if so.
    pub fn failure(&self) -> Option<String> {
        self.failure.lock().as_ref().map(|(text, _)| text.clone())
    }

    /// Reads the file and applies what differs. The number of inputs, or why everything stays as it was.
    pub async fn reload(&self) -> Result<usize, String> {
        let parts = self.parts.lock().await;
        let Some(parts) = &*parts else { return Err("the proxy is starting; try again".to_owned()) };
        let old = self.running.load_full();
        let outcome = match read(&self.file, Some(&old)) {
            Ok(new) => self.apply(parts, &old, new).await,
            Err(error) => Err(error.to_string()),
        };
        self.note(outcome)
    }

    async fn apply(&self, parts: &Parts, old: &Running, new: Read) -> Result<usize, String> {
        let Read { mut running, problems } = new;
        let inputs = running.config.inputs.len();
        let difference = Difference::between(&old.config, &running.config);
        if running.hash == old.hash && difference.is_empty() {
            self.apply_server(parts, &running.left_out).await;
            return Ok(inputs);
        }
        running.needs_restart = Difference::between(&self.started, &running.config).restart;
        // The one step that can fail comes first, so that a failure changes nothing.
        parts.deliverer.configure(&running.config)?;
        logging::report(&problems);
        parts.logs.configure(&running.config.logging);
        parts.level.configure(&running.config.batching);
        parts.spool.configure(running.config.spooling.clone(), running.config.receiver.max_payload_size);
        let (config, left_out) = (running.config.clone(), running.left_out.clone());
        self.metrics.applied(&running);
        info!(generation = running.generation, hash = running.hash, "configuration applied: {difference}");
        for change in &difference.exposure {
            warn!("server: {change}");
        }
        self.running.store(Arc::new(running));
        parts.inputs.apply(&config).await;
        self.apply_server(parts, &left_out).await;
        if !difference.restart.is_empty() {
            warn!("changed, but takes effect at the next start: {}", difference.restart.join(", "));
        }
        if difference.restart.iter().any(|key| key.starts_with("spooling.")) {
            warn!(
                "what the spool holds stays where it is: wait until it is delivered before the restart, or move its folder with it"
            );
        }
        Ok(inputs)
    }

    /// Moves the API's ports, again and again until it works; beside `left_out` their trouble is shown.
    async fn apply_server(&self, parts: &Parts, left_out: &[String]) {
        let problem = parts.api.apply().await.err().map(|problem| format!("server: {problem}"));
        let running = self.running.load_full();
        if let Some(problem) = problem.as_ref().filter(|problem| !running.left_out.contains(problem)) {
            warn!("{problem}");
        }
        let left_out: Vec<_> = left_out.iter().cloned().chain(problem).collect();
        if running.left_out != left_out {
            self.running.store(Arc::new(Running { left_out, ..Running::clone(&running) }));
        }
    }

    /// Keeps and reports the outcome; the same failure of the same text is reported once.
    fn note(&self, outcome: Result<usize, String>) -> Result<usize, String> {
        let mut failure = self.failure.lock();
        match &outcome {
            Ok(_) => {
                *failure = None;
                self.metrics.failing.set(i64::from(!self.running.load().left_out.is_empty()));
            }
            Err(text) => {
                let seen = source::read(&self.file).map(|found| config::document_hash(&found.text));
                let seen = seen.unwrap_or_default();
                if failure.as_ref().is_none_or(|(was, hash)| was != text || *hash != seen) {
                    warn!("configuration not applied, the one before goes on:\n{text}");
                    self.metrics.reloads.get_or_create(&Outcome { outcome: "failed" }).inc();
                }
                self.metrics.failing.set(1);
                *failure = Some((text.clone(), seen));
            }
        }
        outcome
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    outcome: &'static str,
}

#[derive(Debug)]
struct ReloadMetrics {
    reloads: Family<Outcome, Counter>,
    failing: Gauge,
    generation: Gauge,
}

impl ReloadMetrics {
    fn new(metrics: &Metrics) -> Self {
        Self {
            reloads: metrics.add("config_reloads", "Configurations applied or refused", Family::default()),
            failing: metrics.add(
                "config_failing",
                "1 while the file as it is does not run, or not all of it",
                Gauge::default(),
            ),
            generation: metrics.add(
                "config_generation",
                "1 at start, one more with each reload",
                Gauge::default(),
            ),
        }
    }

    fn applied(&self, running: &Running) {
        self.reloads.get_or_create(&Outcome { outcome: "applied" }).inc();
        self.generation.set(i64::try_from(running.generation).unwrap_or(i64::MAX));
    }
}
