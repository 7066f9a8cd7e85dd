//! NetFlow v5 and v7: records of one shape each, described like any template.

use std::sync::LazyLock;

use super::template::{Field, Style, Template};

const PADDING: u16 = 210;

/// Elements and lengths of v5: addresses, next hop, interfaces, packets, bytes, times, ports, a byte of nothing, flags,
/// protocol, type of service, AS numbers, prefix lengths, two bytes of nothing.
const V5: [(u16, u16); 20] = [
    (8, 4),
    (12, 4),
    (15, 4),
    (10, 2),
    (14, 2),
    (2, 4),
    (1, 4),
    (22, 4),
    (21, 4),
    (7, 2),
    (11, 2),
    (PADDING, 1),
    (6, 1),
    (4, 1),
    (5, 1),
    (16, 2),
    (17, 2),
    (9, 1),
    (13, 1),
    (PADDING, 2),
];

/// v7 has flags of which fields are valid where v5 has nothing, and behind it the address of the router that was bypassed.
const V7_ALSO: [(u16, u16); 1] = [(130, 4)];

static TEMPLATES: LazyLock<[Template; 2]> =
    LazyLock::new(|| [template(&V5), template(&[&V5[..], &V7_ALSO].concat())]);

fn template(fields: &[(u16, u16)]) -> Template {
    let fields: Vec<_> =
        fields.iter().map(|(id, length)| Field { pen: 0, id: *id, length: *length }).collect();
    Template::new(&fields, false, Style::default())
}

/// The records of version 5 or 7.
pub fn records(version: u16) -> &'static Template {
    let [v5, v7] = &*TEMPLATES;
    if version == 7 { v7 } else { v5 }
}
