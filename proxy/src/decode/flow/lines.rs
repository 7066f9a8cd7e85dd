//! Lines of records that share a header: what is the same in each is written once and copied.

use std::net::IpAddr;

use super::{
    fields::{Context, push_record},
    message::{Header, is_padding},
    record::{Line, names},
    template::Template,
};
use crate::decode::ReceiveTime;

/// Start and end of the lines of one datagram. Kept from datagram to datagram for its memory.
#[derive(Debug, Default)]
pub struct Frame {
    head: Vec<u8>,
    tail: Vec<u8>,
}

/// What became of a run of records.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Run {
    /// Records, each a line unless they are options that nobody wants.
    pub records: u32,
    /// Whether a record was cut short.
    pub is_cut: bool,
}

impl Frame {
    /// For the lines of this datagram; `legacy` ones have neither receive time nor exporter, and no zeros.
    pub fn set(&mut self, header: &Header, exporter: IpAddr, now: &ReceiveTime, legacy: bool) {
        self.head.clear();
        self.tail.clear();
        Line::of(&mut self.tail).end(now);
        if legacy && header.version == 10 {
            self.head.extend_from_slice(b"{\"Type\":\"IPFIX\"");
            let mut line = Line::of(&mut self.head);
            let numbers =
                [(&names::SEQUENCE_NUM, header.sequence), (&names::OBSERVATION_DOMAIN_ID, header.domain)];
            for (name, number) in numbers.into_iter().filter(|(_, number)| *number > 0) {
                line.number(name, number);
            }
            return;
        }
        let kind = match header.version {
            5 => "NETFLOW_V5",
            7 => "NETFLOW_V7",
            9 => "NETFLOW_V9",
            _ => "IPFIX",
        };
        let mut line = Line::begin(kind, now, exporter, &mut self.head);
        line.number(&names::SEQUENCE_NUM, header.sequence);
        if header.version == 5 {
            let [engine_type, engine_id] = (header.domain as u16).to_be_bytes();
            line.number(&names::ENGINE_TYPE, engine_type);
            line.number(&names::ENGINE_ID, engine_id);
            // The upper two bits are the mode.
            line.number(&names::SAMPLING_RATE, header.sampling & 0x3fff);
        } else if header.version > 7 {
            line.number(&names::OBSERVATION_DOMAIN_ID, header.domain);
        }
    }

    /// Appends a line for each of at most `most` records.
    pub fn push(
        &mut self,
        template: &Template,
        records: &[u8],
        most: usize,
        context: &Context<'_>,
        out: &mut Vec<u8>,
    ) -> Run {
        let shared = self.head.len();
        self.push_missing_times(template, context);
        let mut run = Run::default();
        let mut rest = records;
        while template.shortest > 0 && rest.len() >= template.shortest && (run.records as usize) < most {
            let (before, start) = (rest, out.len());
            out.extend_from_slice(&self.head);
            if !push_record(template, &mut rest, context, &mut Line::of(out)) {
                out.truncate(start);
                run.is_cut = !is_padding(before);
                break;
            }
            out.extend_from_slice(&self.tail);
            run.records += 1;
        }
        self.head.truncate(shared);
        run
    }

    /// A record of data that does not say when it was is of the time of its export.
    fn push_missing_times(&mut self, template: &Template, context: &Context<'_>) {
        let missing = template.missing;
        if template.is_options || !(missing.start || missing.end) {
            return;
        }
        let mut line = Line::of(&mut self.head);
        if missing.start {
            line.number(&names::TIME_FLOW_START_NS, context.clock.export_ns);
        }
        if missing.end {
            line.number(&names::TIME_FLOW_END_NS, context.clock.export_ns);
        }
    }
}

/// How many records there are, without writing them.
pub fn count(template: &Template, records: &[u8]) -> Run {
    let mut run = Run::default();
    let mut rest = records;
    while template.shortest > 0 && rest.len() >= template.shortest {
        let before = rest;
        for field in &template.fields {
            if super::fields::take(&mut rest, field.length).is_none() {
                run.is_cut = !is_padding(before);
                return run;
            }
        }
        run.records += 1;
    }
    run
}
