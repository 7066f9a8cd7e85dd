//! The running proxy, a table of contents: what is started in which order, and what ends it.
//!
//! ```text
//! configuration -> logs -> limits -> spool -> inputs -> delivery -> API -> ready ... signal -> end
//! ```
//! Inputs listen as soon as the spool's log is open: nothing that can be slow or absent (Receiver, backlog, API) stands
//! before them.

use std::{
    io,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    time::Instant,
};

use anyhow::Context as _;
use arc_swap::ArcSwap;
use futures_util::FutureExt;
use sd_notify::NotifyState;
use tokio::{
    runtime::{Builder, Handle, Runtime},
    signal::unix::{Signal, SignalKind, signal},
};
use tracing::{error, info, warn};

use crate::{
    api::{Api, ApiState, Delivery, MemoryWatch, Running, SpoolTrouble},
    batch::{Level, MemoryBudget},
    config::Config,
    deliver::{DeliverParts, Deliverer},
    inputs::{InputContext, Senders, Supervisor},
    ledger::Ledger,
    logging::{self, Logs},
    metrics::Metrics,
    reload::{self, Parts, Read, Reloader},
    shutdown,
    spool::{self, Spool, SpoolHandle},
    termination::Message,
    vital::Vitals,
    waiting,
    watch::FileWatch,
};

/// Names the program to the Receiver.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// How the proxy is to run.
#[derive(Debug)]
pub struct Options {
    /// The configuration.
    pub config: PathBuf,
    /// Whether to wait until there is one that can be used.
    pub wait: bool,
    /// Where to write what is left at the end.
    pub termination_message: Option<PathBuf>,
}

/// Runs the proxy until a signal ends it, or a defect.
pub fn run(options: &Options) -> ExitCode {
    let (code, message) = run_to_the_end(options);
    if let Some(Err(error)) = options.termination_message.as_deref().map(|file| message.write(file)) {
        eprintln!("{error}");
    }
    code
}

fn run_to_the_end(options: &Options) -> (ExitCode, Message) {
    let started = Instant::now();
    let failed = |error: String| {
        eprintln!("{error}");
        (ExitCode::FAILURE, Message::unknown(error))
    };
    let read = if options.wait {
        match waiting::for_configuration(&options.config) {
            Ok(Some(read)) => read,
            Ok(None) => {
                return (ExitCode::SUCCESS, Message::unknown("ended before there was a configuration"));
            }
            Err(error) => return failed(format!("cannot wait for a configuration: {error}")),
        }
    } else {
        match reload::read(&options.config, None) {
            Ok(read) => read,
            Err(error) => return failed(error.to_string()),
        }
    };
    let logs = match Logs::start(&read.running.config.logging) {
        Ok(logs) => logs,
        Err(error) => return failed(format!("cannot log: {error:#}")),
    };
    logging::report_panics(logs.clone());
    let end = proxy(&options.config, read, logs.clone(), started).unwrap_or_else(|error| {
        error!("cannot start: {error:#}");
        (ExitCode::FAILURE, Message::unknown(format!("cannot start: {error:#}")))
    });
    logs.flush();
    end
}

fn proxy(file: &Path, read: Read, logs: Logs, started: Instant) -> anyhow::Result<(ExitCode, Message)> {
    raise_file_limit();
    // Two runtimes, so that a slow Receiver or a busy API never takes time from the inputs.
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let intake = runtime("intake", cores)?;
    let outlet = runtime("outlet", cores.min(4))?;
    let signals = outlet.block_on(async { Signals::new() }).context("signals cannot be received")?;
    let listening = intake.block_on(listen(file, read, intake.handle()))?;
    info!(milliseconds = started.elapsed().as_millis(), "inputs listen");
    let proxy = outlet.block_on(Proxy::start(file, listening, logs, started))?;
    let end = outlet.block_on(proxy.until_the_end(signals));
    // Everything was stopped in order; what a peer still holds open must not hold us.
    intake.shutdown_background();
    outlet.shutdown_background();
    Ok(end)
}

/// What stands before anything is delivered or shown.
struct Listening {
    running: Arc<ArcSwap<Running>>,
    metrics: Arc<Metrics>,
    ledger: Arc<Ledger>,
    memory: MemoryBudget,
    level: Arc<Level>,
    senders: Arc<Senders>,
    spool: Spool,
    inputs: Arc<Supervisor>,
    vitals: Vitals,
}

