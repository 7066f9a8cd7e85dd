//! Listeners and what they share. A listener is (address, protocol, port) and the supervisor's unit; inputs
//! (datasets) are routes in its table, told apart by `allowed_sources`: the longest prefix that contains the sender
//! wins.

mod stats;

pub use stats::{InputState, InputStats, Refusal};
