//! Identifiers as types that cannot hold an illegal value, so that no path or file name is ever built from
//! unchecked text.
//!
//! A batch file is `{tenant}--{dataset}--{stamp}--{hint}.gz` and the Receiver splits it at `--`; hence no part
//! may contain `--`, `.` or `/`.

use std::{fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Serialize};

/// Words that the program this one replaces refuses as tenant or dataset, and the names of spool folders.
const RESERVED: &[&str] = &[
    "tmp", "temp", "cache", "log", "logs", "var", "etc", "bin", "usr", "opt", "udp", "tcp", "http", "https",
    "ftp", "ssh", "syslog", "proxy", "receiver", "piper", "api", "admin", "root", "system", "meta",
    "metadata", "config", "settings", "status", "health", "con", "prn", "aux", "nul", "com1", "com2", "com3",
    "com4", "com5", "com6", "com7", "com8", "com9", "lpt1", "lpt2", "lpt3", "lpt4", "lpt5", "lpt6", "lpt7",
    "lpt8", "lpt9", "raw", "queue", "retry", "dlq", "src",
];

/// Longest identifier in bytes.
const MAX_ID: usize = 64;
/// Longest data hint in bytes.
const MAX_HINT: usize = 32;

/// Why a text is no identifier.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// Empty or longer than allowed.
    #[error("{0:?} has {1} characters; 1 to {2} are allowed")]
    Length(String, usize, usize),
    /// A character outside the alphabet.
    #[error(
        "{0:?} contains {1:?}; allowed are letters, digits, `_` and `-`, the first and last a letter or digit"
    )]
    Character(String, char),
    /// `--` separates the parts of a batch file name.
    #[error("{0:?} contains `--`, which separates the parts of a batch file name; use a single `-` or `_`")]
    DoubleHyphen(String),
    /// One of the reserved words.
    #[error("{0:?} is a reserved word; add a prefix or suffix")]
    Reserved(String),
}

fn check_id(text: &str) -> Result<(), IdError> {
    if text.is_empty() || text.len() > MAX_ID {
        return Err(IdError::Length(text.to_owned(), text.chars().count(), MAX_ID));
    }
    if let Some(bad) = text.chars().find(|c| !(c.is_ascii_alphanumeric() || *c == '_' || *c == '-')) {
        return Err(IdError::Character(text.to_owned(), bad));
    }
    for end in [text.chars().next(), text.chars().next_back()].into_iter().flatten() {
        if !end.is_ascii_alphanumeric() {
            return Err(IdError::Character(text.to_owned(), end));
        }
    }
    if text.contains("--") {
        return Err(IdError::DoubleHyphen(text.to_owned()));
    }
    if RESERVED.iter().any(|word| word.eq_ignore_ascii_case(text)) {
        return Err(IdError::Reserved(text.to_owned()));
    }
    Ok(())
}

fn check_hint(text: &str) -> Result<(), IdError> {
    if text.is_empty() || text.len() > MAX_HINT {
        return Err(IdError::Length(text.to_owned(), text.chars().count(), MAX_HINT));
    }
    match text.chars().find(|c| !(c.is_ascii_lowercase() || c.is_ascii_digit() || *c == '_')) {
        Some(bad) => Err(IdError::Character(text.to_owned(), bad)),
        None => Ok(()),
    }
}

macro_rules! identifier {
    ($(#[$doc:meta])* $name:ident, $check:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Arc<str>);

        impl $name {
            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
        impl FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                $check(text)?;
                Ok(Self(text.into()))
            }
        }
        impl TryFrom<String> for $name {
            type Error = IdError;
            fn try_from(text: String) -> Result<Self, IdError> {
                text.parse()
            }
        }
        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.0.as_ref().to_owned()
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", &*self.0)
            }
        }
    };
}

identifier!(
    /// A tenant: 1 to 64 of `[A-Za-z0-9_-]`, first and last alphanumeric, no `--`, not reserved.
    TenantId,
    check_id
);
identifier!(
    /// A dataset of a tenant; same alphabet as [`TenantId`].
    DatasetId,
    check_id
);
identifier!(
    /// What the lines of a batch are (`ndjson`, `raw`, `csv`, ...): 1 to 32 of `[a-z0-9_]`.
    Hint,
    check_hint
);

impl Hint {
    /// `ndjson`, the hint of every structured input.
    pub fn ndjson() -> Self {
        Self("ndjson".into())
    }

    /// `raw`, the hint of inputs that were told nothing.
    pub fn raw() -> Self {
        Self("raw".into())
    }

    /// Whether JSON object lines of this hint carry `BfTs`.
    pub fn is_json(&self) -> bool {
        matches!(self.as_str(), "ndjson" | "json")
    }
}

/// A dataset with its tenant: what the Receiver's URL names.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct DatasetKey {
    /// Owner.
    pub tenant: TenantId,
    /// Dataset of that owner.
    pub dataset: DatasetId,
}

impl fmt::Display for DatasetKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.tenant, self.dataset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_that_the_receiver_or_the_spool_would_misread_are_refused() {
        for good in ["acme", "a", "A-b_c9", "web-logs"] {
            assert!(good.parse::<TenantId>().is_ok(), "{good}");
        }
        let long = "x".repeat(65);
        for bad in
            ["", "-a", "a-", "_a", "a--b", "dlq", "Queue", "a/b", "..", "a b", "ä", "a\0", long.as_str()]
        {
            assert!(bad.parse::<TenantId>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn hints_cannot_break_a_file_name() {
        for good in ["ndjson", "apache", "my_format_with_a_name"] {
            assert!(good.parse::<Hint>().is_ok(), "{good}");
        }
        for bad in ["", "a--b", "a.b", "a/b", "A", "a-b"] {
            assert!(bad.parse::<Hint>().is_err(), "{bad:?}");
        }
    }
}
