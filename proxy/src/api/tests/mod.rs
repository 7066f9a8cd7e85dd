//! Over real sockets, with the router that runs.

mod access;
mod status;
mod world;
