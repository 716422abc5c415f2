//! Flow files: lines alone, and lines to counters, on one core. Bytes are those of the lines.

#![allow(missing_docs, reason = "criterion's macros make undocumented functions")]
#![allow(clippy::unwrap_used, reason = "a bench may end where it is wrong")]

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use webb::metrics::{Aggregator, grammar};
use webb::replay::Reader;

const PODS: &str = "sourceContext=pod;destinationContext=pod";

fn count(reader: &mut Reader, aggregators: &mut [Aggregator], text: &[u8]) {
    let hand_out = |reader: &mut Reader, aggregators: &mut [Aggregator]| {
        let batch = reader.batch();
        for aggregator in aggregators.iter_mut() {
            aggregator.observe(black_box(batch), 0, &mut 0);
        }
        reader.turn();
    };
    for line in text.split(|&byte| byte == b'\n') {
        reader.line(black_box(line)).unwrap();
        if reader.is_full() {
            hand_out(reader, aggregators);
        }
    }
    hand_out(reader, aggregators);
}

fn replay(criterion: &mut Criterion) {
    let text = std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/conformance/flows.jsonl")).unwrap();
    let mut group = criterion.benchmark_group("replay");
    group.throughput(Throughput::Bytes(text.len() as u64));
    let first = format!("flow tcp port-distribution drop:{PODS} dns icmp policy httpV2");
    for (name, metrics) in [("lines", ""), ("flow", "flow"), ("first", &first)] {
        let mut aggregators: Vec<_> = grammar::parse(metrics).unwrap().metrics.iter().map(Aggregator::new).collect();
        let mut reader = Reader::default();
        count(&mut reader, &mut aggregators, &text);
        group.bench_function(BenchmarkId::from_parameter(name), |bencher| {
            bencher.iter(|| count(&mut reader, &mut aggregators, &text));
        });
    }
    group.finish();
}

criterion_group!(benches, replay);
criterion_main!(benches);
