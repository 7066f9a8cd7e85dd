//! One exporter: its observation domains and what it sent.

use std::collections::HashMap;

use super::{
    domain::{Domain, Work},
    exporters::Source,
    message::{self, Fault, Header},
    report::{Report, Totals},
    rules::Limits,
    sequence::Tally,
    waiting::{Overflow, Place},
};
use crate::rate::Rate;

/// One exporter.
#[derive(Debug, Default)]
pub struct Exporter {
    /// Whether it ends with its connection.
    pub is_session: bool,
    /// By version and id.
    pub domains: HashMap<(u16, u32), Domain>,
    /// Whether there are sets that waited for templates which have come.
    is_late: bool,
    /// Fields of its templates.
    pub cost: usize,
    /// What it sent.
    pub totals: Totals,
    /// Of lines.
    pub rate: Rate,
    /// Of domains that were forgotten.
    gone: Tally,
}

impl Exporter {
    /// Decodes what follows a header.
    pub fn push(&mut self, header: &Header, rest: &[u8], work: &mut Work<'_>) {
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

    /// Decodes what waited for templates that have come, as far as there is room for lines.
    pub fn push_ready(&mut self, work: &mut Work<'_>) {
        self.is_late |= work.ready;
        if self.is_late {
            let mut domains = self.domains.iter_mut();
            self.is_late = domains.any(|((version, id), domain)| domain.push_ready(*version, *id, work));
            work.outcome.more = self.is_late;
        }
    }

    /// Says that sets wait for this since before the start: they are decoded with the next datagram.
    pub fn recall(&mut self, place: &Place) {
        let domain = self.domains.get_mut(&(place.version, place.domain));
        self.is_late |= domain.is_some_and(|domain| domain.recall(place.template));
    }

    fn domain(&mut self, header: &Header, now_ns: u64) -> &mut Domain {
        let domain = self.domains.entry((header.version, header.domain)).or_default();
        domain.heard_ns = now_ns;
        domain
    }

    /// Forgets domains not heard for longest, then templates of the last one, until an eighth of the limits is free
    /// again. Returns how many sets that waited went with them, and their bytes.
    pub fn shrink(&mut self, limits: Limits) -> (usize, usize) {
        self.cost = self.domains.values().map(Domain::cost).sum();
        if self.cost <= limits.fields_per_exporter && self.domains.len() <= limits.domains {
            return (0, 0);
        }
        let most = limits.fields_per_exporter - limits.fields_per_exporter / 8;
        let domains = limits.domains - limits.domains / 8;
        let mut freed = (0, 0);
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
                self.gone += domain.sequence.tally;
                self.cost -= domain.cost();
                freed = (freed.0 + sets, freed.1 + bytes);
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

    /// Sets that wait in memory, and what they cost.
    pub fn waiting(&self) -> (usize, usize) {
        let sizes = self.domains.values().map(|domain| domain.waiting.size());
        sizes.fold((0, 0), |(sets, bytes), (more, cost)| (sets + more, bytes + cost))
    }

    /// Number of templates.
    pub fn templates(&self) -> usize {
        self.domains.values().map(|domain| domain.templates.len()).sum()
    }

    /// What was lost on the way.
    pub fn sequence(&self) -> Tally {
        let mut sum = self.gone;
        self.domains.values().for_each(|domain| sum += domain.sequence.tally);
        sum
    }

    /// For the list.
    pub fn report(&self, source: Source, overflow: Option<&dyn Overflow>) -> Report {
        Report {
            source,
            totals: self.totals,
            rate: self.rate,
            domains: self.domains.len(),
            templates: self.templates(),
            waiting: self.waiting().0 + overflow.map_or(0, |overflow| overflow.count_of(&source)),
            sequence: self.sequence(),
        }
    }
}
