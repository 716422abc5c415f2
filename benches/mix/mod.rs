//! The cluster and the flows that all figures are given for: 2,000 pods of 200 workloads in 20 namespaces, 110 of them
//! local, 65,536 flows, each between a local and any pod.

#![allow(dead_code, reason = "each bench uses its part of it")]
#![allow(clippy::indexing_slicing, reason = "a bench may end where it is wrong")]

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use webb::flow::{Address, Direction, Event, Family, Flow, L4, Point, Reason, Reply, TcpFlags, Verdict};
use webb::index::{Endpoint, EndpointSpec, Index, Kind, Policies, Workload};
use webb::metrics::{Aggregator, Flows, grammar};
use webb::sym::Sym;

pub(crate) const PODS: u32 = 2000;
/// A family whose series have six labels of their own besides the fixed ones.
pub(crate) const SIX_LABELS: &str = "flow:labelsContext=source_namespace,source_workload,destination_namespace,\
    destination_workload,source_pod,destination_pod";
const LOCAL: u32 = 110;
pub(crate) const FLOWS: usize = 65_536;
/// As in the pipeline.
pub(crate) const BATCH: usize = 512;

/// The same numbers in every run (xorshift64*).
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new() -> Self {
        Self(0x9e37_79b9_7f4a_7c15)
    }

    pub(crate) fn below(&mut self, sides: u32) -> u32 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let high = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32;
        u32::try_from((high * u64::from(sides)) >> 32).unwrap_or(0)
    }
}

pub(crate) fn ip(pod: u32) -> Address {
    Address::from(IpAddr::V4(Ipv4Addr::from(0x0a00_0000 + pod + 1)))
}

pub(crate) fn index(pods: u32) -> Arc<Index> {
    let endpoint = |pod: u32| {
        let (namespace, workload) = (format!("namespace-{}", pod % 20), format!("workload-{}", pod % 200));
        let spec = EndpointSpec {
            identity: 256 + pod % 400,
            pod_name: format!("{workload}-6c94dcc57b-{pod:05}"),
            labels: vec![format!("k8s:app={workload}"), format!("k8s:io.kubernetes.pod.namespace={namespace}")],
            workloads: vec![Workload { name: workload, kind: "Deployment".into() }],
            namespace,
        };
        (Endpoint::new(Kind::Pod, pod < LOCAL, &spec), vec![ip(pod)])
    };
    Arc::new(Index::new((0..pods).map(endpoint), Policies::default()))
}

pub(crate) fn flows(index: &Index) -> Vec<Flow> {
    let mut dice = Dice::new();
    let reasons =
        ["POLICY_DENIED", "NETFILTER_DROP", "FIB_LOOKUP_FAILED", "NO_SOCKET"].map(|name| Reason(Sym::new(name)));
    (0..FLOWS).map(|_| one(&mut dice, index, &reasons)).collect()
}

fn one(dice: &mut Dice, index: &Index, reasons: &[Reason]) -> Flow {
    const PORTS: [u16; 8] = [80, 443, 53, 8080, 5432, 6379, 9090, 3306];
    const ACK: u16 = TcpFlags::ACK;
    let (local, any) = (ip(dice.below(LOCAL)), ip(dice.below(PODS)));
    let (egress, reply) = (dice.below(2) == 0, dice.below(2) == 0);
    let (client, server) = if egress { (local, any) } else { (any, local) };
    let (source, destination) = if reply { (server, client) } else { (client, server) };
    let port = PORTS[dice.below(8) as usize];
    let other = 32_768 + u16::try_from(dice.below(28_000)).unwrap_or(0);
    let (source_port, destination_port) = if reply { (port, other) } else { (other, port) };
    let base = Flow {
        source_ip: source,
        destination_ip: destination,
        bytes: 64 + u64::from(dice.below(1400)),
        packets: 1 + dice.below(8),
        source: index.find(source),
        destination: index.find(destination),
        ifindex: 3,
        family: Family::V4,
        event: Event::Trace,
        point: if dice.below(2) == 0 { Point::ToEndpoint } else { Point::ToStack },
        verdict: Verdict::Forwarded,
        direction: if egress { Direction::Egress } else { Direction::Ingress },
        reply: if reply { Reply::Yes } else { Reply::No },
        ..Flow::default()
    };
    let layered = match dice.below(100) {
        0..80 => {
            let flags = match dice.below(5) {
                0 if reply => TcpFlags::SYN | ACK,
                0 => TcpFlags::SYN,
                1 => TcpFlags::FIN | ACK,
                2 => TcpFlags::RST,
                _ => TcpFlags::PSH | ACK,
            };
            Flow { l4: L4::Tcp, tcp_flags: TcpFlags::known(flags), source_port, destination_port, ..base }
        }
        80..95 => Flow { l4: L4::Udp, source_port, destination_port, ..base },
        _ => Flow { l4: L4::IcmpV4, icmp_type: if reply { 0 } else { 8 }, ..base },
    };
    if dice.below(100) < 5 {
        let reason = reasons[dice.below(4) as usize];
        let verdict = Verdict::Dropped;
        return Flow { event: Event::Drop, verdict, reason, reply: Reply::Unknown, ..layered };
    }
    layered
}

pub(crate) fn aggregators(configuration: &str) -> Vec<Aggregator> {
    let parsed = grammar::parse(configuration).unwrap_or_default();
    assert!(!parsed.metrics.is_empty(), "{configuration}");
    parsed.metrics.iter().map(Aggregator::new).collect()
}

/// All flows through all aggregators, batch by batch as the pipeline hands them on.
pub(crate) fn run(aggregators: &mut [Aggregator], flows: &[Flow], index: &Arc<Index>) {
    for batch in flows.chunks(BATCH) {
        for aggregator in &mut *aggregators {
            let mut progress = 0;
            aggregator.observe(Flows { flows: batch, extras: &[], index }, 0, &mut progress);
        }
    }
}

/// An aggregator of one metric with `series` series, born in random order.
pub(crate) fn with_series(configuration: &str, series: usize) -> Aggregator {
    let index = index(PODS);
    let mut aggregator = aggregators(configuration).remove(0);
    let mut dice = Dice::new();
    let template = flows(&index)[0];
    while aggregator.series() < series {
        let (source, destination) = (ip(dice.below(PODS)), ip(dice.below(PODS)));
        let flow = Flow { source: index.find(source), destination: index.find(destination), ..template };
        let mut progress = 0;
        for _ in 0..=dice.below(3) {
            aggregator.observe(Flows { flows: &[flow], extras: &[], index: &index }, 0, &mut progress);
        }
    }
    aggregator
}
