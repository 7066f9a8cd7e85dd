//! The operator: from resources to what shall be there, and there.
//!
//! ```text
//! gather -> arbitrate -> build -> apply -> acknowledge -> status
//! ```
//! [`controller::run`] gives every Proxy that has to be looked at one pass through these.
//!
//! | module | job | knows nothing of |
//! |---|---|---|
//! | [`gather`] | watches: what is there, and who has to look when it changes | what is done about it |
//! | [`validate`] | a `Proxy` with every text read: names, ports, limits | datasets |
//! | [`arbitrate`] | which datasets are admitted, who loses and to whom | Kubernetes' objects, the file |
//! | [`convert`] | Proxy and admitted datasets -> the proxy's own document | Kubernetes' objects |
//! | [`secrets`] | reads what datasets and Proxies refer to, and looks again | what it is for |
//! | [`assets`] | tokens and certificates in the Proxy's eight Secrets | who refers to them |
//! | [`build`] | the Kubernetes objects, one file per kind | the API server |
//! | [`apply`] | brings the objects to the API server, removes orphans | why they are what they are |
//! | [`api_secret`] | what operator and pods trust each other by | |
//! | [`acknowledge`] | asks the pods what they have applied | what that means for a dataset |
//! | [`claims`] | what pods that are gone left on their volumes | |
//! | [`growth`] | volume claims that grow with the spool | |
//! | [`status`] | the statuses, from what was decided, applied and acknowledged | how they got decided |
//! | [`controller`] | who gets a pass when, the passes, failures | the other modules' rules |
//! | [`leader`] | which replica writes | what |
//! | [`events`], [`metrics`], [`health`] | what people and machines see of it | |
//! | [`failpoint`] | sudden deaths, for tests | |
//! | [`run`] | puts it together | |
//! | [`definitions`] | brings the resource definitions there | everything else |
//! | [`send_test`] | one event to a dataset, followed to the Receiver | everything else |
//! | [`rbac`] | what the operator may do, for the chart | everything else |
//!
//! Invariants:
//! - What decides, builds and reports is pure: no I/O, no clock, the same input gives the same objects, byte for byte.
//! - The pod template is a function of the Proxy alone, so no dataset restarts a pod.
//! - Values are serialised, never templated.

pub mod acknowledge;
pub mod api_secret;
pub mod apply;
pub mod arbitrate;
pub mod assets;
pub mod build;
#[cfg(test)]
mod chart;
pub mod claims;
pub mod controller;
pub mod convert;
pub mod definitions;
pub mod events;
pub mod failpoint;
pub mod gather;
pub mod growth;
pub mod health;
pub mod jitter;
pub mod key;
pub mod leader;
pub mod metrics;
pub mod pin;
pub mod rbac;
pub mod run;
pub mod secrets;
pub mod send_test;
pub mod status;
pub mod validate;

#[cfg(test)]
pub(crate) mod mock;
