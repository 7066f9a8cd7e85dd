//! Delivery over real sockets.

mod authorities;
mod delivery;
mod names;
mod receiver;
mod returns;
mod site;
mod tenants;
mod upload;
