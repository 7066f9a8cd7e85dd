//! One connection: hyper under our own time limits, and an end that lets the last answer arrive.

use std::{
    future::poll_fn,
    pin::pin,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use super::{
    Http, Store,
    pace::{Pace, Paced, Phase},
    request,
};
use crate::inputs::{
    InputStats, Refusal,
    accept::{ByteStream, Connection},
};

/// Bounds the header of a request, and what is read of a body at a time.
const BUFFER: usize = 64 * 1024;
/// How long and how much is read and thrown away after an early answer: closing a socket with unread bytes resets
/// the connection, and the peer might never see why.
const LINGER: Duration = Duration::from_secs(2);
const LINGER_BYTES: u64 = 64 * 1024 * 1024;

/// Serves requests until the peer, a time limit or `stop` ends the connection. With `stop` a request that is in
/// flight is finished.
pub async fn serve<S: Store>(http: Arc<Http<S>>, connection: Connection, stop: CancellationToken) {
    let paths = http.paths.load_full();
    let _open = Open::new(paths.first());
    let pace = Arc::new(Pace::new(paths.timeouts()));
    drop(paths);
    let peer = connection.peer.ip();
    let service = service_fn(|request| {
        let (http, pace, stop) = (&http, &pace, &stop);
        // hyper wants futures that may be moved.
        Box::pin(async move {
            Ok::<_, std::convert::Infallible>(request::handle(http, pace, stop, peer, request).await)
        })
    });
    let stream = TokioIo::new(Paced::new(connection.stream, Arc::clone(&pace)));
    let mut served = http1::Builder::new()
        .max_buf_size(BUFFER)
        .half_close(true)
        .header_read_timeout(None)
        .serve_connection(stream, service);
    let mut expired = pin!(pace.expired());
    let mut stopping = false;
    let ended = loop {
        tokio::select! {
            biased;
            ended = poll_fn(|cx| served.poll_without_shutdown(cx)) => break ended,
            () = &mut expired => return timed_out(&http, &pace),
            () = stop.cancelled(), if !stopping => {
                stopping = true;
                std::pin::Pin::new(&mut served).graceful_shutdown();
            }
        }
    };
    let malformed = ended.as_ref().is_err_and(hyper::Error::is_parse);
    if let Err(error) = ended {
        failed(&http, &error);
    }
    close(served.into_parts().io.into_inner().into_inner(), pace.unread() || malformed).await;
}

/// What hyper answered by itself, 400 or 431, or could not answer because the header broke off. A connection that
/// breaks off elsewhere is counted with its request, or is none.
fn failed<S: Store>(http: &Http<S>, error: &hyper::Error) {
    let cause = if error.is_parse_too_large() {
        Refusal::Oversize
    } else if error.is_parse() || error.is_incomplete_message() {
        Refusal::Malformed
    } else {
        return;
    };
    http.paths.load().first().refuse(cause, 1);
}

/// Silence between requests is nothing to count.
fn timed_out<S: Store>(http: &Http<S>, pace: &Pace) {
    if pace.phase() != Phase::Waiting {
        http.paths.load().first().refuse(Refusal::Timeout, 1);
    }
}

async fn close(mut stream: Box<dyn ByteStream>, unread: bool) {
    let _ = timeout(LINGER, async {
        stream.shutdown().await?;
        if unread {
            tokio::io::copy(&mut stream.take(LINGER_BYTES), &mut tokio::io::sink()).await?;
        }
        std::io::Result::Ok(())
    })
    .await;
}

/// Counts an open connection while it lives.
struct Open(Arc<InputStats>);

impl Open {
    fn new(stats: &Arc<InputStats>) -> Self {
        stats.connections.fetch_add(1, Relaxed);
        Self(Arc::clone(stats))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Relaxed);
    }
}