/// Opens the spool and the inputs.
async fn listen(file: &Path, read: Read, intake: &Handle) -> anyhow::Result<Listening> {
    let Read { running, problems } = read;
    let config = &running.config;
    info!(version = VERSION, config = %file.display(), hash = running.hash, inputs = config.inputs.len(), "starting");
    logging::report(&problems);
    let metrics = Arc::<Metrics>::default();
    let ledger = Arc::<Ledger>::default();
    let memory = MemoryBudget::new(config.limits.memory_bytes);
    let level = Arc::new(Level::new(&config.batching));
    level.register(&metrics);
    let senders = Arc::new(Senders::new(config.limits.max_senders));
    let spool = open_spool(config, &memory, &ledger, &metrics, &level)?;
    let vitals = Vitals::default();
    let context = InputContext {
        spool: spool.handle(),
        memory: memory.clone(),
        level: Arc::clone(&level),
        ledger: Arc::clone(&ledger),
        senders: Arc::clone(&senders),
        metrics: Arc::clone(&metrics),
        runtime: intake.clone(),
        vitals: vitals.clone(),
    };
    let inputs = Supervisor::start(context, config).await.context("receive threads cannot be started")?;
    let running = Arc::new(ArcSwap::from_pointee(running));
    let inputs = Arc::new(inputs);
    Ok(Listening { running, metrics, ledger, memory, level, senders, spool, inputs, vitals })
}

/// All parts of the running process.
pub(crate) struct Proxy {
    pub running: Arc<ArcSwap<Running>>,
    pub spool: Spool,
    pub inputs: Arc<Supervisor>,
    pub deliverer: Arc<Deliverer>,
    pub api: Arc<Api>,
    pub ledger: Arc<Ledger>,
    reloader: Arc<Reloader>,
    watch: FileWatch,
    vitals: Vitals,
}

impl Proxy {
    /// Starts delivery and the API beside what listens already.
    async fn start(file: &Path, listening: Listening, logs: Logs, started: Instant) -> anyhow::Result<Self> {
        let Listening { running, metrics, ledger, memory, level, senders, spool, inputs, vitals } = listening;
        let deliverer = Arc::new(start_delivery(&running.load().config, spool.handle(), &metrics, &vitals));
        let reloader = Arc::new(Reloader::new(file.to_owned(), Arc::clone(&running), &metrics));
        let api = Arc::new(Api::start(Arc::new(ApiState {
            version: VERSION,
            running: Arc::clone(&running),
            spool: spool.handle(),
            ledger: Arc::clone(&ledger),
            metrics,
            senders,
            inputs: asking(&inputs, |inputs| inputs.status()),
            listeners: asking(&inputs, |inputs| inputs.listeners()),
            exporters: {
                let inputs = Arc::clone(&inputs);
                Box::new(move |query| inputs.exporters(query))
            },
            delivery: asking(&deliverer, |deliverer| delivery(deliverer)),
            spool_trouble: asking(&Arc::new(spool.handle()), |spool| SpoolTrouble::of(spool)),
            memory_problem: asking(&Arc::new(MemoryWatch::start(memory)), |watch| watch.problem()),
            config_problem: asking(&reloader, |reloader| reloader.failure()),
            reload: asking(&reloader, |reloader| {
                let reloader = Arc::clone(reloader);
                async move { reloader.reload().await }.boxed()
            }),
            leaving: false.into(),
            started,
            vitals: vitals.clone(),
            long_polls: ApiState::long_polls(),
        })));
        let parts = Parts {
            inputs: Arc::clone(&inputs),
            deliverer: Arc::clone(&deliverer),
            level,
            spool: spool.handle(),
            logs,
            api: Arc::clone(&api),
        };
        reloader.arm(parts).await;
        let watch = FileWatch::new(file);
        Ok(Self { running, spool, inputs, deliverer, api, ledger, reloader, watch, vitals })
    }

