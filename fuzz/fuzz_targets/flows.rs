//! Any bytes are read as lines of a flow file: each is a flow, something else, or named as bad.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| webb_flowlog::fuzz::fuzz(bytes));
