//! Times and sizes: what is read can be shown, and what is shown reads back as the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use webb_settings::units::{parse_bytes, parse_duration, show_bytes, show_duration};

fuzz_target!(|text: &str| {
    if let Ok(time) = parse_duration(text) {
        assert_eq!(parse_duration(&show_duration(time)), Ok(time));
    }
    if let Ok(bytes) = parse_bytes(text) {
        assert_eq!(parse_bytes(&show_bytes(bytes)), Ok(bytes));
    }
});
