//! The templates of one observation domain: learned from sets, looked up by number, kept within a limit.
//!
//! What is kept is the definition as received beside what it was compiled to: a definition that comes again is only
//! compared, and the same bytes are what is persisted.

use std::collections::HashMap;

use super::template::{Field, MAX_FIELDS, SCOPE, Style, Template};

/// Number of the first template; lower ones are kinds of sets.
pub const FIRST: u16 = 256;

/// How a definition is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// RFC 3954, 5.2
    V9Data,
    /// RFC 3954, 6.1
    V9Options,
    /// RFC 7011, 3.4.1
    IpfixData,
    /// RFC 7011, 3.4.2
    IpfixOptions,
}

impl Kind {
    /// All, in the order of their numbers in the persisted form.
    pub const ALL: [Self; 4] = [Self::V9Data, Self::V9Options, Self::IpfixData, Self::IpfixOptions];

    /// Whether its records are options.
    pub fn is_options(self) -> bool {
        matches!(self, Self::V9Options | Self::IpfixOptions)
    }
}

/// What stands in a template set.
#[derive(Debug, PartialEq, Eq)]
pub enum Entry<'a> {
    /// A template as received.
    Definition(Definition<'a>),
    /// Template `id` is no more, or all of the set's kind where `id` is the kind itself (RFC 7011, 8.1).
    Withdrawal(u16),
}

/// A template as received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Definition<'a> {
    /// Its number.
    pub id: u16,
    /// Its bytes, number and counts included.
    pub bytes: &'a [u8],
    fields: &'a [u8],
    count: usize,
    scopes: usize,
    kind: Kind,
}

impl<'a> Definition<'a> {
    /// The entry at the start of `rest`, whose bytes are taken. `None` when it is cut short or has a number that no
    /// template can have: what follows cannot be read then.
    pub fn next(kind: Kind, rest: &mut &'a [u8]) -> Option<Entry<'a>> {
        let all = *rest;
        let (id, after) = split_u16(all)?;
        let (count, after) = split_u16(after)?;
        if count == 0 && !matches!(kind, Kind::V9Data | Kind::V9Options) {
            *rest = after;
            return Some(Entry::Withdrawal(id));
        }
        let (count, scopes, after) = match kind {
            Kind::V9Data | Kind::IpfixData => (usize::from(count), 0, after),
            Kind::IpfixOptions => {
                let (scopes, after) = split_u16(after)?;
                (usize::from(count), usize::from(scopes), after)
            }
            // Here both are lengths in bytes: of the scopes, of the options.
            Kind::V9Options => {
                let (options, after) = split_u16(after)?;
                (usize::from(count) / 4 + usize::from(options) / 4, usize::from(count) / 4, after)
            }
        };
        let mut fields = after;
        for _ in 0..count {
            fields = split_field(kind, false, fields)?.1;
        }
        let bytes = all.get(..all.len() - fields.len())?;
        *rest = fields;
        (id >= FIRST).then_some(Entry::Definition(Self { id, bytes, fields: after, count, scopes, kind }))
    }

    /// How it is written.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Number of scopes and of other fields.
    pub fn field_counts(&self) -> (usize, usize) {
        (self.scopes, self.count.saturating_sub(self.scopes))
    }

    /// Its fields, scopes first.
    pub fn fields(&self) -> impl Iterator<Item = Field> + '_ {
        let mut rest = self.fields;
        (0..self.count).map_while(move |index| {
            let (field, after) = split_field(self.kind, index < self.scopes, rest)?;
            rest = after;
            Some(field)
        })
    }

    fn compile(&self, style: Style) -> Option<Template> {
        // RFC 7011, 3.4.2.2 wants at least one scope; in version 9 some send none.
        let is_sane = (1..=MAX_FIELDS).contains(&self.count)
            && self.scopes <= self.count
            && (self.scopes > 0 || self.kind != Kind::IpfixOptions);
        is_sane.then(|| {
            let fields: Vec<_> = self.fields().collect();
            Template::new(&fields, self.kind.is_options(), style)
        })
    }
}

