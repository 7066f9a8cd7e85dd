//! Which dataset a request belongs to: by path first, then by the sender's prefix.
//!
//! A path that ends in `/` takes everything below it; an exact path goes before it, a longer one before a shorter.
//! The most specific path decides alone: a sender that it does not admit is not passed on to a wider one.

use std::{collections::HashMap, net::IpAddr, sync::Arc};

use super::{auth::Token, pace::Timeouts};
use crate::{
    config::{HttpSource, Source},
    decode::text::TextRules,
    inputs::{Decoder, InputStats, Route, Table},
};

/// Where the state of the listener is asked; never an input's path.
pub const HEALTH: &str = "/health";

/// A dataset with what is specific to HTTP.
#[derive(Debug)]
pub struct HttpRoute {
    /// The dataset.
    pub route: Arc<Route>,
    /// Its settings.
    pub source: HttpSource,
    /// How lines are written.
    pub rules: TextRules,
    /// What requests must show.
    pub token: Option<Token>,
}

/// Where a request goes.
#[derive(Debug)]
pub enum Found<'a> {
    /// To this dataset.
    Route(&'a HttpRoute),
    /// The path exists, though not for this sender; the dataset that counts it.
    Forbidden(&'a Arc<InputStats>),
    /// Nobody has this path.
    Nowhere,
}

/// The routes of one listener.
#[derive(Debug)]
pub struct Paths {
    exact: HashMap<String, Table>,
    /// Longest first.
    below: Vec<(String, Table)>,
    routes: HashMap<u64, HttpRoute>,
    /// Counts what belongs to nobody.
    first: Arc<InputStats>,
    timeouts: Timeouts,
}

impl Paths {
    /// A table of those of `routes` that are HTTP inputs. Any text is a path; one that no request can have is never
    /// found.
    pub fn new(routes: &[Arc<Route>]) -> Self {
        let mut by_path: HashMap<String, Vec<Arc<Route>>> = HashMap::new();
        let mut known = HashMap::new();
        let mut timeouts: Option<Timeouts> = None;
        for route in routes {
            let (Source::Http(source), Decoder::Text(rules)) = (&route.input.source, &route.decoder) else {
                continue;
            };
            let slash = if source.path.starts_with('/') { "" } else { "/" };
            by_path.entry(format!("{slash}{}", source.path)).or_default().push(Arc::clone(route));
            let token = source.auth.clone().map(Token::new);
            let (route, source, rules) = (Arc::clone(route), source.clone(), rules.clone());
            let own = Timeouts {
                read: source.read_timeout,
                write: source.write_timeout,
                idle: source.idle_timeout,
            };
            timeouts = Some(timeouts.map_or(own, |largest| largest.max(own)));
            known.insert(route.id, HttpRoute { route, source, rules, token });
        }
        let (below, exact): (Vec<_>, HashMap<_, _>) = {
            let (below, exact): (Vec<_>, Vec<_>) = by_path
                .into_iter()
                .map(|(path, routes)| (path, Table::new(routes)))
                .partition(|(path, _)| path.ends_with('/'));
            (below, exact.into_iter().collect())
        };
        let mut paths = Self {
            exact,
            below,
            routes: known,
            first: routes.first().map(|route| Arc::clone(&route.stats)).unwrap_or_default(),
            timeouts: timeouts.unwrap_or_default(),
        };
        paths.below.sort_by_key(|(path, _)| std::cmp::Reverse(path.len()));
        paths
    }

    /// Where a request for `path` from `source` goes.
    pub fn lookup(&self, path: &str, source: IpAddr) -> Found<'_> {
        let below = || self.below.iter().find(|(prefix, _)| path.starts_with(prefix)).map(|(_, table)| table);
        let Some(table) = self.exact.get(path).or_else(below) else { return Found::Nowhere };
        match table.lookup(source) {
            Some(route) => self.routes.get(&route.id).map_or(Found::Nowhere, Found::Route),
            None => Found::Forbidden(table.routes().first().map_or(&self.first, |route| &route.stats)),
        }
    }

    /// Whether any path takes what this sender sends.
    pub fn admits(&self, source: IpAddr) -> bool {
        let below = self.below.iter().map(|(_, table)| table);
        self.exact.values().chain(below).any(|table| table.lookup(source).is_some())
    }

    /// All datasets.
    pub fn routes(&self) -> impl Iterator<Item = &HttpRoute> {
        self.routes.values()
    }

    /// Counts what belongs to no dataset.
    pub fn first(&self) -> &Arc<InputStats> {
        &self.first
    }

    /// The largest of all datasets.
    pub fn timeouts(&self) -> Timeouts {
        self.timeouts
    }
}
