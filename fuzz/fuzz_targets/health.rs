//! Any bytes are read as an answer to a probe of health: by HTTP in any pieces, and by ICMP.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| webb::health::fuzz(bytes));
