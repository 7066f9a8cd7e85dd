//! The accept loop that TCP, syslog over TCP and HTTP share.
//!
//! ```text
//! accept -> room? -> PROXY header (from listed peers only) -> admitted? -> its share? -> TLS -> Serve::serve
//! ```
//! Every connection is a task of its own that ends with the loop. All of PROXY header and TLS handshake happens
//! within one timeout; whatever does not come to [`Serve::serve`] is reported through [`Serve::refused`].
//! IPv4-mapped IPv6 addresses appear as IPv4 everywhere.

use std::{
    fmt, io,
    net::{IpAddr, SocketAddr},
    panic::AssertUnwindSafe,
    pin::Pin,
    sync::{Arc, atomic::Ordering::Relaxed},
    task::{Context, Poll},
    time::Duration,
};

use arc_swap::ArcSwap;
use futures_util::FutureExt;
use ipnet::IpNet;
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

use super::{
    InputStats, Refusal,
    error::bind_remedy,
    forward::forward_writes,
    proxy_protocol,
    shares::{Holder, Share, Shares},
    tls::TlsHandle,
};
use crate::{
    config::{Listen, Transport},
    throttle::Throttle,
};

/// Connections the kernel completes before they are accepted.
const BACKLOG: i32 = 4096;
/// How long PROXY header and TLS handshake may take together.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long connections may take to end after the loop was stopped.
pub const STOP_GRACE: Duration = Duration::from_secs(5);
/// Pause after an accept error that would come again at once (no descriptors, no memory).
const BACK_OFF: Duration = Duration::from_millis(100);
const KEEPALIVE: Duration = Duration::from_mins(1);
const KEEPALIVE_PROBES: Duration = Duration::from_secs(15);

/// What a connection is read from and written to.
pub trait ByteStream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> ByteStream for T {}

/// A connection that came through admission and handshake.
pub struct Connection {
    /// The bytes, after PROXY header and TLS.
    pub stream: Box<dyn ByteStream>,
    /// The sender: from the PROXY header when there was one.
    pub peer: SocketAddr,
    /// Whether it speaks TLS.
    pub tls: bool,
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("peer", &self.peer).field("tls", &self.tls).finish_non_exhaustive()
    }
}

/// What a listener does with connections.
pub trait Serve: Send + Sync + 'static {
    /// Whether anybody takes what this sender sends; asked before the TLS handshake.
    fn admits(&self, peer: IpAddr) -> bool;
    /// Whether it is admitted only to be told that it may not send; asked after [`Self::admits`].
    fn is_stranger(&self, _peer: IpAddr) -> bool {
        false
    }
    /// A connection was closed before it was served.
    fn refused(&self, peer: IpAddr, cause: Refusal);
    /// Serves it to its end; ends soon after `stop`.
    fn serve(
        self: Arc<Self>,
        connection: Connection,
        stop: CancellationToken,
    ) -> impl Future<Output = ()> + Send;
}

/// What a reload may change while the socket stays.
#[derive(Debug, Clone)]
pub struct AcceptSettings {
    /// Speak TLS.
    pub tls: Option<Arc<TlsHandle>>,
    /// Peers that begin with a PROXY header; all others are taken as they are.
    pub proxy_protocol_from: Vec<IpNet>,
    /// Connections at a time.
    pub max_connections: usize,
    /// Of these, for one source; `None` is a share that depends on how many there are.
    pub max_connections_per_source: Option<usize>,
    /// For PROXY header and TLS together.
    pub handshake_timeout: Duration,
}

impl Default for AcceptSettings {
    fn default() -> Self {
        Self {
            tls: None,
            proxy_protocol_from: Vec::new(),
            max_connections: 1000,
            max_connections_per_source: None,
            handshake_timeout: HANDSHAKE_TIMEOUT,
        }
    }
}

/// Why a listener could not be bound.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on tcp {address}: {error}{}", bind_remedy(Transport::Tcp, .error))]
pub struct BindError {
    /// Where.
    pub address: SocketAddr,
    /// What the system said.
    pub error: io::Error,
}

