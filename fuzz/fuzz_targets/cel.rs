//! Any expression of a filter is refused with a place, or decides over flows within its bounds.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use webb_flow::{Extra, Flow};
use webb_index::Index;
use webb_index::filters::{FilterSpec, FlowFilter, expression_error, fuzz::fuzz};

/// Flows of a file, with what they carry.
static FLOWS: LazyLock<(Vec<Flow>, Vec<Extra>, std::sync::Arc<Index>)> = LazyLock::new(|| {
    const LINES: [&str; 4] = [
        include_str!("../seeds/flows/dns.json"),
        include_str!("../seeds/flows/drop.json"),
        include_str!("../seeds/flows/http.json"),
        include_str!("../seeds/flows/sctp.json"),
    ];
    let mut reader = webb_flowlog::Reader::default();
    for line in LINES.iter().flat_map(|text| text.lines()) {
        reader.line(line.as_bytes()).expect("a seed");
    }
    let batch = reader.batch();
    (batch.flows.to_vec(), batch.extras.to_vec(), std::sync::Arc::clone(batch.index))
});

fuzz_target!(|text: &str| {
    // Every other value of a filter that has a syntax.
    fuzz(text);
    let error = expression_error(text);
    let spec = FilterSpec { cel_expression: vec![text.to_owned()], ..FilterSpec::default() };
    match FlowFilter::new(spec) {
        Ok(filter) => {
            assert!(error.is_none());
            let (flows, extras, index) = &*FLOWS;
            for (flow, extra) in flows.iter().zip(extras) {
                filter.matches(flow, Some(extra), index);
                filter.matches(flow, None, index);
            }
        }
        Err(_) => assert!(!error.expect("an error").shown(text).is_empty()),
    }
});
