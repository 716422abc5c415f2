//! `zones`: bytes and packets between zones, each once in the cluster. Hubble has nothing like it.
//!
//! What two watched pods say to each other is seen by two agents, or twice by one: only the primary
//! observation counts ([`webb_index::Index::is_primary`]). So a sum over all agents is what was
//! sent.

use crate::expose::Spec;
use crate::options::Options;
use crate::plugin::{Emit, Plugin, Table, Texts};
use crate::table::FAMILIES;
use crate::tuples::Tuples;
use webb_flow::{Event, Family, Flow, Sort};
use webb_index::{Index, Scope};

/// Every delta of a forwarded IP packet that is primary, from its sender to its receiver.
#[derive(Debug)]
pub(super) struct Zones;

impl Plugin for Zones {
    const NAME: &'static str = "zones";
    const TABLES: &'static [Table] = &[Table::counters(
        &[
            Spec {
                name: "webb_zone_traffic_bytes_total",
                help: "Bytes from source to destination, whole frames, each once in the cluster, by how far they go",
            },
            Spec {
                name: "webb_zone_traffic_packets_total",
                help: "Packets from source to destination, each once in the cluster, by how far they go",
            },
        ],
        &["scope"],
    )];
    const CONTEXT: &'static [&'static str] = &["source_zone", "destination_zone"];
    const FLUSHES: bool = true;

    fn new(_options: &Options) -> Self {
        Self
    }

    #[inline]
    fn observe(&self, flow: &Flow, emit: &mut Emit<'_, Self>) {
        if !is_counted(flow, emit.index) {
            return;
        }
        let key = emit.index.scope(flow) as u64;
        match overhead(flow, emit.index) {
            0 => emit.count(0, key),
            more => emit.add(0, key, [flow.bytes + more, u64::from(flow.packets)]),
        }
    }

    #[inline]
    fn amounts(flow: &Flow) -> [u64; FAMILIES] {
        [flow.bytes, u64::from(flow.packets)]
    }

    fn texts(_table: usize, key: u64, _tuples: &Tuples) -> Texts {
        let scope = usize::try_from(key).ok().and_then(|at| Scope::ALL.get(at));
        vec![scope.map_or("", |scope| scope.label()).into()]
    }
}

/// True for the deltas of forwarded IP packets of which each is counted once in the cluster. Other
/// frames have no ends.
#[inline]
pub(super) fn is_counted(flow: &Flow, index: &Index) -> bool {
    matches!(flow.event, Event::Trace | Event::Flush) && flow.family != Family::NotUsed && index.is_primary(flow)
}

/// Bytes that tunnels add to the packets of a flow: those between pods of two nodes.
#[inline]
pub(super) fn overhead(flow: &Flow, index: &Index) -> u64 {
    let bytes = index.zones().overhead();
    if bytes == 0 {
        return 0;
    }
    let is_pod = |sort| matches!(sort, Sort::Local | Sort::Remote);
    let [from, to] = [index.place(flow.source).node, index.place(flow.destination).node];
    let tunnelled = is_pod(flow.source.sort()) && is_pod(flow.destination.sort()) && from != to;
    if tunnelled { u64::from(bytes) * u64::from(flow.packets) } else { 0 }
}