/// A bound listener whose loop does not run yet.
#[derive(Debug)]
pub struct Acceptor {
    listener: TcpListener,
    local: SocketAddr,
    settings: Arc<ArcSwap<AcceptSettings>>,
    counters: Arc<InputStats>,
}

impl Acceptor {
    /// Binds and listens. `::` takes IPv4 as well.
    pub fn bind(listen: Listen, settings: AcceptSettings) -> Result<Self, BindError> {
        let address = SocketAddr::new(listen.host, listen.port);
        let failed = |error| BindError { address, error };
        let listener = open(address).and_then(TcpListener::from_std).map_err(failed)?;
        let local = listener.local_addr().map_err(failed)?;
        Ok(Self {
            listener,
            local,
            settings: Arc::new(ArcSwap::from_pointee(settings)),
            counters: Arc::default(),
        })
    }

    /// The address with the port the system chose when 0 was asked for.
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// The settings, to be swapped while the loop runs; they hold for connections accepted from then on.
    pub fn settings(&self) -> Arc<ArcSwap<AcceptSettings>> {
        Arc::clone(&self.settings)
    }

    /// Shows its open connections in `counters`.
    #[must_use]
    pub fn count_in(mut self, counters: Arc<InputStats>) -> Self {
        self.counters = counters;
        self
    }

    /// Accepts until `stop`; then closes the socket, gives connections [`STOP_GRACE`] and ends the rest.
    pub async fn run<S: Serve>(self, service: Arc<S>, stop: CancellationToken) {
        let mut tasks = JoinSet::new();
        let (logs, shares) = (Arc::new(Logs::default()), Arc::<Shares>::default());
        loop {
            self.counters.connections.store(tasks.len() as u64, Relaxed);
            let accepted = tokio::select! {
                biased;
                () = stop.cancelled() => break,
                Some(_) = tasks.join_next() => continue,
                accepted = self.listener.accept() => accepted,
            };
            let (stream, peer) = match accepted {
                Ok(accepted) => accepted,
                Err(error) if concerns_one_connection(&error) => continue,
                Err(error) => {
                    if let Some(left_out) = logs.accept.pass() {
                        warn!(listener = %self.local, %error, left_out, "cannot accept connections; going on");
                    }
                    tokio::select! { () = stop.cancelled() => break, () = sleep(BACK_OFF) => continue }
                }
            };
            let peer = canonical(peer);
            failpoint!("inputs.accept");
            let settings = self.settings.load_full();
            if tasks.len() >= settings.max_connections {
                service.refused(peer.ip(), Refusal::Connections);
                if let Some(left_out) = logs.connections.pass() {
                    let limit = settings.max_connections;
                    warn!(listener = %self.local, %peer, limit, left_out, "max_connections reached; connection closed");
                }
                continue;
            }
            tasks.spawn(connection(
                stream,
                peer,
                settings,
                Arc::clone(&service),
                stop.clone(),
                (Arc::clone(&logs), Arc::clone(&shares)),
            ));
        }
        drop(self.listener);
        let _ = timeout(STOP_GRACE, async { while tasks.join_next().await.is_some() {} }).await;
        tasks.shutdown().await;
        self.counters.connections.store(0, Relaxed);
    }
}

#[derive(Debug, Default)]
struct Logs {
    accept: Throttle,
    connections: Throttle,
    share: Throttle,
    handshake: Throttle,
    panic: Throttle,
}

