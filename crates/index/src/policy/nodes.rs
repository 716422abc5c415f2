//! Matches nodes: by their labels, and as the node that a pod runs on.

use std::sync::Arc;

use hashbrown::{HashMap, HashSet};
use webb_flow::Address;
use webb_flow::hash::RandomState;
use webb_flow::sym::{Names, Sym};

use super::spec::{Labels, Selector};
use super::truth::Truth;
use crate::{Endpoint, EndpointKind};

/// One node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeSpec {
    /// Its name.
    pub name: String,
    /// Its labels.
    pub labels: Arc<Labels>,
    /// Addresses that its object lists.
    pub listed: Vec<Address>,
    /// All that are known to be its own, listed or not.
    pub own: Vec<Address>,
}

/// All nodes.
#[derive(Debug, Clone, Default)]
pub struct Nodes {
    /// The node of an address.
    owners: HashMap<Address, Sym, RandomState>,
    /// Addresses that some node's object lists.
    listed: HashSet<Address, RandomState>,
    /// Addresses of the matching nodes by distinct selector, each list in order.
    sets: Vec<Arc<NodeSet>>,
    /// Own what `owners` has.
    names: Names,
}

#[derive(Debug, Default)]
struct NodeSet {
    certain: Vec<Address>,
    maybe: Vec<Address>,
}

impl Nodes {
    /// Tables for these nodes and the selectors of `nodes` peers, by their numbers.
    pub(super) fn new<'a>(nodes: &[NodeSpec], selectors: impl Iterator<Item = (u32, Option<&'a Selector>)>) -> Self {
        let mut all = Self::default();
        for node in nodes {
            let name = all.names.intern(&node.name);
            all.owners.extend(node.own.iter().chain(&node.listed).map(|address| (*address, name)));
            all.listed.extend(&node.listed);
        }
        let set = |(_, selector): (u32, Option<&Selector>)| {
            let Some(selector) = selector else { return Arc::default() };
            let mut set = NodeSet::default();
            for node in nodes {
                match selector.matches(&node.labels) {
                    Truth::Yes => set.certain.extend(&node.listed),
                    Truth::Maybe => set.maybe.extend(&node.listed),
                    Truth::No => {}
                }
            }
            set.certain.sort_unstable();
            set.maybe.sort_unstable();
            Arc::new(set)
        };
        all.sets = selectors.map(set).collect();
        all
    }

    /// Matches a `nodes` peer with the owner of an address.
    pub(super) fn matches(&self, set: u32, peer: &Endpoint, address: Address) -> Truth {
        match peer.kind {
            EndpointKind::Host | EndpointKind::RemoteNode => {}
            EndpointKind::Unnamed | EndpointKind::Unknown => return Truth::Maybe,
            _ => return Truth::No,
        }
        let Some(set) = self.sets.get(set as usize) else { return Truth::No };
        if set.certain.binary_search(&address).is_ok() {
            Truth::Yes
        } else if set.maybe.binary_search(&address).is_ok() || !self.listed.contains(&address) {
            // A bridge's, a tunnel's or a virtual address: some enforcers count all that the
            // machine has.
            Truth::Maybe
        } else {
            Truth::No
        }
    }

    /// Whether the owner of an address is the node that `pod` runs on.
    pub(super) fn is_own(&self, pod: &Endpoint, peer: &Endpoint, address: Address) -> bool {
        match peer.kind {
            EndpointKind::Host if pod.local => true,
            EndpointKind::Host | EndpointKind::RemoteNode if !pod.local => {
                self.owners.get(&address).is_some_and(|owner| !pod.node.is_empty() && *owner == pod.node)
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;
    use crate::policy::spec::{Requirement, Test};

    fn ip(text: &str) -> Address {
        text.parse::<IpAddr>().unwrap().into()
    }

    /// A `nodes` peer counts what Node objects list; an address that only the machine has is
    /// neither in nor out, and an endpoint that is no node never matches.
    #[test]
    fn addresses_beside_the_listed_are_open() {
        let node = |name: &str, role: &str, listed: &str, own: &str| NodeSpec {
            name: name.to_owned(),
            labels: Arc::new([("role".to_owned(), role.to_owned())].into()),
            listed: vec![ip(listed)],
            own: vec![ip(listed), ip(own)],
        };
        let nodes = [node("n1", "worker", "192.0.2.1", "10.0.1.1"), node("n2", "control", "192.0.2.2", "10.0.2.1")];
        let role = Requirement { key: "role".into(), test: Test::In(vec!["control".into()]) };
        let nodes = Nodes::new(&nodes, [(0, None), (1, Some(&Selector(vec![role])))].into_iter());
        let peer = |kind| Endpoint { kind, ..Endpoint::EMPTY };
        let holds = |kind, address| nodes.matches(1, &peer(kind), ip(address));
        assert_eq!(holds(EndpointKind::RemoteNode, "192.0.2.2"), Truth::Yes);
        assert_eq!(holds(EndpointKind::Host, "192.0.2.1"), Truth::No);
        assert_eq!(holds(EndpointKind::Host, "10.0.1.1"), Truth::Maybe);
        assert_eq!(holds(EndpointKind::World, "192.0.2.2"), Truth::No);
        assert_eq!(holds(EndpointKind::Unknown, "10.0.9.9"), Truth::Maybe);
        let pod = |local, node| Endpoint { kind: EndpointKind::Pod, local, node: Sym::new(node), ..Endpoint::EMPTY };
        let own = |pod, kind, address| nodes.is_own(&pod, &peer(kind), ip(address));
        assert!(own(pod(true, "n1"), EndpointKind::Host, "192.0.2.77"), "whichever of this machine's");
        assert!(own(pod(false, "n2"), EndpointKind::RemoteNode, "10.0.2.1"));
        assert!(!own(pod(false, "n2"), EndpointKind::Host, "192.0.2.1"));
        assert!(!own(pod(true, "n1"), EndpointKind::RemoteNode, "192.0.2.2"));
    }
}
