//! Who may do what: see the table in [`super`].
//!
//! Loopback without a token is for a person on the machine. It does not hold for what shows that it merely comes through
//! the machine: a request with a proxy's headers, or one that a web page made the browser send to a name of its own. A
//! proxy may show nothing of the kind, so what senders sent takes a token in any case.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use axum::{
    extract::{Request, State},
    http::{HeaderMap, Method, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use subtle::ConstantTimeEq;

use super::{ApiError, ApiState};
use crate::{
    config::{Secret, Server},
    throttle::Throttle,
};

/// Headers, and beginnings of headers, that say somebody else stands behind the peer.
const FORWARDED: [&str; 3] = ["forwarded", "via", "x-real-ip"];
const FORWARDED_START: [&str; 2] = ["x-forwarded-", "x-envoy-"];
/// Below this is what senders sent.
const CONTENT: &str = "/api/v1/dlq/files/";
/// Between two log lines about a token that cannot be read.
const LOG_EVERY: Duration = Duration::from_mins(1);
static UNREADABLE: Throttle = Throttle::new(LOG_EVERY);
/// Answered to everybody.
const OPEN: [&str; 7] =
    ["/", "/livez", "/readyz", "/metrics", "/v1/docs", "/v1/docs/openapi.json", "/api/v1/health"];

/// The peer's address, after a PROXY header.
#[derive(Debug, Clone, Copy)]
pub struct Peer(pub SocketAddr);

/// Whether the request may see everything, or only what is open to all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Admitted(pub bool);

/// Lets a request pass or answers it.
pub async fn check(State(state): State<Arc<ApiState>>, mut request: Request, next: Next) -> Response {
    let running = state.running.load();
    let verdict = admit(&running.config.server, &request);
    drop(running);
    let open = request.method() == Method::OPTIONS
        || (is_read(request.method()) && OPEN.contains(&request.uri().path()));
    let admitted = match verdict {
        Ok(()) => Admitted(true),
        Err(_) if open => Admitted(false),
        Err(error) => return error.into_response(),
    };
    request.extensions_mut().insert(admitted);
    next.run(request).await
}

fn peer(request: &Request) -> Option<IpAddr> {
    request.extensions().get::<Peer>().map(|peer| peer.0.ip())
}

fn is_read(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD)
}

/// Whether a request may do what it asks for.
pub(super) fn admit(server: &Server, request: &Request) -> Result<(), ApiError> {
    let (method, headers) = (request.method(), request.headers());
    let shown = bearer(headers);
    if matches(server.admin_token.as_ref(), shown) {
        return Ok(());
    }
    if !is_read(method) {
        return Err(match (&server.admin_token, shown) {
            (None, _) => ApiError::forbidden(
                "this changes something and no admin token is configured; set server.admin_token_file and send \
                 its content as `Authorization: Bearer <token>`",
            ),
            (Some(_), Some(_)) if matches(server.read_token.as_ref(), shown) => {
                ApiError::forbidden("server.read_token is for reading only; this needs server.admin_token")
            }
            (Some(_), _) => unauthenticated("server.admin_token"),
        });
    }
    if matches(server.read_token.as_ref(), shown) {
        return Ok(());
    }
    if server.read_token.is_some() || server.admin_token.is_some() {
        return Err(unauthenticated("server.read_token or server.admin_token"));
    }
    if request.uri().path().starts_with(CONTENT) {
        return Err(ApiError::forbidden(
            "this shows what senders sent and no token is configured; set server.read_token_file and send its content \
             as `Authorization: Bearer <token>`",
        ));
    }
    if peer(request).is_some_and(|peer| peer.is_loopback()) && !is_relayed(headers) {
        return Ok(());
    }
    Err(ApiError::forbidden(
        "no token is configured, so only this machine itself is answered; set server.read_token_file (for GET) or \
         server.admin_token_file (for everything) and send its content as `Authorization: Bearer <token>`",
    ))
}

fn unauthenticated(which: &str) -> ApiError {
    ApiError::unauthenticated(format!("send the content of {which} as `Authorization: Bearer <token>`"))
}

/// Whether a request shows that somebody else than a program on this machine stands behind a loopback peer.
fn is_relayed(headers: &HeaderMap) -> bool {
    let host = headers.get(header::HOST).map(|host| host.to_str().unwrap_or("?"));
    let forwarded =
        |name: &str| FORWARDED.contains(&name) || FORWARDED_START.iter().any(|start| name.starts_with(start));
    headers.keys().any(|name| forwarded(name.as_str())) || host.is_some_and(|host| !is_own_name(host))
}

fn is_own_name(host: &str) -> bool {
    if host.parse::<SocketAddr>().is_ok() || host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok() {
        return true;
    }
    host.split(':').next().is_some_and(|name| name.eq_ignore_ascii_case("localhost"))
}

fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.as_bytes().split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"Bearer ").then_some(token.trim_ascii())
}

/// An unreadable or empty secret matches nothing.
fn matches(secret: Option<&Secret>, shown: Option<&[u8]>) -> bool {
    let (Some(secret), Some(shown)) = (secret, shown) else { return false };
    match secret.read() {
        Ok(value) => !value.is_empty() && bool::from(value.as_bytes().ct_eq(shown)),
        Err(error) => {
            if let Some(left_out) = UNREADABLE.pass() {
                tracing::warn!(?secret, %error, left_out,
                    "the token of the API cannot be read; requests that show one are refused");
            }
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

    use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<AtomicUsize>);

    impl<S: tracing::Subscriber> Layer<S> for Lines {
        fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
            self.0.fetch_add(usize::from(event.metadata().target().ends_with("guard")), Relaxed);
        }
    }

    #[test]
    fn a_token_that_cannot_be_read_fills_no_log() {
        let secret = Secret::File("/nowhere/token".into());
        let lines = Lines::default();
        tracing::subscriber::with_default(tracing_subscriber::registry().with(lines.clone()), || {
            for _ in 0..100 {
                assert!(!matches(Some(&secret), Some(b"token")));
            }
        });
        assert!(lines.0.load(Relaxed) <= 1);
    }

    #[test]
    fn the_machine_itself_is_known_by_its_names() {
        for own in [
            "localhost",
            "LOCALHOST:8008",
            "127.0.0.1",
            "127.0.0.1:8008",
            "[::1]",
            "[::1]:8008",
            "192.0.2.1:8008",
        ] {
            assert!(is_own_name(own), "{own}");
        }
        for foreign in
            ["", "evil.example", "evil.example:8008", "localhost.evil.example", "127.0.0.1.evil.example", "?"]
        {
            assert!(!is_own_name(foreign), "{foreign}");
        }
    }
}
