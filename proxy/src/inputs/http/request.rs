//! One request, from its header to its answer.

use std::{
    net::IpAddr,
    sync::{Arc, atomic::Ordering::Relaxed},
};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{
    HeaderMap, Method, Request, Response,
    body::{Body, Incoming},
    header::{ALLOW, CONNECTION, HeaderValue},
};
use tokio::{
    task::yield_now,
    time::{Instant, timeout_at},
};
use tokio_util::sync::CancellationToken;

use super::{
    Http, Store,
    answer::Answer,
    auth::Denied,
    encoding::{Encoding, InflateError, Inflater},
    health,
    lines::Lines,
    pace::Pace,
    table::{Found, HEALTH, HttpRoute},
};
use crate::{decode::ReceiveTime, inputs::Refusal};

/// Answers a request. Whatever the answer is, it is counted.
pub async fn handle<S: Store>(
    http: &Http<S>,
    pace: &Pace,
    stop: &CancellationToken,
    peer: IpAddr,
    request: Request<Incoming>,
) -> Response<Full<Bytes>> {
    let deadline = pace.request();
    let paths = http.paths.load_full();
    let (head, mut body) = request.into_parts();
    let path = head.uri.path();
    let (mut response, unread) = if path == HEALTH {
        (health(http, stop, &head.method, &paths), true)
    } else {
        let (answer, unread) = match paths.lookup(path, peer) {
            Found::Route(route) => {
                let exchange = Exchange { http, pace, route, peer, deadline };
                exchange.run(stop, &head.method, &head.headers, &mut body).await
            }
            Found::Forbidden(stats) => {
                stats.refuse(Refusal::Source, 1);
                (Answer::Forbidden, true)
            }
            Found::Nowhere => {
                paths.first().refuse(Refusal::Malformed, 1);
                (Answer::NotFound, true)
            }
        };
        (answer.response(), unread)
    };
    if unread && !paths.admits(peer) {
        // One answer is enough for who may not send.
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    pace.answering(unread && !body.is_end_stream());
    response
}

fn health<S: Store>(
    http: &Http<S>,
    stop: &CancellationToken,
    method: &Method,
    paths: &super::Paths,
) -> Response<Full<Bytes>> {
    if !matches!(*method, Method::GET | Method::HEAD) {
        let mut response = Answer::Method.response();
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    let problem = if stop.is_cancelled() {
        Some("the proxy is stopping")
    } else if !http.store.has_room() {
        Some("the spool is full")
    } else {
        None
    };
    health::response(paths, problem)
}

/// A request for one dataset.
struct Exchange<'a, S> {
    http: &'a Http<S>,
    pace: &'a Pace,
    route: &'a HttpRoute,
    peer: IpAddr,
    deadline: Instant,
}

impl<S: Store> Exchange<'_, S> {
    /// The answer, and whether it was found before the body was read.
    async fn run(
        self,
        stop: &CancellationToken,
        method: &Method,
        headers: &HeaderMap,
        body: &mut Incoming,
    ) -> (Answer, bool) {
        let (shared, stats) = (&self.http.shared, &self.route.route.stats);
        stats.messages.fetch_add(1, Relaxed);
        let mut received = 0;
        let mut lines = Lines::new(self.route, shared, self.peer, ReceiveTime::now());
        let now_ns = lines.now().unix_ns();
        let read = match self.admit(stop, method, headers, body) {
            Ok(encoding) => self.read(encoding, body, &mut lines, &mut received).await,
            Err(answer) => Err(answer),
        };
        self.pace.working();
        let unread = read.is_err();
        let (answer, stored) = match read {
            Ok(()) => self.store(lines).await,
            Err(answer) => (answer, 0),
        };
        stats.bytes.fetch_add(received, Relaxed);
        if let Some(cause) = answer.cause() {
            stats.refuse(cause, 1);
        }
        let errors = u64::from(answer != Answer::Ok);
        shared.senders.record(&self.route.route.input.key, self.peer, stored, received, errors, now_ns);
        (answer, unread)
    }

    /// Everything that can be refused before the body is asked for (with `Expect: 100-continue` it is not even sent).
    fn admit(
        &self,
        stop: &CancellationToken,
        method: &Method,
        headers: &HeaderMap,
        body: &Incoming,
    ) -> Result<Encoding, Answer> {
        if method != Method::POST {
            return Err(Answer::Method);
        }
        if let Some(token) = &self.route.token {
            token.check(headers).map_err(|denied| match denied {
                Denied::Unauthorized => Answer::Unauthorized,
                Denied::NoToken => Answer::NoToken,
            })?;
        }
        if self.route.route.input.paused {
            return Err(Answer::Paused);
        }
        let encoding = Encoding::of(headers).ok_or(Answer::Encoding)?;
        let length = body.size_hint().lower();
        if length > self.longest(encoding) as u64 || length > self.http.shared.memory.total() {
            return Err(Answer::TooLarge);
        }
        if stop.is_cancelled() {
            return Err(Answer::Stopping);
        }
        if !self.http.store.has_room() {
            return Err(Answer::Full);
        }
        Ok(encoding)
    }

    /// Most bytes of a body as it comes. What decompresses to nothing is bounded by this alone.
    fn longest(&self, encoding: Encoding) -> usize {
        let most = self.route.source.max_payload_size;
        if encoding == Encoding::Identity { most } else { most_compressed(most) }
    }

    async fn read(
        &self,
        encoding: Encoding,
        body: &mut Incoming,
        lines: &mut Lines<'_>,
        received: &mut u64,
    ) -> Result<(), Answer> {
        let source = &self.route.source;
        let mut inflater = Inflater::new(encoding, source.max_payload_size, source.max_compression_ratio)?;
        let mut text = Vec::new();
        while !body.is_end_stream() {
            let frame = match timeout_at(self.deadline, body.frame()).await {
                Err(_) => return Err(Answer::Timeout),
                Ok(None) => break,
                Ok(Some(Err(_))) => return Err(Answer::Body),
                Ok(Some(Ok(frame))) => frame,
            };
            let Ok(data) = frame.into_data() else { continue };
            *received += data.len() as u64;
            if *received > self.longest(encoding) as u64 {
                return Err(Answer::TooLarge);
            }
            let Some(inflater) = &mut inflater else {
                self.feed(lines, &data, body.is_end_stream()).await?;
                continue;
            };
            let mut rest = &data[..];
            loop {
                rest = inflater.step(rest, &mut text)?;
                lines.besides(inflater.window());
                if rest.is_empty() && text.is_empty() {
                    break;
                }
                self.feed(lines, &text, false).await?;
            }
        }
        if let Some(inflater) = inflater {
            inflater.finish()?;
        }
        lines.finish()
    }

    /// Compressing a chunk takes milliseconds; then it is others' turn.
    async fn feed(&self, lines: &mut Lines<'_>, data: &[u8], last: bool) -> Result<(), Answer> {
        let (before, begun) = (lines.chunks(), Instant::now());
        let fed = lines.feed(data, last);
        self.http.shared.level.worked(begun.elapsed());
        fed?;
        if lines.chunks() > before {
            yield_now().await;
        }
        Ok(())
    }

    /// Hands the lines over and waits until they are synced. A task of its own does it, so that the books are right
    /// also when the peer goes away meanwhile.
    async fn store(&self, lines: Lines<'_>) -> (Answer, u64) {
        let (chunks, count) = lines.into_chunks();
        if chunks.is_empty() {
            return (Answer::Ok, 0);
        }
        let (store, ledger) = (self.http.store.clone(), Arc::clone(&self.http.shared.ledger));
        let stats = Arc::clone(&self.route.route.stats);
        let settled = tokio::spawn(async move {
            ledger.accept(count);
            let committed = store.commit(chunks).await;
            match committed {
                Ok(()) => _ = stats.lines.fetch_add(count, Relaxed),
                Err(_) => ledger.unaccept(count),
            }
            committed
        });
        match settled.await {
            Ok(Ok(())) => (Answer::Ok, count),
            Ok(Err(refused)) => (refused.into(), 0),
            Err(_) => (Answer::Unwritable, 0),
        }
    }
}

/// More than a body of `raw` bytes that cannot be compressed takes in any of the encodings.
const fn most_compressed(raw: usize) -> usize {
    raw.saturating_add(raw / 64).saturating_add(1024)
}

impl From<InflateError> for Answer {
    fn from(error: InflateError) -> Self {
        match error {
            InflateError::TooLarge => Self::TooLarge,
            InflateError::Corrupt => Self::Body,
        }
    }
}
