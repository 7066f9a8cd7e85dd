//! Who wrote a document: a person, or a program that says of which version of the schema it is.
//!
//! A person misspells keys; a program of another version knows others. So what is unknown in a program's document is no
//! slip: outside of inputs it is left out with a warning, in an input it costs that input alone, since it may be what
//! keeps somebody out of it.

use super::tree::Node;

/// The version of the schema that this program knows. It grows with every key that an older version must not ignore.
pub const SCHEMA_VERSION: u32 = 1;

/// Who wrote a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Author {
    Person,
    /// With `schema_version`.
    Program {
        /// It is larger than ours.
        newer: bool,
    },
}

impl Author {
    pub fn of(tree: &Node) -> Self {
        match tree.get("schema_version").and_then(|node| node.value.spelling()) {
            None => Self::Person,
            Some(version) => {
                let newer =
                    version.trim().parse::<u64>().is_ok_and(|version| version > SCHEMA_VERSION.into());
                Self::Program { newer }
            }
        }
    }

    pub fn is_program(self) -> bool {
        self != Self::Person
    }

    pub fn is_newer(self) -> bool {
        self == Self::Program { newer: true }
    }
}
