//! What is remembered of a Proxy between two passes. All of it can be lost: the next pass finds out again, at the price of
//! a few requests that change nothing.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use bytefreezer_crds::{ProxyDatasetStatus, ProxyStatus};
use jiff::Timestamp;
use tokio::time::Instant;

use crate::{
    api_secret::Access, apply::Applied, assets::Shelf, convert::Rendered, growth::Growth, key::ObjectKey,
    status::Written,
};

/// First pause after a failure, and longest.
const PAUSE: (Duration, Duration) = (Duration::from_millis(500), Duration::from_mins(1));

/// What is remembered of a Proxy.
#[derive(Debug, Default)]
pub struct Memory {
    /// UID of the Proxy that the rest is about.
    uid: Option<String>,
    /// What was applied.
    pub applied: Applied,
    /// What the assets' Secrets hold; `None` until they were read.
    pub shelf: Option<Shelf>,
    /// What the volume claims were asked for.
    pub growth: Growth,
    /// How its pods are asked, and when that was last looked at.
    pub access: Option<(Access, Instant)>,
    /// The document, judged.
    pub rendered: Option<Arc<Rendered>>,
    /// Its hash, and since when it is wanted.
    pub document: Since,
    /// Each dataset's entry in it.
    pub entries: HashMap<ObjectKey, Since>,
    /// The Proxy's status.
    pub proxy: Written<ProxyStatus>,
    /// The datasets' statuses.
    pub datasets: Written<ProxyDatasetStatus>,
    failures: u32,
}

/// A hash, and since when it is wanted.
#[derive(Clone, Debug, Default)]
pub struct Since(Option<(String, Timestamp)>);

impl Since {
    /// The hash is wanted now.
    pub fn note(&mut self, hash: &str, now: Timestamp) {
        if self.0.as_ref().is_none_or(|(known, _)| known != hash) {
            self.0 = Some((hash.to_owned(), now));
        }
    }

    /// Hash and time.
    pub fn get(&self) -> Option<(&str, Timestamp)> {
        self.0.as_ref().map(|(hash, since)| (hash.as_str(), *since))
    }
}

impl Memory {
    /// The Proxy of this name has this UID now. What is remembered of another one is forgotten.
    pub fn is_about(&mut self, uid: Option<&str>) {
        if self.uid.as_deref() != uid {
            *self = Self { uid: uid.map(str::to_owned), failures: self.failures, ..Self::default() };
        }
    }

    /// The document and its entries are wanted now.
    pub fn wants(&mut self, document: &str, entries: &BTreeMap<ObjectKey, String>, now: Timestamp) {
        self.document.note(document, now);
        self.entries.retain(|key, _| entries.contains_key(key));
        for (key, hash) in entries {
            self.entries.entry(key.clone()).or_default().note(hash, now);
        }
    }

    /// A pass went well.
    pub fn succeeded(&mut self) {
        self.failures = 0;
    }

    /// A pass failed: how long until the next.
    pub fn failed(&mut self) -> Duration {
        let (first, longest) = PAUSE;
        let pause = first.saturating_mul(1 << self.failures.min(10)).min(longest);
        self.failures += 1;
        crate::jitter::jitter(pause)
    }
}
