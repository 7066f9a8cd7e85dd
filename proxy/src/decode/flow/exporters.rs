//! All exporters of an input, and the way of a datagram.
//!
//! ```text
//! datagram -> header -> exporter (address, port if it counts) -> domain (version, id) -> sets -> lines
//! ```
//! An exporter costs memory once a header of its own could be read. Templates and names are counted in fields, about
//! 100 bytes each; beyond a limit the least recently needed go, an eighth at a time, so that evicting costs little per
//! datagram whatever is sent.

use std::{collections::HashMap, net::IpAddr};

use super::{
    domain::{Domain, Work},
    lines::Frame,
    message::{self, Fault, Header},
    outcome::Outcome,
    persist::{Content, Key},
    rules::{Limits, Rules},
    sequence::Tally,
    waiting::PATIENCE_NS,
};
use crate::decode::ReceiveTime;

/// How often what waits is looked through for what has waited too long, ns.
const LOOK_NS: u64 = 60_000_000_000;

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

/// One exporter.
#[derive(Debug, Default)]
struct Exporter {
    /// Whether it ends with its connection.
    is_session: bool,
    domains: HashMap<(u16, u32), Domain>,
    cost: usize,
    totals: Totals,
}

/// What an exporter sent since it was first heard.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// When it was first heard, Unix ns.
    pub first_ns: u64,
    /// When it was last heard, Unix ns.
    pub last_ns: u64,
    /// Datagrams whose header could be read.
    pub datagrams: u64,
    /// Lines.
    pub records: u64,
    /// Options records.
    pub options: u64,
    /// Sets that had to wait for their template.
    pub waited: u64,
    /// Sets lost for want of a template.
    pub unknown: u64,
    /// Parts of datagrams that were refused.
    pub faults: u64,
}

/// An exporter as the API lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Who.
    pub source: Source,
    /// What it sent.
    pub totals: Totals,
    /// Observation domains.
    pub domains: usize,
    /// Templates.
    pub templates: usize,
    /// Sets that wait.
    pub waiting: usize,
    /// Losses upstream.
    pub sequence: Tally,
}

/// See the module.
#[derive(Debug)]
pub struct Exporters {
    rules: Rules,
    all: HashMap<Source, Exporter>,
    /// Fields of all.
    cost: usize,
    /// Bytes that may still wait.
    room: usize,
    looked_ns: u64,
    generation: u64,
    frame: Frame,
}

impl Exporters {
    /// None yet.
    pub fn new(rules: Rules) -> Self {
        let room = rules.limits.waiting;
        Self {
            rules,
            all: HashMap::new(),
            cost: 0,
            room,
            looked_ns: 0,
            generation: 0,
            frame: Frame::default(),
        }
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
        let mut outcome = Outcome::default();
        let (header, rest) = match message::split(datagram) {
            Ok(parts) => parts,
            Err(fault) => {
                outcome.fault(fault);
                return outcome;
            }
        };
        let source = Source { address: source.address.to_canonical(), ..source };
        let exporter = self.all.entry(source).or_default();
        let work = &mut Work {
            exporter: source.address,
            now,
            mac: self.rules.mac,
            options: self.rules.options,
            withdrawals: transport == Transport::Tcp,
            frame: &mut self.frame,
            room: &mut self.room,
            out,
            outcome: &mut outcome,
        };
        exporter.is_session = transport == Transport::Tcp;
        exporter.push(&header, rest, work);
        exporter.totals.add(&outcome, now.unix_ns());
        self.keep_within_limits(source, &outcome, now.unix_ns());
        outcome
    }

