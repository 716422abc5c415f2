//! Any dynamic file, and any flows through the metrics and filters that it asks for.
//!
//! The input is the file, then a NUL, then lines of flows.
#![no_main]

use libfuzzer_sys::fuzz_target;
use webb_metrics::expose::{openmetrics, text as text_format};
use webb_metrics::{Aggregator, dynamic};
use webb_flowlog::Reader;
use webb_settings::SourceFile;

fuzz_target!(|input: &[u8]| {
    let mut parts = input.splitn(2, |&byte| byte == 0);
    let Ok(file) = std::str::from_utf8(parts.next().unwrap_or_default()) else { return };
    dynamic::fuzz(file);
    let Ok(read) = dynamic::read(SourceFile { name: "fuzz.yaml".to_owned(), text: file.to_owned() }) else { return };
    let mut aggregators: Vec<_> = read.metrics.iter().map(|listed| Aggregator::new(&listed.config)).collect();
    let mut reader = Reader::default();
    for line in parts.next().unwrap_or_default().split(|&byte| byte == b'\n') {
        let _outcome = reader.line(line);
    }
    for aggregator in &mut aggregators {
        aggregator.observe(reader.batch(), 0, &mut 0);
        let snapshots = aggregator.snapshot();
        let (mut text, mut open) = (Vec::new(), Vec::new());
        text_format::render(&snapshots, [], &mut text);
        openmetrics::render(&snapshots, [], &mut open);
        assert!(std::str::from_utf8(&text).is_ok() && open.ends_with(b"# EOF\n"));
    }
});
