//! The readers of an old spool for [`crate::fuzzing`].

use super::{
    super::{Stamp, files::Name, meta::Meta},
    journal::Journal,
    old_files, old_meta,
};
use crate::ids::DatasetKey;

/// Metadata of the former program.
pub fn old_meta(bytes: &[u8]) -> Meta {
    old_meta::parse(bytes)
}

/// A journal that is taken names a batch, and is written as it was read.
pub fn journal(bytes: &[u8]) {
    if let Some(journal) = Journal::decode(bytes) {
        assert!(journal.name().is_some());
        assert_eq!(Journal::decode(&serde_json::to_vec(&journal).unwrap_or_default()), Some(journal));
    }
}

/// The names of ours that a file of the former program gets, as a batch and as a message.
pub fn names(key: &DatasetKey, text: &str, modified_ns: u64) -> Vec<Name> {
    let batch = old_files::name_of(key, text, modified_ns);
    let message = old_files::message_name(text);
    let message = message.map(|(ns, hint)| Name { key: key.clone(), stamp: Stamp(ns), hint });
    [batch].into_iter().chain(message).collect()
}
