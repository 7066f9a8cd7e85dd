//! One observation domain of one exporter: its templates, what its options said, its sequence, what waits.

use super::{
    exporters::Source,
    fields::Context,
    fixed,
    knowledge::Knowledge,
    legacy::Dump,
    lines::{self, Frame, Run},
    message::{Fault, Header, next_set},
    outcome::Outcome,
    persist::{self, Content, Key},
    sequence::Sequence,
    template::Style,
    templates::{Definition, Entry, FIRST, Kind, Learned, Templates},
    waiting::{Origin, Overflow, Place, Set, Waiting},
};
use crate::decode::ReceiveTime;

/// Everything beside the domain that its sets are decoded with.
pub struct Work<'a> {
    /// Whose lines.
    pub source: Source,
    /// Of the datagram.
    pub now: &'a ReceiveTime,
    /// How records are written.
    pub style: Style,
    /// Whether options become lines too.
    pub options: bool,
    /// Whether withdrawals count: not over UDP (RFC 7011, 8.4).
    pub withdrawals: bool,
    /// Memory for what lines share.
    pub frame: &'a mut Frame,
    /// Bytes that sets may still take while they wait.
    pub room: &'a mut isize,
    /// Where they wait beyond that.
    pub overflow: Option<&'a dyn Overflow>,
    /// Where lines go.
    pub out: &'a mut Vec<u8>,
    /// How long that may get by lines of sets that have waited.
    pub full: usize,
    /// What is counted.
    pub outcome: &'a mut Outcome,
    /// Whether sets have waited for a template that came.
    pub ready: bool,
}

impl Work<'_> {
    fn place(&self, header: &Header, template: u16) -> Place {
        Place { source: self.source, version: header.version, domain: header.domain, template }
    }

    /// Starts the lines of a datagram; those of version 9 were one line before.
    fn begin(&mut self, header: &Header, now: &ReceiveTime) -> Option<Dump> {
        if self.style.legacy && header.version == 9 {
            return Some(Dump::begin(header, self.out));
        }
        self.frame.set(header, self.source.address, now, self.style.legacy);
        None
    }

    fn end(&mut self, dump: Option<Dump>, now: &ReceiveTime) {
        if let Some(dump) = dump {
            self.outcome.lines += dump.end(now, self.out);
        }
    }
}

/// See the module.
#[derive(Debug, Default)]
pub struct Domain {
    /// By number.
    pub templates: Templates,
    /// From options.
    pub knowledge: Knowledge,
    /// Of datagrams.
    pub sequence: Sequence,
    /// Sets before their template.
    pub waiting: Waiting,
    /// Templates that came, and for which sets have waited.
    ready: Vec<u16>,
    /// When it was last heard, Unix ns.
    pub heard_ns: u64,
}

impl Domain {
    /// Memory it takes, in fields of templates.
    pub fn cost(&self) -> usize {
        self.templates.fields() + 2 * self.knowledge.len()
    }

    /// Appends what it has learned.
    pub fn save(&self, key: &Key, out: &mut Vec<u8>) {
        for (kind, definition) in self.templates.definitions() {
            persist::push(key, Content::Template(kind, definition), out);
        }
        for (what, value) in self.knowledge.said() {
            persist::push(key, Content::Said(what, &value), out);
        }
    }

    /// Takes back a piece of it.
    pub fn restore(&mut self, used_ns: u64, content: Content<'_>, style: Style) {
        match content {
            Content::Said(what, value) => self.knowledge.restore(what, value),
            Content::Template(kind, mut bytes) => {
                if let Some(Entry::Definition(definition)) = Definition::next(kind, &mut bytes) {
                    self.templates.learn(&definition, style, used_ns);
                }
            }
        }
    }

