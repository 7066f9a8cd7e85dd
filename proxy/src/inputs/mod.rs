//! Listeners and what they share. A listener is (address, protocol, port) and the supervisor's unit; inputs
//! (datasets) are routes in its table, told apart by `allowed_sources`: the longest prefix that contains the sender
//! wins.
//!
//! ```text
//! config --plan--> listeners with routes + conflicts --supervisor--> sockets
//! UDP: socket -> receiver thread -> PacketBatch -> decoder thread -> LineBuffer -> Chunk -> spool
//! TCP: accept -> a task per connection -> Framer -> LineBuffer -> Chunk -> spool
//! ```
//! What flow records need beside themselves, templates above all, is the input's: see [`exporters`].
#![deny(clippy::indexing_slicing)]

pub mod accept;
mod context;
mod decoder;
mod error;
pub mod exporters;
mod format;
mod forward;
mod handover;
pub mod http;
mod listener;
mod metrics;
mod packets;
pub mod paging;
mod plan;
pub mod prefix;
pub mod proxy_protocol;
pub mod senders;
mod session;
mod shard;
mod shares;
#[allow(unsafe_code)]
mod socket;
mod stats;
mod status;
mod supervisor;
mod tcp;
pub mod tls;
mod udp;

pub use context::{InputContext, Route, RouteError, Table};
pub use error::{InputError, InputErrorKind};
pub use exporters::{ExporterQuery, ExporterRow};
pub use format::{Decoded, Decoder, Malformed};
pub use senders::Senders;
pub use stats::{InputState, InputStats, Refusal};
pub use status::{InputStatus, ListenerStatus};
pub use supervisor::Supervisor;
