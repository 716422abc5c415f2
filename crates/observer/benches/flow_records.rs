//! Cost of a flow for outputs: read from the history, chosen, written as a record, put into a
//! request.
//!
//! `cargo bench -p webb-observer --bench flow_records`. Times are CPU time of the stream's thread;
//! requests are not compressed, and no receiver is there.

#![allow(missing_docs, reason = "a bench is no library")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    dead_code,
    reason = "a bench may end where it is wrong, and prints figures"
)]

#[path = "../../../tests/counting_allocator/mod.rs"]
mod counting_allocator;

use std::sync::Arc;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use webb_flow::sym::Sym;
use webb_flow::{Address, Direction, EndpointId, Event, Family, Flow, L4, Point, Reply, Sort, TcpFlags, Verdict};
use webb_index::filters::{FilterSpec, Filters, FlowFilter};
use webb_index::{Draft, Endpoint, EndpointKind, EndpointSpec, Flows, Index, PodChanges, Workload, ZoneSpec, Zones};
use webb_observer::export::Node;
use webb_observer::stream::{Body, FlowOutput, FlowSettings, FlowStream, Next, WantedFlows};
use webb_observer::{History, Recorder};
use webb_otlp::{Attributes, Encoding, Environment, Output, OutputConfig, Stream};

/// Flows of a round.
const FLOWS: u64 = 200_000;

/// Rounds, of which the best counts.
const ROUNDS: usize = 5;

/// Pods that flows are between.
const PODS: u64 = 300;

/// CPU time of the calling thread.
fn cpu() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec.try_into().unwrap())
}

fn index() -> (Arc<Index>, Vec<EndpointId>) {
    let mut draft = Draft::default();
    let pod = |number: u64| {
        let workloads = vec![Workload { name: format!("workload-{number}"), kind: "Deployment".into() }];
        let spec = EndpointSpec {
            namespace: format!("team-{}", number % 12),
            pod_name: format!("workload-{number}-7c9d5b6f48-x{number:04}"),
            labels: vec![format!("k8s:app=workload-{number}")],
            workloads,
            ..EndpointSpec::default()
        };
        let node = Sym::new(&format!("node-{}", number % 30));
        Endpoint { node, ..Endpoint::new(EndpointKind::Pod, true, &spec) }
    };
    let ids = (0..PODS).map(|number| draft.add(Sort::Local, pod(number))).collect();
    let zone = |number: u64| ZoneSpec {
        node: format!("node-{number}"),
        zone: format!("eu-central-1{}", ["a", "b", "c"].get((number % 3) as usize).unwrap()),
        region: "eu-central-1".into(),
    };
    draft.set_zones(Zones::new("node-0", (0..30).map(zone).collect(), [].into()), 0);
    (Arc::new(draft.publish(0, PodChanges::default())), ids)
}

/// The flow of this number.
fn flow(ids: &[EndpointId], number: u64) -> Flow {
    let place = |salt: u64| number.wrapping_mul(salt) >> 7;
    let end = |at: u64| *ids.get((at % PODS) as usize).unwrap();
    let address = |at: u64| Address::from(std::net::IpAddr::from([10, 244, (at % 7) as u8, (at % 250) as u8]));
    let (source, destination) = (place(2_654_435_761), place(40_503));
    Flow {
        time_ns: number,
        source_ip: address(source),
        destination_ip: address(destination),
        source: end(source),
        destination: end(destination),
        source_port: 32_768 + (number % 20_000) as u16,
        destination_port: 8080,
        bytes: 100 + number % 9000,
        packets: 1,
        ifindex: 1,
        tcp_flags: TcpFlags::known(TcpFlags::ACK),
        family: Family::V4,
        l4: L4::Tcp,
        event: Event::Trace,
        point: Point::ToEndpoint,
        verdict: Verdict::Forwarded,
        direction: Direction::Egress,
        reply: if number.is_multiple_of(2) { Reply::No } else { Reply::Yes },
        ..Flow::default()
    }
}

/// Reads all flows of a history, and prints what one costs.
fn measure(name: &str, settings: &FlowSettings, flows: &[Flow], index: &Arc<Index>) {
    let mut best = (f64::MAX, 0.0, 0);
    for _ in 0..ROUNDS {
        let history = Arc::new(History::new(1 << 20));
        let node = Node { name: "n".into(), qualified: "n".into(), version: "v".into(), run: 7 };
        let failures = Arc::new(History::new(1));
        let stream = FlowStream::new(Arc::clone(&history), failures, node, Box::new(|_| Attributes::new()));
        let config = OutputConfig {
            endpoint: Some("https://not.there".to_owned()),
            compression: Some(Encoding::None),
            ..OutputConfig::named("bench")
        };
        let output = Arc::new(Output::new(config, &Environment::default(), "bench").unwrap());
        stream.want(Some(WantedFlows {
            settings: settings.clone(),
            outputs: vec![FlowOutput { output: Arc::clone(&output), body: None }],
        }));
        let read = || while stream.turn() == Next::Turn {};
        read();
        let mut recorder = Recorder::default();
        let mut record = |flows: &[Flow]| {
            for batch in flows.chunks(512) {
                recorder.record(&history, Flows { flows: batch, extras: &[], index }, 0, 0);
            }
        };
        // Buffers grow, endpoints are met.
        record(flows.get(..20_000).unwrap());
        read();
        record(flows);
        let (began, before) = (cpu(), counting_allocator::allocations_here());
        read();
        let spent = cpu().saturating_sub(began);
        let allocations = counting_allocator::allocations_here() - before;
        let counts = stream.counts();
        let sent = counts.included + counts.sampled;
        let nanoseconds = spent.as_secs_f64() * 1e9 / flows.len() as f64;
        if nanoseconds < best.0 {
            best = (nanoseconds, allocations as f64 * 1000.0 / flows.len() as f64, sent);
        }
        stream.stop();
        read();
        assert_eq!(output.figures().ledger(Stream::Flows).offered, sent);
    }
    let (nanoseconds, allocations, sent) = best;
    println!(
        "{name}: {nanoseconds:.0} ns a flow, {:.2} M/s, {allocations:.1} allocations a thousand flows, {sent} sent",
        1e3 / nanoseconds
    );
}

fn main() {
    let (index, ids) = index();
    let flows: Vec<Flow> = (0..FLOWS).map(|number| flow(&ids, number)).collect();
    let all = Filters { include: vec![FlowFilter::new(FilterSpec::default()).unwrap()], exclude: Vec::new() };
    let all = FlowSettings { filters: all, max_per_second: 1_000_000, body: Body::None, ..FlowSettings::default() };
    measure("all, no text", &all, &flows, &index);
    measure("all, a line of text", &FlowSettings { body: Body::Summary, ..all.clone() }, &flows, &index);
    measure("none is a problem", &FlowSettings::default(), &flows, &index);
    measure("one connection in 100", &FlowSettings { sample_every: 100, ..FlowSettings::default() }, &flows, &index);
}
