//! One validated [`Config`] from file and environment, and the difference of two.
//!
//! ```text
//! text --tree--> Node --env--> Node --legacy--> Node --fit--> Document --validate--> Config
//!      places        variables      old keys        types,         ids, sums,
//!                                                   ranges         conflicts
//! ```
//! Every step reports to one list of [`Problem`]s and goes on. Nothing outside this module sees a `Document` except
//! through its schema; nothing inside opens a socket.

mod author;
mod diff;
pub mod document;
mod env;
#[cfg(feature = "runtime")]
mod files;
mod fingerprint;
mod fit;
mod former;
mod legacy;
mod load;
mod model;
mod problems;
mod reference;
mod refused;
mod schema;
mod sharing;
mod suggest;
mod tree;
mod validate;

pub use author::SCHEMA_VERSION;
pub use diff::Difference;
pub use env::{PREFIX as ENVIRONMENT_PREFIX, variables as environment_names};
pub use fingerprint::document_hash;
pub use load::{Loaded, Usable, load, reload};
pub use model::*;
pub use problems::{Fault, Origin, Problem, Severity};
pub use reference::reference;
pub use refused::RefusedInput;
pub use schema::json_schema;
pub use sharing::{Conflict, Sharing, Transport};
