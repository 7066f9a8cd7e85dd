//! The fields of one record, written by its template's operations.

use super::{
    clock::Clock,
    digits::push_u64,
    knowledge::Knowledge,
    list,
    record::{Line, MacFormat, Name, names},
    template::{Family, Kind, Operation, Side, Slot, Template, VARIABLE},
    templates::Templates,
    value::{self, Form, Time, unsigned},
};

/// What the fields of a record are read with.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    /// The times that others are relative to.
    pub clock: Clock,
    /// What options have said.
    pub knowledge: &'a Knowledge,
    /// For structured data.
    pub templates: &'a Templates,
    /// How MAC addresses in lists are written.
    pub mac: MacFormat,
    /// How many lists this is in.
    pub depth: u8,
}

/// What a record said that matters at its end.
#[derive(Debug, Clone, Copy, Default)]
struct Seen {
    slots: [Option<u64>; 4],
    family: Option<Family>,
    source: bool,
    destination: bool,
}

impl Seen {
    #[inline]
    fn keep(&mut self, slot: Slot, bytes: &[u8]) {
        if let Some(place) = self.slots.get_mut(slot as usize) {
            *place = unsigned(bytes);
        }
    }

    fn get(&self, slot: Slot) -> Option<u64> {
        self.slots.get(slot as usize).copied().flatten()
    }
}

/// Appends the members of the record at the start of `rest`, takes its bytes and returns whether it was whole.
#[inline]
pub fn push_record(
    template: &Template,
    rest: &mut &[u8],
    context: &Context<'_>,
    line: &mut Line<'_>,
) -> bool {
    let clock = match template.started_at.and_then(|at| rest.get(at..)?.first_chunk()) {
        Some(started) => Clock { started_ms: Some(u64::from_be_bytes(*started)), ..context.clock },
        None => context.clock,
    };
    let mut seen = Seen::default();
    for operation in &template.operations {
        let Some(bytes) = take(rest, operation.length) else { return false };
        if template.omits_zeros && is_left_out(operation.kind, bytes) {
            continue;
        }
        match operation.kind {
            Kind::Plain(form) => {
                line.name(&operation.name);
                value::push(form, bytes, line.out());
            }
            Kind::Captured(slot) => {
                seen.keep(slot, bytes);
                line.name(&operation.name);
                value::push(Form::Unsigned, bytes, line.out());
            }
            _ => push_special(operation, bytes, clock, &mut seen, context, line),
        }
    }
    push_missing(template, &seen, context, line);
    true
}

/// Whether the lines of before went without it: a zero that is no address.
fn is_left_out(kind: Kind, bytes: &[u8]) -> bool {
    let is_address = matches!(kind, Kind::Address(..) | Kind::Plain(Form::Ipv4 | Form::Ipv6));
    !is_address && bytes.iter().all(|byte| *byte == 0)
}

/// The next field's bytes, without the length that one of variable length starts with (RFC 7011, 7).
#[inline]
pub fn take<'a>(rest: &mut &'a [u8], length: u16) -> Option<&'a [u8]> {
    let length = if length == VARIABLE { variable_length(rest)? } else { usize::from(length) };
    let (bytes, after) = rest.split_at_checked(length)?;
    *rest = after;
    Some(bytes)
}

fn variable_length(rest: &mut &[u8]) -> Option<usize> {
    let (length, after) = match rest.split_first()? {
        (255, after) => {
            let (length, after) = after.split_first_chunk()?;
            (usize::from(u16::from_be_bytes(*length)), after)
        }
        (length, after) => (usize::from(*length), after),
    };
    *rest = after;
    Some(length)
}

