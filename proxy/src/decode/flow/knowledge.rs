//! What an exporter's options say about its records: sampling, names of interfaces and applications, its start.

use std::{borrow::Cow, collections::HashMap};

use super::{
    fields::take,
    template::{Field, SCOPE, Template},
    value::unsigned,
};

/// Most names of a kind that are kept of one observation domain.
const MAX_NAMES: usize = 8192;
/// Most samplers.
const MAX_SAMPLERS: usize = 1024;
/// Longest name in bytes; what is longer is cut.
const MAX_TEXT: usize = 128;

/// What a persisted value is: a kind in the upper byte, a number of 56 bits.
const KEY: u64 = (1 << 56) - 1;
const RATE: u64 = 0;
const STARTED: u64 = 1;
const SAMPLER: u64 = 1 << 56;
const INTERFACE: u64 = 2 << 56;
const APPLICATION: u64 = 3 << 56;

/// Of one observation domain. What was said last holds.
#[derive(Debug, Default)]
pub struct Knowledge {
    /// Sampling of the domain as a whole, one of n.
    rate: Option<u64>,
    samplers: HashMap<u64, u64>,
    interfaces: HashMap<u64, Box<[u8]>>,
    applications: HashMap<u64, Box<[u8]>>,
    /// When the exporter started, Unix ms.
    pub started_ms: Option<u64>,
}

impl Knowledge {
    /// The rate of this sampler, else of the domain.
    #[inline]
    pub fn rate(&self, sampler: Option<u64>) -> Option<u64> {
        let own = sampler.and_then(|sampler| self.samplers.get(&sampler).copied());
        own.or(self.rate)
    }

    /// Whether there are names at all.
    #[inline]
    pub fn has_names(&self) -> bool {
        !self.interfaces.is_empty() || !self.applications.is_empty()
    }

    /// The name of an interface.
    pub fn interface(&self, index: u64) -> Option<&[u8]> {
        self.interfaces.get(&index).map(AsRef::as_ref)
    }

    /// The name of an application.
    pub fn application(&self, id: u64) -> Option<&[u8]> {
        self.applications.get(&id).map(AsRef::as_ref)
    }

    /// Number of names and rates kept.
    pub fn len(&self) -> usize {
        self.interfaces.len() + self.applications.len() + self.samplers.len()
    }

    /// Learns from the options records in `records`, stops at the first that is not whole, and says whether any was news.
    pub fn learn(&mut self, template: &Template, records: &[u8]) -> bool {
        let (mut rest, mut news) = (records, false);
        while template.shortest > 0 && rest.len() >= template.shortest {
            let mut said = Said::default();
            for field in &template.fields {
                let Some(bytes) = take(&mut rest, field.length) else { return news };
                said.note(*field, bytes);
            }
            news |= self.keep(&said);
        }
        news
    }

    /// Everything, as (what it is and of which number, value), for [`Self::restore`].
    pub fn said(&self) -> impl Iterator<Item = (u64, Cow<'_, [u8]>)> {
        let number = |what, value: u64| (what, Cow::from(value.to_be_bytes().to_vec()));
        let rate = self.rate.map(|rate| number(RATE, rate));
        let started = self.started_ms.map(|started| number(STARTED, started));
        let samplers = self.samplers.iter().map(move |(sampler, rate)| number(SAMPLER | sampler, *rate));
        let interfaces = self.interfaces.iter().map(|(index, name)| (INTERFACE | index, Cow::from(&**name)));
        let applications = self.applications.iter().map(|(id, name)| (APPLICATION | id, Cow::from(&**name)));
        rate.into_iter().chain(started).chain(samplers).chain(interfaces).chain(applications)
    }

