//! Starts, changes and ends listeners so that they are what the configuration says.
//!
//! One task owns all listeners and obeys commands in order. A change is applied by difference: a listener that stays
//! keeps its socket and only gets other routes; new ones are bound before old ones close; one that cannot be bound, or
//! cannot have its new settings, is tried again until it can, while the others run.

use std::{
    collections::{BTreeMap, HashMap},
    io,
    sync::Arc,
    time::Duration,
};

use futures_util::future::join_all;
use parking_lot::Mutex;
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, sleep_until},
};

use super::{
    ExporterQuery, ExporterRow, InputContext, InputError, InputErrorKind, InputState, InputStats,
    InputStatus, ListenerStatus, Route,
    exporters::{self, Keeper, Memories, Memory},
    listener::{self, Content, Running},
    metrics,
    plan::{self, ListenerKey, Settings},
    shard::Shards,
};
use crate::{
    config::{Config, Input},
    ids::DatasetKey,
};

/// First and longest pause before a listener is bound again.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// The inputs of the process.
#[derive(Debug)]
pub struct Supervisor {
    commands: mpsc::Sender<Command>,
    board: Arc<Board>,
}

#[derive(Debug)]
enum Command {
    Apply(Vec<Input>, oneshot::Sender<()>),
    Stop(oneshot::Sender<()>),
}

/// What others may look at.
#[derive(Debug, Default)]
pub(super) struct Board(Mutex<Shown>);

#[derive(Debug, Default, Clone)]
pub(super) struct Shown {
    pub inputs: Vec<Record>,
    pub listeners: Vec<Post>,
}

/// A listener.
#[derive(Debug, Clone)]
pub(super) struct Post {
    pub key: ListenerKey,
    /// What it counted for nobody.
    pub counters: Arc<InputStats>,
    /// One of its inputs.
    input: Arc<Input>,
    address: String,
}

/// An input as configured last.
#[derive(Debug, Clone)]
pub(super) struct Record {
    pub input: Arc<Input>,
    pub stats: Arc<InputStats>,
    /// What is known of its exporters.
    pub memory: Option<Memory>,
    listeners: Vec<ListenerKey>,
    addresses: Vec<String>,
    generation: u64,
}

impl Board {
    pub fn shown(&self) -> Shown {
        self.0.lock().clone()
    }
}

impl Supervisor {
    /// Starts the inputs of `config`; returns when each listens or has said why not. Fails when threads cannot be
    /// started.
    pub async fn start(context: InputContext, config: &Config) -> io::Result<Self> {
        let shards = Shards::start(config.limits.receive_threads, &context)?;
        let board = Arc::<Board>::default();
        metrics::register(&context.metrics, &board);
        let (commands, inbox) = mpsc::channel(4);
        let runtime = context.runtime.clone();
        let actor = Actor {
            memories: Memories::new(&config.spooling, &config.inputs),
            keeper: Keeper::start(&context.runtime),
            context,
            shards,
            board: Arc::clone(&board),
            listeners: BTreeMap::new(),
            routes: HashMap::new(),
            generation: 0,
        };
        runtime.spawn(actor.run(inbox));
        let supervisor = Self { commands, board };
        supervisor.apply(config).await;
        Ok(supervisor)
    }

    /// Makes the listeners what `config` says; returns when they are.
    pub async fn apply(&self, config: &Config) {
        self.ask(|done| Command::Apply(config.inputs.clone(), done)).await;
    }

    /// Closes all sockets after taking what the kernel holds, and hands everything to the spool.
    pub async fn stop_intake(&self) {
        self.ask(Command::Stop).await;
    }

    /// All inputs in the order of the configuration.
    pub fn status(&self) -> Vec<InputStatus> {
        self.board.shown().inputs.iter().map(Record::status).collect()
    }

    /// One page of the exporters of all inputs.
    pub fn exporters(&self, query: &ExporterQuery) -> Vec<ExporterRow> {
        exporters::query(self.board.shown().inputs.iter().filter_map(Record::exporters), query)
    }

