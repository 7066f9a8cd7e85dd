//! One observation domain of one exporter: its templates, what its options said, its sequence, what waits.

use std::net::IpAddr;

use super::{
    fields::Context,
    knowledge::Knowledge,
    legacy,
    lines::{self, Frame, Run},
    message::{Fault, Header, next_set},
    outcome::Outcome,
    persist::{self, Content, Key},
    record::MacFormat,
    sequence::Sequence,
    template::Template,
    templates::{Definition, Entry, FIRST, Kind, Learned, Templates},
    waiting::{Origin, Set, Waiting},
};
use crate::decode::ReceiveTime;

/// Everything beside the domain that its sets are decoded with.
pub struct Work<'a> {
    /// Whose lines.
    pub exporter: IpAddr,
    /// Of the datagram.
    pub now: &'a ReceiveTime,
    /// How MAC addresses are written.
    pub mac: MacFormat,
    /// Whether options become lines too.
    pub options: bool,
    /// Whether withdrawals count: not over UDP (RFC 7011, 8.4).
    pub withdrawals: bool,
    /// Memory for what lines share.
    pub frame: &'a mut Frame,
    /// Bytes that sets may still take while they wait.
    pub room: &'a mut usize,
    /// Where lines go.
    pub out: &'a mut Vec<u8>,
    /// What is counted.
    pub outcome: &'a mut Outcome,
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
    pub fn restore(&mut self, used_ns: u64, content: Content<'_>, mac: MacFormat) {
        match content {
            Content::Said(what, value) => self.knowledge.restore(what, value),
            Content::Template(kind, mut bytes) => {
                if let Some(Entry::Definition(definition)) = Definition::next(kind, &mut bytes) {
                    self.templates.learn(&definition, mac, used_ns);
                }
            }
        }
    }

    /// Decodes the records of v5 and v7.
    pub fn push_legacy(&mut self, header: &Header, records: &[u8], work: &mut Work<'_>) {
        let template = legacy::records(header.version);
        let most = usize::from(header.count);
        if most == 0 || records.len() < most * template.shortest {
            return work.outcome.fault(Fault::Short);
        }
        work.frame.set(header, work.exporter, work.now);
        let reading = self.context(header, work.mac);
        let run = work.frame.push(template, records, most, &reading, work.out);
        work.outcome.lines += run.records;
        self.sequence.note(header.sequence, Some(run.records));
    }

    /// Decodes the sets of v9 and IPFIX.
    pub fn push_sets(&mut self, header: &Header, sets: &[u8], work: &mut Work<'_>) {
        work.frame.set(header, work.exporter, work.now);
        let (mut rest, mut units) = (sets, Some(0));
        loop {
            match next_set(&mut rest) {
                Ok(Some((id, records))) => {
                    let count = self.push_set(header, id, records, work);
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
        // Version 9 counts datagrams.
        self.sequence.note(header.sequence, if header.version == 9 { Some(1) } else { units });
    }

    /// Returns how many data records the set has, if that is known.
    fn push_set(&mut self, header: &Header, id: u16, records: &[u8], work: &mut Work<'_>) -> Option<u32> {
        let kind = match (header.version, id) {
            (9, 0) => Kind::V9Data,
            (9, 1) => Kind::V9Options,
            (10, 2) => Kind::IpfixData,
            (10, 3) => Kind::IpfixOptions,
            (_, FIRST..) => return self.push_data(header, id, records, work),
            _ => {
                work.outcome.fault(Fault::Set);
                return Some(0);
            }
        };
        self.learn(kind, header, records, work);
        Some(0)
    }

    fn push_data(&mut self, header: &Header, id: u16, records: &[u8], work: &mut Work<'_>) -> Option<u32> {
        if !self.templates.touch(id, work.now.unix_ns()) {
            self.wait(header, id, records, work);
            return None;
        }
        let run = self.decode(header, id, records, work);
        (!run.is_cut).then_some(run.records)
    }

    fn decode(&mut self, header: &Header, id: u16, records: &[u8], work: &mut Work<'_>) -> Run {
        let Some(template) = self.templates.get(id) else { return Run::default() };
        if template.shortest == 0 {
            work.outcome.fault(Fault::Template);
            return Run::default();
        }
        let run = if template.is_options {
            let before = self.knowledge.len();
            self.knowledge.learn(template, records);
            work.outcome.grown |= self.knowledge.len() > before;
            self.decode_options(header, template, records, work)
        } else {
            let reading = self.context(header, work.mac);
            let run = work.frame.push(template, records, usize::MAX, &reading, work.out);
            work.outcome.lines += run.records;
            run
        };
        if run.is_cut {
            work.outcome.fault(Fault::Record);
        }
        run
    }

    fn decode_options(
        &self,
        header: &Header,
        template: &Template,
        records: &[u8],
        work: &mut Work<'_>,
    ) -> Run {
        let run = if work.options {
            let reading = self.context(header, work.mac);
            let run = work.frame.push(template, records, usize::MAX, &reading, work.out);
            work.outcome.lines += run.records;
            run
        } else {
            lines::count(template, records)
        };
        work.outcome.options += run.records;
        run
    }

    fn context(&self, header: &Header, mac: MacFormat) -> Context<'_> {
        let mut clock = header.clock;
        if header.version == 10 {
            clock.started_ms = self.knowledge.started_ms;
        }
        Context { clock, knowledge: &self.knowledge, templates: &self.templates, mac, depth: 0 }
    }

    fn learn(&mut self, kind: Kind, header: &Header, records: &[u8], work: &mut Work<'_>) {
        let mut rest = records;
        // Less than the head of a template, or only zeros, is padding.
        while rest.len() >= 4 && !super::message::is_padding(rest) {
            match Definition::next(kind, &mut rest) {
                Some(Entry::Definition(definition)) => self.learn_one(&definition, header, work),
                Some(Entry::Withdrawal(id)) if work.withdrawals => self.withdraw(id),
                Some(Entry::Withdrawal(_)) => {}
                None => return work.outcome.fault(Fault::Template),
            }
        }
    }

    fn withdraw(&mut self, id: u16) {
        match id {
            2 => self.templates.withdraw_all(false),
            3 => self.templates.withdraw_all(true),
            id => self.templates.withdraw(id),
        }
    }

    fn learn_one(&mut self, definition: &Definition<'_>, header: &Header, work: &mut Work<'_>) {
        match self.templates.learn(definition, work.mac, work.now.unix_ns()) {
            Learned::Known => {}
            Learned::Refused => work.outcome.fault(Fault::Template),
            Learned::New => {
                work.outcome.templates += 1;
                work.outcome.grown = true;
                self.push_waiting(definition.id, header, work);
            }
        }
    }

    /// Keeps a set until its template comes, if there is room.
    fn wait(&mut self, header: &Header, id: u16, records: &[u8], work: &mut Work<'_>) {
        let received_ns = work.now.unix_ns();
        let origin = Origin { received_ns, clock: header.clock, sequence: header.sequence };
        let set = Set { origin, bytes: records.into() };
        if set.cost() > *work.room {
            work.outcome.unknown += 1;
            return;
        }
        *work.room -= self.waiting.push(id, set);
        work.outcome.waiting += 1;
    }

    /// Decodes what waited for a template.
    fn push_waiting(&mut self, id: u16, header: &Header, work: &mut Work<'_>) {
        let sets = self.waiting.take(id);
        if sets.is_empty() {
            return;
        }
        for Set { origin, bytes } in &sets {
            let now = ReceiveTime::new(origin.received_ns);
            let header = Header { clock: origin.clock, sequence: origin.sequence, ..*header };
            work.frame.set(&header, work.exporter, &now);
            let before = work.outcome.lines;
            self.decode(&header, id, bytes, work);
            work.outcome.late += work.outcome.lines - before;
        }
        *work.room += sets.iter().map(Set::cost).sum::<usize>();
        work.frame.set(header, work.exporter, work.now);
    }
}
