//! Any bytes of a receiver of OTLP logs are an answer.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| webb_otlp::fuzz::fuzz_answer(bytes));
