//! A template, compiled: one operation per field, so that a record is decoded by walking a flat list.
//!
//! What depends on the template alone is settled here, once: the name of each member, how its bytes are written, how
//! long a record is at least. Fields of length zero have no bytes and give nothing; so every operation takes at least
//! one byte of a record, and a line is bounded by the datagram.

use std::{borrow::Cow, collections::HashMap};

use super::{
    common::{self, Common, RANKS},
    element::{self, REVERSE, Type},
    legacy,
    record::{MacFormat, Name, names},
    value::{Form, Time},
};

/// Length of a field that says its own length in each record (RFC 7011, 7).
pub const VARIABLE: u16 = u16::MAX;
/// Most fields of a template. Real ones have fewer than 200.
pub const MAX_FIELDS: usize = 1024;
/// The "enterprise" of NetFlow v9's scope types, which are no elements (RFC 3954, 6.1).
pub const SCOPE: u32 = u32::MAX;

/// How the records of a template are written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Style {
    /// MAC addresses.
    pub mac: MacFormat,
    /// With the members of before alone, and without those that are zero.
    pub legacy: bool,
}

/// A field as a template gives it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field {
    /// Enterprise, 0 for IANA's elements, [`SCOPE`].
    pub pen: u32,
    /// The element.
    pub id: u16,
    /// Bytes in a record, or [`VARIABLE`].
    pub length: u16,
}

impl Field {
    fn fixed(self) -> Option<usize> {
        (self.length != VARIABLE).then_some(usize::from(self.length))
    }
}

/// Source or destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    Source,
    Destination,
}

/// Address family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    V4,
    V6,
}

/// A number that is needed again at the end of its record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Slot {
    InIf,
    OutIf,
    Sampler,
    Application,
}

/// How a field is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Name and value.
    Plain(Form),
    /// Not at all: padding.
    Skip,
    /// As an element of this type; only before a template is compiled.
    Typed(Type),
    /// A time of the record.
    Time(Time),
    /// A number that is kept.
    Captured(Slot),
    /// An application's id, which is kept.
    Application,
    /// An address of a template that has one family only.
    Address(Side, Family),
    /// An address of a template that has both: the one that is not zero has the member.
    EitherAddress(Side, Family),
    /// `Etype` from 4 or 6.
    IpVersion,
    /// `VlanId` and `SrcVlan`.
    Vlan,
    /// `IcmpType` and `IcmpCode`.
    IcmpTypeCode,
    /// The upper three bits.
    IpFlags,
    /// Several label stack entries of three bytes each.
    MplsLabels,
    /// A list of one address.
    MplsAddress,
    /// Structured data (RFC 6313).
    List(Type),
}

impl Kind {
    /// As an element of this type.
    pub const fn typed(kind: Type) -> Self {
        Self::Typed(kind)
    }
}

/// One field's writer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Operation {
    /// The member.
    pub name: Name,
    /// What is written.
    pub kind: Kind,
    /// Bytes of the record, or [`VARIABLE`].
    pub length: u16,
}

/// A compiled template.
#[derive(Debug, PartialEq, Eq)]
pub struct Template {
    /// The fields that have bytes, in order.
    pub operations: Box<[Operation]>,
    /// The same as received.
    pub fields: Box<[Field]>,
    /// Whether its records are options, which say something about others.
    pub is_options: bool,
    /// Bytes of the shortest record; 0 when it has no field with bytes, and then no record can be told.
    pub shortest: usize,
    /// Whether all records are that long.
    pub is_fixed: bool,
    /// Where a record says when its exporter started (element 160).
    pub started_at: Option<usize>,
    /// Members that no field gives.
    pub missing: Missing,
    /// Whether members that are zero are left out.
    pub omits_zeros: bool,
}

/// Members that a data record gets from elsewhere because its template lacks them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools)]
pub struct Missing {
    /// `TimeFlowStartNs`
    pub start: bool,
    /// `TimeFlowEndNs`
    pub end: bool,
    /// `Etype`
    pub etype: bool,
    /// `SamplingRate`
    pub rate: bool,
    /// `ApplicationName`
    pub application: bool,
}

