//! Tests of the spool as a whole.

mod life;
mod rig;
