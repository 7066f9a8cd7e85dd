//! What all contestants upload to: an HTTP server that keeps bodies as they came and looks at them after the run, so
//! that checking costs nothing while it is measured.

use std::{
    convert::Infallible,
    io::Read,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Instant,
};

use anyhow::{Context, Result};
use bytes::Bytes;
use flate2::read::MultiGzDecoder;
use http_body_util::{BodyExt, Full};
use hyper::{Request, Response, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::{net::TcpListener, runtime::Runtime};

/// One stored body.
pub struct Stored {
    /// When its last byte was there.
    pub at: Instant,
    /// As it came.
    pub body: Bytes,
}

/// The running server.
pub struct Sink {
    address: SocketAddr,
    stored: Arc<Mutex<Vec<Stored>>>,
    bytes: Arc<AtomicU64>,
    _runtime: Runtime,
}

impl Sink {
    /// Starts on a free loopback port with one thread.
    pub fn start() -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0"))?;
        let address = listener.local_addr()?;
        let stored: Arc<Mutex<Vec<Stored>>> = Arc::default();
        let bytes: Arc<AtomicU64> = Arc::default();
        let shared = (Arc::clone(&stored), Arc::clone(&bytes));
        runtime.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (stored, bytes) = (Arc::clone(&shared.0), Arc::clone(&shared.1));
                let service = service_fn(move |request: Request<Incoming>| {
                    let (stored, bytes) = (Arc::clone(&stored), Arc::clone(&bytes));
                    async move {
                        let body =
                            request.into_body().collect().await.map(http_body_util::Collected::to_bytes);
                        if let Ok(body) = body {
                            bytes.fetch_add(body.len() as u64, Relaxed);
                            stored.lock().push(Stored { at: Instant::now(), body });
                        }
                        Ok::<_, Infallible>(Response::new(Full::new(Bytes::from_static(b"{}"))))
                    }
                });
                tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
            }
        });
        Ok(Self { address, stored, bytes, _runtime: runtime })
    }

    /// Base URL.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Bytes that came over the wire.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Relaxed)
    }

    /// Everything stored so far; the sink is empty afterwards.
    pub fn take(&self) -> Vec<Stored> {
        self.bytes.store(0, Relaxed);
        std::mem::take(&mut self.stored.lock())
    }
}

/// A body as text, inflated when it is gzip.
pub fn text(body: &[u8]) -> Result<Vec<u8>> {
    if !body.starts_with(&[0x1f, 0x8b]) {
        return Ok(body.to_vec());
    }
    let mut raw = Vec::with_capacity(body.len() * 5);
    MultiGzDecoder::new(body).read_to_end(&mut raw).context("a body is no valid gzip")?;
    Ok(raw)
}
