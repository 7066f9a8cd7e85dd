//! Records that are a row of fields: a table says which, one function writes them.

use std::io::Write;

use super::xdr::{Address, Reader, Tagged, words};
use crate::decode::flow::record::{Line, MacFormat, Name};

/// Which fields a format has.
#[derive(Debug)]
pub struct Layout {
    pub enterprise: u32,
    pub format: u32,
    pub fields: &'static [(Name, Field)],
}

/// How a field is encoded, and what its member is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Field {
    /// 32 bits: a number.
    U32,
    /// 64 bits: a number.
    U64,
    /// IEEE 754, 32 bits: a number, `null` when it is none.
    F32,
    /// Four bytes: text.
    Ipv4,
    /// Sixteen bytes: text.
    Ipv6,
    /// `address`: text; no member when its type is unknown.
    Address,
    /// `string<>`: text.
    Text,
    /// Six bytes, filled up to eight: text.
    Mac,
    /// Sixteen bytes: hexadecimal text.
    Uuid,
    /// A list of MPLS label stack entries: their labels.
    Labels,
    /// A list of 802.1Q tags: their VLAN ids.
    Vlans,
}

/// Builds layouts: `format => Kind "Name" "Name", Kind "Name"; ...`
macro_rules! layouts {
    ($($enterprise:literal : $format:literal => $($kind:ident $($name:literal)+),+;)*) => {
        &[$($crate::decode::sflow::layout::Layout {
            enterprise: $enterprise,
            format: $format,
            fields: &[$($((
                $crate::decode::flow::record::Name::new($name),
                $crate::decode::sflow::layout::Field::$kind,
            ),)+)+],
        },)*]
    };
}
pub(super) use layouts;

/// A table of layouts and which of them a line has had.
#[derive(Debug)]
pub struct Layouts {
    table: &'static [Layout],
    written: u64,
}

impl Layouts {
    /// Nothing written yet. A table has 64 layouts at most.
    pub fn new(table: &'static [Layout]) -> Self {
        Self { table, written: 0 }
    }

    /// Writes the record's members. `false`, with nothing written, when its format is not in the table, the line has
    /// these members already, or its data do not fit.
    pub fn push(&mut self, record: &Tagged<'_>, line: &mut Line<'_>) -> bool {
        let wanted =
            |layout: &Layout| layout.format == record.format && layout.enterprise == record.enterprise;
        let Some((at, layout)) = self.table.iter().enumerate().find(|(_, layout)| wanted(layout)) else {
            return false;
        };
        if self.has(layout) {
            return false;
        }
        let before = line.out().len();
        let done = push_fields(layout, record.body, line).is_some();
        if done {
            self.written |= 1_u64.checked_shl(at as u32).unwrap_or(0);
        } else {
            line.out().truncate(before);
        }
        done
    }

    /// Whether the line has the layout's members; formats whose first member is the same share them all.
    fn has(&self, layout: &Layout) -> bool {
        let first = |layout: &Layout| layout.fields.first().map(|(name, _)| *name);
        self.written != 0
            && self.table.iter().enumerate().any(|(at, other)| {
                self.written.checked_shr(at as u32).unwrap_or(0) & 1 == 1 && first(other) == first(layout)
            })
    }
}

/// Older agents send fewer fields and newer ones may send more: it is an error only when one is cut, or there is none.
fn push_fields(layout: &Layout, data: &[u8], line: &mut Line<'_>) -> Option<()> {
    let mut reader = Reader::new(data);
    for (index, (name, field)) in layout.fields.iter().enumerate() {
        if index > 0 && reader.is_empty() {
            return Some(());
        }
        push_field(name, *field, &mut reader, line)?;
    }
    Some(())
}

fn push_field(name: &Name, field: Field, reader: &mut Reader<'_>, line: &mut Line<'_>) -> Option<()> {
    match field {
        Field::U32 => line.number(name, reader.u32()?),
        Field::U64 => line.number(name, reader.u64()?),
        Field::F32 => {
            let number = f32::from_bits(reader.u32()?);
            line.name(name);
            push_float(number, line.out());
        }
        Field::Ipv4 => line.ipv4(name, reader.array()?),
        Field::Ipv6 => line.ipv6(name, reader.array()?),
        Field::Address => push_address(name, reader.address()?, line),
        Field::Text => line.text(name, reader.opaque()?),
        Field::Mac => line.mac(name, reader.mac()?, MacFormat::Text),
        Field::Uuid => line.hex(name, &reader.array::<16>()?),
        Field::Labels => line.numbers(name, words(reader.list()?).map(|entry| u64::from(entry >> 12))),
        Field::Vlans => line.numbers(name, words(reader.list()?).map(|tag| u64::from(tag & 0xfff))),
    }
    Some(())
}

/// Appends an address as a member, if there is one.
pub fn push_address(name: &Name, address: Address, line: &mut Line<'_>) {
    match address {
        Address::V4(octets) => line.ipv4(name, octets),
        Address::V6(octets) => line.ipv6(name, octets),
        Address::Unknown => {}
    }
}

fn push_float(number: f32, out: &mut Vec<u8>) {
    if number.is_finite() {
        // Writing to a Vec cannot fail.
        drop(write!(out, "{number}"));
    } else {
        out.extend_from_slice(b"null");
    }
}

/// Records that no member was written for, as `{"Format":"4413:5","Data":"00ff"}` each.
pub fn push_others<'a>(records: impl IntoIterator<Item = Tagged<'a>>, line: &mut Line<'_>) {
    line.list(&const { Name::new("OtherRecords") }, records, |record, out| {
        out.extend_from_slice(b"{\"Format\":\"");
        drop(write!(out, "{}:{}", record.enterprise, record.format));
        out.push(b'"');
        Line::of(out).hex(&const { Name::new("Data") }, record.body);
        out.push(b'}');
    });
}

#[cfg(test)]
mod tests {
    use std::collections::{HashMap, HashSet};

    use crate::decode::sflow::{counters::COUNTERS, extended::EXTENDED};

    #[test]
    fn only_formats_with_the_same_first_member_share_members() {
        for table in [EXTENDED, COUNTERS] {
            assert!(table.len() <= 64);
            let mut owners = HashMap::new();
            for layout in table {
                let first = layout.fields[0].0.member();
                for (name, _) in layout.fields {
                    assert_eq!(*owners.entry(name.member()).or_insert(first), first, "{}", name.member());
                }
            }
            let formats: HashSet<_> = table.iter().map(|layout| (layout.enterprise, layout.format)).collect();
            assert_eq!(formats.len(), table.len());
        }
    }
}