    /// All listeners by address, with what they counted for no input.
    pub fn listeners(&self) -> Vec<ListenerStatus> {
        let shown = self.board.shown();
        let status =
            |post: &Post| ListenerStatus::new(post.address.clone(), &post.input.source, &post.counters);
        shown.listeners.iter().map(status).collect()
    }

    async fn ask(&self, command: impl FnOnce(oneshot::Sender<()>) -> Command) {
        let (done, wait) = oneshot::channel();
        // Neither fails before the end; after it there is nothing to do.
        if self.commands.send(command(done)).await.is_ok() {
            let _ = wait.await;
        }
    }
}

impl Record {
    fn exporters(&self) -> Option<(&Input, &Memory)> {
        Some((&self.input, self.memory.as_ref()?))
    }

    fn status(&self) -> InputStatus {
        InputStatus::new(&self.input, self.addresses.clone(), self.generation, &self.stats)
    }
}

/// The task that owns the listeners.
struct Actor {
    context: InputContext,
    shards: Arc<Shards>,
    board: Arc<Board>,
    memories: Memories,
    keeper: Keeper,
    listeners: BTreeMap<ListenerKey, Listener>,
    routes: HashMap<(String, DatasetKey), Arc<Route>>,
    generation: u64,
}

/// A listener as wanted, bound or not.
struct Listener {
    content: Content,
    /// What holds instead of the settings of `content` as long as those cannot be had.
    old_settings: Option<Settings>,
    /// Counts what belongs to no input.
    counters: Arc<InputStats>,
    running: Option<Running>,
    error: Option<InputError>,
    retry: Option<Retry>,
}

#[derive(Clone, Copy)]
struct Retry {
    at: Instant,
    pause: Duration,
}

impl Actor {
    async fn run(mut self, mut commands: mpsc::Receiver<Command>) {
        let vitals = self.context.vitals.clone();
        let done = match vitals.watch("changing inputs", self.obey(&mut commands)).await {
            Some(done) => done,
            None => end_of(&mut commands).await,
        };
        self.stop().await;
        if let Some(done) = done {
            // Nobody waits any more, perhaps.
            let _ = done.send(());
        }
    }

    /// Until the end is asked for; then whom to tell that it has come.
    async fn obey(&mut self, commands: &mut mpsc::Receiver<Command>) -> Option<oneshot::Sender<()>> {
        loop {
            let retry =
                self.listeners.values().filter_map(|listener| listener.retry).map(|retry| retry.at).min();
            tokio::select! {
                command = commands.recv() => match command {
                    Some(Command::Apply(inputs, done)) => {
                        self.apply(inputs).await;
                        let _ = done.send(());
                    }
                    Some(Command::Stop(done)) => return Some(done),
                    None => return None,
                },
                () = sleep_until(retry.unwrap_or_else(Instant::now)), if retry.is_some() => {
                    self.try_again(Instant::now());
                    self.show_states();
                }
            }
        }
    }

    async fn apply(&mut self, inputs: Vec<Input>) {
        failpoint!("inputs.apply");
        self.generation += 1;
        let plan = plan::plan(&inputs);
        let conflict = |conflict: plan::Conflict| {
            (conflict.input, InputError::new(InputErrorKind::Conflict, conflict.reason))
        };
        let mut problems: HashMap<_, _> = plan.conflicts.into_iter().map(conflict).collect();
        let routes = self.make_routes(&inputs, &mut problems);
        let closing = self.change_listeners(plan.listeners, &routes);
        self.bind(|listener| listener.running.is_none());
        let freed = !closing.is_empty();
        join_all(closing.into_iter().map(Running::close)).await;
        if freed {
            self.bind(|listener| listener.running.is_none());
        }
        self.routes = routes
            .into_values()
            .map(|route| ((route.input.name.clone(), route.input.key.clone()), route))
            .collect();
        self.keeper.set(self.memories.retain(&inputs)).await;
        self.show(&inputs, &problems);
    }

