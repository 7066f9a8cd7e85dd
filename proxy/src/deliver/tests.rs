//! Delivery over real sockets.

mod receiver;
mod upload;
