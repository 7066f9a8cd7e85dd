//! Connections and the order of the real Receiver's checks.

use std::{
    convert::Infallible,
    future::pending,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Instant,
};

use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, Either, Full};
use hyper::{
    Method, Response,
    body::{Body, Frame, Incoming},
    header::HeaderMap,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use socket2::SockRef;
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

use super::{Fault, Key, Request, Shared, store::Upload};

type Answer = Response<Either<Full<Bytes>, Endless>>;

/// A body without end.
struct Endless;

impl Body for Endless {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(&[b'x'; 16384])))))
    }
}

pub(super) async fn serve(listener: TcpListener, shared: Arc<Shared>, stop: CancellationToken) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept() => {
                if let Ok((stream, _)) = accepted {
                    connections.spawn(connection(stream, shared.clone()));
                }
            }
        }
    }
    // Dropping the set ends the connections too.
}

async fn connection(stream: TcpStream, shared: Arc<Shared>) {
    let reset = CancellationToken::new();
    let _ = stream.set_nodelay(true);
    // A second handle on the socket, so that a reset can be asked for while hyper owns the first.
    let Ok(control) = SockRef::from(&stream).try_clone() else { return };
    let service = service_fn(|request| {
        let (shared, reset) = (shared.clone(), reset.clone());
        async move { Ok::<_, Infallible>(answer(request, &shared, &reset).await) }
    });
    let serving = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    tokio::select! {
        _ = serving => {}
        () = reset.cancelled() => { let _ = control.set_linger(Some(std::time::Duration::ZERO)); }
    }
}

async fn answer(request: hyper::Request<Incoming>, shared: &Shared, reset: &CancellationToken) -> Answer {
    let at = Instant::now();
    let (head, body) = request.into_parts();
    let path = head.uri.path().to_owned();
    if head.method == Method::GET && path == "/health" {
        return text(200, "{\"status\":\"ok\",\"service\":\"webhook\"}");
    }
    let headers = collect_headers(&head.headers);
    let name =
        headers.iter().find(|(n, _)| n == "x-proxy-filename").map_or_else(String::new, |(_, v)| v.clone());
    let record = record(
        shared,
        Request { at, path: path.clone(), headers: headers.clone(), name: name.clone(), body: 0, status: 0 },
    );
    let segments: Vec<&str> = path.trim_start_matches('/').split('/').collect();
    let (tenant, dataset) = match segments[..] {
        [tenant, dataset] => (tenant.to_owned(), dataset.to_owned()),
        _ => return finish(shared, record, text(404, "404 page not found")),
    };
    if head.method != Method::POST {
        return finish(shared, record, text(405, ""));
    }
    let fault = match shared.faults.take(&tenant, &dataset) {
        Fault::LinesAbove(most) if line_count(&head.headers) > most => Fault::status(413),
        Fault::LinesAbove(_) => Fault::Nothing,
        other => other,
    };
    let limit = shared.settings.lock().max_payload_size;
    if !matches!(fault, Fault::Status(..) | Fault::Hang | Fault::Reset(_))
        && let Err((status, message)) = check_head(shared, &head.headers, &tenant, &dataset)
    {
        // The real one answers before it has read the body.
        return finish(shared, record, text(status, message));
    }
    let reset_after = match fault {
        Fault::Reset(bytes) => Some(bytes),
        _ => None,
    };
    let read = read_body(body, limit, reset_after).await;
    if let Some(request) = shared.requests.lock().get_mut(record) {
        request.body = read.as_ref().map_or(0, Bytes::len);
    }
    match fault {
        Fault::Reset(_) => return hang_up(reset).await,
        Fault::Hang => {
            shared.lifted.notified().await;
            return text(503, "lifted");
        }
        Fault::Status(status, headers, body) => {
            let mut answer = text(status, &body);
            for (name, value) in headers {
                if let Ok(value) = value.parse() {
                    answer.headers_mut().insert(name, value);
                }
            }
            return finish(shared, record, answer);
        }
        Fault::Slow(delay) => tokio::time::sleep(delay).await,
        Fault::Unanswered | Fault::Endless(_) | Fault::LinesAbove(_) | Fault::Nothing => {}
    }
    let answer = match read {
        None => text(400, "Failed to read request body"),
        Some(body) => store(shared, Key { tenant, dataset }, name, headers, body),
    };
    match fault {
        Fault::Unanswered => hang_up(reset).await,
        Fault::Endless(status) => {
            let mut endless = Response::new(Either::Right(Endless));
            *endless.status_mut() = hyper::StatusCode::from_u16(status).unwrap_or_default();
            finish(shared, record, endless)
        }
        _ => finish(shared, record, answer),
    }
}

fn line_count(headers: &HeaderMap) -> u64 {
    let count = headers.get("x-proxy-line-count").and_then(|value| value.to_str().ok());
    count.and_then(|text| text.parse().ok()).unwrap_or(0)
}