    /// A route for each input without a problem; the one it has when nothing changed.
    fn make_routes(
        &mut self,
        inputs: &[Input],
        problems: &mut HashMap<usize, InputError>,
    ) -> HashMap<usize, Arc<Route>> {
        let mut routes = HashMap::new();
        for (index, input) in inputs.iter().enumerate() {
            if problems.contains_key(&index) {
                continue;
            }
            let known = self.routes.get(&(input.name.clone(), input.key.clone()));
            let route = match known {
                Some(route) if *route.input == *input => Ok(Arc::clone(route)),
                known => {
                    let stats = known.map(|route| Arc::clone(&route.stats)).unwrap_or_default();
                    let memory = self.memories.of(input, &stats);
                    Route::remembering(input.clone(), stats, memory).map(Arc::new)
                }
            };
            match route {
                Ok(route) => _ = routes.insert(index, route),
                Err(error) => {
                    _ = problems.insert(index, InputError::new(InputErrorKind::Invalid, error));
                }
            }
        }
        routes
    }

    /// Changes what stays, adds what is new (not bound yet), takes out what is no longer wanted.
    fn change_listeners(
        &mut self,
        planned: BTreeMap<ListenerKey, plan::Planned>,
        routes: &HashMap<usize, Arc<Route>>,
    ) -> Vec<Running> {
        let mut old = std::mem::take(&mut self.listeners);
        let mut closing = Vec::new();
        for (key, planned) in planned {
            let routes =
                planned.inputs.iter().filter_map(|index| routes.get(index)).map(Arc::clone).collect();
            let content = Content { settings: planned.settings, routes };
            let listener = match old.remove(&key) {
                Some(listener) => listener.change(content, &mut closing),
                None => Listener::new(content),
            };
            self.listeners.insert(key, listener);
        }
        closing.extend(old.into_values().filter_map(|listener| listener.running));
        closing
    }

    /// Binds what could not be bound, and changes what could not be changed.
    fn try_again(&mut self, now: Instant) {
        let due = |listener: &Listener| listener.retry.is_some_and(|retry| retry.at <= now);
        for listener in self.listeners.values_mut().filter(|listener| due(listener)) {
            if let Some(running) = listener.running.take() {
                let content = listener.content.clone();
                listener.go_on(running, content);
            }
        }
        self.bind(|listener| listener.running.is_none() && due(listener));
    }

    /// Binds those that `wanted` picks.
    fn bind(&mut self, wanted: impl Fn(&Listener) -> bool) {
        for (key, listener) in self.listeners.iter_mut().filter(|(_, listener)| wanted(listener)) {
            match listener::open(key, &listener.content, &listener.counters, &self.context, &self.shards) {
                Ok(running) => {
                    tracing::info!(listener = %key, address = %running.address(), "listening");
                    listener.running = Some(running);
                    (listener.error, listener.retry) = (None, None);
                }
                Err(error) => listener.failed(error),
            }
        }
    }

    /// Puts the inputs on the board.
    fn show(&self, inputs: &[Input], problems: &HashMap<usize, InputError>) {
        let records = inputs.iter().enumerate().map(|(index, input)| {
            let route = self.routes.get(&(input.name.clone(), input.key.clone()));
            let stats = match problems.get(&index) {
                Some(problem) => {
                    tracing::warn!(input = %input.name, dataset = %input.key, "input does not run: {problem}");
                    let stats = InputStats::default();
                    stats.set_state(InputState::Rejected, Some(problem.clone()));
                    Arc::new(stats)
                }
                None => route.map(|route| Arc::clone(&route.stats)).unwrap_or_default(),
            };
            let listeners: Vec<_> = plan::endpoints(input).into_iter().map(|(key, _)| key).collect();
            let memory = route.and_then(|route| route.decoder.memory());
            let input = route.map_or_else(|| Arc::new(input.clone()), |route| Arc::clone(&route.input));
            Record { input, stats, memory, listeners, addresses: Vec::new(), generation: self.generation }
        });
        let shown = Shown {
            inputs: records.collect(),
            listeners: self
                .listeners
                .iter()
                .filter_map(|(key, listener)| {
                    let input = Arc::clone(&listener.content.routes.first()?.input);
                    let counters = Arc::clone(&listener.counters);
                    Some(Post { key: *key, counters, input, address: listener.address(key) })
                })
                .collect(),
        };
        *self.board.0.lock() = shown;
        self.show_states();
    }

