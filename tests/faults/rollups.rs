//! The rollups under faults: what their thread loses is exactly what is counted, and the metrics
//! miss nothing.
#![cfg(feature = "fault-injection")]

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use webb::pipeline::{RollupCounts, RollupState};
use webb_flow::abi::Record;
use webb_flow::fault::{FaultType, inject};
use webb_otlp::Stream;
use webb_rollup::Lost;

use crate::in_memory::{InMemoryPipeline, summed, until};
use crate::memory_ring::syn;

const METRICS: &str = "metrics:\n- name: flow\n- name: traffic\n";

/// Waits until every record is counted by the metrics, and each flow is in a row or lost by name;
/// returns how many were skipped and how many went with a panic.
async fn settled(pipeline: &InMemoryPipeline, state: &Arc<RollupState>, records: u64) -> (u64, u64) {
    pipeline.at_rest(records).await;
    until("each flow is in a row or lost", || {
        let RollupCounts { flows, passed_over, panicked, ignored, .. } = state.counts();
        let skipped = state.lane().skipped();
        state.lane().sent() == records && flows + passed_over + panicked + ignored + skipped == records && ignored == 0
    })
    .await;
    (state.lane().skipped(), state.counts().panicked)
}

/// A panic costs the rows the flow that caused it, with its packets; those before and behind it are
/// there, and the metrics have all. At the end the rows are handed over.
#[actix::test]
async fn a_panic_costs_one_flow() {
    let _turn = crate::turn();
    let (pipeline, state, output, supervisor) = summed(METRICS);
    pipeline.ring.push(100);
    assert_eq!(settled(&pipeline, &state, 100).await, (0, 0));
    inject::arm("rollups", 1, 0);
    let large = Record { packets: 7, bytes: 4900, ..syn() };
    pipeline.ring.push_all(std::iter::once(large).chain(std::iter::repeat_n(syn(), 199)));
    assert_eq!(settled(&pipeline, &state, 300).await, (0, 1));
    pipeline.ring.push(100);
    assert_eq!(settled(&pipeline, &state, 400).await, (0, 1));
    let component = pipeline.components.component("rollups");
    assert_eq!((component.faults(FaultType::Panicked), component.restarts()), (1, 1));
    assert_eq!(state.lost(), Lost { flows: 1, packets: 7, bytes: 4900 }, "the first that was added then");
    pipeline.finish().await;
    supervisor.send(webb::actors::Finish).await.unwrap();
    // The beginning, a row, and the heartbeat.
    let ledger = output.figures().ledger(Stream::Rollups);
    assert!(ledger.offered >= 3 && ledger.is_closed(), "{ledger:?}");
}

/// While the rollups stand still nothing waits for them. They lose what their lane has no room for,
/// to the flow and its packets.
#[actix::test]
async fn a_standstill_holds_up_nothing() {
    const FLOWS: usize = 200 * 512;
    let _turn = crate::turn();
    let (pipeline, state, _output, supervisor) = summed(METRICS);
    inject::hold("rollups");
    pipeline.ring.push(FLOWS);
    pipeline.at_rest(FLOWS as u64).await;
    assert!(inject::is_held("rollups") && state.lane().skipped() > 0);
    inject::release("rollups");
    let (skipped, panicked) = settled(&pipeline, &state, FLOWS as u64).await;
    assert!(skipped > 0 && panicked == 0, "{skipped} {panicked}");
    assert_eq!(state.lost(), Lost { flows: skipped, packets: skipped, bytes: 60 * skipped });
    pipeline.finish().await;
    supervisor.send(webb::actors::Finish).await.unwrap();
}

/// A record that the decoder rejects is no flow, and its packets are lost ones of the rows.
#[actix::test]
async fn a_rejected_record_is_lost() {
    let _turn = crate::turn();
    let (pipeline, state, _output, supervisor) = summed(METRICS);
    let mangled = Record { kind: 99, packets: 7, ..syn() };
    pipeline.ring.push_all(std::iter::repeat_n(syn(), 100).chain([mangled]).chain(std::iter::repeat_n(syn(), 50)));
    until("all is read, and in rows or lost", || {
        let RollupCounts { flows, passed_over, .. } = state.counts();
        pipeline.counters.read.load(Relaxed) == 151 && flows + passed_over == 150
    })
    .await;
    assert_eq!(state.lost(), Lost { flows: 1, packets: 7, bytes: 0 });
    pipeline.finish().await;
    supervisor.send(webb::actors::Finish).await.unwrap();
}
