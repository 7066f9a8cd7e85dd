//! NetFlow and IPFIX: datagrams in, lines out.

#![allow(clippy::unwrap_used, clippy::panic)]

mod captures;
mod fields;
mod hostile;
mod options;
mod properties;
mod restart;
mod rig;
mod sequence;
mod templates;
