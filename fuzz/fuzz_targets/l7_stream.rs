//! Records of all layer-7 protocols in any order, of a few connections: no panic, and the ledger
//! adds up after each.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| webb_decode::l7::fuzz(None, bytes));
