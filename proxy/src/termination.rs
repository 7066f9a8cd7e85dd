//! What a process leaves behind in its spool, for whoever looks after the volume: JSON of at most [`MOST`] bytes, written
//! as the last thing before the end to the file that `--termination-message` names. Kubernetes shows it in the pod's
//! status. No message means that nothing is known.

use std::{collections::BTreeMap, path::Path};

use serde::{Deserialize, Serialize};

use crate::ids::TenantId;

/// More is cut off by Kubernetes.
pub const MOST: usize = 4096;
/// Longest `ended`.
const MOST_WORDS: usize = 512;

/// The message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// Why the process ended.
    pub ended: String,
    /// Bytes that were not delivered, those of the dead-letter queue too; `null` when that is not known.
    pub undelivered_bytes: Option<u64>,
    /// The same by tenant, most first to be named.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tenants: BTreeMap<String, u64>,
    /// Of tenants that had no room in the message.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub other_tenants_bytes: u64,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_zero(bytes: &u64) -> bool {
    *bytes == 0
}

impl Message {
    /// Of a process that does not know what is in its spool.
    pub fn unknown(ended: impl Into<String>) -> Self {
        Self {
            ended: cut(ended.into()),
            undelivered_bytes: None,
            tenants: BTreeMap::new(),
            other_tenants_bytes: 0,
        }
    }

    /// Of one that does.
    pub fn of(ended: impl Into<String>, bytes: impl IntoIterator<Item = (TenantId, u64)>) -> Self {
        let mut tenants: Vec<_> = bytes.into_iter().filter(|(_, bytes)| *bytes > 0).collect();
        tenants.sort_by(|(one, more), (two, less)| less.cmp(more).then_with(|| one.cmp(two)));
        let mut message = Self {
            undelivered_bytes: Some(tenants.iter().map(|(_, bytes)| bytes).sum()),
            ..Self::unknown(ended)
        };
        // With room for the last member and its number.
        let mut room = MOST.saturating_sub(message.to_json().len() + 64);
        for (tenant, bytes) in tenants {
            // Quotes, colon, comma, and the longest number.
            let needed = tenant.as_str().len() + 24;
            if needed > room {
                room = 0;
                message.other_tenants_bytes += bytes;
            } else {
                room -= needed;
                message.tenants.insert(tenant.to_string(), bytes);
            }
        }
        message
    }

    /// As it is written.
    pub fn to_json(&self) -> String {
        // Texts and numbers always can be.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Writes it; the error says where.
    pub fn write(&self, file: &Path) -> Result<(), String> {
        std::fs::write(file, self.to_json()).map_err(|error| {
            format!("{}: the termination message cannot be written: {error}", file.display())
        })
    }
}

fn cut(mut words: String) -> String {
    let end =
        (0..=MOST_WORDS.min(words.len())).rev().find(|at| words.is_char_boundary(*at)).unwrap_or_default();
    words.truncate(end);
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_tenants_are_named_and_the_message_never_is_too_long() {
        let tenants = |count: u64| {
            (0..count).map(|number| (format!("tenant-{number:0>50}").parse::<TenantId>().unwrap(), number))
        };
        let few = Message::of("SIGTERM", tenants(3));
        assert_eq!((few.undelivered_bytes, few.tenants.len(), few.other_tenants_bytes), (Some(3), 2, 0));
        let many = Message::of("\"\u{1F600}".repeat(1000), tenants(1000));
        assert!(many.to_json().len() <= MOST, "{}", many.to_json().len());
        assert!(many.tenants.len() > 10 && many.tenants.values().all(|bytes| *bytes > 900), "{many:?}");
        let named: u64 = many.tenants.values().sum();
        assert_eq!(named + many.other_tenants_bytes, many.undelivered_bytes.unwrap());
        assert_eq!(serde_json::from_str::<Message>(&many.to_json()).unwrap(), many);
        let unknown = Message::unknown("cannot start");
        assert_eq!(unknown.to_json(), r#"{"ended":"cannot start","undelivered_bytes":null}"#);
    }
}