    /// Puts on the board which inputs listen now.
    fn show_states(&self) {
        let mut shown = self.board.0.lock();
        for record in &mut shown.inputs {
            if record.stats.state().0 == InputState::Rejected {
                continue;
            }
            let listeners =
                || record.listeners.iter().filter_map(|key| Some((key, self.listeners.get(key)?)));
            let error = listeners().find_map(|(_, listener)| listener.error.clone());
            let state = if listeners().any(|(_, listener)| listener.running.is_none()) {
                InputState::Retrying
            } else if record.input.paused {
                InputState::Paused
            } else {
                InputState::Listening
            };
            record.stats.set_state(state, error);
            record.addresses = listeners().map(|(key, listener)| listener.address(key)).collect();
        }
        for post in &mut shown.listeners {
            if let Some(listener) = self.listeners.get(&post.key) {
                post.address = listener.address(&post.key);
            }
        }
    }

    async fn stop(mut self) {
        let listeners = std::mem::take(&mut self.listeners);
        join_all(listeners.into_values().filter_map(|listener| listener.running).map(Running::close)).await;
        self.shards.stop().await;
        self.keeper.stop().await;
        for record in &self.board.shown().inputs {
            record.stats.set_state(InputState::Stopped, None);
        }
    }
}

/// After a defect nothing is changed any more; what listens is closed when the end comes.
async fn end_of(commands: &mut mpsc::Receiver<Command>) -> Option<oneshot::Sender<()>> {
    loop {
        match commands.recv().await? {
            Command::Stop(done) => return Some(done),
            // Who asked is told that it is over.
            Command::Apply(..) => {}
        }
    }
}

impl Listener {
    fn new(content: Content) -> Self {
        Self {
            content,
            old_settings: None,
            counters: Arc::default(),
            running: None,
            error: None,
            retry: None,
        }
    }

    /// Goes on with other content; a socket that cannot is put to those to close.
    fn change(mut self, content: Content, closing: &mut Vec<Running>) -> Self {
        match self.running.take() {
            Some(running) if running.fits(&content.settings) => {
                self.retry = None;
                self.go_on(running, content);
                return self;
            }
            Some(running) => {
                closing.push(running);
                (self.old_settings, self.error) = (None, None);
            }
            None => {}
        }
        self.retry = None;
        self.content = content;
        self
    }

    /// Goes on with other content on the same socket; with its old settings when it cannot have the new ones.
    fn go_on(&mut self, running: Running, content: Content) {
        let wanted = std::mem::replace(&mut self.content, content);
        let settings = self.old_settings.take().unwrap_or(wanted.settings);
        let old = Content { settings, routes: wanted.routes };
        match running.change(&old, &self.content) {
            Ok(()) => (self.error, self.retry) = (None, None),
            Err(error) => {
                self.old_settings = Some(old.settings);
                let text = format!("{} goes on with its old settings: {error}", running.address());
                self.failed(InputError { text, ..error });
            }
        }
        self.running = Some(running);
    }

    /// Protocol and address, with the port the system chose for 0.
    fn address(&self, key: &ListenerKey) -> String {
        let address = self.running.as_ref().map_or_else(|| key.address(), Running::address);
        format!("{} {address}", key.transport)
    }

    fn failed(&mut self, error: InputError) {
        let pause = self.retry.map_or(RETRY.0, |retry| (2 * retry.pause).min(RETRY.1));
        self.retry = Some(Retry { at: Instant::now() + pause, pause });
        if self.error.as_ref() != Some(&error) {
            tracing::warn!("{error}; trying again until it works");
            self.error = Some(error);
        }
    }
}
