//! Over real sockets, with the router that runs.

mod access;
mod dlq;
mod health;
mod members;
mod status;
mod world;
