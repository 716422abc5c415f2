//! Flows for outputs under faults: what their thread loses is exactly what is counted, and metrics
//! and history miss nothing.
#![cfg(feature = "fault-injection")]

use std::sync::Arc;

use webb::pipeline::HistoryState;
use webb_flow::fault::{FaultType, inject};
use webb_observer::stream::{FlowCounts, FlowStream};
use webb_otlp::{Output, Stream};

use crate::in_memory::{InMemoryPipeline, streamed, until};

const METRICS: &str = "metrics:\n- name: flow\n- name: traffic\n";

/// Waits until every record is counted by the metrics and in the history, and each of its events is
/// sent or lost by name.
async fn settled(
    pipeline: &InMemoryPipeline,
    (history, stream): (&Arc<HistoryState>, &FlowStream),
    records: u64,
) -> FlowCounts {
    pipeline.at_rest(records).await;
    until("each event is sent or lost", || {
        let FlowCounts { included, sampled, passed_over, limited, overrun, panicked } = stream.counts();
        history.recorded() == records
            && included + sampled + passed_over + limited + overrun + panicked == records
            && passed_over == 0
    })
    .await;
    stream.counts()
}

/// True if each flow that was sent was offered once.
fn is_offered(output: &Output, counts: FlowCounts) -> bool {
    let ledger = output.figures().ledger(Stream::Flows);
    ledger.is_closed() && ledger.offered == counts.included
}

/// A panic costs the flow that caused it; those before and behind it are sent, and metrics and
/// history have all. At the end what waits is handed over.
#[actix::test]
async fn a_panic_costs_one_flow() {
    let _turn = crate::turn();
    let streamed = streamed(METRICS).await;
    let (pipeline, of) = (&streamed.pipeline, (&streamed.history, &*streamed.stream));
    pipeline.ring.push(100);
    assert_eq!(settled(pipeline, of, 100).await.included, 100);
    inject::arm("flows", 1, 0);
    pipeline.ring.push(200);
    let counts = settled(pipeline, of, 300).await;
    assert_eq!((counts.included, counts.panicked), (299, 1));
    pipeline.ring.push(100);
    let counts = settled(pipeline, of, 400).await;
    assert_eq!((counts.included, counts.panicked), (399, 1));
    let component = pipeline.components.component("flows");
    assert_eq!((component.faults(FaultType::Panicked), component.restarts()), (1, 1));
    let output = Arc::clone(&streamed.output);
    streamed.finish().await;
    assert!(is_offered(&output, counts), "{:?}", output.figures().ledger(Stream::Flows));
}

/// While the thread stands still nothing waits for it: metrics and history have all. What leaves
/// the history meanwhile is lost to the flow.
#[actix::test]
async fn a_standstill_holds_up_nothing() {
    const FLOWS: u64 = 20 * 512;
    let _turn = crate::turn();
    let streamed = streamed(METRICS).await;
    let (pipeline, of) = (&streamed.pipeline, (&streamed.history, &*streamed.stream));
    inject::hold("flows");
    for part in 1..=20 {
        pipeline.ring.push(512);
        pipeline.at_rest(part * 512).await;
        until("recorded", || streamed.history.recorded() == part * 512).await;
    }
    assert!(inject::is_held("flows"));
    inject::release("flows");
    let counts = settled(pipeline, of, FLOWS).await;
    assert!(counts.overrun > 0 && counts.panicked == 0, "{counts:?}");
    let output = Arc::clone(&streamed.output);
    streamed.finish().await;
    assert!(is_offered(&output, counts), "{:?}", output.figures().ledger(Stream::Flows));
}
