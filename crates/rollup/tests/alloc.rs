//! Flows of rows that are there must not allocate: an allocator that counts shows it. Alone in its
//! binary, since the allocator is the process'.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may end where it is wrong")]

#[path = "../../../tests/counting_allocator/mod.rs"]
mod counting_allocator;

use std::net::IpAddr;
use std::sync::Arc;

use counting_allocator::{allocations_here, bytes};
use webb_flow::{Address, ConnectionEvent, Direction, Event, Flow, L4, Reply, Verdict};
use webb_index::{Endpoint, EndpointKind, EndpointSpec, Flows, Index, Policies, Workload};
use webb_rollup::{Rollups, Settings};

fn address(number: u32) -> Address {
    let [_, b, c, d] = number.to_be_bytes();
    Address::from(IpAddr::from([10, b, c, d]))
}

/// Pods of as many workloads.
fn index(pods: u32) -> Arc<Index> {
    let pod = |number: u32| {
        let workloads = vec![Workload { name: format!("workload-{number}"), kind: "Deployment".into() }];
        let spec = EndpointSpec { namespace: format!("team-{}", number % 40), workloads, ..EndpointSpec::default() };
        (Endpoint::new(EndpointKind::Pod, number.is_multiple_of(2), &spec), vec![address(number)])
    };
    Arc::new(Index::new((0..pods).map(pod), Policies::default()))
}

/// A flow of the pair that a number stands for.
fn flow(index: &Index, number: u32, pods: u32) -> Flow {
    let (from, to) = (address(number % pods), address((number / pods + number * 7 + 1) % pods));
    let flow = Flow {
        source_ip: from,
        destination_ip: to,
        source: index.find(from),
        destination: index.find(to),
        source_port: 40_000,
        destination_port: 80,
        bytes: 1000,
        packets: 2,
        l4: L4::Tcp,
        event: Event::Trace,
        verdict: Verdict::Forwarded,
        direction: Direction::Egress,
        reply: Reply::No,
        ..Flow::default()
    };
    match number % 5 {
        0 => flow.connection(ConnectionEvent::Accepted, 90_000),
        1 => Flow { reply: Reply::Yes, ..flow.reversed() },
        2 => Flow { event: Event::Drop, verdict: Verdict::Dropped, ..flow },
        _ => flow,
    }
}

/// A million flows of known rows, over windows that end: no allocation.
#[test]
fn a_million_flows_allocate_nothing() {
    let index = index(200);
    let flows: Vec<Flow> = (0..4096).map(|number| flow(&index, number, 200)).collect();
    let mut rollups = Rollups::new(Settings::default());
    let mut run = |rounds: u32| {
        let mut rows = 0;
        for _ in 0..rounds {
            for batch in flows.chunks(512) {
                rollups.observe(Flows { flows: batch, extras: &[], index: &index }, 0, &mut 0);
            }
            rollups.close(|_, _| rows += 1);
        }
        rows
    };
    let rows = run(2);
    assert!(rows > 1000, "{rows} rows");
    let before = allocations_here();
    run(250);
    assert_eq!(allocations_here() - before, 0);
}

/// Open connections at most.
const CONNECTIONS: usize = 100_000;

/// Bytes of a full table, with histograms in every row and a cache of as many pairs, that follows
/// so many open connections of more.
fn held(index: &Arc<Index>, connections: usize) -> usize {
    let before = bytes();
    let mut rollups = Rollups::new(Settings::default());
    rollups.limit_open(connections);
    let mut batch = Vec::with_capacity(512);
    for number in 0..400_000_u32 {
        let flow = flow(index, number, 2000);
        batch.push(flow.connection(ConnectionEvent::Accepted, 90_000));
        if batch.len() == 512 {
            rollups.observe(Flows { flows: &batch, extras: &[], index }, 0, &mut 0);
            batch.clear();
        }
    }
    drop(batch);
    let (rows, held) = (rollups.rows(), bytes() - before);
    assert!(rows > 20_000, "{rows} rows");
    assert!(rollups.totals().folded > 0);
    assert!(rollups.corrections().refused > 0);
    usize::try_from(held).unwrap()
}

/// A full table stays within what the documents say, and so does each open connection.
#[test]
fn a_full_table_is_bounded() {
    let index = index(2000);
    // Names that it makes once belong to the index.
    held(&index, 0);
    let table = held(&index, 0);
    assert!(table < 24 << 20, "{table} bytes of the table");
    let connections = held(&index, CONNECTIONS) - table;
    assert!(connections < 48 * CONNECTIONS, "{connections} bytes of {CONNECTIONS} connections");
}