fn split_u16(bytes: &[u8]) -> Option<(u16, &[u8])> {
    let (number, rest) = bytes.split_first_chunk()?;
    Some((u16::from_be_bytes(*number), rest))
}

fn split_field(kind: Kind, is_scope: bool, bytes: &[u8]) -> Option<(Field, &[u8])> {
    let (id, rest) = split_u16(bytes)?;
    let (length, rest) = split_u16(rest)?;
    match kind {
        Kind::V9Options if is_scope => Some((Field { pen: SCOPE, id, length }, rest)),
        Kind::IpfixData | Kind::IpfixOptions if id & 0x8000 != 0 => {
            let (pen, rest) = rest.split_first_chunk()?;
            Some((Field { pen: u32::from_be_bytes(*pen), id: id & 0x7fff, length }, rest))
        }
        _ => Some((Field { pen: 0, id, length }, rest)),
    }
}

/// What learning a definition did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Learned {
    /// It is new or another one than before.
    New,
    /// It was known.
    Known,
    /// It cannot be used: no fields, too many, no scope.
    Refused,
}

#[derive(Debug)]
struct Held {
    kind: Kind,
    definition: Box<[u8]>,
    template: Template,
    /// When it was last needed.
    used: u64,
}

/// By number.
#[derive(Debug, Default)]
pub struct Templates {
    held: HashMap<u16, Held>,
    fields: usize,
}

impl Templates {
    /// The template of this number.
    #[inline]
    pub fn get(&self, id: u16) -> Option<&Template> {
        self.held.get(&id).map(|held| &held.template)
    }

    /// Whether the template is known; notes that it was needed at `now`.
    #[inline]
    pub fn touch(&mut self, id: u16, now: u64) -> bool {
        self.held.get_mut(&id).is_some_and(|held| {
            held.used = now;
            true
        })
    }

    /// Keeps a definition in place of an earlier one of the same number.
    pub fn learn(&mut self, definition: &Definition<'_>, style: Style, now: u64) -> Learned {
        let kind = definition.kind;
        if let Some(held) = self.held.get_mut(&definition.id)
            && held.kind == kind
            && *held.definition == *definition.bytes
        {
            held.used = now;
            return Learned::Known;
        }
        let Some(template) = definition.compile(style) else { return Learned::Refused };
        self.fields += template.fields.len();
        let held = Held { kind, definition: definition.bytes.into(), template, used: now };
        let before = self.held.insert(definition.id, held);
        self.fields -= before.map_or(0, |held| held.template.fields.len());
        Learned::New
    }

    /// Compiles all anew, to be written in another way.
    pub fn restyle(&mut self, style: Style) {
        for held in self.held.values_mut() {
            let mut bytes = &*held.definition;
            if let Some(Entry::Definition(definition)) = Definition::next(held.kind, &mut bytes)
                && let Some(template) = definition.compile(style)
            {
                held.template = template;
            }
        }
    }

    /// Forgets one.
    pub fn withdraw(&mut self, id: u16) {
        if let Some(held) = self.held.remove(&id) {
            self.fields -= held.template.fields.len();
        }
    }

    /// Forgets all of data, or all of options.
    pub fn withdraw_all(&mut self, options: bool) {
        self.held.retain(|_, held| held.kind.is_options() != options);
        self.fields = self.held.values().map(|held| held.template.fields.len()).sum();
    }

    /// Number of templates.
    pub fn len(&self) -> usize {
        self.held.len()
    }

    /// Fields of all templates: what their memory follows.
    pub fn fields(&self) -> usize {
        self.fields
    }

    /// Forgets those not needed for longest until at most `fields` are left; returns how many templates went.
    pub fn shrink(&mut self, fields: usize) -> usize {
        let mut by_age: Vec<_> = self.held.iter().map(|(id, held)| (held.used, *id)).collect();
        by_age.sort_unstable();
        let before = self.held.len();
        for (_, id) in by_age {
            if self.fields <= fields {
                break;
            }
            self.withdraw(id);
        }
        before - self.held.len()
    }

    /// Kind and bytes of all definitions.
    pub fn definitions(&self) -> impl Iterator<Item = (Kind, &[u8])> {
        self.held.values().map(|held| (held.kind, &*held.definition))
    }
}
