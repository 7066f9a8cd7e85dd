//! The ports of the API: one for everything, and with `server.health_port` a second one for health and metrics only.
//!
//! A port that cannot be bound is tried again until it can; the rest of the process runs meanwhile. At a reload the
//! new port is bound before the old one closes, and the old one goes on when the new one cannot be had. Where one of our
//! own stands in the way it closes first, and opens again when the new one cannot be had.

use std::{
    net::{IpAddr, SocketAddr},
    panic::AssertUnwindSafe,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use arc_swap::ArcSwap;
use axum::{Router, body::Body};
use futures_util::FutureExt;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    sync::{Mutex, watch},
    task::JoinHandle,
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;
use tracing::{error, info};

use super::{ApiState, guard::Peer, openapi, stall::Stalling};
use crate::{
    config::{Listen, Server, ServerTls},
    inputs::{
        Refusal,
        accept::{AcceptSettings, Acceptor, Connection, Serve},
        tls::TlsHandle,
    },
};

/// Connections of one port at a time.
const MAX_CONNECTIONS: usize = 256;
/// For the header of a request, and between two requests.
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);
/// For a peer that does not read its answer.
const STALL_TIMEOUT: Duration = Duration::from_secs(30);
/// Longest header of a request.
const MAX_HEADER: usize = 64 * 1024;
/// First and longest pause between two attempts to bind a port.
const BIND_AGAIN: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// How long a port is tried that can be had only while an old one is closed.
const MOVE_TIMEOUT: Duration = Duration::from_secs(3);

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Surface {
    Everything,
    Health,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Port {
    listen: Listen,
    tls: Option<ServerTls>,
    surface: Surface,
}

impl Port {
    fn wanted(server: &Server) -> Vec<Self> {
        let port = |port, tls, surface| Self { listen: Listen { host: server.api_host, port }, tls, surface };
        let health = server.health_port.map(|number| port(number, None, Surface::Health));
        [port(server.api_port, server.tls.clone(), Surface::Everything)].into_iter().chain(health).collect()
    }
}

/// The running API.
#[derive(Debug)]
pub struct Api {
    state: Arc<ApiState>,
    /// Locked for as long as a change takes.
    ports: Mutex<Vec<Running>>,
}

#[derive(Debug)]
struct Running {
    port: Port,
    stop: CancellationToken,
    bound: watch::Receiver<Option<Bound>>,
    task: JoinHandle<()>,
    /// What could not be had although this was closed for it, and why: it is not closed for it again.
    refused: Option<(Port, String)>,
}

#[derive(Debug, Clone)]
struct Bound {
    address: SocketAddr,
    settings: Arc<ArcSwap<AcceptSettings>>,
}

impl Api {
    /// Opens the ports of the configuration that runs. Needs a runtime around it.
    pub fn start(state: Arc<ApiState>) -> Self {
        let wanted = Port::wanted(&state.running.load().config.server);
        let ports = wanted.into_iter().map(|port| open(port, &state)).collect();
        Self { state, ports: Mutex::new(ports) }
    }

    /// From now on the process says that it is not ready; it answers all the same.
    pub fn leave(&self) {
        self.state.leaving.store(true, Relaxed);
    }

    /// After a reload: opens and closes what has changed. What cannot be changed stays as it is, and the error says so;
    /// another call tries again. Tokens need nothing, they are looked up at each request.
    pub async fn apply(&self) -> Result<(), String> {
        let wanted = Port::wanted(&self.state.running.load().config.server);
        let mut ports = self.ports.lock().await;
        let mut old = std::mem::take(&mut *ports);
        let held: Vec<_> = old.iter().filter_map(Running::held).collect();
        let (mut blocked, mut problems) = (Vec::new(), Vec::new());
        for port in wanted {
            let before = old.iter().position(|running| running.port.surface == port.surface);
            let Some(mut running) = before.map(|at| old.swap_remove(at)) else {
                ports.push(open(port, &self.state));
                continue;
            };
            if running.needs_place(&port, &held) {
                blocked.push((running, port));
                continue;
            }
            if let Err(problem) = running.change(port, &self.state) {
                problems.push(running.goes_on(&problem));
            }
            ports.push(running);
        }
        for running in old {
            running.stop.cancel();
        }
        let (moved, problem) = exchange(blocked, &self.state).await;
        problems.extend(problem.iter().flat_map(|problem| moved.iter().map(|one| one.goes_on(problem))));
        ports.extend(moved);
        ports.sort_by_key(|running| running.port.surface);
        if problems.is_empty() { Ok(()) } else { Err(problems.join("; ")) }
    }

    /// Addresses of the API port and of the health port, once they are bound.
    pub async fn addresses(&self) -> Vec<SocketAddr> {
        let bound: Vec<_> = self.ports.lock().await.iter().map(|running| running.bound.clone()).collect();
        let mut addresses = Vec::new();
        for mut bound in bound {
            if let Ok(address) = bound.wait_for(Option::is_some).await {
                addresses.extend(address.as_ref().map(|bound| bound.address));
            }
        }
        addresses
    }

    /// Closes the ports; requests that are being answered get a few seconds.
    pub async fn stop(&self) {
        let ports = std::mem::take(&mut *self.ports.lock().await);
        for running in &ports {
            running.stop.cancel();
        }
        for running in ports {
            let _ = running.task.await;
        }
    }
}

impl Running {
    /// The address it has, once it is bound.
    fn held(&self) -> Option<Listen> {
        let address = self.bound.borrow().as_ref()?.address;
        Some(Listen { host: address.ip(), port: address.port() })
    }

    fn goes_on(&self, problem: &str) -> String {
        let Listen { host, port } = self.held().unwrap_or(self.port.listen);
        format!("the API goes on at {}: {problem}", SocketAddr::new(host, port))
    }

    /// Whether `port` can be bound only once something of what we hold is closed: two sockets cannot have overlapping
    /// addresses at a time.
    fn needs_place(&self, port: &Port, held: &[Listen]) -> bool {
        let moves = self.port.listen != port.listen && self.held().is_some();
        moves && held.iter().any(|held| held.overlaps(&port.listen))
    }

    /// Becomes `port`, which nothing of ours is in the way of, or stays as it is for the reason in the error.
    fn change(&mut self, port: Port, state: &Arc<ApiState>) -> Result<(), String> {
        if self.port == port {
            self.refused = None;
            return Ok(());
        }
        let bound = self.bound.borrow().clone();
        match bound {
            Some(bound) if self.port.listen == port.listen => {
                bound.settings.store(Arc::new(settings(&port)?));
                info!(address = %bound.address, tls = port.tls.is_some(), "API goes on with other TLS settings");
                (self.port, self.refused) = (port, None);
            }
            Some(_) => {
                let acceptor = bind(&port)?;
                self.stop.cancel();
                *self = spawn_bound(port, acceptor, state);
            }
            // What is not bound has nothing to lose.
            None => {
                self.stop.cancel();
                *self = open(port, state);
            }
        }
        Ok(())
    }

    /// Why it need not be closed to find out that `port` cannot be had.
    fn try_before(&self, port: &Port) -> Result<(), String> {
        if let Some((_, problem)) = self.refused.as_ref().filter(|(refused, _)| refused == port) {
            return Err(problem.clone());
        }
        settings(port)?;
        let host = port.listen.host;
        std::net::TcpListener::bind((host, 0)).map_err(|error| format!("{host} cannot be had: {error}"))?;
        Ok(())
    }
}

/// Closes ports and opens others in their place, all of them or, for the reason beside them, none.
async fn exchange(moves: Vec<(Running, Port)>, state: &Arc<ApiState>) -> (Vec<Running>, Option<String>) {
    if let Some(problem) = moves.iter().find_map(|(running, port)| running.try_before(port).err()) {
        return (moves.into_iter().map(|(running, _)| running).collect(), Some(problem));
    }
    for (running, _) in &moves {
        running.stop.cancel();
    }
    let mut acceptors = Vec::new();
    for (_, port) in &moves {
        match bind_soon(port).await {
            Ok(acceptor) => acceptors.push(acceptor),
            Err(problem) => {
                drop(acceptors);
                let back = moves.into_iter().map(|(running, port)| {
                    let listen = running.held().unwrap_or(running.port.listen);
                    let refused = Some((port, problem.clone()));
                    Running { refused, ..open(Port { listen, ..running.port }, state) }
                });
                return (back.collect(), Some(problem));
            }
        }
    }
    let pairs = moves.into_iter().zip(acceptors);
    (pairs.map(|((_, port), acceptor)| spawn_bound(port, acceptor, state)).collect(), None)
}

/// Binds what is just being closed elsewhere.
async fn bind_soon(port: &Port) -> Result<Acceptor, String> {
    let end = Instant::now() + MOVE_TIMEOUT;
    loop {
        match bind(port) {
            Err(_) if Instant::now() < end => sleep(BIND_AGAIN.0).await,
            Err(problem) => return Err(format!("{problem}; free it and restart, or write another address")),
            Ok(acceptor) => return Ok(acceptor),
        }
    }
}

fn spawn_bound(port: Port, acceptor: Acceptor, state: &Arc<ApiState>) -> Running {
    spawn(port, state, |port, service, stop, tell| async move {
        serve(acceptor, &port, service, stop, &tell).await;
    })
}

fn open(port: Port, state: &Arc<ApiState>) -> Running {
    spawn(port, state, keep)
}

type Tell = watch::Sender<Option<Bound>>;

fn spawn<T>(
    port: Port,
    state: &Arc<ApiState>,
    task: impl FnOnce(Port, Arc<Service>, CancellationToken, Tell) -> T,
) -> Running
where
    T: Future<Output = ()> + Send + 'static,
{
    let stop = CancellationToken::new();
    let (tell, bound) = watch::channel(None);
    let (state, vitals) = (Arc::clone(state), state.vitals.clone());
    let router = match port.surface {
        Surface::Everything => openapi::router(state),
        Surface::Health => openapi::health_router(state),
    };
    let serving = task(port.clone(), Arc::new(Service { router }), stop.clone(), tell);
    let task = tokio::spawn(async move {
        vitals.watch("the API", serving).await;
    });
    Running { port, stop, bound, task, refused: None }
}

/// Serves as soon as the port can be bound.
async fn keep(port: Port, service: Arc<Service>, stop: CancellationToken, tell: Tell) {
    let mut reported = None;
    let mut pause = BIND_AGAIN.0;
    while !stop.is_cancelled() {
        match bind(&port) {
            Ok(acceptor) => return serve(acceptor, &port, service, stop, &tell).await,
            Err(problem) => {
                // At first the one before may just be closing.
                if pause > BIND_AGAIN.0 && reported.as_ref() != Some(&problem) {
                    error!(problem, "API does not listen; inputs and delivery go on, trying again");
                    reported = Some(problem);
                }
                tokio::select! { () = stop.cancelled() => return, () = sleep(pause) => {} }
                pause = (2 * pause).min(BIND_AGAIN.1);
            }
        }
    }
}

async fn serve(acceptor: Acceptor, port: &Port, service: Arc<Service>, stop: CancellationToken, tell: &Tell) {
    let (address, settings) = (acceptor.local_addr(), acceptor.settings());
    info!(%address, tls = port.tls.is_some(), everything = port.surface == Surface::Everything, "API listens");
    tell.send_replace(Some(Bound { address, settings }));
    acceptor.run(service, stop).await;
}

fn bind(port: &Port) -> Result<Acceptor, String> {
    Acceptor::bind(port.listen, settings(port)?).map_err(|error| error.to_string())
}

fn settings(port: &Port) -> Result<AcceptSettings, String> {
    let tls = port.tls.as_ref().map(TlsHandle::load).transpose().map_err(|error| error.to_string())?;
    Ok(AcceptSettings {
        tls: tls.map(Arc::new),
        max_connections: MAX_CONNECTIONS,
        ..AcceptSettings::default()
    })
}

struct Service {
    router: Router,
}

impl Serve for Service {
    fn admits(&self, _peer: IpAddr) -> bool {
        true
    }

    fn refused(&self, _peer: IpAddr, _cause: Refusal) {}

    async fn serve(self: Arc<Self>, connection: Connection, stop: CancellationToken) {
        let peer = Peer(connection.peer);
        let service = service_fn(move |mut request: hyper::Request<Incoming>| {
            request.extensions_mut().insert(peer);
            let answer = self.router.clone().oneshot(request.map(Body::new));
            // hyper wants futures that may be moved.
            Box::pin(async {
                // A defect in one handler costs its own answer.
                let answer = AssertUnwindSafe(answer).catch_unwind().await;
                answer.unwrap_or_else(|_| Ok(openapi::defect()))
            })
        });
        let served = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADER_TIMEOUT)
            .max_buf_size(MAX_HEADER)
            .serve_connection(TokioIo::new(Stalling::new(connection.stream, STALL_TIMEOUT)), service);
        let mut served = std::pin::pin!(served);
        tokio::select! {
            _ = &mut served => return,
            () = stop.cancelled() => served.as_mut().graceful_shutdown(),
        }
        let _ = served.await;
    }
}
