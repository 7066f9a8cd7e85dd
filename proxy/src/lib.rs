//! The ByteFreezer data plane.
//!
//! ```text
//! socket -> inputs -> decode -> batch -> spool -> deliver -> gone
//!                                           \-> retry ... -> dlq -> (retry)
//! ```
//! Each arrow is one module boundary with a narrow type; data never walks backwards.
//!
//! | module | job | knows nothing of |
//! |---|---|---|
//! | [`config`] | file + environment -> one validated `Config`; the difference of two | sockets |
//! | [`ids`] | tenant, dataset and hint as types that cannot hold an illegal value | everything |
//! | `inputs` | listeners, routes, senders; a supervisor applies a difference | disk, upload |
//! | `decode` | pure functions, bytes -> lines | tokio, the clock |
//! | `batch` | lines of one stream in memory: builder, chunk, compression level, memory budget | where lines come from |
//! | `spool` | the log and the batch files: commit, close, retry, DLQ, limits, recovery | HTTP |
//! | `deliver` | Receiver client, outcomes, schedule, circuits | decoding |
//! | `ledger` | where every event is, at any time | everything |
//! | `vital` | what a panic in a part means that the process cannot do without | what the parts do |
//! | `api` | axum: health, metrics, status, senders, DLQ, config | the data path's inside |
//!
//! Without the default feature `runtime` only [`config`], [`ids`] and [`termination`] remain, for the operator.

#[cfg(feature = "runtime")]
#[macro_use]
mod failpoint;

pub mod config;
pub mod ids;
pub mod termination;

#[cfg(feature = "runtime")]
pub mod api;
#[cfg(feature = "runtime")]
pub mod batch;
#[cfg(feature = "runtime")]
pub mod cli;
#[cfg(feature = "runtime")]
pub mod decode;
#[cfg(feature = "runtime")]
pub mod deliver;
#[cfg(all(feature = "runtime", any(test, feature = "fuzzing")))]
pub mod fuzzing;
#[cfg(feature = "runtime")]
pub mod inputs;
#[cfg(feature = "runtime")]
pub mod ledger;
#[cfg(feature = "runtime")]
pub mod logging;
#[cfg(feature = "runtime")]
pub mod metrics;
#[cfg(feature = "runtime")]
mod rate;
#[cfg(feature = "runtime")]
mod reload;
#[cfg(feature = "runtime")]
pub mod run;
#[cfg(feature = "runtime")]
mod shutdown;
#[cfg(feature = "runtime")]
mod source;
#[cfg(feature = "runtime")]
pub mod spool;
#[cfg(feature = "runtime")]
mod throttle;
#[cfg(feature = "runtime")]
pub mod vital;
#[cfg(feature = "runtime")]
mod waiting;
#[cfg(feature = "runtime")]
mod watch;
