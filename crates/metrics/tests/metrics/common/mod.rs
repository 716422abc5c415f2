//! A small cluster, flows in it, and the shortest way from flows to the exposition.

#![allow(dead_code, reason = "each test binary uses its part of it")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may end where it is wrong"
)]

pub(crate) mod any;

use std::net::IpAddr;
use std::sync::Arc;

use webb_flow::sym::Sym;
use webb_flow::{
    Address, Direction, Event, Extra, ExtraId, Family, Flow, L4, Point, Reason, Reply, SctpChunk, TcpFlags, Verdict,
};
use webb_index::{Endpoint, EndpointKind, EndpointSpec, Flows, Index, Policies, Workload};
use webb_metrics::expose::{Snapshot, text};
use webb_metrics::{Aggregator, Registration, grammar, plugins};

/// A pod of a workload `deathstar` or so, with the labels that Kubernetes and Cilium would give it.
pub(crate) fn pod(namespace: &str, name: &str, workload: &str) -> Endpoint {
    let mut labels = vec![format!("k8s:app={workload}"), format!("k8s:io.kubernetes.pod.namespace={namespace}")];
    labels.sort();
    let spec = EndpointSpec {
        identity: 1000,
        cluster: "default".into(),
        namespace: namespace.into(),
        pod_name: name.into(),
        labels,
        workloads: vec![Workload { name: workload.into(), kind: "Deployment".into() }],
    };
    Endpoint::new(EndpointKind::Pod, true, &spec)
}

pub(crate) fn address(text: &str) -> Address {
    Address::from(text.parse::<IpAddr>().unwrap())
}

/// deathstar 10.0.0.2, tiefighter 10.0.0.3, xwing 10.0.0.4 (and `fd00::` likewise), the host
/// 10.0.0.1.
pub(crate) fn index() -> Arc<Index> {
    let both = |last: u8| vec![address(&format!("10.0.0.{last}")), address(&format!("fd00::{last}"))];
    Arc::new(Index::new(
        [
            (pod("default", "deathstar-6c94dcc57b-7pr8c", "deathstar"), both(2)),
            (pod("default", "tiefighter", "tiefighter"), both(3)),
            (pod("default", "xwing", "xwing"), both(4)),
            (Endpoint::reserved(EndpointKind::Host, 1, "reserved:host"), both(1)),
        ],
        Policies::default(),
    ))
}

/// A forwarded trace to an endpoint; the test changes what it is about.
pub(crate) fn flow(index: &Index, source: &str, destination: &str) -> Flow {
    let (source_ip, destination_ip) = (address(source), address(destination));
    Flow {
        source_ip,
        destination_ip,
        source: index.find(source_ip),
        destination: index.find(destination_ip),
        bytes: 100,
        packets: 1,
        family: if source.contains(':') { Family::V6 } else { Family::V4 },
        event: Event::Trace,
        point: Point::ToEndpoint,
        verdict: Verdict::Forwarded,
        direction: Direction::Ingress,
        reply: Reply::No,
        ..Flow::default()
    }
}

pub(crate) fn tcp(flow: Flow, port: u16, flags: u16) -> Flow {
    Flow { l4: L4::Tcp, source_port: 40_000, destination_port: port, tcp_flags: TcpFlags::known(flags), ..flow }
}

pub(crate) fn dropped(flow: Flow, reason: &str) -> Flow {
    Flow {
        event: Event::Drop,
        verdict: Verdict::Dropped,
        reason: Reason(Sym::new(reason)),
        reply: Reply::Unknown,
        ..flow
    }
}

/// The way of a reply: ends and ports the other way round.
pub(crate) fn reply(flow: Flow) -> Flow {
    Flow {
        source_ip: flow.destination_ip,
        destination_ip: flow.source_ip,
        source: flow.destination,
        destination: flow.source,
        source_port: flow.destination_port,
        destination_port: flow.source_port,
        point: Point::ToStack,
        reply: Reply::Yes,
        ..flow
    }
}

/// A configuration of every plugin there is, at its simplest: all that can be counted beside those
/// before them.
pub(crate) fn every_plugin() -> String {
    beside("")
}

