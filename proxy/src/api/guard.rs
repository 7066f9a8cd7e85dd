//! Who may do what: see the table in [`super`].
//!
//! Loopback without a token is for a person on the machine. It does not hold for what merely comes through the
//! machine: a request forwarded by a proxy, or one that a web page made the browser send to a name of its own.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use axum::{
    extract::{Request, State},
    http::{HeaderMap, Method, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use subtle::ConstantTimeEq;

use super::{ApiError, ApiState};
use crate::config::{Secret, Server};

/// Headers that say somebody else stands behind the peer.
const FORWARDED: [&str; 3] = ["forwarded", "x-forwarded-for", "x-real-ip"];
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
    let verdict = admit(&running.config.server, request.method(), request.headers(), peer(&request));
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

fn admit(
    server: &Server,
    method: &Method,
    headers: &HeaderMap,
    peer: Option<IpAddr>,
) -> Result<(), ApiError> {
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
    if peer.is_some_and(|peer| peer.is_loopback()) && !is_relayed(headers) {
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

/// Whether somebody else than a program on this machine may stand behind a loopback peer.
fn is_relayed(headers: &HeaderMap) -> bool {
    let host = headers.get(header::HOST).map(|host| host.to_str().unwrap_or("?"));
    FORWARDED.iter().any(|name| headers.contains_key(*name)) || host.is_some_and(|host| !is_own_name(host))
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
            tracing::warn!(?secret, %error, "the token of the API cannot be read; requests that show one are refused");
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
