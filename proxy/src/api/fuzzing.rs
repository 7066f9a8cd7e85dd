//! What requests to the API say: see [`crate::fuzzing`].
#![allow(missing_docs, clippy::unwrap_used, clippy::missing_panics_doc)]

use std::sync::LazyLock;

use axum::{
    body::Body,
    extract::Query,
    http::{Method, Request, Uri, header},
};
use serde::de::DeserializeOwned;

use super::{
    dlq::{self, ListQuery},
    guard::{self, Peer},
    status::{self, Wait},
};
use crate::{
    config::{self, Server},
    fuzzing::choice,
    ids::DatasetKey,
    inputs::senders::SenderQuery,
    spool::Stamp,
};

const PAGE: std::ops::RangeInclusive<usize> = 1..=1000;

/// Tokens for reading and for everything.
static SERVER: LazyLock<Server> = LazyLock::new(|| {
    let text =
        "receiver: {base_url: 'http://localhost'}\nserver: {read_token: reading, admin_token: everything}";
    config::load("fuzz.yaml", text, []).config.unwrap().server
});

/// Any text as a query, a body, and the head of a request: bounds hold, what it names is typed, and nobody gets in
/// without a token.
pub fn api(data: &[u8]) {
    let (choice, data) = choice(data);
    let text = String::from_utf8_lossy(data);
    match choice % 5 {
        0 => {
            if let Some((wanted, after, limit)) =
                query::<ListQuery>(&text).and_then(|query| query.read().ok())
            {
                assert!(PAGE.contains(&limit));
                assert!(!wanted.suffix().contains(['/', '.', '\n']), "{:?}", wanted.suffix());
                assert!(after.is_none_or(|(key, _)| !key.to_string().contains("..")));
            }
        }
        1 => {
            if let Some(query) = query::<SenderQuery>(&text) {
                assert!(PAGE.contains(&query.page()));
            }
        }
        2 => {
            if let Some(wait) = query::<Wait>(&text).and_then(|query| query.read().ok()) {
                assert!(wait <= status::MAX_WAIT);
            }
        }
        3 => {
            if let Ok((wanted, Some(only))) = dlq::retry::read(data) {
                assert!(!wanted.suffix().contains(['/', '.', '\n']));
                assert!(only.iter().all(|(key, _)| !key.to_string().contains("..")));
            }
        }
        _ => head(choice, &text),
    }
}

fn query<T: DeserializeOwned>(text: &str) -> Option<T> {
    let uri: Uri = format!("/api/v1/x?{text}").parse().ok()?;
    Query::try_from_uri(&uri).ok().map(|Query(query)| query)
}

/// Path, `Authorization` and `Host` in a line each.
fn head(choice: usize, text: &str) {
    let mut parts = text.splitn(3, '\n');
    let mut part = || parts.next().unwrap_or_default();
    let (path, token, host) = (part(), part(), part());
    let method = [Method::GET, Method::POST, Method::DELETE, Method::HEAD][choice / 5 % 4].clone();
    let request = Request::builder()
        .method(&method)
        .uri(format!("/{path}"))
        .header(header::AUTHORIZATION, token)
        .header(header::HOST, host)
        .extension(Peer(([127, 0, 0, 1], 1).into()))
        .body(Body::empty());
    let Ok(request) = request else { return };
    if guard::admit(&SERVER, &request).is_ok() {
        let reads = matches!(method, Method::GET | Method::HEAD);
        let token = token.trim();
        assert!(token.ends_with("everything") || (reads && token.ends_with("reading")), "{method} {token:?}");
    }
}

/// The name of a batch as a request has it.
pub fn batch(text: &str) -> Option<(DatasetKey, Stamp)> {
    dlq::parse_id(text).ok()
}