/// One connection from accept to end. A panic ends it alone.
async fn connection<S: Serve>(
    stream: TcpStream,
    peer: SocketAddr,
    settings: Arc<AcceptSettings>,
    service: Arc<S>,
    stop: CancellationToken,
    (logs, shares): (Arc<Logs>, Arc<Shares>),
) {
    let opened =
        timeout(settings.handshake_timeout, open_connection(stream, peer, &settings, &*service, &shares));
    let opened = tokio::select! {
        () = stop.cancelled() => return,
        opened = opened => opened.unwrap_or(Err((peer.ip(), Closed::Handshake(io::ErrorKind::TimedOut.into())))),
    };
    let (connection, _share) = match opened {
        Ok(opened) => opened,
        Err((sender, Closed::Source)) => return service.refused(sender, Refusal::Source),
        Err((sender, Closed::Share)) => {
            service.refused(sender, Refusal::Connections);
            if let Some(left_out) = logs.share.pass() {
                warn!(%sender, left_out,
                    "holds its share of max_connections; connection closed. Raise max_connections_per_source if many senders have this address");
            }
            return;
        }
        Err((sender, Closed::Handshake(error))) => {
            service.refused(sender, Refusal::Handshake);
            if let Some(left_out) = logs.handshake.pass() {
                info!(%peer, %error, left_out, "TLS handshake or PROXY header failed; connection closed");
            }
            return;
        }
    };
    let sender = connection.peer.ip();
    let served = AssertUnwindSafe(Arc::clone(&service).serve(connection, stop)).catch_unwind().await;
    if served.is_err() {
        service.refused(sender, Refusal::Malformed);
        if let Some(left_out) = logs.panic.pass() {
            error!(%peer, left_out, "a connection met a defect of the program and was closed; please report it");
        }
    }
}

enum Closed {
    Source,
    Share,
    Handshake(io::Error),
}

async fn open_connection<S: Serve>(
    stream: TcpStream,
    mut peer: SocketAddr,
    settings: &AcceptSettings,
    service: &S,
    shares: &Arc<Shares>,
) -> Result<(Connection, Share), (IpAddr, Closed)> {
    if let Err(error) = tune(&stream) {
        debug!(%peer, %error, "socket options not set");
    }
    let mut stream: Box<dyn ByteStream> = Box::new(stream);
    if settings.proxy_protocol_from.iter().any(|net| net.contains(&peer.ip())) {
        let (sender, rest) = proxy_protocol::read_header(&mut stream)
            .await
            .map_err(|error| (peer.ip(), Closed::Handshake(error)))?;
        peer = sender.map_or(peer, canonical);
        if !rest.is_empty() {
            stream = Box::new(Rewound { rest, read: 0, stream });
        }
    }
    if !service.admits(peer.ip()) {
        return Err((peer.ip(), Closed::Source));
    }
    let holder = if service.is_stranger(peer.ip()) { Holder::Strangers } else { Holder::source(peer.ip()) };
    let share = shares
        .take(holder, settings.max_connections, settings.max_connections_per_source)
        .ok_or((peer.ip(), Closed::Share))?;
    let tls = settings.tls.is_some();
    if let Some(handle) = &settings.tls {
        let accepted = handle.acceptor().accept(stream).await;
        stream = Box::new(accepted.map_err(|error| (peer.ip(), Closed::Handshake(error)))?);
    }
    Ok((Connection { stream, peer, tls }, share))
}

fn open(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(!address.ip().is_unspecified())?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

fn tune(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let keepalive = TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE_PROBES);
    SockRef::from(stream).set_tcp_keepalive(&keepalive)
}

/// The address with IPv4-mapped IPv6 as IPv4.
pub fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

fn concerns_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted, WouldBlock};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted | WouldBlock)
}

/// A stream whose first bytes were read already.
struct Rewound<S> {
    rest: Vec<u8>,
    read: usize,
    stream: S,
}

impl<S: AsyncRead + Unpin> AsyncRead for Rewound<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let left = self.rest.get(self.read..).unwrap_or_default();
        if left.is_empty() {
            return Pin::new(&mut self.stream).poll_read(cx, buf);
        }
        let count = left.len().min(buf.remaining());
        buf.put_slice(left.get(..count).unwrap_or_default());
        self.read += count;
        if self.read == self.rest.len() {
            self.rest = Vec::new();
            self.read = 0;
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Rewound<S> {
    forward_writes!();

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }
}

#[cfg(test)]
#[path = "accept_tests.rs"]
mod tests;
