//! Entries of `inputs` that do not run as written.

use super::{
    model::Input,
    problems::{Fault, Problems},
    tree::{Node, Value},
};
use crate::ids::DatasetKey;

/// An entry of `inputs` that does not run as written. What the file says of itself is as written, legal or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefusedInput {
    /// `name`.
    pub name: String,
    /// `type`.
    pub kind: String,
    /// `tenant_id`.
    pub tenant_id: String,
    /// `dataset_id`.
    pub dataset_id: String,
    /// Hash of the entry.
    pub hash: String,
    /// What sort of a mistake it is.
    pub fault: Fault,
    /// What is wrong, where, and what to do.
    pub problem: String,
    /// The input that goes on in its place, as it ran before.
    pub goes_on: Option<DatasetKey>,
}

/// Those of a file. `former` has what each entry runs as, `hashes` what it is.
pub(super) fn of(
    tree: &Node,
    former: &[Option<Input>],
    hashes: &[String],
    problems: &Problems,
) -> Vec<RefusedInput> {
    let Some(Value::List(entries)) = tree.get("inputs").map(|node| &node.value) else { return Vec::new() };
    let wrong = problems.of_inputs().into_iter();
    wrong
        .filter_map(|(index, problem)| {
            let entry = entries.get(index)?;
            let config = entry.get("config");
            let text = |node: Option<&Node>, key| node?.get(key)?.value.spelling();
            Some(RefusedInput {
                name: text(Some(entry), "name").unwrap_or_default(),
                kind: text(Some(entry), "type").unwrap_or_default(),
                tenant_id: text(config, "tenant_id").unwrap_or_default(),
                dataset_id: text(config, "dataset_id").unwrap_or_default(),
                hash: hashes.get(index).cloned().unwrap_or_default(),
                fault: problem.fault,
                problem: problem.to_string(),
                goes_on: former.get(index).and_then(Option::as_ref).map(|input| input.key.clone()),
            })
        })
        .collect()
}
