//! The HTTP API: health, metrics, status, senders, configuration and the dead-letter queue, for people, scripts and
//! the operator.
//!
//! | who asks | what is answered |
//! |---|---|
//! | anybody | `/livez`, `/readyz`, `/metrics`, the documentation, and one word of `/api/v1/health` |
//! | `server.read_token` or `server.admin_token` | every GET |
//! | `server.admin_token` | POST and DELETE as well |
//! | a loopback peer, while no token is configured | every GET but the content of batches |
//!
//! Tenants, datasets and batch names in a request become typed identifiers before anything else happens, so no text
//! of a request ever becomes part of a path. Errors are JSON: `{"status": "NOT_FOUND", "error": "..."}`.

mod config;
mod connectivity;
mod dlq;
mod docs;
mod entry;
mod error;
mod exporters;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
mod guard;
mod health;
mod openapi;
mod plugins;
mod problems;
mod server;
mod stall;
mod state;
mod status;
#[cfg(test)]
mod tests;

pub use error::ApiError;
pub use openapi::openapi_json;
pub use problems::{MemoryWatch, SpoolTrouble};
pub use server::Api;
pub use state::{ApiState, Delivery, Running};
