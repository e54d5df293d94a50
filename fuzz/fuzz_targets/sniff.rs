#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| picgate_fuzz::invariants::sniff(input));
