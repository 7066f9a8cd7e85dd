//! All exporters of an input, and the way of a datagram.
//!
//! ```text
//! datagram -> header -> exporter (address, port if it counts) -> domain (version, id) -> sets -> lines
//! ```
//! An exporter costs memory once a header of its own could be read. Templates and names are counted in fields, about
//! 100 bytes each; beyond a limit the least recently needed go, an eighth at a time, so that evicting costs little per
//! datagram whatever is sent.

use std::{collections::HashMap, net::IpAddr, sync::Arc};

use super::{
    domain::Work,
    exporter::Exporter,
    lines::Frame,
    message,
    outcome::Outcome,
    persist::{Content, Key},
    report::{Report, Summary},
    rules::Rules,
    sequence::Tally,
    waiting::{Overflow, PATIENCE_NS, Place},
};
use crate::decode::ReceiveTime;

/// How often what waits is looked through for what has waited too long, ns.
const LOOK_NS: u64 = 60_000_000_000;
/// Bytes of lines after which the rest of what waited is left for [`Exporters::resume`].
const ENOUGH: usize = 256 * 1024;

/// Who sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Source {
    /// Its address.
    pub address: IpAddr,
    /// Its port where exporters behind one address are told apart by it, or where it is a TCP connection's; else 0.
    pub port: u16,
}

/// How datagrams come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// Templates cannot be withdrawn.
    Udp,
    /// Templates are those of the connection: see [`Exporters::forget`].
    Tcp,
}

/// See the module.
#[derive(Debug)]
pub struct Exporters {
    rules: Rules,
    all: HashMap<Source, Exporter>,
    /// Fields of all.
    cost: usize,
    /// Bytes that may still wait; below zero after the limit was lowered.
    room: isize,
    /// Where sets wait beyond that.
    overflow: Option<Arc<dyn Overflow>>,
    /// Of exporters that were forgotten.
    gone: Tally,
    looked_ns: u64,
    generation: u64,
    frame: Frame,
}

impl Exporters {
    /// None yet.
    pub fn new(rules: Rules) -> Self {
        let room = rules.limits.waiting as isize;
        Self {
            rules,
            all: HashMap::new(),
            cost: 0,
            room,
            overflow: None,
            gone: Tally::default(),
            looked_ns: 0,
            generation: 0,
            frame: Frame::default(),
        }
    }

    /// Lets sets that have no room in memory wait there.
    #[must_use]
    pub fn overflowing(mut self, overflow: Arc<dyn Overflow>) -> Self {
        self.overflow = Some(overflow);
        self
    }

    /// Goes on by other rules; what is known stays.
    pub fn set_rules(&mut self, rules: Rules) {
        let style = rules.style();
        if style != self.rules.style() {
            let domains = self.all.values_mut().flat_map(|exporter| exporter.domains.values_mut());
            domains.for_each(|domain| domain.templates.restyle(style));
        }
        self.room += rules.limits.waiting as isize - self.rules.limits.waiting as isize;
        self.rules = rules;
    }

    /// Appends a line per record of the datagram, and of those that waited for a template it brings.
    pub fn push(
        &mut self,
        datagram: &[u8],
        source: Source,
        transport: Transport,
        now: &ReceiveTime,
        out: &mut Vec<u8>,
    ) -> Outcome {
        let (header, rest) = match message::split(datagram) {
            Ok(parts) => parts,
            Err(fault) => {
                let mut outcome = Outcome::default();
                outcome.fault(fault);
                return outcome;
            }
        };
        let source = Source { address: source.address.to_canonical(), ..source };
        self.work(source, transport, now, out, |exporter, work| {
            exporter.totals.datagrams += 1;
            exporter.push(&header, rest, work);
        })
    }

    /// Appends more lines of sets that had waited; to be called at `now` as long as an outcome says that there are more.
    pub fn resume(&mut self, source: Source, now: &ReceiveTime, out: &mut Vec<u8>) -> Outcome {
        let source = Source { address: source.address.to_canonical(), ..source };
        let Some(exporter) = self.all.get(&source) else { return Outcome::default() };
        let transport = if exporter.is_session { Transport::Tcp } else { Transport::Udp };
        self.work(source, transport, now, out, |_, _| {})
    }