/// A configuration with every plugin more that can be counted beside those that it has.
pub(crate) fn beside(configuration: &str) -> String {
    let names = configuration.split_whitespace().map(|metric| metric.split(':').next().unwrap());
    let mut taken: Vec<&str> = names.collect();
    let mut all = configuration.to_owned();
    for Registration { name, conflict, .. } in plugins::all() {
        if !taken.contains(name) && !conflict.is_some_and(|other| taken.contains(&other)) {
            taken.push(name);
            all = format!("{all} {name}");
        }
    }
    all
}

pub(crate) fn aggregators(configuration: &str) -> Vec<Aggregator> {
    let parsed = grammar::parse(configuration).unwrap();
    assert_eq!(parsed.warnings, []);
    parsed.metrics.iter().map(Aggregator::new).collect()
}

pub(crate) fn feed(aggregators: &mut [Aggregator], flows: &[Flow], index: &Arc<Index>) {
    feed_view(aggregators, Flows { flows, extras: &[], index });
}

pub(crate) fn feed_view(aggregators: &mut [Aggregator], batch: Flows<'_>) {
    for aggregator in aggregators {
        let mut progress = 0;
        aggregator.observe(batch, 0, &mut progress);
        assert_eq!(progress, batch.flows.len());
    }
}

/// A flow that another program wrote: what follows from the numbers is set in the flow, as a reader
/// of such does.
pub(crate) fn written(flow: Flow, extra: &Extra) -> Flow {
    let small = |number: i32| u8::try_from(number).ok();
    let event = extra.event_type.and_then(small).map_or(Event::Unknown, Event::of);
    Flow {
        event: if event == Event::Flush { Event::Unknown } else { event },
        point: small(extra.sub_type).map_or(Point::Other, Point::of),
        verdict: small(extra.verdict).map_or(Verdict::Unknown, Verdict::of),
        direction: small(extra.traffic_direction).map_or(Direction::Unknown, Direction::of),
        ..flow
    }
}

/// The chunk of a number; none for one without a name.
pub(crate) fn chunk(number: i32) -> SctpChunk {
    use SctpChunk::{Abort, Init, InitAck, Shutdown, ShutdownAck, ShutdownComplete, Unsupported};
    let all = [Unsupported, Init, InitAck, Shutdown, ShutdownAck, ShutdownComplete, Abort];
    usize::try_from(number).ok().and_then(|at| all.get(at)).copied().unwrap_or_default()
}

/// Exposition of `configuration` after these flows, each with its fields beyond a flow.
pub(crate) fn exposed_with(configuration: &str, flows: &[(Flow, Extra)], index: &Arc<Index>) -> String {
    let mut aggregators = aggregators(configuration);
    let (flows, extras) = apart(flows);
    feed_view(&mut aggregators, Flows { flows: &flows, extras: &extras, index });
    exposition(&mut aggregators)
}

/// Flows and extras as a batch holds them.
pub(crate) fn apart(flows: &[(Flow, Extra)]) -> (Vec<Flow>, Vec<Extra>) {
    let numbered = flows.iter().zip(0..);
    let (flows, extras): (Vec<Flow>, Vec<Extra>) = numbered
        .map(|((flow, extra), number)| (Flow { extra: ExtraId(number), ..written(*flow, extra) }, extra.clone()))
        .unzip();
    (flows, extras)
}

pub(crate) fn snapshots(aggregators: &mut [Aggregator]) -> Vec<Snapshot> {
    aggregators.iter_mut().flat_map(Aggregator::snapshot).collect()
}

pub(crate) fn exposition(aggregators: &mut [Aggregator]) -> String {
    let mut out = Vec::new();
    text::render(&snapshots(aggregators), [], &mut out);
    String::from_utf8(out).unwrap()
}

/// Exposition of `configuration` after these flows.
pub(crate) fn exposed(configuration: &str, flows: &[Flow], index: &Arc<Index>) -> String {
    let mut aggregators = aggregators(configuration);
    feed(&mut aggregators, flows, index);
    exposition(&mut aggregators)
}
