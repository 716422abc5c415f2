//! Counting flows of known series must not allocate: an allocator that counts shows it. Alone in
//! its binary, since the allocator is the process'.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may end where it is wrong"
)]

#[path = "../../../tests/counting_allocator/mod.rs"]
mod counting_allocator;
#[path = "metrics/common/mod.rs"]
mod metrics_common;

use std::sync::Arc;

use counting_allocator::allocations_here;
use metrics_common::{address, aggregators, beside, dropped, flow, pod, reply, tcp};
use webb_flow::extra::{Dns, Http, L7, L7Kind, L7Record};
use webb_flow::{Direction, Event, Extra, ExtraId, Flow, L4, TcpFlags};
use webb_index::{Flows, Index, Policies};
use webb_metrics::Aggregator;

/// Two indexes of the same 200 pods in another order, so that every cache must be filled anew when
/// one follows the other.
fn indexes() -> [Arc<Index>; 2] {
    let pods = |order: &mut dyn Iterator<Item = u8>| {
        let pods: Vec<_> = order
            .map(|last| (pod("space", &format!("pod-{last}"), "fleet"), vec![address(&format!("10.0.0.{last}"))]))
            .collect();
        Arc::new(Index::new(pods, Policies::default()))
    };
    [pods(&mut (1..=200)), pods(&mut (1..=200).rev())]
}

/// 4,096 flows of every kind between those pods.
fn flows(index: &Index) -> Vec<Flow> {
    let flows = (0..4096_u16).map(|number| {
        let of = |number: u16| format!("10.0.0.{}", number % 200 + 1);
        let base = Flow { bytes: u64::from(number), ..flow(index, &of(number), &of(number / 7)) };
        let base = Flow { direction: if number % 2 == 0 { Direction::Egress } else { base.direction }, ..base };
        match number % 8 {
            0 => tcp(base, 80, TcpFlags::SYN),
            1 => reply(tcp(base, 443, TcpFlags::SYN | TcpFlags::ACK)),
            2 => tcp(base, 8080, TcpFlags::ACK | TcpFlags::FIN),
            3 => tcp(base, number, TcpFlags::ACK | TcpFlags::RST),
            4 => Flow { l4: L4::Udp, destination_port: 53, ..base },
            5 => Flow { l4: L4::IcmpV4, icmp_type: 8, ..base },
            6 => dropped(tcp(base, 80, TcpFlags::SYN), "POLICY_DENIED"),
            _ if number % 3 > 0 => {
                Flow { event: Event::L7, extra: ExtraId(u32::from(number % 3) - 1), ..tcp(base, 80, 0) }
            }
            _ => Flow { event: Event::Flush, ..base },
        }
    });
    flows.collect()
}

/// A DNS answer and an HTTP response.
fn extras() -> Vec<Extra> {
    let dns = Dns { query: "a.io.".into(), qtypes: vec!["A".into()], rrtypes: vec!["A".into(); 2], ..Dns::default() };
    let http = Http { code: 200, method: "GET".into(), protocol: "HTTP/1.1".into(), ..Http::default() };
    let of = |record| Extra {
        event_type: Some(129),
        verdict: 1,
        has_ip: true,
        has_l4: true,
        l7: Some(L7 { kind: L7Kind::Response, latency_ns: 1, record }),
        ..Extra::default()
    };
    vec![of(L7Record::Dns(dns)), of(L7Record::Http(http))]
}

/// A million flows after warm-up, some of them with layer 7, over all metrics, new ones included,
/// and contexts, with the index changing every 512 flows: no allocation at all.
#[test]
fn a_million_flows_allocate_nothing() {
    let configuration = "drop:sourceContext=pod;destinationContext=pod \
        flow:labelsContext=source_namespace,source_workload,source_pod,destination_namespace,destination_workload,destination_pod \
        icmp:sourceContext=ip;destinationContext=ip port-distribution:sourceContext=app \
        tcp:sourceEgressContext=pod;destinationIngressContext=dns|ip traffic:sourceContext=workload-name \
        dns:query httpV2:sourceContext=pod;exemplars=true;path flows-to-world:port policy:sourceContext=dns sctp";
    let mut aggregators = aggregators(&beside(configuration));
    let indexes = indexes();
    let extras = extras();
    let batches: Vec<Vec<Flow>> = indexes.iter().map(|index| flows(index)).collect();
    let mut counted = 0_usize;
    let mut run = |wanted: usize| {
        let end = counted + wanted;
        while counted < end {
            for at in 0..8 {
                let turn = at % 2;
                let batch = &batches[turn][at * 512..(at + 1) * 512];
                for aggregator in &mut aggregators {
                    let mut progress = 0;
                    aggregator.observe(
                        Flows { flows: batch, extras: &extras, index: &indexes[turn] },
                        0,
                        &mut progress,
                    );
                }
                counted += batch.len();
            }
        }
    };
    run(8192);
    let before = allocations_here();
    assert!(before > 1000, "the allocator does not count");
    run(1_000_000);
    let allocations = allocations_here() - before;
    assert_eq!(allocations, 0);
    let empty = aggregators.iter().filter(|aggregator| aggregator.series() == 0).map(Aggregator::name);
    let empty = empty.filter(|name| configuration.split([' ', ':']).any(|known| known == *name));
    assert_eq!(empty.collect::<Vec<_>>(), ["flows-to-world", "sctp"]);
}