impl Template {
    /// Compiles the fields of a template.
    pub fn new(fields: &[Field], is_options: bool, style: Style) -> Self {
        let mut namer = Namer::new(fields);
        namer.give_members();
        namer.give_own_names(style.mac);
        let missing = Missing {
            start: !namer.is_taken(&names::TIME_FLOW_START_NS),
            end: !namer.is_taken(&names::TIME_FLOW_END_NS),
            etype: !namer.is_taken(&names::ETYPE),
            rate: !namer.is_taken(&names::SAMPLING_RATE),
            application: !namer.is_taken(&names::APPLICATION_NAME),
        };
        let is_fixed = fields.iter().all(|field| field.length != VARIABLE);
        Self {
            operations: namer.into_operations(style),
            fields: fields.into(),
            is_options,
            shortest: fields.iter().map(|field| field.fixed().unwrap_or(1)).sum(),
            is_fixed,
            started_at: started_at(fields),
            missing,
            omits_zeros: style.legacy,
        }
    }
}

/// Where element 160, `systemInitTimeMilliseconds`, lies when all before it is of fixed length.
fn started_at(fields: &[Field]) -> Option<usize> {
    let mut at = 0;
    for field in fields {
        if (field.pen, field.id, field.length) == (0, 160, 8) {
            return Some(at);
        }
        at += field.fixed()?;
    }
    None
}

/// Gives every field its member.
struct Namer<'a> {
    fields: &'a [Field],
    /// Names in use, each with the number that its last namesake got.
    taken: HashMap<Name, usize>,
    given: Vec<Option<(Name, Kind)>>,
}

impl<'a> Namer<'a> {
    fn new(fields: &'a [Field]) -> Self {
        let own = ["Type", "TimeReceivedNs", "SamplerAddress", "BfTs", "InIfName", "OutIfName"];
        let mut taken: HashMap<_, _> = own.into_iter().map(|name| (Name::new(name), 1)).collect();
        taken.extend([names::SEQUENCE_NUM, names::OBSERVATION_DOMAIN_ID].map(|name| (name, 1)));
        Self { fields, taken, given: vec![None; fields.len()] }
    }

    fn is_taken(&self, name: &Name) -> bool {
        self.taken.contains_key(name)
    }

    /// The members of the common schema.
    fn give_members(&mut self) {
        for rank in 0..RANKS {
            for (index, field) in self.fields.iter().enumerate() {
                let Some(common) = Self::common(*field).filter(|common| common.rank == rank) else {
                    continue;
                };
                let Some(given) = self.take(index, *field, &common) else { continue };
                if let Some(place) = self.given.get_mut(index) {
                    *place = Some(given);
                }
            }
        }
    }

    fn common(field: Field) -> Option<Common> {
        let common = common::find(field.id).filter(|_| field.pen == 0)?;
        common.lengths.contains(&field.length).then_some(common)
    }

    fn take(&mut self, index: usize, field: Field, common: &Common) -> Option<(Name, Kind)> {
        let kind = common.kind.unwrap_or(Kind::Plain(Form::unsigned(usize::from(field.length))));
        let Some(name) = common.members.first().copied() else {
            return Some((self.own_name(field), kind));
        };
        if let Kind::Address(side, family) = kind {
            return self.take_address(name, side, family, field);
        }
        if kind == Kind::MplsLabels && self.goes_on(index) {
            return Some((name, Kind::MplsLabels));
        }
        // A value that does not give the member goes by its own name, which is in use then.
        let own = matches!(kind, Kind::Time(Time::Uptime) | Kind::IpVersion).then(|| own_name(field));
        let names = || common.members.iter().copied().chain(own);
        if names().any(|name| self.is_taken(&name)) {
            return None;
        }
        self.taken.extend(names().map(|name| (name, 1)));
        Some((name, kind))
    }