async fn hang_up(reset: &CancellationToken) -> Answer {
    reset.cancel();
    pending().await
}

/// Notes a request when it comes: an answer that nobody waits for any more is never made.
fn record(shared: &Shared, request: Request) -> usize {
    let mut requests = shared.requests.lock();
    requests.push(request);
    requests.len() - 1
}

fn finish(shared: &Shared, record: usize, answer: Answer) -> Answer {
    if let Some(request) = shared.requests.lock().get_mut(record) {
        request.status = answer.status().as_u16();
    }
    answer
}

/// Steps 1 to 6 of the real Receiver.
fn check_head(
    shared: &Shared,
    headers: &HeaderMap,
    tenant: &str,
    dataset: &str,
) -> Result<(), (u16, &'static str)> {
    let settings = shared.settings.lock();
    if tenant.is_empty() {
        return Err((400, "Tenant ID required"));
    }
    let datasets = match &settings.tenants {
        None => None,
        Some(tenants) => Some(tenants.get(tenant).ok_or((410, "Tenant not found or inactive"))?),
    };
    if let Some(tokens) = &settings.tokens {
        let header = headers.get("authorization").and_then(|v| v.to_str().ok()).unwrap_or_default();
        if header.is_empty() {
            return Err((401, "Authorization header required"));
        }
        let token = match header.split(' ').collect::<Vec<_>>()[..] {
            [scheme, token] if scheme.eq_ignore_ascii_case("bearer") => token,
            _ => return Err((401, "Invalid Authorization header format")),
        };
        let expected = tokens.get(tenant).ok_or((401, "Tenant authentication not configured"))?;
        if token != expected {
            return Err((401, "Invalid Bearer token"));
        }
    }
    if dataset.trim_end_matches('.').is_empty() {
        return Err((400, "Tenant ID and Dataset ID required"));
    }
    if datasets.is_some_and(|known| !known.contains(dataset)) {
        return Err((400, "Unknown dataset for tenant"));
    }
    let length = headers.get("content-length").and_then(|v| v.to_str().ok()).and_then(|v| v.parse().ok());
    if settings.max_payload_size > 0 && length.is_some_and(|length: u64| length > settings.max_payload_size) {
        return Err((413, "Payload too large"));
    }
    Ok(())
}

/// The body, silently cut at the limit as the real one does; `None` when the peer broke off.
async fn read_body(mut body: Incoming, limit: u64, reset_after: Option<usize>) -> Option<Bytes> {
    let mut all = BytesMut::new();
    while let Some(frame) = body.frame().await {
        if let Some(data) = frame.ok()?.data_ref() {
            all.extend_from_slice(data);
        }
        if reset_after.is_some_and(|bytes| all.len() >= bytes) {
            break;
        }
    }
    if limit > 0 {
        all.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
    }
    Some(all.freeze())
}

/// Steps 8 to 15.
fn store(shared: &Shared, key: Key, name: String, headers: Vec<(String, String)>, body: Bytes) -> Answer {
    if body.is_empty() {
        return text(400, "Empty request body");
    }
    if name.is_empty() {
        return text(400, "X-Proxy-Filename header is required");
    }
    let parts: Vec<&str> = name.split("--").collect();
    if let [tenant, dataset, _, _, ..] = parts[..]
        && (tenant != key.tenant || dataset != key.dataset)
    {
        return text(400, "Filename does not match URL tenant/dataset");
    }
    if name.contains("..") {
        return text(400, "Malformed filename detected");
    }
    let (verify, keep, folder) = {
        let settings = shared.settings.lock();
        (settings.verify, settings.keep, settings.folder.clone())
    };
    if let Some(folder) = folder {
        let folder = folder.join(&key.tenant).join(&key.dataset);
        if std::fs::create_dir_all(&folder).is_err() {
            return text(500, "Failed to create storage directory");
        }
        if std::fs::write(folder.join(name.replace('/', "_")), &body).is_err() {
            return text(500, "Failed to store data");
        }
    }
    let reply = serde_json::json!({
        "status": "success", "tenant_id": key.tenant, "dataset_id": key.dataset, "bytes_received": body.len(),
        "bytes_processed": body.len(), "storage_mode": "queue", "queue_file": name, "file_id": name,
        "filename_source": "proxy",
    });
    shared.store.lock().put(Upload { key, name, body, headers, verify, keep });
    let mut answer = text(200, &reply.to_string());
    answer.headers_mut().insert("content-type", hyper::header::HeaderValue::from_static("application/json"));
    answer
}

fn collect_headers(headers: &HeaderMap) -> Vec<(String, String)> {
    headers
        .iter()
        .map(|(name, value)| {
            (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned())
        })
        .collect()
}

fn text(status: u16, body: &str) -> Answer {
    let mut answer = Response::new(Either::Left(Full::new(Bytes::from(format!("{body}\n")))));
    *answer.status_mut() = hyper::StatusCode::from_u16(status).unwrap_or_default();
    answer
}
