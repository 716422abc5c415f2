//! Cost of reading a record of layer 7: DNS, HTTP/1, and header blocks of HTTP/2.
//!
//! `cargo bench -p webb-decode --bench l7`

#![allow(missing_docs, reason = "criterion's macros make public items")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a bench may end where it is wrong")]

#[path = "../tests/l7/records.rs"]
mod records;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use records::Count;
use webb_decode::l7::{Dissector, Limits, Redact, Wants};

/// Makes the records of a round by its number.
type Round = fn(u32) -> Vec<Vec<u8>>;

fn read(bench: &mut Criterion) {
    let mut group = bench.benchmark_group("l7");
    let rounds: [(&str, Round); 3] =
        [("dns", |_| records::dns()), ("http1", records::http1), ("http2", records::http2)];
    for (name, round) in rounds {
        let wants = Wants { grpc: true, ..Wants::default() };
        let mut dissector = Dissector::new(Limits::default(), wants, Redact::default());
        let mut count = Count::default();
        let mut number = 0;
        group.throughput(Throughput::Elements(round(0).len() as u64));
        group.bench_function(name, |bench| {
            let next = || {
                number += 1;
                round(number - 1)
            };
            let all = |records: Vec<Vec<u8>>| {
                for record in &records {
                    dissector.read(record, &mut count);
                }
                records
            };
            bench.iter_batched(next, all, BatchSize::PerIteration);
        });
        assert!(count.0 > 0);
    }
    group.finish();
}

criterion_group!(benches, read);
criterion_main!(benches);
