//! Counting alone: named flows to counters, on one core. Each line is one configuration over the
//! whole mix.

#![allow(missing_docs, reason = "criterion's macros make undocumented functions")]
#![allow(clippy::indexing_slicing, reason = "a bench may end where it is wrong")]

mod mix;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

/// Six labels for both ends.
const LABELS: &str = "labelsContext=source_namespace,source_workload,source_pod,\
    destination_namespace,destination_workload,destination_pod";
const PODS: &str = "sourceContext=pod;destinationContext=pod";

fn aggregate(criterion: &mut Criterion) {
    let index = mix::index(mix::PODS);
    let flows = mix::flows(&index);
    let mut group = criterion.benchmark_group("aggregate");
    group.throughput(Throughput::Elements(flows.len() as u64));
    group.sample_size(20);
    let mut configurations: Vec<(String, String)> =
        ["flow", "tcp", "port-distribution", "icmp", "drop", "traffic"].map(|name| (name.into(), name.into())).into();
    configurations.extend([
        ("drop/pods".into(), format!("drop:{PODS}")),
        ("tcp/pods".into(), format!("tcp:{PODS}")),
        ("traffic/pods".into(), format!("traffic:{PODS}")),
        ("flow/labels".into(), format!("flow:{LABELS}")),
        ("flow/ip".into(), "flow:sourceContext=ip;destinationContext=ip".into()),
        ("first".into(), format!("flow tcp port-distribution drop:{PODS} icmp")),
        ("second".into(), format!("flow:{LABELS} tcp:{PODS} port-distribution drop:{PODS} icmp")),
    ]);
    for (name, configuration) in configurations {
        let mut aggregators = mix::aggregators(&configuration);
        mix::run(&mut aggregators, &flows, &index);
        let series: usize = aggregators.iter().map(webb_metrics::Aggregator::series).sum();
        group.bench_function(BenchmarkId::new(name, format!("{series} series")), |bencher| {
            bencher.iter(|| mix::run(&mut aggregators, &flows, &index));
        });
    }
    group.finish();
}

/// The same with a new index before each round: what a busy cluster costs.
fn index_changes(criterion: &mut Criterion) {
    let indexes = [mix::index(mix::PODS), mix::index(mix::PODS)];
    let flows = mix::flows(&indexes[0]);
    let mut aggregators = mix::aggregators(&format!("flow:{LABELS}"));
    let mut turn = 0;
    criterion.bench_function("aggregate/flow/labels, all contexts met anew", |bencher| {
        bencher.iter(|| {
            turn += 1;
            mix::run(&mut aggregators, &flows, &indexes[turn % 2]);
        });
    });
}

criterion_group!(benches, aggregate, index_changes);
criterion_main!(benches);
