//! One validated [`Config`] from file and environment, and the difference of two.
//!
//! ```text
//! text --load--> Document (as written: optional keys, aliases) --env--> --validate--> Config (typed, defaults in)
//! ```
//! Nothing outside this module sees a `Document`; nothing inside opens a socket.

mod model;

pub use model::*;
