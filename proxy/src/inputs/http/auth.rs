//! The token of an input: `Authorization: Bearer <token>`.
//!
//! A token file is read again when the last look is [`CHECK_EVERY`] ago. An empty or unreadable one admits nobody:
//! a mistake of the server's side never opens an input.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use hyper::{HeaderMap, header::AUTHORIZATION};
use parking_lot::Mutex;
use subtle::ConstantTimeEq;
use tracing::warn;

use crate::{config::Secret, throttle::Throttle};

/// How often a token file is read, at most.
const CHECK_EVERY: Duration = Duration::from_secs(1);

/// Why a request is not admitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Denied {
    /// No token or another one.
    Unauthorized,
    /// The server has none to compare with.
    NoToken,
}

/// The token that requests must show. Never printed.
pub struct Token {
    secret: Secret,
    known: Mutex<Known>,
    log: Throttle,
}

struct Known {
    value: Option<Arc<str>>,
    read: Option<Instant>,
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Token").field(&self.secret).finish()
    }
}

impl Token {
    /// From the configuration; a file is read at the first request.
    pub fn new(secret: Secret) -> Self {
        let known = Mutex::new(Known { value: None, read: None });
        Self { secret, known, log: Throttle::new(Duration::from_mins(1)) }
    }

    /// Whether the request shows the token. Takes the same time for every wrong one of the right length.
    pub fn check(&self, headers: &HeaderMap) -> Result<(), Denied> {
        let expected = self.value().ok_or(Denied::NoToken)?;
        let shown = headers.get(AUTHORIZATION).and_then(|value| bearer(value.as_bytes()));
        let equal = shown.is_some_and(|shown| bool::from(shown.ct_eq(expected.as_bytes())));
        if equal { Ok(()) } else { Err(Denied::Unauthorized) }
    }

    fn value(&self) -> Option<Arc<str>> {
        let mut known = self.known.lock();
        let current = match (&self.secret, known.read) {
            (_, None) => false,
            (Secret::Inline(_), Some(_)) => true,
            (Secret::File(_), Some(read)) => read.elapsed() < CHECK_EVERY,
        };
        if !current {
            known.value = self.read();
            known.read = Some(Instant::now());
        }
        known.value.clone()
    }

    fn read(&self) -> Option<Arc<str>> {
        let problem = match self.secret.read() {
            Ok(value) if !value.is_empty() => return Some(value.into()),
            Ok(_) => "it is empty".to_owned(),
            Err(error) => error.to_string(),
        };
        if self.log.pass().is_some() {
            warn!(token = ?self.secret, problem, "no token to compare with; every request is answered 503");
        }
        None
    }

    /// Reads the file at the next request.
    #[cfg(test)]
    pub(super) fn expire(&self) {
        self.known.lock().read = None;
    }
}

fn bearer(header: &[u8]) -> Option<&[u8]> {
    let (scheme, rest) = header.split_at_checked(b"Bearer ".len())?;
    scheme.eq_ignore_ascii_case(b"Bearer ").then_some(rest.trim_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(value: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, value.parse().unwrap());
        headers
    }

    #[test]
    fn w30_only_the_whole_token_is_admitted() {
        let token = Token::new(Secret::Inline("secret".to_owned()));
        for good in ["Bearer secret", "bearer secret", "BEARER  secret "] {
            assert_eq!(token.check(&headers(good)), Ok(()), "{good}");
        }
        for bad in [
            "",
            "Bearer",
            "Bearer ",
            "Bearer secre",
            "Bearer secrets",
            "Basic secret",
            "secret",
            "Bearersecret",
        ] {
            assert_eq!(token.check(&headers(bad)), Err(Denied::Unauthorized), "{bad}");
        }
        assert_eq!(token.check(&HeaderMap::new()), Err(Denied::Unauthorized));
        assert!(!format!("{token:?}").contains("secret"));
    }

    #[test]
    fn w30_an_empty_or_missing_token_admits_nobody_and_a_new_one_needs_no_restart() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        let token = Token::new(Secret::File(path.clone()));
        assert_eq!(token.check(&headers("Bearer ")), Err(Denied::NoToken));
        for (text, shown, expected) in [
            ("\n", "Bearer ", Err(Denied::NoToken)),
            ("one\n", "Bearer one", Ok(())),
            ("two\n", "Bearer one", Err(Denied::Unauthorized)),
            ("two\n", "Bearer two", Ok(())),
        ] {
            std::fs::write(&path, text).unwrap();
            token.expire();
            assert_eq!(token.check(&headers(shown)), expected, "{text:?}");
        }
        assert_eq!(
            Token::new(Secret::Inline(String::new())).check(&headers("Bearer ")),
            Err(Denied::NoToken)
        );
    }
}
