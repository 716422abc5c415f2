//! The memory of a history, which must not depend on how flows come. A binary of its own: it counts
//! the bytes of the whole process.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

#[path = "../../../tests/counting_allocator/mod.rs"]
mod counting_allocator;

use std::sync::Arc;

use counting_allocator::bytes;
use webb_flow::{Address, EndpointId, Event, Flow, L4, Sort, Verdict};
use webb_index::{Endpoint, EndpointKind, EndpointSpec, Flows, Index, Policies};
use webb_observer::{History, Recorder};

const FLOWS: usize = 65_536;

/// Bytes for each flow of a full history.
const LIMIT: f64 = 150.0;

/// Pods of a node and their peers.
fn index() -> Arc<Index> {
    let pod = |number: usize| {
        let spec = EndpointSpec {
            identity: 300 + u32::try_from(number).unwrap(),
            cluster: "default".into(),
            namespace: format!("namespace-{}", number % 7),
            pod_name: format!("deployment-{number}-5d4f8c7b9-x2x{number}"),
            labels: vec![format!("k8s:app=app-{number}"), "k8s:io.kubernetes.pod.namespace=namespace".into()],
            ..EndpointSpec::default()
        };
        (Endpoint::new(EndpointKind::Pod, true, &spec), Vec::<Address>::new())
    };
    Arc::new(Index::new((0..110).map(pod), Policies::default()))
}

/// A full history has at most 150 bytes a flow, whether flows come by the batch or a few at a time,
/// and everything older is given back.
#[test]
fn a_flow_has_at_most_150_bytes() {
    let index = index();
    for piece in [512, 3] {
        let flow = |number: usize| Flow {
            source: EndpointId::new(Sort::Local, 2 + u32::try_from(number % 20).unwrap()),
            destination: EndpointId::new(Sort::Local, 2 + u32::try_from(number % 110).unwrap()),
            l4: L4::Tcp,
            event: Event::Trace,
            verdict: Verdict::Forwarded,
            ..Flow::default()
        };
        let flows: Vec<Flow> = (0..FLOWS).map(flow).collect();
        let before = bytes();
        let (history, mut recorder) = (History::new(FLOWS), Recorder::default());
        for _ in 0..3 {
            for flows in flows.chunks(piece) {
                recorder.record(&history, Flows { flows, extras: &[], index: &index }, 0, 0);
            }
        }
        #[allow(clippy::cast_precision_loss, reason = "far below 2^52")]
        let each = (bytes() - before) as f64 / FLOWS as f64;
        println!("pieces of {piece}: {each:.1} bytes a flow");
        assert_eq!(history.totals().held, FLOWS as u64);
        assert!(each <= LIMIT, "{each} bytes a flow in pieces of {piece}");
    }
}
