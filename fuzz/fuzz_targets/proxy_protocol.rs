//! Any bytes as a PROXY header: an address, none, or an error; what follows the header is handed back whole.
#![no_main]

use bytefreezer_proxy::inputs::proxy_protocol::read_header;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let mut stream = data;
    if let Ok((_, rest)) = runtime.block_on(read_header(&mut stream)) {
        assert!(data.ends_with(&[&rest[..], stream].concat()));
    }
});
