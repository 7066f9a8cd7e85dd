//! What changed between two configurations, by the names of the file.

use std::{collections::BTreeMap, fmt, net::SocketAddr, path::PathBuf};

use super::model::{Config, Input, Server, Spooling};
use crate::ids::DatasetKey;

/// The difference of two configurations.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Difference {
    /// Datasets that are new.
    pub added: Vec<DatasetKey>,
    /// Datasets that are gone.
    pub removed: Vec<DatasetKey>,
    /// Datasets that are set differently.
    pub changed: Vec<DatasetKey>,
    /// Tables of the file that differ and take effect at once.
    pub sections: Vec<&'static str>,
    /// Keys that differ and take effect at the next start.
    pub restart: Vec<&'static str>,
    /// Changes of who reaches the API and how, in words.
    pub exposure: Vec<String>,
}

impl Difference {
    /// From `old` to `new`.
    pub fn between(old: &Config, new: &Config) -> Self {
        let by_key = |config: &'_ Config| -> BTreeMap<DatasetKey, Input> {
            config.inputs.iter().map(|input| (input.key.clone(), input.clone())).collect()
        };
        let (before, after) = (by_key(old), by_key(new));
        let mut difference = Self {
            added: after.keys().filter(|key| !before.contains_key(key)).cloned().collect(),
            removed: before.keys().filter(|key| !after.contains_key(key)).cloned().collect(),
            changed: after
                .iter()
                .filter(|(key, input)| before.get(key).is_some_and(|was| was != *input))
                .map(|(key, _)| key.clone())
                .collect(),
            ..Self::default()
        };
        for (name, differs) in [
            ("logging", old.logging.level != new.logging.level),
            ("server", old.server != new.server),
            ("receiver", old.receiver != new.receiver),
            ("bearer_token, tenants", old.tokens != new.tokens),
            ("batching", old.batching != new.batching),
            ("spooling", running_part(&old.spooling) != running_part(&new.spooling)),
        ] {
            if differs {
                difference.sections.push(name);
            }
        }
        difference.restart = restart_keys(old, new);
        difference.exposure = exposure(&old.server, &new.server);
        difference
    }

    /// Whether nothing differs.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Settings of the spool that change while it runs.
fn running_part(spooling: &Spooling) -> Spooling {
    Spooling { enabled: true, directory: PathBuf::new(), ..spooling.clone() }
}

/// Keys that are read once, at start.
fn restart_keys(old: &Config, new: &Config) -> Vec<&'static str> {
    [
        ("app.name", old.app_name != new.app_name),
        ("logging.encoding", old.logging.json != new.logging.json),
        ("spooling.enabled", old.spooling.enabled != new.spooling.enabled),
        ("spooling.directory", old.spooling.directory != new.spooling.directory),
        ("limits.memory_bytes", old.limits.memory_bytes != new.limits.memory_bytes),
        ("limits.max_senders", old.limits.max_senders != new.limits.max_senders),
        ("limits.receive_threads", old.limits.receive_threads != new.limits.receive_threads),
    ]
    .into_iter()
    .filter_map(|(name, differs)| differs.then_some(name))
    .collect()
}

/// What people must not be surprised by, such as a file that has lost its `server` table.
fn exposure(old: &Server, new: &Server) -> Vec<String> {
    let mut changes = Vec::new();
    let address = |server: &Server| SocketAddr::new(server.api_host, server.api_port);
    if address(old) != address(new) {
        changes.push(format!("the API moves from {} to {}", address(old), address(new)));
    }
    if old.health_port != new.health_port {
        let port = |port: Option<u16>| port.map_or("none".to_owned(), |port| port.to_string());
        changes.push(format!(
            "the health port changes from {} to {}",
            port(old.health_port),
            port(new.health_port)
        ));
    }
    let has_token = |server: &Server| server.read_token.is_some() || server.admin_token.is_some();
    match (has_token(old), has_token(new)) {
        (true, false) => {
            changes.push("the API asks for no token any more and answers this machine only".to_owned());
        }
        (false, true) => changes.push("the API asks for a token from now on".to_owned()),
        _ => {}
    }
    match (&old.tls, &new.tls) {
        (Some(_), None) => changes.push("the API is served without TLS from now on".to_owned()),
        (None, Some(_)) => changes.push("the API is served over TLS from now on".to_owned()),
        (Some(old), Some(new)) if old.client_ca_file.is_some() && new.client_ca_file.is_none() => {
            changes.push("the API asks for no client certificates any more".to_owned());
        }
        _ => {}
    }
    changes
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return f.write_str("nothing changed");
        }
        let counts =
            [("added", self.added.len()), ("removed", self.removed.len()), ("changed", self.changed.len())];
        let mut parts: Vec<String> = counts
            .into_iter()
            .filter(|(_, count)| *count > 0)
            .map(|(word, count)| format!("{count} {} {word}", if count == 1 { "input" } else { "inputs" }))
            .collect();
        parts.extend(self.sections.iter().map(|section| format!("{section} changed")));
        if !self.restart.is_empty() {
            parts.push(format!("{} after a restart", self.restart.join(", ")));
        }
        f.write_str(&parts.join("; "))
    }
}
