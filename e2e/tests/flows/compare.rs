//! Records of two decoders, member by member.

use std::{collections::BTreeMap, net::IpAddr};

use serde_json::Value;

use crate::{ours, sources};

/// The values of one record by our names, each in one way of writing. What is zero or empty is left out: others write
/// that for what is not on the wire.
pub type Row = BTreeMap<&'static str, String>;
/// The records of each exporter by its name, of each agent of sFlow by its address.
pub type Rows = BTreeMap<String, Vec<Row>>;

/// A difference that is justified.
pub struct Known {
    /// Exporters that it is seen with, or agents.
    pub exporters: &'static [&'static str],
    /// How the names of the members begin; `*` is how many records there are, and what is in them.
    pub members: &'static [&'static str],
    /// Who is right, and why.
    pub why: &'static str,
}

impl Known {
    fn explains(&self, exporter: &str, member: &str) -> bool {
        let is_one = |known: &&str| *known == "*" || member.starts_with(*known);
        self.exporters.contains(&exporter) && self.members.iter().any(is_one)
    }
}

/// Members by which records are put in order where a decoder has lost it.
const ORDER: [&str; 7] = ["SrcAddr", "DstAddr", "SrcPort", "DstPort", "Proto", "InIf", "Packets"];

/// Ours: these members of every record in a dataset.
pub fn ours(members: &[&'static str], dataset: &str) -> Rows {
    let mut rows = Rows::new();
    for line in ours::lines(dataset) {
        let exporter = match line["Type"].as_str() {
            Some("SFLOW_5") => line["AgentAddress"].as_str().unwrap().to_owned(),
            Some("NETFLOW_V5" | "NETFLOW_V9" | "IPFIX") => {
                sources::name_of(line["SamplerAddress"].as_str().unwrap())
            }
            _ => continue,
        };
        let row = members.iter().filter_map(|name| Some((*name, text(&line[*name])?)));
        rows.entry(exporter).or_default().push(row.collect());
    }
    rows
}

/// A value in the one way of writing it; `None` when it is zero or empty.
pub fn text(value: &Value) -> Option<String> {
    let text = match value {
        Value::String(text) => text.trim().to_lowercase(),
        Value::Array(all) if all.is_empty() => return None,
        Value::Null => return None,
        other => other.to_string(),
    };
    let text = match (text.parse::<IpAddr>(), text.strip_prefix("0x").map(|hex| u64::from_str_radix(hex, 16)))
    {
        (Ok(address), _) => address.to_string(),
        (_, Some(Ok(number))) => number.to_string(),
        _ => text,
    };
    let is_nothing = matches!(text.as_str(), "" | "0" | "0.0.0.0" | "::" | "00:00:00:00:00:00");
    (!is_nothing).then_some(text)
}

/// Asserts that both say the same but for what is known, and that what is known is still so.
pub fn assert_same(who: &str, ours: &Rows, theirs: &Rows, known: &[Known]) {
    let mut found: BTreeMap<(String, String), (usize, String)> = BTreeMap::new();
    let mut records = 0;
    let mut note = |exporter: &str, member: &str, example: String| {
        let place = found.entry((exporter.to_owned(), member.to_owned())).or_insert((0, example));
        place.0 += 1;
    };
    let nothing = Vec::new();
    for exporter in ours.keys().chain(theirs.keys().filter(|name| !ours.contains_key(*name))) {
        let (ours, theirs) =
            (ours.get(exporter).unwrap_or(&nothing), theirs.get(exporter).unwrap_or(&nothing));
        if ours.len() != theirs.len() {
            note(exporter, "*", format!("we have {} records, they have {}", ours.len(), theirs.len()));
            continue;
        }
        records += ours.len();
        for (ours, theirs) in sorted(ours).into_iter().zip(sorted(theirs)) {
            for member in ours.keys().chain(theirs.keys().filter(|name| !ours.contains_key(*name))) {
                let (own, other) = (ours.get(member), theirs.get(member));
                if own != other {
                    note(exporter, member, format!("we say {own:?}, they say {other:?} in {theirs:?}"));
                }
            }
        }
    }
    let unknown: Vec<_> = found
        .iter()
        .filter(|((exporter, member), _)| !known.iter().any(|known| known.explains(exporter, member)))
        .map(|((exporter, member), (count, example))| format!("{exporter}: {member} in {count}: {example}"))
        .collect();
    assert!(unknown.is_empty(), "{who} of {records} records:\n{}", unknown.join("\n"));
    for known in known {
        for exporter in known.exporters.iter().filter(|name| ours.contains_key(**name)) {
            let is_there =
                found.keys().any(|(name, member)| name == exporter && known.explains(name, member));
            assert!(is_there, "{who}: {exporter} does not differ any more although {}", known.why);
        }
    }
    println!("{who}: {records} records, {} members of ours that are known to differ", found.len());
}

fn sorted(rows: &[Row]) -> Vec<&Row> {
    let mut rows: Vec<_> = rows.iter().collect();
    rows.sort_by_key(|row| ORDER.map(|name| row.get(name)));
    rows
}
