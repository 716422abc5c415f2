//! The cluster and the records that all figures are given for: 2,000 pods of 200 workloads and 400
//! identities in 20 namespaces, 110 of the pods local; 65,536 records as the eBPF programs write
//! them, each between a local and any pod.
//!
//! 80 % of them are TCP (of each five one SYN or SYN-ACK, one FIN-ACK, one RST and two PSH-ACK), 15
//! % UDP, 5 % ICMP echo; a well-known port on the server's side and any on the other; half are
//! replies. 95 % passed an observation point, 5 % were dropped, for four reasons, one of them a
//! NetworkPolicy that is evaluated.

#![allow(dead_code, reason = "each bench uses its part of it")]
#![allow(clippy::indexing_slicing, reason = "a bench may end where it is wrong")]

pub(crate) mod pipeline;

mod dice;

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

pub(crate) use dice::Dice;
use webb_decode::{Decoded, Decoder};
use webb_flow::abi::{Record, VERSION, event, flag, kind};
use webb_flow::{Address, Flow, L4, Reasons, TcpFlags};
use webb_index::policy::Compiler;
use webb_index::policy::spec::{PeerSpec, PolicySpec, PortMatch, PortSpec, RuleSpec, Selector, Subject};
use webb_index::{Endpoint, EndpointKind, EndpointSpec, Flows, Index, Workload};
use webb_metrics::{Aggregator, grammar};
use zerocopy::IntoBytes;

pub(crate) const PODS: u32 = 2000;
/// A family whose series have six labels of their own besides the fixed ones.
pub(crate) const SIX_LABELS: &str = "flow:labelsContext=source_namespace,source_workload,destination_namespace,\
    destination_workload,source_pod,destination_pod";
/// The first of two configurations that the engine is measured with: few series but for drops.
pub(crate) const FIRST: &str = "flow tcp port-distribution drop:sourceContext=pod;destinationContext=pod \
    dns icmp policy httpV2";
/// The second: a series for each pair of pods and kind of flow.
pub(crate) const SECOND: &str = "flow:labelsContext=source_namespace,source_workload,source_pod,\
    destination_namespace,destination_workload,destination_pod tcp:sourceContext=pod;destinationContext=pod \
    port-distribution drop:sourceContext=pod;destinationContext=pod dns icmp policy httpV2";
const LOCAL: u32 = 110;
pub(crate) const RECORDS: usize = 65_536;
/// As in the pipeline.
pub(crate) const BATCH: usize = 512;

pub(crate) fn ip(pod: u32) -> Address {
    Address::from(IpAddr::V4(Ipv4Addr::from(0x0a00_0000 + pod + 1)))
}

/// An index of so many pods. In each namespace a policy lets in the namespace's own pods, on port
/// 80 only.
pub(crate) fn index(pods: u32) -> Arc<Index> {
    let mut compiler = Compiler::default();
    let endpoints: Vec<_> = (0..pods)
        .map(|pod| {
            let (namespace, workload) = (format!("namespace-{}", pod % 20), format!("workload-{}", pod % 200));
            let labels = [("app".to_owned(), workload.clone())].into();
            let policy_subject =
                compiler.subject(Subject { namespace: namespace.clone(), labels, ports: Vec::new(), vendor: false });
            let spec = EndpointSpec {
                identity: 256 + pod % 400,
                cluster: "default".into(),
                pod_name: format!("{workload}-6c94dcc57b-{pod:05}"),
                labels: vec![format!("k8s:app={workload}"), format!("k8s:io.kubernetes.pod.namespace={namespace}")],
                workloads: vec![Workload { name: workload, kind: "Deployment".into() }],
                namespace,
            };
            (Endpoint { policy_subject, ..Endpoint::new(EndpointKind::Pod, pod < LOCAL, &spec) }, vec![ip(pod)])
        })
        .collect();
    let policies: Vec<_> = (0..20)
        .map(|namespace| PolicySpec {
            namespace: format!("namespace-{namespace}"),
            name: "own".to_owned(),
            pods: Selector::default(),
            ingress: Some(vec![RuleSpec {
                peers: vec![PeerSpec::Pods { namespaces: None, pods: Some(Selector::default()) }],
                ports: vec![PortSpec { protocol: L4::Tcp, port: PortMatch::Range(80, 80) }],
                unknown: false,
            }]),
            egress: None,
        })
        .collect();
    Arc::new(Index::new(endpoints, compiler.compile(&policies)))
}