    fn work(
        &mut self,
        source: Source,
        transport: Transport,
        now: &ReceiveTime,
        out: &mut Vec<u8>,
        act: impl FnOnce(&mut Exporter, &mut Work<'_>),
    ) -> Outcome {
        let mut outcome = Outcome::default();
        let is_session = transport == Transport::Tcp;
        let exporter = self.all.entry(source).or_default();
        let work = &mut Work {
            source,
            now,
            style: self.rules.style(),
            options: self.rules.options(),
            withdrawals: is_session,
            frame: &mut self.frame,
            room: &mut self.room,
            overflow: self.overflow.as_deref().filter(|_| !is_session),
            full: out.len() + ENOUGH,
            out,
            outcome: &mut outcome,
            ready: false,
        };
        exporter.is_session = is_session;
        act(exporter, work);
        exporter.push_ready(work);
        exporter.totals.add(&outcome, now.unix_ns());
        exporter.rate.add(u64::from(outcome.lines), now.unix_ns());
        self.keep_within_limits(source, &mut outcome, now.unix_ns());
        outcome
    }

    /// Drops an exporter with all it holds, the end of a TCP connection; returns how many sets are lost for want of a
    /// template.
    pub fn forget(&mut self, source: &Source) -> usize {
        let Some(exporter) = self.all.remove(source) else { return 0 };
        let (sets, bytes) = exporter.waiting();
        self.cost -= exporter.cost;
        self.room += bytes as isize;
        self.gone += exporter.sequence();
        sets
    }

    /// Hands what waits in memory to the overflow, the end of the process; returns how many sets are lost.
    pub fn spill(&mut self) -> usize {
        let mut lost = 0;
        for (source, exporter) in &mut self.all {
            for ((version, domain), state) in &mut exporter.domains {
                let waiting = std::mem::take(&mut state.waiting);
                self.room += waiting.size().1 as isize;
                for (template, set) in waiting.iter() {
                    let place = Place { source: *source, version: *version, domain: *domain, template };
                    let overflow = self.overflow.as_deref().filter(|_| !exporter.is_session);
                    lost += usize::from(!overflow.is_some_and(|overflow| overflow.keep(&place, set)));
                }
            }
        }
        lost
    }

    /// Says that sets wait in the overflow since before the start. Where their template is known already, the exporter's
    /// next datagram brings them.
    pub fn recall(&mut self, place: &Place) {
        if let Some(exporter) = self.all.get_mut(&place.source) {
            exporter.recall(place);
        }
    }

    /// Counts sets of an exporter that the overflow gave up.
    pub fn note_lost(&mut self, source: &Source, sets: u64) {
        if let Some(exporter) = self.all.get_mut(source) {
            exporter.totals.unknown += sets;
        }
    }

    /// Appends what exporters have taught (see `persist`); sessions aside.
    pub fn save(&self, out: &mut Vec<u8>) {
        for (source, exporter) in self.all.iter().filter(|(_, exporter)| !exporter.is_session) {
            for ((version, id), domain) in &exporter.domains {
                let key = Key { source: *source, version: *version, domain: *id, used_ns: domain.heard_ns };
                domain.save(&key, out);
            }
        }
    }

    /// Takes back an entry of what was saved.
    pub fn restore(&mut self, key: &Key, content: Content<'_>) {
        if !matches!(key.version, 9 | 10) {
            return;
        }
        let exporter = self.all.entry(key.source).or_default();
        exporter.totals.last_ns = exporter.totals.last_ns.max(key.used_ns);
        let domain = exporter.domains.entry((key.version, key.domain)).or_default();
        domain.heard_ns = domain.heard_ns.max(key.used_ns);
        domain.restore(key.used_ns, content, self.rules.style());
        self.keep_within_limits(key.source, &mut Outcome { grown: true, ..Outcome::default() }, 0);
    }

    /// Goes up whenever there is something new to save.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Every exporter, in order of its address.
    pub fn reports(&self) -> Vec<Report> {
        let overflow = self.overflow.as_deref();
        let mut all: Vec<_> =
            self.all.iter().map(|(source, exporter)| exporter.report(*source, overflow)).collect();
        all.sort_unstable_by_key(|report| report.source);
        all
    }

    /// All together.
    pub fn summary(&self) -> Summary {
        let mut summary = Summary { exporters: self.all.len(), sequence: self.gone, ..Summary::default() };
        for exporter in self.all.values() {
            summary.templates += exporter.templates();
            summary.waiting += exporter.waiting().0;
            summary.sequence += exporter.sequence();
        }
        summary
    }

    /// Number of exporters.
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Sets that are lost by it are added to those of `outcome`.
    fn keep_within_limits(&mut self, source: Source, outcome: &mut Outcome, now_ns: u64) {
        let limits = self.rules.limits;
        self.generation += u64::from(outcome.grown);
        if let Some(exporter) = self.all.get_mut(&source)
            && (outcome.grown || exporter.domains.len() > limits.domains)
        {
            let before = exporter.cost;
            let (sets, bytes) = exporter.shrink(limits);
            outcome.unknown += sets as u32;
            self.room += bytes as isize;
            self.cost = self.cost - before + exporter.cost;
        }
        if self.cost > limits.fields || self.all.len() > limits.exporters {
            outcome.unknown += self.evict(source) as u32;
        }
        if now_ns.saturating_sub(self.looked_ns) >= LOOK_NS {
            self.looked_ns = now_ns;
            outcome.unknown += self.expire(now_ns.saturating_sub(PATIENCE_NS)) as u32;
        }
    }

    /// Forgets exporters not heard for longest until an eighth of the limits is free again; `last` stays. Those of
    /// connections go after all others, because they send their templates once. Returns how many sets are lost.
    fn evict(&mut self, last: Source) -> usize {
        let (limits, mut sets) = (self.rules.limits, 0);
        let mut by_age: Vec<_> =
            self.all.iter().map(|(source, one)| (one.is_session, one.totals.last_ns, *source)).collect();
        by_age.sort_unstable();
        for (_, _, source) in by_age {
            let fits = self.cost <= limits.fields - limits.fields / 8
                && self.all.len() <= limits.exporters - limits.exporters / 8;
            if fits {
                break;
            }
            if source != last {
                sets += self.forget(&source);
            }
        }
        sets
    }

    /// Gives up what has waited since before `since_ns`; returns how many sets.
    fn expire(&mut self, since_ns: u64) -> usize {
        let mut lost = 0;
        for exporter in self.all.values_mut() {
            for domain in exporter.domains.values_mut().filter(|domain| !domain.waiting.is_empty()) {
                let (sets, bytes) = domain.waiting.expire(since_ns);
                exporter.totals.unknown += sets as u64;
                self.room += bytes as isize;
                lost += sets;
            }
        }
        lost
    }
}
