//! Tests of the spool as a whole.

mod life;
mod model;
mod rig;
mod sim_disk;