    /// Decodes the records of v5 and v7.
    pub fn push_legacy(&mut self, header: &Header, records: &[u8], work: &mut Work<'_>) {
        let template = fixed::records(header.version);
        let most = usize::from(header.count);
        if most == 0 || records.len() < most * template.shortest {
            return work.outcome.fault(Fault::Short);
        }
        work.frame.set(header, work.source.address, work.now, false);
        let reading = self.context(header, work.style);
        let run = work.frame.push(template, records, most, &reading, work.out);
        work.outcome.lines += run.records;
        self.sequence.note(header.sequence, Some(run.records));
    }

    /// Decodes the sets of v9 and IPFIX.
    pub fn push_sets(&mut self, header: &Header, sets: &[u8], work: &mut Work<'_>) {
        let now = work.now;
        let mut dump = work.begin(header, now);
        let (mut rest, mut units) = (sets, Some(0));
        loop {
            match next_set(&mut rest) {
                Ok(Some((id, records))) => {
                    let count = self.push_set(header, id, records, dump.as_mut(), work);
                    units = units.zip(count).map(|(units, count)| units + count);
                }
                Ok(None) => break,
                Err(fault) => {
                    units = None;
                    work.outcome.fault(fault);
                    break;
                }
            }
        }
        work.end(dump, now);
        // Version 9 counts datagrams.
        self.sequence.note(header.sequence, if header.version == 9 { Some(1) } else { units });
    }

    /// Returns how many data records the set has, if that is known.
    fn push_set(
        &mut self,
        header: &Header,
        id: u16,
        records: &[u8],
        dump: Option<&mut Dump>,
        work: &mut Work<'_>,
    ) -> Option<u32> {
        let kind = match (header.version, id) {
            (9, 0) => Kind::V9Data,
            (9, 1) => Kind::V9Options,
            (10, 2) => Kind::IpfixData,
            (10, 3) => Kind::IpfixOptions,
            (_, FIRST..) => return self.push_data(header, id, records, dump, work),
            _ => {
                work.outcome.fault(Fault::Set);
                return Some(0);
            }
        };
        let definitions = self.learn(kind, header, records, work);
        if let Some(dump) = dump {
            dump.templates(id, records, &definitions, work.out);
        }
        Some(0)
    }

    fn push_data(
        &mut self,
        header: &Header,
        id: u16,
        records: &[u8],
        dump: Option<&mut Dump>,
        work: &mut Work<'_>,
    ) -> Option<u32> {
        if !self.templates.touch(id, work.now.unix_ns()) {
            self.wait(header, id, records, work);
            return None;
        }
        let run = self.decode(header, id, records, dump, work);
        (!run.is_cut).then_some(run.records)
    }

    fn decode(
        &mut self,
        header: &Header,
        id: u16,
        records: &[u8],
        dump: Option<&mut Dump>,
        work: &mut Work<'_>,
    ) -> Run {
        let Some(template) = self.templates.get(id) else { return Run::default() };
        if template.shortest == 0 {
            work.outcome.fault(Fault::Template);
            return Run::default();
        }
        if template.is_options {
            work.outcome.grown |= self.knowledge.learn(template, records);
        }
        let run = match dump {
            Some(dump) => dump.records(id, records, template, work.out),
            None if template.is_options && !work.options => lines::count(template, records),
            None => {
                let reading = self.context(header, work.style);
                let run = work.frame.push(template, records, usize::MAX, &reading, work.out);
                work.outcome.lines += run.records;
                run
            }
        };
        if template.is_options {
            work.outcome.options += run.records;
        }
        if run.is_cut {
            work.outcome.fault(Fault::Record);
        }
        run
    }

