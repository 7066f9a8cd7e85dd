//! The upload token of a tenant, looked up at send time.
//!
//! A tenant with a token of its own is never served with the global one, also when its own cannot be read or was
//! taken out of the configuration while the process runs. Where tenants have tokens and there is no global one, a tenant
//! of no input, such as one that an earlier owner of the spool left batches of, is not served without a token.

use std::{
    collections::{HashMap, HashSet},
    path::PathBuf,
    time::SystemTime,
};

use parking_lot::Mutex;
use reqwest::header::HeaderValue;

use crate::{
    config::{Secret, Tokens},
    ids::TenantId,
};

/// The tokens as configured now, and those read from files.
#[derive(Debug)]
pub struct TokenStore(Mutex<Inner>);

#[derive(Debug)]
struct Inner {
    tokens: Tokens,
    had_own: HashSet<TenantId>,
    read: HashMap<PathBuf, (SystemTime, u64, HeaderValue)>,
}

impl TokenStore {
    /// Tokens of a first configuration.
    pub fn new(tokens: Tokens) -> Self {
        let had_own = tokens.tenants.keys().cloned().collect();
        Self(Mutex::new(Inner { tokens, had_own, read: HashMap::new() }))
    }

    /// Tokens of the next one. Whether they are others.
    pub fn configure(&self, tokens: &Tokens) -> bool {
        let mut inner = self.0.lock();
        let others = (&inner.tokens.global, &inner.tokens.tenants) != (&tokens.global, &tokens.tenants);
        inner.had_own.extend(tokens.tenants.keys().cloned());
        inner.read.clear();
        inner.tokens = tokens.clone();
        others
    }

    /// The `Authorization` header for a tenant, `None` when uploads carry none. Reads a file when it changed.
    pub fn header(&self, tenant: &TenantId) -> Result<Option<HeaderValue>, String> {
        let mut inner = self.0.lock();
        let secret = match inner.tokens.tenants.get(tenant) {
            Some(own) => own.clone(),
            None if inner.had_own.contains(tenant) => {
                return Err(format!(
                    "the token of tenant {tenant} is no longer configured; set tenants.{tenant}.bearer_token_file, \
                     or restart the proxy to send its batches with the global token"
                ));
            }
            None => match inner.tokens.global.clone() {
                Some(global) => global,
                None if inner.tokens.tenants.is_empty() || inner.tokens.known.contains(tenant) => {
                    return Ok(None);
                }
                None => {
                    return Err(format!(
                        "tenant {tenant} has neither an input nor a token while others have one; set tenants.{tenant}.bearer_token_file, or \
                         bearer_token_file for every tenant without one of its own"
                    ));
                }
            },
        };
        inner.read(&secret).map(Some)
    }
}

impl Inner {
    fn read(&mut self, secret: &Secret) -> Result<HeaderValue, String> {
        let Secret::File(path) = secret else {
            return secret.read().map_err(|error| error.to_string()).and_then(|token| bearer(&token));
        };
        let unreadable =
            |error: std::io::Error| format!("the token file {} cannot be read: {error}", path.display());
        let meta = std::fs::metadata(path).map_err(unreadable)?;
        let state = (meta.modified().map_err(unreadable)?, meta.len());
        if let Some((modified, len, header)) = self.read.get(path)
            && (*modified, *len) == state
        {
            return Ok(header.clone());
        }
        let header = bearer(&secret.read().map_err(unreadable)?)
            .map_err(|why| format!("the token file {}: {why}", path.display()))?;
        self.read.insert(path.clone(), (state.0, state.1, header.clone()));
        Ok(header)
    }
}

fn bearer(token: &str) -> Result<HeaderValue, String> {
    if token.is_empty() {
        return Err("the token is empty".to_owned());
    }
    let mut header = HeaderValue::try_from(format!("Bearer {token}"))
        .map_err(|_| "the token has characters that no HTTP header can carry".to_owned())?;
    header.set_sensitive(true);
    Ok(header)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn inline(value: &str) -> Secret {
        Secret::Inline(value.to_owned())
    }

    #[test]
    fn h14_h15_a_tenant_has_its_own_token_and_never_falls_back_to_the_global_one() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("token");
        let (acme, other): (TenantId, TenantId) = ("acme".parse().unwrap(), "other".parse().unwrap());
        let mut tokens = Tokens { global: Some(inline("everybody")), ..Tokens::default() };
        tokens.tenants.insert(acme.clone(), Secret::File(file.clone()));
        let store = TokenStore::new(tokens.clone());
        assert_eq!(store.header(&other).unwrap().unwrap(), "Bearer everybody");
        assert!(store.header(&acme).is_err(), "no file yet");
        std::fs::write(&file, "first\n").unwrap();
        assert_eq!(store.header(&acme).unwrap().unwrap(), "Bearer first");
        std::fs::write(&file, "other\n").unwrap();
        let later = SystemTime::now() + Duration::from_secs(5);
        std::fs::File::options().write(true).open(&file).unwrap().set_modified(later).unwrap();
        assert_eq!(store.header(&acme).unwrap().unwrap(), "Bearer other");
        std::fs::write(&file, "\n").unwrap();
        assert!(store.header(&acme).unwrap_err().contains("empty"));
        store.configure(&Tokens { global: None, ..tokens.clone() });
        assert!(
            store.header(&other).unwrap_err().contains("tenants.other.bearer_token_file"),
            "a stranger's batch"
        );
        store.configure(&Tokens { global: None, known: [other.clone()].into(), ..tokens.clone() });
        assert_eq!(store.header(&other).unwrap(), None, "an input's");
        tokens.tenants.clear();
        store.configure(&tokens);
        assert!(store.header(&acme).unwrap_err().contains("no longer configured"));
        store.configure(&Tokens::default());
        assert_eq!(store.header(&other).unwrap(), None);
    }

    #[test]
    fn a_token_never_shows_in_debug_output() {
        let store = TokenStore::new(Tokens { global: Some(inline("hush")), ..Tokens::default() });
        let header = store.header(&"acme".parse().unwrap()).unwrap();
        assert!(!format!("{store:?} {header:?}").contains("hush"));
    }
}
