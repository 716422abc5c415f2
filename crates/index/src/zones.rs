//! Where endpoints are: zones and regions of nodes, and of networks outside the cluster.
//!
//! A pod's zone is its node's. So an endpoint has its node alone, and zones are looked up by it: a
//! node that moves to another zone changes one entry here and no endpoint. An address of the world
//! within an entry of `zones.cidrs` has an endpoint of its own, which has the entry's number.

use std::sync::Arc;

use hashbrown::HashMap;
use ipnet::IpNet;
use webb_flow::hash::RandomState;
use webb_flow::sym::{Names, Sym};

use super::{Endpoint, EndpointKind};

/// Where an endpoint is. A part that is not known is empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Place {
    /// The node that it is, or is on.
    pub node: Sym,
    /// For example `eu-west-1a`.
    pub zone: Sym,
    /// For example `eu-west-1`.
    pub region: Sym,
    /// Name of the entry of `zones.cidrs` that holds its address; that of its network where the
    /// entry has none. Only addresses of the world have it.
    pub cidr: Sym,
}

/// The place of a node, for [`Zones::new`].
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ZoneSpec {
    /// Name of the node.
    pub node: String,
    /// Its zone; empty if it has none.
    pub zone: String,
    /// Its region; empty if it has none.
    pub region: String,
}

/// The place of a network outside the cluster: an entry of `zones.cidrs`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CidrSpec {
    /// The network. Of several that hold an address, the smallest is the address' own.
    pub network: IpNet,
    /// Its zone; empty if it has none.
    pub zone: String,
    /// Its region; empty if it has none.
    pub region: String,
    /// Its name; empty if it has none.
    pub name: String,
}

/// Maximal number of entries of `zones.cidrs`.
pub const MAX_CIDRS: usize = 4096;

/// All nodes with a zone or a region, and the networks of `zones.cidrs`.
#[derive(Debug, Default)]
pub struct Zones {
    specs: Vec<ZoneSpec>,
    nodes: HashMap<Sym, Place, RandomState>,
    cidr_specs: Arc<[CidrSpec]>,
    /// Places of the networks, in the order of their specifications.
    cidrs: Vec<Place>,
    /// Bytes that a tunnel adds to a packet.
    overhead: u32,
    /// This node's name.
    own: Sym,
    /// Own what the others have.
    _owned: Names,
}

impl Zones {
    /// Builds the table, which owns the names in it. `own` is this node; of `cidrs` the first
    /// [`MAX_CIDRS`] count. Interns, so not for the event path.
    pub fn new(own: &str, mut specs: Vec<ZoneSpec>, cidrs: Arc<[CidrSpec]>) -> Self {
        specs.retain(|spec| !spec.zone.is_empty() || !spec.region.is_empty());
        specs.sort_unstable_by(|a, b| a.node.cmp(&b.node));
        let mut owned = Names::default();
        let mut nodes = HashMap::default();
        for spec in &specs {
            let node = owned.intern(&spec.node);
            let (zone, region) = (owned.intern(&spec.zone), owned.intern(&spec.region));
            nodes.insert(node, Place { node, zone, region, cidr: Sym::EMPTY });
        }
        let place = |spec: &CidrSpec| Place {
            node: Sym::EMPTY,
            zone: owned.intern(&spec.zone),
            region: owned.intern(&spec.region),
            cidr: if spec.name.is_empty() { owned.intern(&spec.network.to_string()) } else { owned.intern(&spec.name) },
        };
        let places = cidrs.iter().take(MAX_CIDRS).map(place).collect();
        Self { specs, nodes, cidr_specs: cidrs, cidrs: places, overhead: 0, own: owned.intern(own), _owned: owned }
    }

    /// Sets the bytes that a tunnel between nodes adds to a packet of a pod.
    #[must_use]
    pub fn with_overhead(self, overhead: u32) -> Self {
        Self { overhead, ..self }
    }

    /// Bytes that a tunnel between nodes adds to a packet of a pod.
    pub fn overhead(&self) -> u32 {
        self.overhead
    }

