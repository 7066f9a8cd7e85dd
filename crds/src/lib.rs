//! The two resources of the operator: [`Proxy`], the pods, and [`ProxyDataset`], one stream that attaches to them.
//!
//! ```text
//! Rust types + rules --derive--> schema --schema::finish--> CRD --yaml--> crds/*.yaml
//!                                                             \--reference--> docs/reference/crds.md
//! ```
//! The types are an API of their own: camelCase, durations as `60s`, sizes as `20Gi`. They know nothing of the proxy's
//! file; the operator converts the one into the other.
//!
//! Invariants:
//! - Every field has a description, since `kubectl explain` shows nothing else.
//! - What one object can know about itself is checked by the API server: ranges by the schema or by CEL, everything else
//!   by CEL with a message that says what to write instead. The rules are evaluated in the unit tests.
//! - The schema is structural and refuses unknown fields; `workload.podTemplate.spec` is the one way around it.

pub mod conditions;
pub mod dataset;
#[cfg(test)]
mod examples;
pub mod labels;
pub mod proxy;
mod reference;
mod schema;
#[cfg(test)]
mod testing;
pub mod values;

pub use dataset::{ProxyDataset, ProxyDatasetSpec, ProxyDatasetStatus};
pub use proxy::{Proxy, ProxySpec, ProxyStatus};
pub use reference::reference;
pub use schema::{crds, yaml};

/// The API group.
pub const GROUP: &str = "bytefreezer.com";
/// The one version.
pub const VERSION: &str = "v1alpha1";
