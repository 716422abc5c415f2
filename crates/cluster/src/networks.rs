//! The networks that pods have their addresses from: those of the nodes' `podCIDRs`, and the blocks
//! around addresses that pods have, for network plugins that give them out by themselves.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

use ipnet::IpNet;
use webb_flow::Address;
use webb_flow::hash::RandomState;

/// The block around a pod's address that is taken to be pods': Calico's size, 64 addresses. Where
/// pods share their networks with machines, as in some clouds, no block is taken that a node has an
/// address in.
const BLOCK_V4: u8 = 26;
const BLOCK_V6: u8 = 122;

/// Known networks.
#[derive(Debug, Default)]
pub(super) struct Networks {
    of_nodes: Vec<IpNet>,
    /// Blocks that a relay knows pods in.
    relayed: Vec<IpNet>,
    /// Blocks by how many addresses of pods lie in them.
    learnt: HashMap<IpNet, usize, RandomState>,
    /// Blocks that nodes have addresses in.
    shared: HashSet<IpNet, RandomState>,
    /// False after a change.
    unchanged: bool,
}

impl Networks {
    /// The networks of all nodes, and all their addresses.
    pub(super) fn set_of_nodes(&mut self, networks: Vec<IpNet>, addresses: impl IntoIterator<Item = IpAddr>) {
        let shared = addresses.into_iter().map(|address| block(address.into())).collect();
        self.unchanged &= self.of_nodes == networks && self.shared == shared;
        (self.of_nodes, self.shared) = (networks, shared);
    }

    /// The blocks that a relay knows pods in. Those that a node has an address in count too: which
    /// of their addresses are pods' is what the relay is asked.
    pub(super) fn set_relayed(&mut self, blocks: Vec<IpNet>) {
        self.unchanged &= self.relayed == blocks;
        self.relayed = blocks;
    }

    /// A pod has these addresses.
    pub(super) fn came(&mut self, addresses: &[Address]) {
        for address in addresses {
            let count = self.learnt.entry(block(*address)).or_default();
            *count += 1;
            self.unchanged &= *count > 1;
        }
    }

    /// A pod does not have these addresses any more.
    pub(super) fn went(&mut self, addresses: &[Address]) {
        for address in addresses {
            let block = block(*address);
            if let Some(count) = self.learnt.get_mut(&block) {
                *count -= 1;
                if *count == 0 {
                    self.learnt.remove(&block);
                    self.unchanged = false;
                }
            }
        }
    }

    /// All of them, if they may be others than at the last call.
    pub(super) fn changed(&mut self) -> Option<Vec<IpNet>> {
        if std::mem::replace(&mut self.unchanged, true) {
            return None;
        }
        let learnt = self.learnt.keys().filter(|block| !self.shared.contains(*block));
        Some(IpNet::aggregate(&self.of_nodes.iter().chain(&self.relayed).chain(learnt).copied().collect()))
    }
}

fn block(address: Address) -> IpNet {
    address_block(address.ip())
}

/// The block around an address that is taken to be pods' if a pod has the address.
pub fn address_block(ip: IpAddr) -> IpNet {
    let length = if ip.is_ipv4() { BLOCK_V4 } else { BLOCK_V6 };
    IpNet::new(ip, length).unwrap_or_else(|_| IpNet::from(ip)).trunc()
}

/// The addresses in a node's network that its own tunnel and bridge have by convention: the first
/// two.
pub(super) fn first_addresses(network: &IpNet) -> Vec<IpAddr> {
    match network {
        IpNet::V4(v4) => v4.hosts().next().into_iter().chain([v4.network()]).map(IpAddr::V4).collect(),
        IpNet::V6(v6) => [0, 1].map(|at| IpAddr::V6((u128::from(v6.network()) + at).into())).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Address {
        text.parse::<IpAddr>().unwrap().into()
    }

    /// Blocks come with the first pod in them and go with the last, and a change is reported once.
    #[test]
    fn blocks_are_learnt() {
        let mut networks = Networks::default();
        assert_eq!(networks.changed(), Some(vec![]));
        let [one, two] = ["10.0.0.70", "10.0.0.71"].map(address);
        networks.came(&[one, address("fd00::1")]);
        networks.came(&[two]);
        let nets = |texts: &[&str]| Some(texts.iter().map(|net| net.parse().unwrap()).collect::<Vec<IpNet>>());
        assert_eq!(networks.changed(), nets(&["10.0.0.64/26", "fd00::/122"]));
        networks.went(&[one]);
        assert_eq!(networks.changed(), None);
        networks.set_of_nodes(nets(&["10.0.0.0/24"]).unwrap(), []);
        networks.went(&[two]);
        assert_eq!(networks.changed(), nets(&["10.0.0.0/24", "fd00::/122"]));
        networks.set_of_nodes(vec![], ["fd00::3".parse().unwrap()]);
        assert_eq!(networks.changed(), Some(vec![]), "a node's address is in the block");
        networks.set_relayed(nets(&["fd00::/122"]).unwrap());
        assert_eq!(networks.changed(), nets(&["fd00::/122"]), "a relay is asked which are pods'");
        networks.set_relayed(nets(&["fd00::/122"]).unwrap());
        assert_eq!(networks.changed(), None);
    }

    /// Flannel's tunnel has the first address of its network, its bridge the second.
    #[test]
    fn nodes_have_the_first_addresses() {
        let first = |net: &str| first_addresses(&net.parse().unwrap());
        assert_eq!(first("10.244.2.0/24"), ["10.244.2.1", "10.244.2.0"].map(|ip| ip.parse::<IpAddr>().unwrap()));
        assert_eq!(first("fd00:2::/64"), ["fd00:2::", "fd00:2::1"].map(|ip| ip.parse::<IpAddr>().unwrap()));
    }
}
