//! Any bytes of a file in the spool directory are a request, which has its records in each form, or
//! are refused.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| webb_otlp::fuzz::fuzz_spool_file(bytes));