    fn context(&self, header: &Header, style: Style) -> Context<'_> {
        let mut clock = header.clock;
        if header.version == 10 {
            clock.started_ms = self.knowledge.started_ms;
        }
        Context { clock, knowledge: &self.knowledge, templates: &self.templates, mac: style.mac, depth: 0 }
    }

    /// Learns the templates of a set. Returns those that are to be shown.
    fn learn<'r>(
        &mut self,
        kind: Kind,
        header: &Header,
        records: &'r [u8],
        work: &mut Work<'_>,
    ) -> Vec<Definition<'r>> {
        let (mut rest, mut shown) = (records, Vec::new());
        // Less than the head of a template, or only zeros, is padding.
        while rest.len() >= 4 && !super::message::is_padding(rest) {
            match Definition::next(kind, &mut rest) {
                Some(Entry::Definition(definition)) => {
                    self.learn_one(&definition, header, work);
                    if work.style.legacy {
                        shown.push(definition);
                    }
                }
                Some(Entry::Withdrawal(id)) if work.withdrawals => self.withdraw(id),
                Some(Entry::Withdrawal(_)) => {}
                None => {
                    work.outcome.fault(Fault::Template);
                    break;
                }
            }
        }
        shown
    }

    fn withdraw(&mut self, id: u16) {
        match id {
            2 => self.templates.withdraw_all(false),
            3 => self.templates.withdraw_all(true),
            id => self.templates.withdraw(id),
        }
    }

    fn learn_one(&mut self, definition: &Definition<'_>, header: &Header, work: &mut Work<'_>) {
        match self.templates.learn(definition, work.style, work.now.unix_ns()) {
            Learned::Known => {}
            Learned::Refused => work.outcome.fault(Fault::Template),
            Learned::New => {
                work.outcome.templates += 1;
                work.outcome.grown = true;
                let place = work.place(header, definition.id);
                let kept = work.overflow.map_or(0, |overflow| overflow.count(&place));
                if self.waiting.has(definition.id) || kept > 0 {
                    self.ready.push(definition.id);
                    work.ready = true;
                }
            }
        }
    }

    /// Keeps a set until its template comes, if there is room.
    fn wait(&mut self, header: &Header, id: u16, records: &[u8], work: &mut Work<'_>) {
        let Header { clock, sequence, count, .. } = *header;
        let origin = Origin { received_ns: work.now.unix_ns(), clock, sequence, count };
        let set = Set { origin, bytes: records.into() };
        let place = work.place(header, id);
        if set.cost() as isize <= *work.room {
            *work.room -= self.waiting.push(id, set) as isize;
        } else if !work.overflow.is_some_and(|overflow| overflow.keep(&place, &set)) {
            work.outcome.unknown += 1;
            return;
        }
        work.outcome.waiting += 1;
    }

    /// Decodes what waited for templates that came, as far as there is room for lines; whether there is more.
    pub fn push_ready(&mut self, version: u16, domain: u32, work: &mut Work<'_>) -> bool {
        while let Some(template) = self.ready.last().copied() {
            let place = Place { source: work.source, version, domain, template };
            // One that was withdrawn or forgotten meanwhile may come again.
            while self.templates.get(template).is_some() {
                let Some(set) = self.next_waiting(&place, work) else { break };
                self.push_late(&place, &set, work);
                if work.out.len() >= work.full {
                    return true;
                }
            }
            self.ready.pop();
        }
        false
    }

    /// Says that sets wait for this template since before the start; whether it is known, so that they can be decoded.
    pub fn recall(&mut self, template: u16) -> bool {
        let is_known = self.templates.get(template).is_some();
        if is_known {
            self.ready.push(template);
        }
        is_known
    }

    fn next_waiting(&mut self, place: &Place, work: &mut Work<'_>) -> Option<Set> {
        if let Some(set) = self.waiting.take(place.template) {
            *work.room += set.cost() as isize;
            return Some(set);
        }
        work.overflow?.take(place)
    }

    /// Decodes a set with the time at which it was received.
    fn push_late(&mut self, place: &Place, set: &Set, work: &mut Work<'_>) {
        let Origin { received_ns, clock, sequence, count } = set.origin;
        let Place { version, domain, template, .. } = *place;
        let header = Header { version, domain, sequence, count, sampling: 0, clock };
        let (now, before) = (ReceiveTime::new(received_ns), work.outcome.lines);
        let mut dump = work.begin(&header, &now);
        self.decode(&header, template, &set.bytes, dump.as_mut(), work);
        work.end(dump, &now);
        work.outcome.late += work.outcome.lines - before;
    }
}
