//! A scrape of 100,000 series with six labels: the snapshot that interrupts counting, and the text
//! that does not.

#![allow(missing_docs, reason = "criterion's macros make undocumented functions")]
#![allow(clippy::indexing_slicing, reason = "a bench may end where it is wrong")]

mod mix;

use std::hint::black_box;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use webb_metrics::expose::{Exposition, Format, Labels, Snapshot, openmetrics, text};

fn rendered(snapshots: &[Snapshot], out: &mut Vec<u8>) {
    out.clear();
    text::render(snapshots, [], out);
}

/// As a scrape does it: part by part, each gone before the next.
fn streamed(snapshots: &[Snapshot], out: &mut Vec<u8>) {
    let borrowed: Vec<&Snapshot> = snapshots.iter().collect();
    let exposition = Exposition::new(Format::Text, &borrowed, [], |_| true);
    for part in exposition.parts() {
        out.clear();
        exposition.write(part, |at| snapshots.get(at), out);
        black_box(&out);
    }
}

/// The same series as if they had all just been born.
fn newborn(snapshot: &Snapshot) -> Snapshot {
    let mut labels = Labels::default();
    let mut rows: Vec<(u32, String)> = snapshot.labels.rows().collect();
    rows.sort_unstable();
    for (_, text) in rows {
        labels.push(&text);
    }
    Snapshot { labels: labels.sheet(), ..snapshot.clone() }
}

fn expose(criterion: &mut Criterion) {
    let mut aggregator = mix::with_series(mix::SIX_LABELS, 100_000);
    let snapshots = aggregator.snapshot();
    let mut out = Vec::new();
    rendered(&snapshots, &mut out);
    let mut group = criterion.benchmark_group(format!("expose 100k series, {} bytes", out.len()));
    group.sample_size(20);
    group.bench_function("snapshot", |bencher| bencher.iter(|| black_box(aggregator.snapshot())));
    group.throughput(Throughput::Bytes(out.len() as u64));
    group.bench_function("copy", |bencher| {
        let whole = out.clone();
        let mut out = Vec::with_capacity(whole.len());
        bencher.iter(|| {
            out.clear();
            out.extend_from_slice(black_box(&whole));
        });
    });
    group.bench_function("text", |bencher| bencher.iter(|| rendered(&snapshots, black_box(&mut out))));
    group.bench_function("text, part by part", |bencher| bencher.iter(|| streamed(&snapshots, black_box(&mut out))));
    group.bench_function("openmetrics", |bencher| {
        bencher.iter(|| {
            out.clear();
            openmetrics::render(&snapshots, [], black_box(&mut out));
        });
    });
    group.bench_function("first text, with the sort", |bencher| {
        let setup = || snapshots.iter().map(newborn).collect::<Vec<_>>();
        bencher.iter_batched(setup, |unsorted| rendered(&unsorted, black_box(&mut out)), BatchSize::LargeInput);
    });
    group.finish();
}

criterion_group!(benches, expose);
criterion_main!(benches);