/// For a kernel with the drop reasons that [`records`] uses. A filter's drop is the policy's, where
/// it forbids the flow.
pub(crate) fn decoder() -> Decoder {
    Decoder::new(Reasons::new([(3, "NO_SOCKET"), (8, "NETFILTER_DROP"), (30, "IP_OUTNOROUTES")]))
}

/// The mix, between the first 110 of so many pods and any of them.
pub(crate) fn records(pods: u32) -> Vec<Record> {
    let mut dice = Dice::new();
    (0..RECORDS).map(|_| record(&mut dice, pods)).collect()
}

pub(crate) fn record(dice: &mut Dice, pods: u32) -> Record {
    const PORTS: [u16; 8] = [80, 443, 53, 8080, 5432, 6379, 9090, 3306];
    const REASONS: [u32; 4] = [3, 8, 8, 30];
    let flags = |bits: u16| u8::try_from(bits).unwrap_or(0);
    let (local, any) = (ip(dice.below(LOCAL)).0, ip(dice.below(pods)).0);
    let (egress, reply) = (dice.below(2) == 0, dice.below(2) == 0);
    let (client, server) = if egress { (local, any) } else { (any, local) };
    let (source, destination) = if reply { (server, client) } else { (client, server) };
    let port = PORTS[dice.below(8) as usize];
    let other = 1024 + u16::try_from(dice.below(64_512)).unwrap_or(0);
    let (source_port, destination_port) = if reply { (port, other) } else { (other, port) };
    let base = Record {
        version: VERSION,
        length: 80,
        ifindex: 3,
        source,
        destination,
        family: 4,
        flags: if reply { flag::REPLY } else { 0 } | if egress { flag::EGRESS } else { 0 },
        packets: 1 + dice.below(8),
        bytes: 64 + u64::from(dice.below(1400)),
        ..Record::default()
    };
    let layered = match dice.below(100) {
        0..80 => {
            let tcp_flags = flags(match dice.below(5) {
                0 if reply => TcpFlags::SYN | TcpFlags::ACK,
                0 => TcpFlags::SYN,
                1 => TcpFlags::FIN | TcpFlags::ACK,
                2 => TcpFlags::RST,
                _ => TcpFlags::PSH | TcpFlags::ACK,
            });
            Record { kind: kind::FLAGS, protocol: 6, tcp_flags, source_port, destination_port, ..base }
        }
        80..95 => Record { kind: kind::NEW, protocol: 17, source_port, destination_port, ..base },
        _ => Record { kind: kind::PACKET, protocol: 1, icmp_type: if reply { 0 } else { 8 }, ..base },
    };
    // Hooks: out of a pod, into one, the drop point.
    let hook = u8::try_from(dice.below(2)).unwrap_or(0);
    if dice.below(100) < 5 {
        return Record { kind: kind::DROP, hook: 4, reason: REASONS[dice.below(4) as usize], ..layered };
    }
    Record { hook, ..layered }
}

/// The records, with the event of a connection on each SYN-ACK and each FIN that passed.
pub(crate) fn connection_events(mut records: Vec<Record>) -> Vec<Record> {
    for record in &mut records {
        let has = |bits: u16| record.kind == kind::FLAGS && u16::from(record.tcp_flags) & bits == bits;
        if has(TcpFlags::SYN | TcpFlags::ACK) {
            (record.event, record.value) = (event::ACCEPTED, 450);
        } else if has(TcpFlags::FIN) {
            (record.event, record.value) = (event::CLOSED, 12_000);
        }
    }
    records
}

/// One record for each of so many pairs of pods, in random order: as many series of a family that
/// shows both pods.
pub(crate) fn pairs(pods: u32, count: usize) -> Vec<Record> {
    let mut dice = Dice::new();
    let mut met = std::collections::HashSet::new();
    let mut records = Vec::new();
    while records.len() < count {
        let record = record(&mut dice, pods);
        if met.insert((record.source, record.destination)) {
            records.push(record);
        }
    }
    shuffle(&mut dice, &mut records);
    records
}

pub(crate) fn shuffle(dice: &mut Dice, records: &mut [Record]) {
    for last in (1..records.len()).rev() {
        records.swap(last, dice.below(u32::try_from(last + 1).unwrap_or(0)) as usize);
    }
}

/// The records' flows, named by `index`.
pub(crate) fn flows(index: &Index) -> Vec<Flow> {
    let decoder = decoder();
    let decode = |record: Record| {
        let mut flow = Flow::default();
        let decoded = decoder.decode(record.as_bytes(), index, &mut flow);
        decoded.is_ok_and(Decoded::is_flow).then_some(flow)
    };
    records(PODS).into_iter().filter_map(decode).collect()
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