    /// Both families of a side share its member, once each.
    fn take_address(&mut self, name: Name, side: Side, family: Family, field: Field) -> Option<(Name, Kind)> {
        let other = match field.id {
            8 => 27,
            27 => 8,
            12 => 28,
            _ => 12,
        };
        let other_length = if family == Family::V4 { 16 } else { 4 };
        let both = self.fields.contains(&Field { pen: 0, id: other, length: other_length });
        if !both {
            let free = self.taken.insert(name, 1).is_none();
            return free.then_some((name, Kind::Address(side, family)));
        }
        // Its own name is in use too, whenever the other one has the member.
        let own = own_name(field);
        if self.is_taken(&own) {
            return None;
        }
        self.taken.extend([(name, 1), (own, 1)]);
        Some((name, Kind::EitherAddress(side, family)))
    }

    /// Whether the field before gives labels too: one list for a run of them.
    fn goes_on(&self, index: usize) -> bool {
        let before = index.checked_sub(1).and_then(|before| self.given.get(before)).copied().flatten();
        before.is_some_and(|(_, kind)| kind == Kind::MplsLabels)
    }

    fn give_own_names(&mut self, mac: MacFormat) {
        for (index, field) in self.fields.iter().enumerate() {
            if self.given.get(index).is_none_or(Option::is_some) {
                continue;
            }
            let kind = own_kind(*field, mac);
            let name = if kind == Kind::Skip { own_name(*field) } else { self.own_name(*field) };
            if let Some(place) = self.given.get_mut(index) {
                *place = Some((name, kind));
            }
        }
    }

    /// The element's name, with a number when it has been used: `name_2`.
    fn own_name(&mut self, field: Field) -> Name {
        let first = own_name(field);
        let Some(number) = self.taken.get_mut(&first) else {
            self.taken.insert(first, 1);
            return first;
        };
        *number += 1;
        // Never an element's own name: none ends like this.
        Name::numbered(first.member(), *number)
    }

    fn into_operations(self, style: Style) -> Box<[Operation]> {
        let mut all: Vec<Operation> = Vec::with_capacity(self.fields.len());
        for (field, given) in self.fields.iter().zip(self.given) {
            let Some((name, kind)) = given.filter(|_| field.length > 0) else { continue };
            let kind = match kind {
                _ if style.legacy && !legacy::knows(&name) => Kind::Skip,
                Kind::Typed(kind) => Kind::Plain(Form::of(kind, field.fixed(), style.mac)),
                kind => kind,
            };
            match all.last_mut() {
                Some(last) if kind == Kind::MplsLabels && last.kind == kind => last.length += field.length,
                _ => all.push(Operation { name, kind, length: field.length }),
            }
        }
        all.into()
    }
}

fn own_name(field: Field) -> Name {
    if field.pen == SCOPE {
        return Name::new(match field.id {
            1 => "ScopeSystem",
            2 => "ScopeInterface",
            3 => "ScopeLineCard",
            4 => "ScopeCache",
            5 => "ScopeTemplate",
            _ => return Name::new(&format!("Scope:{}", field.id)),
        });
    }
    match known(field.pen, field.id) {
        Some((name, _)) => Name::new(&name),
        None => Name::new(&format!("{}:{}", field.pen, field.id)),
    }
}

fn own_kind(field: Field, mac: MacFormat) -> Kind {
    let length = field.fixed();
    if field.pen == SCOPE {
        return Kind::Plain(length.filter(|length| *length <= 8).map_or(Form::Hex, Form::unsigned));
    }
    if (field.pen, field.id) == (0, PADDING) {
        return Kind::Skip;
    }
    match known(field.pen, field.id) {
        Some((_, kind @ (Type::BasicList | Type::SubTemplateList | Type::SubTemplateMultiList))) => {
            Kind::List(kind)
        }
        Some((_, kind)) => Kind::Plain(Form::of(kind, length, mac)),
        None => Kind::Plain(Form::unknown(length)),
    }
}

/// Element 210, `paddingOctets`.
const PADDING: u16 = 210;

/// Name and type of an element; those of the reverse direction are `reverse` and the name (RFC 5103).
pub fn known(pen: u32, id: u16) -> Option<(Cow<'static, str>, Type)> {
    if pen != REVERSE {
        return element::find(pen, id).map(|(name, kind)| (name.into(), kind));
    }
    let (name, kind) = element::find(0, id)?;
    let mut letters = name.chars();
    let first = letters.next()?.to_ascii_uppercase();
    Some((format!("reverse{first}{}", letters.as_str()).into(), kind))
}
