//! Zones and regions of nodes, and so of the pods on them.
//!
//! A pod's zone is its node's. So an endpoint has its node alone, and zones are looked up by it: a
//! node that moves to another zone changes one entry here and no endpoint.

use hashbrown::HashMap;
use webb_flow::hash::RandomState;
use webb_flow::sym::{Names, Sym};

use super::{Endpoint, EndpointKind};

/// The place of a node. A part that is not known is empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Zone {
    /// For example `eu-west-1a`.
    pub zone: Sym,
    /// For example `eu-west-1`.
    pub region: Sym,
}

/// The input of the table: one node.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ZoneSpec {
    /// Name of the node.
    pub node: String,
    /// Its zone; empty if it has none.
    pub zone: String,
    /// Its region; empty if it has none.
    pub region: String,
}

/// All nodes with a zone or a region.
#[derive(Debug, Default)]
pub struct Zones {
    specs: Vec<ZoneSpec>,
    nodes: HashMap<Sym, Zone, RandomState>,
    /// This node's name.
    own: Sym,
    /// Own what the others have.
    _owned: Names,
}

impl Zones {
    /// Builds the table, which owns the names in it. `own` is this node. Interns, so not for the
    /// event path.
    pub fn new(own: &str, mut specs: Vec<ZoneSpec>) -> Self {
        specs.retain(|spec| !spec.zone.is_empty() || !spec.region.is_empty());
        specs.sort_unstable_by(|a, b| a.node.cmp(&b.node));
        let mut owned = Names::default();
        let mut nodes = HashMap::default();
        for spec in &specs {
            let zone = Zone { zone: owned.intern(&spec.zone), region: owned.intern(&spec.region) };
            nodes.insert(owned.intern(&spec.node), zone);
        }
        Self { specs, nodes, own: owned.intern(own), _owned: owned }
    }

    /// True if both say the same of all nodes.
    pub fn equals(&self, other: &Self) -> bool {
        self.own == other.own && self.specs == other.specs
    }

    /// The node that an endpoint is, or is on; empty where that is not known. Of another cluster's
    /// it is not: its nodes may have the names of this one's.
    pub fn node(&self, endpoint: &Endpoint) -> Sym {
        match endpoint.kind {
            EndpointKind::Host => self.own,
            EndpointKind::Mesh => Sym::EMPTY,
            _ => endpoint.node,
        }
    }

    /// The place of an endpoint.
    pub fn find(&self, endpoint: &Endpoint) -> Zone {
        self.nodes.get(&self.node(endpoint)).copied().unwrap_or_default()
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
        let zones = Zones::new("n1", vec![spec("n2", "b", "west"), spec("n1", "a", "west"), spec("n3", "", "")]);
        let mut names = Names::default();
        let mut pod = |node: &str| Endpoint {
            node: names.intern(node),
            ..Endpoint::new(EndpointKind::Pod, false, &EndpointSpec::default())
        };
        let text = |endpoint: &Endpoint| {
            let Zone { zone, region } = zones.find(endpoint);
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
        let one = Zones::new("n1", vec![spec("n1", "a", ""), spec("n2", "b", "")]);
        assert!(one.equals(&Zones::new("n1", vec![spec("n3", "", ""), spec("n2", "b", ""), spec("n1", "a", "")])));
        assert!(!one.equals(&Zones::new("n1", vec![spec("n1", "a", ""), spec("n2", "c", "")])));
        assert!(!one.equals(&Zones::new("n2", vec![spec("n1", "a", ""), spec("n2", "b", "")])));
    }
}
