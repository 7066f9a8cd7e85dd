//! Tests of the spool as a whole.

mod crash;
mod doubt;
mod faults;
mod halves;
mod life;
mod limits;
mod load;
mod model;
mod removal;
pub mod rig;
mod rights;
mod setbacks;
mod sim_disk;
mod takeover;
