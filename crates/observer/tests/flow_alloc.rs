//! A flow for outputs must not allocate: an allocator that counts shows it. Alone in its binary,
//! since the allocator is the process'.

#![allow(clippy::unwrap_used, reason = "a test may end where it is wrong")]

#[path = "../../../tests/counting_allocator/mod.rs"]
mod counting_allocator;

use std::net::IpAddr;
use std::sync::Arc;

use counting_allocator::allocations_here;
use webb_flow::{Address, Direction, Event, Family, Flow, L4, Point, Reply, TcpFlags, Verdict};
use webb_index::filters::{FilterSpec, Filters, FlowFilter};
use webb_index::{Endpoint, EndpointKind, EndpointSpec, Flows, Index, Policies, Workload};
use webb_observer::export::Node;
use webb_observer::stream::{FlowOutput, FlowSettings, FlowStream, Next, WantedFlows};
use webb_observer::{History, Recorder};
use webb_otlp::{Attributes, Encoding, Environment, Output, OutputConfig, Stream};

/// Flows of a round: eight batches of the reader's.
const FLOWS: u16 = 4096;

fn address(last: u16) -> Address {
    let [high, low] = last.to_be_bytes();
    Address::from(IpAddr::from([10, 244, high, low]))
}

fn pod(number: u16) -> (Endpoint, Vec<Address>) {
    let workloads = vec![Workload { name: format!("workload-{number}"), kind: "Deployment".into() }];
    let spec = EndpointSpec {
        namespace: "shop".into(),
        pod_name: format!("workload-{number}-1"),
        workloads,
        ..EndpointSpec::default()
    };
    (Endpoint::new(EndpointKind::Pod, true, &spec), vec![address(number)])
}

fn flow(index: &Index, number: u16) -> Flow {
    let (source_ip, destination_ip) = (address(number % 100), address(number % 99));
    Flow {
        time_ns: number.into(),
        source_ip,
        destination_ip,
        source: index.find(source_ip),
        destination: index.find(destination_ip),
        source_port: 40_000 + number,
        destination_port: 80,
        bytes: 100,
        packets: 1,
        ifindex: 1,
        tcp_flags: TcpFlags::known(TcpFlags::ACK),
        family: Family::V4,
        l4: L4::Tcp,
        event: Event::Trace,
        point: Point::ToEndpoint,
        verdict: Verdict::Forwarded,
        direction: Direction::Egress,
        reply: Reply::No,
        ..Flow::default()
    }
}

/// The second round of four thousand flows, each a record with names, an id and a text, allocates
/// for the segments that it reads and for its request, and not for flows.
#[test]
fn flows_allocate_nothing() {
    let index = Arc::new(Index::new((0..100).map(pod), Policies::default()));
    let flows: Vec<Flow> = (0..FLOWS).map(|number| flow(&index, number)).collect();
    let history = Arc::new(History::new(4 * usize::from(FLOWS)));
    let node = Node { name: "n".into(), qualified: "n".into(), version: "v".into(), run: 7 };
    let failures = Arc::new(History::new(1));
    let stream = FlowStream::new(Arc::clone(&history), failures, node, Box::new(|_| Attributes::new()));
    let config = OutputConfig {
        endpoint: Some("https://not.there".to_owned()),
        compression: Some(Encoding::None),
        ..OutputConfig::named("test")
    };
    let output = Arc::new(Output::new(config, &Environment::default(), "test").unwrap());
    let filters = Filters { include: vec![FlowFilter::new(FilterSpec::default()).unwrap()], exclude: Vec::new() };
    let settings = FlowSettings { filters, max_per_second: 1_000_000, ..FlowSettings::default() };
    stream.want(Some(WantedFlows { settings, outputs: vec![FlowOutput { output: Arc::clone(&output), body: None }] }));
    let read = || while stream.turn() == Next::Turn {};
    read();
    let mut recorder = Recorder::default();
    let mut round = || {
        for batch in flows.chunks(512) {
            recorder.record(&history, Flows { flows: batch, extras: &[], index: &index }, 0, 0);
        }
        let before = allocations_here();
        read();
        allocations_here() - before
    };
    round();
    let allocations = round();
    assert!(allocations < 40, "{allocations} allocations for {FLOWS} flows");
    stream.stop();
    read();
    assert_eq!(output.figures().ledger(Stream::Flows).offered, 2 * u64::from(FLOWS));
}