fn push_special(
    operation: &Operation,
    bytes: &[u8],
    clock: Clock,
    seen: &mut Seen,
    context: &Context<'_>,
    line: &mut Line<'_>,
) {
    let name = &operation.name;
    match operation.kind {
        Kind::Address(side, family) => {
            seen.family = seen.family.or(Some(family));
            seen.mark(side);
            push_address(name, family, bytes, line);
        }
        Kind::EitherAddress(side, family) => {
            if bytes.iter().all(|byte| *byte == 0) || !seen.mark(side) {
                push_address(own_name(side, family), family, bytes, line);
            } else {
                seen.family = seen.family.or(Some(family));
                push_address(name, family, bytes, line);
            }
        }
        Kind::Time(time) => push_time(name, time, bytes, clock, line),
        Kind::Application => {
            seen.keep(Slot::Application, bytes);
            line.name(name);
            value::push(Form::Application, bytes, line.out());
        }
        Kind::IpVersion => match bytes {
            [4] => line.number(name, 0x0800_u16),
            [6] => line.number(name, 0x86dd_u16),
            _ => line.number(&const { Name::new("ipVersion") }, unsigned(bytes).unwrap_or_default()),
        },
        Kind::Vlan => {
            line.number(name, unsigned(bytes).unwrap_or_default());
            line.number(&names::SRC_VLAN, unsigned(bytes).unwrap_or_default());
        }
        Kind::IcmpTypeCode => {
            if let [kind, code] = bytes {
                line.number(name, *kind);
                line.number(&names::ICMP_CODE, *code);
            }
        }
        Kind::IpFlags => line.number(name, unsigned(bytes).unwrap_or_default() >> 5),
        Kind::MplsLabels => line.list(name, labels(bytes), push_u64),
        Kind::MplsAddress => {
            let form = if bytes.len() == 4 { Form::Ipv4 } else { Form::Ipv6 };
            line.list(name, [bytes], |bytes, out| value::push(form, bytes, out));
        }
        Kind::List(kind) => {
            line.name(name);
            list::push(kind, bytes, context, line.out());
        }
        Kind::Plain(_) | Kind::Captured(_) | Kind::Typed(_) | Kind::Skip => {}
    }
}

impl Seen {
    /// Says that this side's address is written; `false` when it was before.
    fn mark(&mut self, side: Side) -> bool {
        let written = match side {
            Side::Source => &mut self.source,
            Side::Destination => &mut self.destination,
        };
        !std::mem::replace(written, true)
    }
}

#[inline]
fn push_address(name: &Name, family: Family, bytes: &[u8], line: &mut Line<'_>) {
    match family {
        Family::V4 => line.ipv4(name, bytes.first_chunk().copied().unwrap_or_default()),
        Family::V6 => line.ipv6(name, bytes.first_chunk().copied().unwrap_or_default()),
    }
}

fn own_name(side: Side, family: Family) -> &'static Name {
    match (side, family) {
        (Side::Source, Family::V4) => &const { Name::new("sourceIPv4Address") },
        (Side::Source, Family::V6) => &const { Name::new("sourceIPv6Address") },
        (Side::Destination, Family::V4) => &const { Name::new("destinationIPv4Address") },
        (Side::Destination, Family::V6) => &const { Name::new("destinationIPv6Address") },
    }
}

/// A time that is relative to something unknown is written as received, and the export stands in for it.
fn push_time(name: &Name, time: Time, bytes: &[u8], clock: Clock, line: &mut Line<'_>) {
    let number = unsigned(bytes).unwrap_or_default();
    if let Some(ns) = value::unix_ns(time, number, clock) {
        return line.number(name, ns);
    }
    line.number(name, clock.export_ns);
    let own = if *name == names::TIME_FLOW_START_NS {
        &const { Name::new("flowStartSysUpTime") }
    } else {
        &const { Name::new("flowEndSysUpTime") }
    };
    line.number(own, number);
}

/// Labels of stack entries (RFC 3032, 2.1: 20 bits of label, then 4 of others). Empty places at the end of the stack
/// are no labels.
fn labels(bytes: &[u8]) -> impl Iterator<Item = u64> + '_ {
    let used = bytes.iter().rposition(|byte| *byte != 0).map_or(3, |last| last + 1);
    let entries = bytes.chunks_exact(3).take(used.div_ceil(3));
    entries.filter_map(unsigned).map(|entry| entry >> 4)
}

/// Members that no field gives but others imply. Options are not data: they get none.
#[inline]
fn push_missing(template: &Template, seen: &Seen, context: &Context<'_>, line: &mut Line<'_>) {
    if template.is_options || context.depth > 0 {
        return;
    }
    if template.missing.etype
        && let Some(family) = seen.family
    {
        line.number(&names::ETYPE, if family == Family::V4 { 0x0800_u16 } else { 0x86dd });
    }
    let knowledge = context.knowledge;
    if template.missing.rate
        && let Some(rate) = knowledge.rate(seen.get(Slot::Sampler))
    {
        line.number(&names::SAMPLING_RATE, rate);
    }
    if knowledge.has_names() && !template.omits_zeros {
        push_names(template, seen, knowledge, line);
    }
}

fn push_names(template: &Template, seen: &Seen, knowledge: &Knowledge, line: &mut Line<'_>) {
    for (slot, name) in [(Slot::InIf, &names::IN_IF_NAME), (Slot::OutIf, &names::OUT_IF_NAME)] {
        if let Some(text) = seen.get(slot).and_then(|index| knowledge.interface(index)) {
            line.text(name, text);
        }
    }
    if template.missing.application
        && let Some(text) = seen.get(Slot::Application).and_then(|id| knowledge.application(id))
    {
        line.text(&names::APPLICATION_NAME, text);
    }
}
