//! Attributes of endpoints, encoded once and copied into each of their records.

use std::collections::HashMap;
use std::sync::Arc;

use webb_flow::hash::RandomState;
use webb_flow::sym::{self, Sym};
use webb_flow::{EndpointId, Flow};
use webb_index::{Endpoint, EndpointKind, Index, Zones};
use webb_otlp::Attributes;

use super::attributes::{DESTINATION, Put, SOURCE, Side, Wanted};
use crate::segment::Segment;

/// Endpoints that are kept encoded, for each end: some 500 bytes each.
const MAX_ENDPOINTS: usize = 4096;

/// The kind of a pod that nothing owns, which is its own workload.
const BARE: &str = "Pod";

/// What an endpoint has in every record.
#[derive(Debug, Default)]
pub(super) struct EncodedEnd {
    pub(super) attributes: Attributes,
    /// Its labels, which come last: of a record that is full they are what is left out.
    pub(super) labels: Attributes,
    pub(super) zone: Sym,
}

/// Endpoints of one end, by their ids in the segments' index.
#[derive(Debug)]
struct Ends {
    side: &'static Side,
    rows: HashMap<EndpointId, usize, RandomState>,
    encoded: Vec<EncodedEnd>,
}

/// Both ends' endpoints.
#[derive(Debug)]
pub(super) struct EndCache {
    ends: [Ends; 2],
    wanted: Wanted,
    /// Keys of labels, and the attributes' names for each end.
    labels: Vec<(String, [String; 2])>,
    /// What the rows belong to.
    generation: u64,
    zones: Arc<Zones>,
    dropped_names: u64,
}

impl EndCache {
    pub(super) fn new(wanted: Wanted, labels: &[String]) -> Self {
        let ends = |side| Ends { side, rows: HashMap::default(), encoded: Vec::new() };
        let names = |key: &String| [&SOURCE, &DESTINATION].map(|side| format!("{}.{key}", side.labels.name()));
        Self {
            ends: [ends(&SOURCE), ends(&DESTINATION)],
            wanted,
            labels: labels.iter().map(|key| (key.clone(), names(key))).collect(),
            generation: 0,
            zones: Arc::default(),
            dropped_names: 0,
        }
    }

    /// Drops what belongs to another index or other places, or what there is too much of.
    pub(super) fn enter(&mut self, segment: &Segment) {
        let (generation, dropped) = (segment.index.generation(), sym::dropped());
        let is_same = self.generation == generation && Arc::ptr_eq(&self.zones, &segment.zones);
        let has_room = self.ends.iter().all(|ends| ends.encoded.len() < MAX_ENDPOINTS);
        // A name of a segment lives as long as it, but the number of another may be used again.
        if is_same && has_room && self.dropped_names == dropped {
            return;
        }
        (self.generation, self.dropped_names) = (generation, dropped);
        self.zones = Arc::clone(&segment.zones);
        for ends in &mut self.ends {
            ends.rows.clear();
            ends.encoded.clear();
        }
    }

    /// The endpoints of a flow, source and destination. [`EndCache::enter`] has prepared for its
    /// segment.
    #[inline]
    pub(super) fn of(&mut self, flow: &Flow, index: &Index) -> [Option<&EncodedEnd>; 2] {
        let Self { ends: [source, destination], wanted, labels, zones, .. } = self;
        let (wanted, labels, zones) = (*wanted, labels.as_slice(), &**zones);
        let get = |ends: &mut Ends, at: usize, id: EndpointId| {
            let Ends { side, rows, encoded } = ends;
            *rows.entry(id).or_insert_with(|| {
                encoded.push(encode(side, wanted, (index.endpoint(id), zones), (labels, at, index.identity(id))));
                encoded.len() - 1
            })
        };
        let rows = [get(source, 0, flow.source), get(destination, 1, flow.destination)];
        [source.encoded.get(rows[0]), destination.encoded.get(rows[1])]
    }
}

fn encode(
    side: &Side,
    wanted: Wanted,
    (endpoint, zones): (&Endpoint, &Zones),
    (labels, at, identity): (&[(String, [String; 2])], usize, Sym),
) -> EncodedEnd {
    let place = zones.find(endpoint);
    let mut encoded = EncodedEnd { zone: place.zone, ..EncodedEnd::default() };
    let mut put = Put { to: &mut encoded.attributes, wanted };
    put.text(side.namespace, &endpoint.namespace.text());
    put.text(side.pod, &endpoint.pod_name.text());
    if endpoint.kind == EndpointKind::Pod && endpoint.workload_name.is_empty() && !endpoint.pod_name.is_empty() {
        put.text(side.owner, &endpoint.pod_name.text());
        put.text(side.owner_type, BARE);
    } else {
        put.text(side.owner, &endpoint.workload_name.text());
        put.text(side.owner_type, &endpoint.workload_kind.text());
    }
    put.text(side.node, &place.node.text());
    put.text(side.zone, &place.zone.text());
    put.text(side.region, &place.region.text());
    put.text(side.cidr, &place.cidr.text());
    if !matches!(endpoint.kind, EndpointKind::Pod | EndpointKind::Mesh) {
        put.text(side.identity, &endpoint.reserved_identity.text());
    }
    put.text(side.cluster, &endpoint.cluster.text());
    if wanted.has(side.labels) && !labels.is_empty() {
        let identity = identity.text();
        for (key, names) in labels {
            let value = identity.split(',').find_map(|label| {
                let (known, value) = label.split_once('=')?;
                // The part before the colon is the label's source.
                (known.split_once(':').map_or(known, |(_, known)| known) == key).then_some(value)
            });
            if let (Some(value), Some(name)) = (value, names.get(at)) {
                encoded.labels.string(name, value);
            }
        }
    }
    encoded
}
