//! Any bytes in a ring are answered with a flow or with an error, and a flow has only values that a
//! metric can print.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| webb_decode::fuzz(bytes));