    /// Takes back what [`Self::said`] gave. What it cannot have given is left out.
    pub fn restore(&mut self, what: u64, value: &[u8]) {
        let number = unsigned(value).filter(|_| value.len() == 8);
        let (kind, key) = (what & !KEY, what & KEY);
        match (kind, number) {
            (0, Some(rate)) if what == RATE => self.rate = Some(rate),
            (0, Some(started)) if what == STARTED => self.started_ms = Some(started),
            (SAMPLER, Some(rate)) => _ = keep(&mut self.samplers, MAX_SAMPLERS, key, rate),
            (INTERFACE, _) => _ = self.keep_name(key, value, false),
            (APPLICATION, _) => _ = self.keep_name(key, value, true),
            _ => {}
        }
    }

    fn keep_name(&mut self, key: u64, value: &[u8], is_application: bool) -> bool {
        let names = if is_application { &mut self.applications } else { &mut self.interfaces };
        name(value).is_some_and(|name| keep(names, MAX_NAMES, key, name.into()))
    }

    /// Whether something of it is news.
    fn keep(&mut self, said: &Said<'_>) -> bool {
        let mut news = false;
        if let Some(rate) = said.rate() {
            news |= match said.sampler {
                Some(sampler) => keep(&mut self.samplers, MAX_SAMPLERS, sampler, rate),
                None => self.rate.replace(rate) != Some(rate),
            };
        }
        if let (Some(index), Some(name)) = (said.interface, said.interface_name) {
            news |= self.keep_name(index, name, false);
        }
        if let (Some(id), Some(name)) = (said.application, said.application_name) {
            news |= self.keep_name(id, name, true);
        }
        if let Some(started) = said.started_ms {
            news |= self.started_ms.replace(started) != Some(started);
        }
        news
    }
}

/// Whether it is news. Numbers beyond 56 bits are nobody's.
fn keep<T: PartialEq>(map: &mut HashMap<u64, T>, most: usize, key: u64, value: T) -> bool {
    let is_known = map.contains_key(&key);
    if key > KEY || (map.len() >= most && !is_known) || (is_known && map.get(&key) == Some(&value)) {
        return false;
    }
    map.insert(key, value);
    true
}

/// One options record.
#[derive(Default)]
struct Said<'a> {
    sampler: Option<u64>,
    /// Elements 34 and 50, one of n.
    interval: Option<u64>,
    /// Elements 305 and 306: so many packets taken, so many left out.
    taken: Option<u64>,
    left_out: Option<u64>,
    /// Elements 309 and 310: so many of so many.
    size: Option<u64>,
    population: Option<u64>,
    interface: Option<u64>,
    interface_name: Option<&'a [u8]>,
    application: Option<u64>,
    application_name: Option<&'a [u8]>,
    started_ms: Option<u64>,
}

impl<'a> Said<'a> {
    fn note(&mut self, field: Field, bytes: &'a [u8]) {
        let number = unsigned(bytes).filter(|_| !bytes.is_empty());
        match (field.pen, field.id) {
            (0, 48 | 302) => self.sampler = number,
            (0, 34 | 50) => self.interval = number.or(self.interval),
            (0, 305) => self.taken = number,
            (0, 306) => self.left_out = number,
            (0, 309) => self.size = number,
            (0, 310) => self.population = number,
            (0, 10) | (SCOPE, 2) => self.interface = number,
            (0, 82) => self.interface_name = name(bytes),
            (0, 83) => self.interface_name = self.interface_name.or(name(bytes)),
            (0, 95) => self.application = number,
            (0, 96) => self.application_name = name(bytes),
            (0, 160) => self.started_ms = number,
            _ => {}
        }
    }

    /// One of n. An interval alone (element 305 without 306) is how several vendors give n.
    fn rate(&self) -> Option<u64> {
        let interval = self.interval.or(match (self.taken, self.left_out) {
            (Some(taken), Some(left_out)) if taken > 0 => Some(taken.saturating_add(left_out) / taken),
            (taken, None) => taken,
            _ => None,
        });
        interval.or(match (self.size, self.population) {
            (Some(size), Some(population)) if size > 0 => Some(population / size),
            _ => None,
        })
    }
}

/// Without the zeros that fill it up; nothing when nothing is left.
fn name(bytes: &[u8]) -> Option<&[u8]> {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len()).min(MAX_TEXT);
    bytes.get(..end).filter(|name| !name.is_empty())
}