    /// Serves until a signal or a defect, then ends in order.
    async fn until_the_end(mut self, mut signals: Signals) -> (ExitCode, Message) {
        tell_systemd(&[NotifyState::Ready]);
        info!("ready");
        // The file may have changed since it was read and before it was watched.
        self.reload().await;
        let watchdog = tokio::spawn(feed_watchdog());
        let (ended, failed) = loop {
            tokio::select! {
                name = signals.ends.next() => {
                    info!(signal = name, "ending");
                    break (name.to_owned(), false);
                }
                part = self.vitals.failed() => {
                    // Nobody is led elsewhere first: whatever still comes in needs the part that is gone.
                    self.api.leave();
                    break (format!("a defect: {part}"), true);
                }
                _ = signals.hangup.recv() => {
                    info!("SIGHUP: reading the configuration again");
                    self.reload().await;
                }
                () = self.watch.may_have_changed() => self.reload().await,
            }
        };
        watchdog.abort();
        let code = tokio::select! {
            () = shutdown::in_order(&self, failed) => {
                if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
            }
            name = signals.ends.next() => {
                warn!(signal = name, "second signal: ending at once");
                ExitCode::FAILURE
            }
        };
        let (spool, in_memory, ledger) =
            (self.spool.handle(), self.spool.in_memory(), Arc::clone(&self.ledger));
        // Only after its last sync is it known what the spool has.
        drop(self);
        shutdown::say_what_is_left(in_memory, &ledger.snapshot());
        (code, what_is_left(&spool, in_memory, &ended))
    }

    async fn reload(&self) {
        // Reported there.
        let _ = self.reloader.reload().await;
    }
}

/// For whoever looks after the volume.
fn what_is_left(spool: &SpoolHandle, in_memory: bool, ended: &str) -> Message {
    if in_memory {
        return Message::of(ended, []);
    }
    if !spool.is_fully_known() {
        return Message::unknown(format!("{ended}; not all of the spool was read, or not all was written"));
    }
    Message::of(ended, spool.by_tenant().into_iter().map(|(tenant, bytes)| (tenant, bytes.total())))
}

/// A question that can be put to `part` at any time.
fn asking<P, T>(
    part: &Arc<P>,
    ask: impl Fn(&Arc<P>) -> T + Send + Sync + 'static,
) -> Box<dyn Fn() -> T + Send + Sync>
where
    P: Send + Sync + 'static,
{
    let part = Arc::clone(part);
    Box::new(move || ask(&part))
}

fn open_spool(
    config: &Config,
    memory: &MemoryBudget,
    ledger: &Arc<Ledger>,
    metrics: &Arc<Metrics>,
    level: &Arc<Level>,
) -> anyhow::Result<Spool> {
    let level = Arc::clone(level);
    let parts = spool::Parts {
        settings: config.spooling.clone(),
        memory: memory.clone(),
        ledger: Arc::clone(ledger),
        metrics: Arc::clone(metrics),
        level: Arc::new(move |batching| batching.map_or_else(|| level.now(), |batching| level.of(batching))),
        max_payload: config.receiver.max_payload_size,
    };
    Ok(Spool::open(parts)?)
}

fn start_delivery(config: &Config, spool: SpoolHandle, metrics: &Arc<Metrics>, vitals: &Vitals) -> Deliverer {
    Deliverer::start(DeliverParts {
        receiver: config.receiver.clone(),
        tokens: config.tokens.clone(),
        spooling: config.spooling.clone(),
        user_agent: format!("{}/{VERSION}", config.app_name),
        spool,
        metrics: Arc::clone(metrics),
        vitals: vitals.clone(),
    })
}

fn delivery(deliverer: &Deliverer) -> Delivery {
    Delivery { totals: deliverer.totals(), circuits: deliverer.circuits() }
}

fn runtime(name: &str, threads: usize) -> anyhow::Result<Runtime> {
    Builder::new_multi_thread()
        .worker_threads(threads)
        .thread_name(name)
        .enable_all()
        .build()
        .context("threads cannot be started")
}

/// Every connection and batch file is a descriptor; the soft limit is a default for programs that use `select`.
fn raise_file_limit() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        warn!("the limit of open files cannot be raised: {error}");
    }
}

/// The signals that mean something.
struct Signals {
    ends: Ends,
    /// Read the configuration again.
    hangup: Signal,
}

/// Signals that end the process.
pub(crate) struct Ends {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self { ends: Ends::new()?, hangup: signal(SignalKind::hangup())? })
    }
}

impl Ends {
    /// From now on.
    pub fn new() -> io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// Name of the next one.
    pub async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

/// Tells systemd, where it waits for it.
pub(crate) fn tell_systemd(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        warn!("systemd cannot be told: {error}");
    }
}

/// As long as this task gets its turn the process is alive.
async fn feed_watchdog() {
    let Some(limit) = sd_notify::watchdog_enabled() else { return };
    loop {
        tell_systemd(&[NotifyState::Watchdog]);
        tokio::time::sleep(limit / 2).await;
    }
}
