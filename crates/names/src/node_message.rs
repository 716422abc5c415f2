//! A node as messages carry it.

use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use webb_cluster::NodeNetwork;

use crate::protocol_error::ProtocolError;
use crate::wire::{Addresses, Node, Subnet};

/// Nodes of a cluster at most.
pub(crate) const MAX_NODES: usize = 131_072;

/// Addresses of each sort that a node has at most, and networks.
const MAX_OF_NODE: usize = 32;

/// Bytes of a name at most, as Kubernetes has it.
const MAX_NAME_BYTES: usize = 253;

/// How many addresses and networks of a node its message leaves out.
pub(crate) fn left_out(network: &NodeNetwork) -> usize {
    let surplus = |count: usize| count.saturating_sub(MAX_OF_NODE);
    surplus(network.internal.len()) + surplus(network.external.len()) + surplus(network.pod_networks.len())
}

impl Node {
    /// The message of a node.
    pub(crate) fn of(name: &str, network: &NodeNetwork) -> Self {
        let addresses = |all: &[IpAddr]| Some(all.iter().copied().take(MAX_OF_NODE).collect());
        let subnet = |network: &IpNet| Subnet {
            address: Some([network.addr()].into_iter().collect()),
            length: network.prefix_len().into(),
        };
        Self {
            name: name.to_owned(),
            internal: addresses(&network.internal),
            external: addresses(&network.external),
            networks: network.pod_networks.iter().take(MAX_OF_NODE).map(subnet).collect(),
        }
    }

    /// Its name, with its addresses and networks.
    ///
    /// # Errors
    /// If it has no name that a node can have, or an address or a network is none.
    pub(crate) fn read(self) -> Result<(String, Arc<NodeNetwork>), ProtocolError> {
        let Self { name, internal, external, networks } = self;
        if name.is_empty() || name.len() > MAX_NAME_BYTES {
            return Err(ProtocolError::Node);
        }
        let [internal, external] = [internal, external].map(|addresses| read_some(&addresses.unwrap_or_default()));
        if networks.len() > MAX_OF_NODE {
            return Err(ProtocolError::TooMany("networks of a node"));
        }
        let pod_networks = networks.iter().map(Subnet::read).collect::<Result<_, _>>()?;
        Ok((name, Arc::new(NodeNetwork { internal: internal?, external: external?, pod_networks })))
    }
}

fn read_some(addresses: &Addresses) -> Result<Vec<IpAddr>, ProtocolError> {
    if addresses.len() > MAX_OF_NODE {
        return Err(ProtocolError::TooMany("addresses of a node"));
    }
    Ok(addresses.read()?.collect())
}

impl Subnet {
    fn read(&self) -> Result<IpNet, ProtocolError> {
        let address = self.address.as_ref().ok_or(ProtocolError::Address)?.read_one()?;
        let length = u8::try_from(self.length).map_err(|_| ProtocolError::Node)?;
        Ok(IpNet::new(address, length).map_err(|_| ProtocolError::Node)?.trunc())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network() -> NodeNetwork {
        NodeNetwork {
            internal: vec!["10.0.0.1".parse().unwrap(), "fd00::1".parse().unwrap()],
            external: vec!["192.0.2.1".parse().unwrap()],
            pod_networks: vec!["10.244.1.0/24".parse().unwrap(), "fd00:1::/64".parse().unwrap()],
        }
    }

    /// A node comes back as it was sent; one with nothing too. It is small: an agent reads
    /// thousands.
    #[test]
    fn nodes_are_read() {
        for network in [network(), NodeNetwork::default()] {
            let message = Node::of("a", &network);
            assert_eq!(message.read(), Ok(("a".to_owned(), Arc::new(network))));
        }
        let plain = NodeNetwork { external: vec![], ..network() };
        let message = Node::of("ip-10-0-0-1.ec2.internal", &plain);
        assert!(prost::Message::encoded_len(&message) < 120, "{}", prost::Message::encoded_len(&message));
    }

    /// What no node has is refused.
    #[test]
    fn wrong_nodes_are_refused() {
        let node = || Node::of("a", &network());
        let half = Addresses { v4: vec![], v6: vec![0; 8].into() };
        let many: Addresses = (0..33).map(|at| IpAddr::from([10, 0, 0, at])).collect();
        let subnet =
            |address: &str, length| Subnet { address: Some([address.parse().unwrap()].into_iter().collect()), length };
        for (wrong, error) in [
            (Node { name: String::new(), ..node() }, ProtocolError::Node),
            (Node { name: "x".repeat(254), ..node() }, ProtocolError::Node),
            (Node { internal: Some(half), ..node() }, ProtocolError::Address),
            (Node { external: Some(many), ..node() }, ProtocolError::TooMany("addresses of a node")),
            (Node { networks: vec![subnet("10.0.0.0", 33)], ..node() }, ProtocolError::Node),
            (Node { networks: vec![subnet("10.0.0.0", 1000)], ..node() }, ProtocolError::Node),
            (Node { networks: vec![Subnet::default()], ..node() }, ProtocolError::Address),
            (Node { networks: vec![subnet("::", 0); 33], ..node() }, ProtocolError::TooMany("networks of a node")),
        ] {
            assert_eq!(wrong.read(), Err(error));
        }
    }

    /// A relay never sends what an agent refuses.
    #[test]
    fn what_is_too_much_is_left_out() {
        let all = NodeNetwork {
            internal: (0..100).map(|at| IpAddr::from([10, 0, 0, at])).collect(),
            pod_networks: (0..100).map(|at| IpNet::from(IpAddr::from([10, 1, 0, at]))).collect(),
            ..NodeNetwork::default()
        };
        let (_, read) = Node::of("a", &all).read().unwrap();
        assert_eq!((read.internal.len(), read.pod_networks.len()), (MAX_OF_NODE, MAX_OF_NODE));
        assert_eq!(left_out(&all), 2 * (100 - MAX_OF_NODE));
    }
}
