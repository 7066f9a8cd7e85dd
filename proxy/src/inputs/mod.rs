//! Listeners and what they share. A listener is (address, protocol, port) and the supervisor's unit; inputs
//! (datasets) are routes in its table, told apart by `allowed_sources`: the longest prefix that contains the sender
//! wins.

pub mod accept;
pub mod prefix;
pub mod proxy_protocol;
pub mod senders;
mod stats;
mod status;
pub mod throttle;
pub mod tls;

pub use stats::{InputState, InputStats, Refusal};
pub use status::InputStatus;
