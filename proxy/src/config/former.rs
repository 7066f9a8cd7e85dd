//! What the entries of a file ran as before a reload.

use std::collections::{HashMap, HashSet};

use super::{
    model::{Config, Input},
    tree::{Node, Value},
    validate::legal_id,
};
use crate::ids::DatasetKey;

/// For each entry under `inputs` the input in `running` that it is a new version of: the one with its dataset, else the
/// only one with its name. An entry that is switched off is none.
pub(super) fn versions(tree: &Node, running: &Config) -> Vec<Option<Input>> {
    let entries = match tree.get("inputs").map(|node| &node.value) {
        Some(Value::List(items)) => items.as_slice(),
        _ => return Vec::new(),
    };
    let file_tenant = text(tree, "tenant_id");
    let keys: Vec<_> = entries.iter().map(|entry| dataset(entry, file_tenant.as_deref())).collect();
    let written: HashSet<_> = keys.iter().flatten().collect();
    let by_key: HashMap<_, _> = running.inputs.iter().map(|input| (&input.key, input)).collect();
    let mut by_name = HashMap::<_, Vec<_>>::new();
    for input in running.inputs.iter().filter(|input| !written.contains(&input.key)) {
        by_name.entry(input.name.as_str()).or_default().push(input);
    }
    let mut taken = HashSet::new();
    let mut versions = Vec::with_capacity(entries.len());
    for (entry, key) in entries.iter().zip(&keys) {
        let same_key = key.as_ref().and_then(|key| by_key.get(key).copied());
        let version = same_key.or_else(|| match by_name.get(text(entry, "name")?.as_str())?.as_slice() {
            [only] => Some(*only),
            _ => None,
        });
        versions.push(version.filter(|input| !is_off(entry) && taken.insert(&input.key)).cloned());
    }
    versions
}

fn text(node: &Node, key: &str) -> Option<String> {
    node.get(key)?.value.spelling().filter(|text| !text.is_empty())
}

/// The dataset as far as it can be read.
fn dataset(entry: &Node, file_tenant: Option<&str>) -> Option<DatasetKey> {
    let own = |key| entry.get("config").and_then(|config| text(config, key));
    let tenant = own("tenant_id").or_else(|| file_tenant.map(str::to_owned))?;
    let dataset = own("dataset_id").or_else(|| text(entry, "name").map(|name| legal_id(&name)))?;
    Some(DatasetKey { tenant: tenant.parse().ok()?, dataset: dataset.parse().ok()? })
}

fn is_off(entry: &Node) -> bool {
    text(entry, "enabled").is_some_and(|text| {
        ["false", "no", "off", "0", "f", "n"].contains(&text.trim().to_ascii_lowercase().as_str())
    })
}
