//! A real cluster for tests.
//!
//! | module | job |
//! |---|---|
//! | [`cluster`] | the connection, nodes, daemons, `kubectl` and `helm` |
//! | [`namespace`] | a namespace per test: its objects, and what to say when the test fails |
//! | [`conditions`] | conditions of an object, and waiting for them |
//! | [`operator`] | the chart, installed and gone again |
//! | [`outside`] | the operator as a process of the test |
//! | [`stream`] | a numbered stream of events beside the test |
//! | [`exporters`] | exporters of NetFlow beside the test |
//!
//! - `make e2e` runs the test process as an outside client of our own cluster (`e2e/cluster`): it reaches LoadBalancer and node
//!   addresses, pods reach what it listens on ([`cluster::Cluster::address`]), so a [`crate::receiver::Receiver`] in the
//!   test is the Receiver of the pods.
//! - Any other cluster does, too: its kubeconfig in `E2E_KUBECONFIG`, its images in `E2E_REGISTRY` and `E2E_TAG`, an address
//!   of this machine that pods reach in `E2E_ADDRESS`.
//! - All of it is plain blocking code for its user.

pub mod cluster;
pub mod conditions;
pub mod exporters;
pub mod namespace;
pub mod operator;
pub mod outside;
pub mod stream;

pub use cluster::Cluster;
pub use exporters::Exporters;
pub use namespace::Namespace;
pub use operator::Operator;
pub use outside::Outside;
pub use stream::Stream;
