//! Tests of the spool as a whole.

mod faults;
mod life;
mod model;
mod rig;
mod sim_disk;
