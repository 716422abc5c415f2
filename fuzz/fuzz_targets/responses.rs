//! Any bytes are read as responses of Hubble's API: each is a flow, something else, or refused with
//! a reason.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| webb_flowlog::fuzz::fuzz_responses(bytes));
