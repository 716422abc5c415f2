//! The history under faults: what its thread loses is exactly what is counted and told to readers,
//! and the metrics miss nothing.
#![cfg(feature = "fault-injection")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use prost::Message as _;
use webb::pipeline::HistoryState;
use webb_flow::fault::{FaultType, State, inject};
use webb_observer::proto::flow::{LostEvent, LostEventSource};
use webb_observer::{Event, OtherSort};

use crate::in_memory::{InMemoryPipeline, recorded, until};

const METRICS: &str = "metrics:\n- name: flow\n- name: traffic\n";

/// Flows that the history's lost events tell of.
fn told(state: &HistoryState) -> u64 {
    let mut told = 0;
    for (_, segment) in state.history().all().segments {
        for event in &segment.events {
            let Event::Other(row) = event else { continue };
            let other = segment.other(*row).unwrap();
            assert_eq!((other.sort, other.node_name.as_str()), (OtherSort::Lost, "node"));
            let lost = LostEvent::decode(other.message.clone()).unwrap();
            assert_eq!(lost.source(), LostEventSource::ObserverEventsQueue);
            told += lost.num_events_lost;
        }
    }
    told
}

/// Waits until every record is counted by the metrics, and each flow is in the history or lost by
/// name; returns how many were skipped and how many went with a panic.
async fn settled(pipeline: &InMemoryPipeline, state: &Arc<HistoryState>, records: u64) -> (u64, u64) {
    pipeline.at_rest(records).await;
    until("each flow is recorded or lost", || {
        let lost = state.lane().skipped() + state.panicked();
        state.lane().sent() == records && state.recorded() + lost == records && told(state) == lost
    })
    .await;
    (state.lane().skipped(), state.panicked())
}

/// A panic costs the history the rest of one batch, which its readers are told of; the flows before
/// and behind it are there, and the metrics have all.
#[actix::test]
async fn a_panic_costs_the_rest_of_a_batch() {
    let _turn = crate::turn();
    let (pipeline, state, supervisor) = recorded(METRICS);
    pipeline.ring.push(100);
    assert_eq!(settled(&pipeline, &state, 100).await, (0, 0));
    inject::arm("observer/history", 1, 0);
    pipeline.ring.push(200);
    let (skipped, panicked) = settled(&pipeline, &state, 300).await;
    assert!(skipped == 0 && (1..=200).contains(&panicked), "{skipped} {panicked}");
    pipeline.ring.push(100);
    assert_eq!(settled(&pipeline, &state, 400).await, (0, panicked));
    assert_eq!(state.history().totals().flows, 400 - panicked);
    let component = pipeline.components.component("observer/history");
    assert_eq!((component.faults(FaultType::Panicked), component.restarts()), (1, 1));
    pipeline.finish().await;
    supervisor.send(webb::actors::Finish).await.unwrap();
    assert_eq!(component.state(), State::Stopped);
}

/// While the history stands still nothing waits for it: the metrics count on and are scraped at
/// once. It loses what its lane has no room for, to the flow.
#[actix::test]
async fn a_standstill_holds_up_nothing() {
    const FLOWS: usize = 200 * 512;
    let _turn = crate::turn();
    let (mut pipeline, state, supervisor) = recorded(METRICS);
    inject::hold("observer/history");
    pipeline.ring.push(FLOWS);
    pipeline.at_rest(FLOWS as u64).await;
    assert!(inject::is_held("observer/history") && state.lane().skipped() > 0);
    let mut collector = pipeline.collector.take().unwrap();
    let began = Instant::now();
    let missing = tokio::task::spawn_blocking(move || collector.collect(Duration::from_secs(10))).await.unwrap();
    assert_eq!(missing, 0, "no lane is late");
    assert!(began.elapsed() < Duration::from_secs(9), "nothing waits for the history");
    // A change of metrics does not, either.
    pipeline.becomes("metrics:\n- name: flow\n- name: tcp\n").await;
    inject::release("observer/history");
    let (skipped, panicked) = settled(&pipeline, &state, FLOWS as u64).await;
    assert!(skipped > 0 && panicked == 0, "{skipped} {panicked}");
    pipeline.ring.push(10);
    pipeline.finish().await;
    supervisor.send(webb::actors::Finish).await.unwrap();
    assert_eq!(state.recorded() + skipped, FLOWS as u64 + 10, "the last flows are recorded at the end");
}
