//! Delivery over real sockets.

mod delivery;
mod receiver;
mod site;
mod upload;
