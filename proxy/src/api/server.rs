//! The ports of the API: one for everything, and with `server.health_port` a second one for health and metrics only.
//!
//! A port that cannot be bound is tried again until it can; the rest of the process runs meanwhile.

use std::{
    net::{IpAddr, SocketAddr},
    panic::AssertUnwindSafe,
    sync::Arc,
    time::Duration,
};

use axum::{Router, body::Body};
use futures_util::FutureExt;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use parking_lot::Mutex;
use tokio::{sync::watch, task::JoinHandle, time::sleep};
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
/// Between two attempts to bind a port.
const BIND_AGAIN: Duration = Duration::from_secs(5);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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
    ports: Mutex<Vec<Running>>,
}

#[derive(Debug)]
struct Running {
    port: Port,
    stop: CancellationToken,
    bound: watch::Receiver<Option<SocketAddr>>,
    task: JoinHandle<()>,
}

impl Api {
    /// Opens the ports of the configuration that runs. Needs a runtime around it.
    pub fn start(state: Arc<ApiState>) -> Self {
        let api = Self { state, ports: Mutex::default() };
        api.apply();
        api
    }

    /// After a reload: closes and opens what has changed. Tokens need nothing, they are looked up at each request.
    pub fn apply(&self) {
        let wanted = Port::wanted(&self.state.running.load().config.server);
        let mut ports = self.ports.lock();
        ports.retain(|running| {
            let stays = wanted.contains(&running.port);
            if !stays {
                running.stop.cancel();
            }
            stays
        });
        for port in wanted {
            if !ports.iter().any(|running| running.port == port) {
                ports.push(open(port, Arc::clone(&self.state)));
            }
        }
    }

    /// Addresses of the API port and of the health port, once they are bound.
    pub async fn addresses(&self) -> Vec<SocketAddr> {
        let bound: Vec<_> = self.ports.lock().iter().map(|running| running.bound.clone()).collect();
        let mut addresses = Vec::new();
        for mut bound in bound {
            if let Ok(address) = bound.wait_for(Option::is_some).await {
                addresses.extend(*address);
            }
        }
        addresses
    }

    /// Closes the ports; requests that are being answered get a few seconds.
    pub async fn stop(&self) {
        let ports = std::mem::take(&mut *self.ports.lock());
        for running in &ports {
            running.stop.cancel();
        }
        for running in ports {
            let _ = running.task.await;
        }
    }
}

fn open(port: Port, state: Arc<ApiState>) -> Running {
    let stop = CancellationToken::new();
    let (tell, bound) = watch::channel(None);
    let task = tokio::spawn(keep(port.clone(), state, stop.clone(), tell));
    Running { port, stop, bound, task }
}

async fn keep(
    port: Port,
    state: Arc<ApiState>,
    stop: CancellationToken,
    tell: watch::Sender<Option<SocketAddr>>,
) {
    let service = Arc::new(Service {
        router: match port.surface {
            Surface::Everything => openapi::router(state),
            Surface::Health => openapi::health_router(state),
        },
    });
    let mut reported = None;
    while !stop.is_cancelled() {
        match bind(&port) {
            Ok(acceptor) => {
                let address = acceptor.local_addr();
                info!(%address, tls = port.tls.is_some(), everything = port.surface == Surface::Everything, "API listens");
                tell.send_replace(Some(address));
                return acceptor.run(service, stop).await;
            }
            Err(problem) => {
                if reported.as_ref() != Some(&problem) {
                    error!(problem, "API does not listen; inputs and delivery go on, trying again");
                    reported = Some(problem);
                }
                tokio::select! { () = stop.cancelled() => return, () = sleep(BIND_AGAIN) => {} }
            }
        }
    }
}

fn bind(port: &Port) -> Result<Acceptor, String> {
    let tls = port.tls.as_ref().map(TlsHandle::load).transpose().map_err(|error| error.to_string())?;
    let settings = AcceptSettings {
        tls: tls.map(Arc::new),
        max_connections: MAX_CONNECTIONS,
        ..AcceptSettings::default()
    };
    Acceptor::bind(port.listen, settings).map_err(|error| error.to_string())
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
