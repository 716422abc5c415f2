//! Cost of changes while flows come in: a storm of reloads, and the deletion of half of a large
//! cluster.
//!
//! Prints a table: `cargo bench --bench changes`. What must not be lost is checked as well.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_precision_loss,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a bench prints, and ends where it is wrong"
)]

#[path = "../tests/faults/in_memory/mod.rs"]
mod in_memory;
#[path = "../tests/faults/memory_ring/mod.rs"]
mod memory_ring;
mod mix;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use webb_flow::Flow;
use webb_flow::sym::Sym;
use webb_index::{Flows, ObjectKey};
use webb_metrics::RemovedPods;
use webb_metrics::expose::Snapshot;

const RELOADS: u64 = 1_000;
const PODS: u32 = 20_000;
const SERIES: usize = 100_000;

fn main() {
    actix::System::new().block_on(reloads());
    deletion();
}

/// `flow` never changes; the two others share the records between them, now this way, now the
/// other.
fn configuration(turn: u64) -> String {
    let (one, other) = if turn.is_multiple_of(2) { (80, 81) } else { (81, 80) };
    let context = if turn.is_multiple_of(3) { "pod" } else { "namespace" };
    format!(
        "metrics:\n- name: flow\n- name: traffic\n  contextOptions: [{{name: sourceContext, values: [{context}]}}]\n\
         - name: tcp\n  includeFilters: [{{destination_port: [\"{one}\"]}}]\n\
         - name: port-distribution\n  includeFilters: [{{destination_port: [\"{other}\"]}}]\n"
    )
}

fn sum<'a>(mut snapshots: impl Iterator<Item = &'a Snapshot>, family: &str) -> u64 {
    let of = |snapshot: &Snapshot| {
        let column = snapshot.families.iter().position(|spec| spec.name == family)?;
        Some(snapshot.rows(column).map(|(_, value)| value).sum::<u64>())
    };
    snapshots.find_map(of).unwrap_or_default()
}

/// Reloads one after the other, each of which exchanges filters, and two of three of which restart
/// a metric, while records come in and scrapes are answered.
async fn reloads() {
    let mut pipeline = in_memory::pipeline(&configuration(0));
    let mut collector = pipeline.collector.take().unwrap();
    let done = Arc::new(AtomicBool::new(false));
    let (stop, no_more, ring, sent) =
        (Arc::clone(&done), Arc::clone(&done), pipeline.ring.clone(), Arc::new(AtomicU64::new(0)));
    let pushed = Arc::clone(&sent);
    let records = std::thread::spawn(move || {
        while !no_more.load(Relaxed) {
            ring.push(1_000);
            pushed.fetch_add(1_000, Relaxed);
            std::thread::sleep(Duration::from_millis(1));
        }
    });
    let scraper = std::thread::spawn(move || {
        let mut times = Vec::new();
        while !stop.load(Relaxed) {
            let began = Instant::now();
            assert_eq!(collector.collect(Duration::from_secs(10)), 0, "every metric answers");
            times.push(began.elapsed());
            std::thread::sleep(Duration::from_millis(5));
        }
        times.sort();
        (collector, times)
    });
    let mut times = Vec::new();
    for turn in 1..=RELOADS {
        let began = Instant::now();
        pipeline.becomes(&configuration(turn)).await;
        times.push(began.elapsed());
    }
    done.store(true, Relaxed);
    records.join().unwrap();
    let (mut collector, cuts) = scraper.join().unwrap();
    let sent = sent.load(Relaxed);
    pipeline.at_rest(sent).await;
    assert_eq!(collector.collect(Duration::from_secs(5)), 0);
    let counted = sum(collector.snapshots(), "hubble_flows_processed_total");
    let shared = sum(collector.snapshots(), "hubble_tcp_flags_total")
        + sum(collector.snapshots(), "hubble_port_distribution_total");
    assert_eq!((counted, shared), (sent, sent));
    times.sort();
    println!(
        "{RELOADS} reloads while {sent} records came in: {counted} counted by the metric that stays, {shared} by two whose filters change"
    );
    println!("  a reload            median {:>8.2?}  worst {:>8.2?}", times[times.len() / 2], times[times.len() - 1]);
    println!("  a cut meanwhile     median {:>8.2?}  worst {:>8.2?}", cuts[cuts.len() / 2], cuts[cuts.len() - 1]);
    pipeline.finish().await;
}

/// 10,000 of 20,000 pods go at once from a metric with 100,000 series of pod pairs.
fn deletion() {
    let index = mix::index(PODS);
    let mut aggregator = mix::aggregators("tcp:sourceContext=pod;destinationContext=pod").remove(0);
    let mut dice = mix::Dice::new();
    let template = mix::flows(&index)[0];
    let template = Flow { l4: webb_flow::L4::Tcp, tcp_flags: webb_flow::TcpFlags::known(2), ..template };
    let mut sent = 0_u64;
    while aggregator.series() < SERIES {
        let (source, destination) = (mix::ip(dice.below(PODS)), mix::ip(dice.below(PODS)));
        let flow = Flow { source: index.find(source), destination: index.find(destination), ..template };
        aggregator.observe(Flows { flows: &[flow], extras: &[], index: &index }, 0, &mut 0);
        sent += 1;
    }
    let of_pod = |pod: u32| {
        let endpoint = index.endpoint(index.find(mix::ip(pod)));
        let text = |name: Sym| name.text().to_string();
        Arc::new(ObjectKey { namespace: text(endpoint.namespace), name: text(endpoint.pod_name) })
    };
    let gone = RemovedPods::new((0..PODS / 2).map(of_pod).collect::<Vec<_>>());
    let began = Instant::now();
    aggregator.forget(&gone);
    let took = began.elapsed();
    let left: u64 = aggregator.snapshot().iter().flat_map(|snapshot| snapshot.rows(0)).map(|(_, value)| value).sum();
    let kept = aggregator.series();
    assert!(left < sent && kept > 0 && kept < SERIES / 2, "a pair stays if both of its pods do: {kept}");
    println!(
        "{} pods deleted, {SERIES} series of pod pairs: {} removed, {kept} stay, in {took:.2?}",
        PODS / 2,
        SERIES - kept
    );
}
