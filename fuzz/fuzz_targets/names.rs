//! What the other side of a names relay sends is refused or taken, and what is held stays whole.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| webb_names::fuzz(bytes));
