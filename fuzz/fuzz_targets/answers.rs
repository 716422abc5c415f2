//! Any bytes of a server are printed by `webb observe`, in every form, or refused.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| webb_observer::fuzz::fuzz_answers(bytes));
