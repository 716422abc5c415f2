//! Files of exporters (flowlogs.yaml): a set that can be run, or problems with their places.

#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| webb::exports::fuzz(text));