    /// Drops an exporter with all it holds: the end of a TCP connection.
    pub fn forget(&mut self, source: &Source) {
        if let Some(exporter) = self.all.remove(source) {
            self.cost -= exporter.cost;
            self.room += exporter.waiting().1;
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
        domain.restore(key.used_ns, content, self.rules.mac);
        self.keep_within_limits(key.source, &Outcome { grown: true, ..Outcome::default() }, 0);
    }

    /// Goes up whenever there is something new to save.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Every exporter, in order of its address.
    pub fn reports(&self) -> Vec<Report> {
        let mut all: Vec<_> = self.all.iter().map(|(source, exporter)| exporter.report(*source)).collect();
        all.sort_unstable_by_key(|report| report.source);
        all
    }

    /// Number of exporters.
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    fn keep_within_limits(&mut self, source: Source, outcome: &Outcome, now_ns: u64) {
        let limits = self.rules.limits;
        self.generation += u64::from(outcome.grown);
        if let Some(exporter) = self.all.get_mut(&source)
            && (outcome.grown || exporter.domains.len() > limits.domains)
        {
            let before = exporter.cost;
            self.room += exporter.shrink(limits);
            self.cost = self.cost - before + exporter.cost;
        }
        if self.cost > limits.fields || self.all.len() > limits.exporters {
            self.evict(source);
        }
        if now_ns.saturating_sub(self.looked_ns) >= LOOK_NS {
            self.looked_ns = now_ns;
            self.expire(now_ns.saturating_sub(PATIENCE_NS));
        }
    }

    /// Forgets exporters not heard for longest until an eighth of the limits is free again; `last` stays.
    fn evict(&mut self, last: Source) {
        let limits = self.rules.limits;
        let mut by_age: Vec<_> =
            self.all.iter().map(|(source, exporter)| (exporter.totals.last_ns, *source)).collect();
        by_age.sort_unstable();
        for (_, source) in by_age {
            let fits = self.cost <= limits.fields - limits.fields / 8
                && self.all.len() <= limits.exporters - limits.exporters / 8;
            if fits {
                break;
            }
            if source != last {
                self.forget(&source);
            }
        }
    }

    /// Gives up what has waited since before `since_ns`.
    fn expire(&mut self, since_ns: u64) {
        for exporter in self.all.values_mut() {
            for domain in exporter.domains.values_mut().filter(|domain| !domain.waiting.is_empty()) {
                let (sets, bytes) = domain.waiting.expire(since_ns);
                exporter.totals.unknown += sets as u64;
                self.room += bytes;
            }
        }
    }
}

impl Exporter {
    fn push(&mut self, header: &Header, rest: &[u8], work: &mut Work<'_>) {
        let now_ns = work.now.unix_ns();
        if header.version != 10 {
            let domain = self.domain(header, now_ns);
            return match header.version {
                9 => domain.push_sets(header, rest, work),
                _ => domain.push_legacy(header, rest, work),
            };
        }
        let (mut header, mut rest) = (*header, rest);
        loop {
            let length = usize::from(header.count).saturating_sub(16);
            // Several messages in a datagram are unusual and harmless. A length that is too small for the last set,
            // as some exporters send it, is not believed.
            let next = rest.get(length..).and_then(|next| message::split(next).ok());
            let next = next.filter(|(next, _)| next.version == 10);
            let sets = rest.get(..length).filter(|_| next.is_some()).unwrap_or(rest);
            self.domain(&header, now_ns).push_sets(&header, sets, work);
            if header.count < 16 || rest.len() < length {
                return work.outcome.fault(Fault::Short);
            }
            let Some(next) = next else { return };
            (header, rest) = next;
        }
    }

    fn domain(&mut self, header: &Header, now_ns: u64) -> &mut Domain {
        let domain = self.domains.entry((header.version, header.domain)).or_default();
        domain.heard_ns = now_ns;
        domain
    }

    /// Forgets domains not heard for longest, then templates of the last one, until an eighth of the limits is free
    /// again. Returns how many bytes of sets that waited went with them.
    fn shrink(&mut self, limits: Limits) -> usize {
        self.cost = self.domains.values().map(Domain::cost).sum();
        if self.cost <= limits.fields_per_exporter && self.domains.len() <= limits.domains {
            return 0;
        }
        let most = limits.fields_per_exporter - limits.fields_per_exporter / 8;
        let domains = limits.domains - limits.domains / 8;
        let mut freed = 0;
        let mut by_age: Vec<_> = self.domains.iter().map(|(key, domain)| (domain.heard_ns, *key)).collect();
        by_age.sort_unstable();
        by_age.pop();
        for (_, key) in by_age {
            if self.cost <= most && self.domains.len() <= domains {
                break;
            }
            if let Some(domain) = self.domains.remove(&key) {
                let (sets, bytes) = domain.waiting.size();
                self.totals.unknown += sets as u64;
                self.cost -= domain.cost();
                freed += bytes;
            }
        }
        if self.cost > most
            && let Some(domain) = self.domains.values_mut().next()
        {
            domain.templates.shrink(most.saturating_sub(2 * domain.knowledge.len()));
            self.cost = domain.cost();
        }
        freed
    }

    fn waiting(&self) -> (usize, usize) {
        let sizes = self.domains.values().map(|domain| domain.waiting.size());
        sizes.fold((0, 0), |(sets, bytes), (more, cost)| (sets + more, bytes + cost))
    }

    fn report(&self, source: Source) -> Report {
        let mut sequence = Tally::default();
        for tally in self.domains.values().map(|domain| domain.sequence.tally) {
            sequence.lost += tally.lost;
            sequence.duplicates += tally.duplicates;
            sequence.reordered += tally.reordered;
            sequence.restarts += tally.restarts;
        }
        Report {
            source,
            totals: self.totals,
            domains: self.domains.len(),
            templates: self.domains.values().map(|domain| domain.templates.len()).sum(),
            waiting: self.waiting().0,
            sequence,
        }
    }
}

impl Totals {
    fn add(&mut self, outcome: &Outcome, now_ns: u64) {
        if self.first_ns == 0 {
            self.first_ns = now_ns;
        }
        self.last_ns = now_ns;
        self.datagrams += 1;
        self.records += u64::from(outcome.lines);
        self.options += u64::from(outcome.options);
        self.waited += u64::from(outcome.waiting);
        self.unknown += u64::from(outcome.unknown);
        self.faults += u64::from(outcome.faults);
    }
}
