//! One question to one pod: `GET /api/v1/status` over TLS that takes the Proxy's certificate alone, with its read token.
//!
//! Every step has a time limit and every part of the answer a largest size, since the address may be anybody's by now.
//! The token is sent only after the certificate was seen. One connection per question: a poll is half a minute long.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use http::{Request, StatusCode, header};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::{body::Bytes, client::conn::http1};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::TlsConnector;
use tokio_util::task::AbortOnDropHandle;

use super::{Why, wire::Answer};
use crate::api_secret::Access;

/// Longest time of each step but the wait, and the largest answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// For the connection, and again for TLS.
    pub connect: Duration,
    /// How long the pod is to wait for a change.
    pub wait: Duration,
    /// For the head of the answer beyond `wait`, and again for the rest of it.
    pub answer: Duration,
    /// Most bytes of an answer. 2500 inputs have a tenth of this.
    pub bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(3),
            wait: Duration::from_secs(30),
            answer: Duration::from_secs(10),
            bytes: 16 << 20,
        }
    }
}

/// What the certificate is made for; it is its bytes that count.
const NAME: &str = "bytefreezer-proxy-api";
/// Largest head of an answer.
const MOST_HEAD: usize = 64 << 10;

/// Asks. With `after` it waits until the pod's state has another name than this, or `limits.wait` is over.
pub(super) async fn ask(
    address: SocketAddr,
    access: &Access,
    after: Option<&str>,
    limits: Limits,
) -> Result<Answer, Why> {
    let tcp = timeout(limits.connect, TcpStream::connect(address)).await.map_err(|_| Why::Timeout)?;
    let tcp = tcp.map_err(|error| connecting(&error))?;
    let name = ServerName::try_from(NAME).map_err(|_| Why::Tls)?;
    let tls = TlsConnector::from(Arc::clone(&access.tls)).connect(name, tcp);
    let tls =
        timeout(limits.connect, tls).await.map_err(|_| Why::Timeout)?.map_err(|error| shaking(&error))?;

    let mut builder = http1::Builder::new();
    builder.max_buf_size(MOST_HEAD);
    let (mut sender, connection) =
        builder.handshake(TokioIo::new(tls)).await.map_err(|error| talking(&error))?;
    let _connection = AbortOnDropHandle::new(tokio::spawn(async move {
        // What is wrong with it, the request is told.
        let _ = connection.await;
    }));
    let wait = if after.is_some() { limits.wait } else { Duration::ZERO };
    let path = after.map_or_else(
        || "/api/v1/status".to_owned(),
        |etag| format!("/api/v1/status?after={etag}&wait={}s", limits.wait.as_secs()),
    );
    let request = Request::get(path)
        .header(header::HOST, NAME)
        .header(header::AUTHORIZATION, format!("Bearer {}", access.read_token()))
        .body(Empty::<Bytes>::new())
        .map_err(|_| Why::Garbage)?;
    let response = timeout(wait + limits.answer, sender.send_request(request)).await;
    let response = response.map_err(|_| Why::Timeout)?.map_err(|error| talking(&error))?;
    match response.status() {
        StatusCode::OK => {}
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => return Err(Why::Unauthorized),
        other => return Err(Why::Status(other.as_u16())),
    }
    let body = timeout(limits.answer, Limited::new(response.into_body(), limits.bytes).collect()).await;
    let body = body
        .map_err(|_| Why::Timeout)?
        .map_err(|error| error.downcast_ref::<hyper::Error>().map_or(Why::Garbage, talking))?;
    Answer::read(&body.to_bytes())
}

fn connecting(error: &io::Error) -> Why {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => Why::Refused,
        io::ErrorKind::TimedOut => Why::Timeout,
        io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted => Why::Broken,
        _ => Why::Unreachable,
    }
}

/// A handshake that ends without a word of TLS is a broken connection, any other one the wrong peer.
fn shaking(error: &io::Error) -> Why {
    let of_tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()).is_some();
    if of_tls { Why::Tls } else { Why::Broken }
}

fn talking(error: &hyper::Error) -> Why {
    if error.is_parse() || error.is_parse_too_large() { Why::Garbage } else { Why::Broken }
}
