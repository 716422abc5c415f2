//! Any configuration string is answered with metrics or with an error, and each metric can be
//! built.
#![no_main]

use libfuzzer_sys::fuzz_target;
use webb_metrics::{Aggregator, grammar};

fuzz_target!(|text: &str| {
    if let Ok(parsed) = grammar::parse(text) {
        for config in &parsed.metrics {
            assert_eq!(Aggregator::new(config).series(), 0);
        }
    }
});
