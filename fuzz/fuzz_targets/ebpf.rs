#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| bytefreezer_proxy::fuzzing::ebpf(data));