    /// True if both say the same of all nodes and networks.
    pub fn equals(&self, other: &Self) -> bool {
        let same = self.own == other.own && self.overhead == other.overhead;
        same && self.specs == other.specs && self.has_cidrs_of(other)
    }

    /// True if both have the same networks.
    pub(super) fn has_cidrs_of(&self, other: &Self) -> bool {
        self.cidr_specs == other.cidr_specs
    }

    /// The networks, each with the number that its endpoint has.
    pub(super) fn networks(&self) -> impl Iterator<Item = (u16, IpNet)> {
        (1..).zip(self.cidr_specs.iter().take(MAX_CIDRS).map(|spec| spec.network))
    }

    /// The node that an endpoint is, or is on; empty where that is not known. Of another cluster's
    /// it is not: its nodes may have the names of this one's.
    pub fn node(&self, endpoint: &Endpoint) -> Sym {
        match endpoint.kind {
            EndpointKind::Host => self.own,
            EndpointKind::Mesh => Sym::EMPTY,
            // A pod of a manifest that says no node is this one's.
            EndpointKind::Pod if endpoint.local && endpoint.node.is_empty() => self.own,
            _ => endpoint.node,
        }
    }

    /// The place of this node.
    pub fn own(&self) -> Place {
        self.nodes.get(&self.own).copied().unwrap_or_default()
    }

    /// The place of an endpoint. One lookup by hash; allocates nothing.
    pub fn find(&self, endpoint: &Endpoint) -> Place {
        if let Some(at) = usize::from(endpoint.cidr).checked_sub(1) {
            return self.cidrs.get(at).copied().unwrap_or_default();
        }
        let node = self.node(endpoint);
        self.nodes.get(&node).copied().unwrap_or(Place { node, ..Place::default() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::EndpointSpec;

    fn spec(node: &str, zone: &str, region: &str) -> ZoneSpec {
        ZoneSpec { node: node.into(), zone: zone.into(), region: region.into() }
    }

    /// Pods have their node's place, the host its own node's; what is on no node has none.
    #[test]
    fn pods_are_where_their_node_is() {
        let zones = Zones::new(
            "n1",
            vec![spec("n2", "b", "west"), spec("n1", "a", "west"), spec("n3", "", "")],
            Arc::default(),
        );
        let mut names = Names::default();
        let mut pod = |node: &str| Endpoint {
            node: names.intern(node),
            ..Endpoint::new(EndpointKind::Pod, false, &EndpointSpec::default())
        };
        let text = |endpoint: &Endpoint| {
            let Place { zone, region, .. } = zones.find(endpoint);
            (zone.text().to_string(), region.text().to_string())
        };
        let place = |zone: &str, region: &str| (zone.to_owned(), region.to_owned());
        assert_eq!(text(&pod("n2")), place("b", "west"));
        assert_eq!(text(&pod("n3")), place("", ""));
        assert_eq!(text(&pod("n4")), place("", ""));
        assert_eq!(text(&Endpoint::reserved(EndpointKind::Host, 1, "reserved:host")), place("a", "west"));
        assert_eq!(text(&Endpoint::world()), place("", ""));
        let other = Endpoint { kind: EndpointKind::Mesh, ..pod("n2") };
        assert_eq!((text(&other), zones.node(&other)), (place("", ""), Sym::EMPTY));
    }

    /// The order of nodes makes no difference, and neither does a node without a place.
    #[test]
    fn equal_tables_are_equal() {
        let zones = |own: &str, specs: &[ZoneSpec]| Zones::new(own, specs.to_vec(), Arc::default());
        let one = zones("n1", &[spec("n1", "a", ""), spec("n2", "b", "")]);
        assert!(one.equals(&zones("n1", &[spec("n3", "", ""), spec("n2", "b", ""), spec("n1", "a", "")])));
        assert!(!one.equals(&zones("n1", &[spec("n1", "a", ""), spec("n2", "c", "")])));
        assert!(!one.equals(&zones("n2", &[spec("n1", "a", ""), spec("n2", "b", "")])));
    }
}
