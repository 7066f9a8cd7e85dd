//! Any bytes as a log segment, as a frame and as a batch file: they are read or refused, never a panic, and what is
//! sound lies inside them.
#![no_main]

use bytefreezer_proxy::spool::fuzzing;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| fuzzing::any_bytes(data));
