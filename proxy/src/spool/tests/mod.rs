//! Tests of the spool as a whole.

mod crash;
mod faults;
mod life;
mod load;
mod model;
pub mod rig;
mod setbacks;
mod sim_disk;
