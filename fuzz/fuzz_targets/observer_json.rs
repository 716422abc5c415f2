//! Any line of a file of flows is read as a message or refused, and is the same when it is written
//! and read again.
#![no_main]

libfuzzer_sys::fuzz_target!(|line: &str| webb_observer::fuzz::fuzz_json(line));
