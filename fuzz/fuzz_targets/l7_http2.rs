//! Records of HTTP/2 in any order, with any flags: no panic, and the ledger adds up after each.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| webb_decode::l7::fuzz(Some(3), bytes));
