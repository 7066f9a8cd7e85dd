//! Any bytes as the file of what exporters have taught.
#![no_main]

use bytefreezer_proxy::decode::flow::{Rules, Shared};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let shared = Shared::new(Rules::default());
    shared.restore(data);
    // What was taken from it is a file again, and all of that file is good.
    assert!(Shared::new(Rules::default()).restore(&shared.save().1));
});
