//! Delivery over real sockets.

mod delivery;
mod names;
mod receiver;
mod site;
mod upload;
