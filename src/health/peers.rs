//! Selects the addresses to probe out of the cluster's nodes.
//!
//! Nodes reach each other by their internal addresses; external ones are for others, and firewalls
//! keep them from this port. Of the internal ones those count whose version of IP this node has an
//! internal address of, too: a cluster that is being moved to the other version is not unreachable.

use std::net::IpAddr;
use std::sync::Arc;

use super::Rank;

/// Addresses of one node that are probed at most.
pub(super) const MAX_ADDRESSES: usize = 16;

/// A node other than this one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Peer {
    pub(super) name: Arc<str>,
    pub(super) addresses: Vec<(IpAddr, Rank)>,
    /// Addresses that are not probed: the first [`MAX_ADDRESSES`] of them.
    pub(super) unprobed: Vec<(IpAddr, Unprobed)>,
}

/// The nodes to probe.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Selection {
    pub(super) peers: Vec<Peer>,
    /// Numbers of addresses that are not probed, by [`Unprobed`].
    pub(super) unprobed: [u64; Unprobed::ALL.len()],
}

/// Reason for which an address is not probed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unprobed {
    /// This node has no internal address of that version of IP.
    Family,
    /// The node has too many.
    Limit,
    /// The address is of no host, or of one only with an interface beside it.
    Invalid,
    /// This node would answer itself.
    Own,
}

impl Unprobed {
    pub(super) const ALL: [Self; 4] = [Self::Family, Self::Limit, Self::Invalid, Self::Own];

    /// Value of the `reason` label.
    pub(super) const fn label(self) -> &'static str {
        match self {
            Self::Family => "family",
            Self::Limit => "limit",
            Self::Invalid => "invalid",
            Self::Own => "own",
        }
    }

    /// Text about a Node object that is not as it should be; none where nothing is wrong with it.
    pub(super) const fn complaint(self) -> Option<&'static str> {
        match self {
            Self::Family => None,
            Self::Limit => Some("the object has more than 16"),
            Self::Invalid => Some("it leads to no host"),
            Self::Own => Some("it is of this node itself, whose own answer would be taken for the other's"),
        }
    }
}

/// The internal addresses of this node.
struct Own(Vec<IpAddr>);

impl Own {
    /// Checks whether this node has an address of that version of IP. One that is not known yet may
    /// have any.
    fn has_family_of(&self, address: IpAddr) -> bool {
        self.0.is_empty() || self.0.iter().any(|own| own.is_ipv4() == address.is_ipv4())
    }

    /// Checks whether this node itself answers at that address. Loopback is what nodes have that
    /// share one machine.
    fn answers_at(&self, address: IpAddr) -> bool {
        self.0.contains(&address) || (address.is_loopback() && self.0.iter().any(|own| !own.is_loopback()))
    }
}

impl Selection {
    /// One address that is not probed for that reason, with its node.
    pub(super) fn example(&self, reason: Unprobed) -> Option<(&str, IpAddr)> {
        let all = self.peers.iter().flat_map(|peer| peer.unprobed.iter().map(move |unprobed| (peer, unprobed)));
        all.filter(|(_, (_, found))| *found == reason).map(|(peer, (address, _))| (&*peer.name, *address)).next()
    }
}

/// Selects the addresses to probe; `own` is the name of this node.
pub(super) fn select(nodes: Vec<(String, Vec<IpAddr>)>, own: &str) -> Selection {
    let own_addresses = nodes.iter().filter(|(name, _)| name == own).flat_map(|(_, addresses)| addresses);
    let this = Own(own_addresses.map(IpAddr::to_canonical).collect());
    let mut selection = Selection::default();
    for (name, addresses) in nodes.into_iter().filter(|(name, _)| name != own) {
        let mut peer = Peer { name: name.into(), addresses: Vec::new(), unprobed: Vec::new() };
        for address in addresses.iter().map(IpAddr::to_canonical) {
            let Some(reason) = unprobed(address, &peer, &this) else {
                // One address may be written in two ways.
                if !peer.addresses.iter().any(|(known, _)| *known == address) {
                    let rank = if peer.addresses.is_empty() { Rank::Primary } else { Rank::Secondary };
                    peer.addresses.push((address, rank));
                }
                continue;
            };
            if let Some(count) = selection.unprobed.get_mut(reason as usize) {
                *count += 1;
            }
            if peer.unprobed.len() < MAX_ADDRESSES {
                peer.unprobed.push((address, reason));
            }
        }
        selection.peers.push(peer);
    }
    selection
}

/// Finds the reason for which an address is not probed.
fn unprobed(address: IpAddr, peer: &Peer, this: &Own) -> Option<Unprobed> {
    if names_no_host(address) {
        Some(Unprobed::Invalid)
    } else if this.answers_at(address) {
        Some(Unprobed::Own)
    } else if !this.has_family_of(address) {
        Some(Unprobed::Family)
    } else {
        (peer.addresses.len() == MAX_ADDRESSES).then_some(Unprobed::Limit)
    }
}

/// True for an address that leads to no host, or to one only by way of a certain interface.
fn names_no_host(address: IpAddr) -> bool {
    let by_interface = match address {
        IpAddr::V4(address) => address.is_link_local() || address.is_broadcast(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    };
    by_interface || address.is_unspecified() || address.is_multicast()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ips(texts: &[&str]) -> Vec<IpAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    /// This node is left out, the first address is the primary one, a family that this node lacks
    /// is left alone, and so are the seventeenth address and those of no host.
    #[test]
    fn addresses_are_selected() {
        let own = ("own".to_owned(), ips(&["10.0.0.1"]));
        let dual = ("dual".to_owned(), ips(&["fd00::2", "10.0.0.2", "10.0.0.3", "224.0.0.1", "0.0.0.0"]));
        let selection = select(vec![own, dual.clone()], "own");
        let addresses = vec![(ips(&["10.0.0.2"])[0], Rank::Primary), (ips(&["10.0.0.3"])[0], Rank::Secondary)];
        assert_eq!(selection.peers[0].addresses, addresses);
        assert_eq!(selection.unprobed, [1, 0, 2, 0]);
        // Without an address of this node, any may be what it has.
        assert_eq!(select(vec![dual], "own").peers[0].addresses.len(), 3);
    }

    /// Addresses that lead nowhere, or back to this node, are not probed, and named with the
    /// reason; one that is written as IPv6 and is IPv4 is probed as that, once.
    #[test]
    fn addresses_of_no_other_host() {
        let own = ("own".to_owned(), ips(&["::ffff:10.0.0.1", "fd00::1"]));
        let none = ["fe80::1", "169.254.0.1", "255.255.255.255", "0.0.0.0", "::ffff:224.0.0.1", "ff02::1"];
        let back = ["10.0.0.1", "::ffff:10.0.0.1", "fd00::1", "127.0.0.1", "::1"];
        let good = ["::ffff:10.0.0.2", "10.0.0.2", "fd00::2"];
        let odd = ips(&[&none[..], &back[..], &good[..]].concat());
        let selection = select(vec![own, ("odd".to_owned(), odd)], "own");
        let addresses = [(ips(&["10.0.0.2"])[0], Rank::Primary), (ips(&["fd00::2"])[0], Rank::Secondary)];
        assert_eq!(selection.peers[0].addresses, addresses);
        assert_eq!(selection.unprobed, [0, 0, 6, 5]);
        assert_eq!(selection.example(Unprobed::Own), Some(("odd", ips(&["10.0.0.1"])[0])));
        assert_eq!(selection.example(Unprobed::Family), None);
        // Nodes of one machine: its loopback is probed where no node has another address.
        for own in [ips(&[]), ips(&["127.0.0.1"])] {
            let nodes = vec![("own".to_owned(), own), ("other".to_owned(), ips(&["127.0.0.2"]))];
            assert_eq!(select(nodes, "own").peers[0].addresses.len(), 1);
        }
    }

    /// A list of unusable addresses of any length is reported in part, and counted whole.
    #[test]
    fn unusable_addresses_have_a_bound() {
        let unusable = (0..=255).map(|last| IpAddr::from([169, 254, 0, last])).collect();
        let selection = select(vec![("odd".to_owned(), unusable)], "own");
        assert_eq!((selection.peers[0].unprobed.len(), selection.unprobed), (MAX_ADDRESSES, [0, 0, 256, 0]));
    }

    /// A node without an address is there, with ten has ten, and with more than the bound has that.
    #[test]
    fn numbers_of_addresses() {
        for (has, probed, beyond) in [(0, 0, 0), (10, 10, 0), (20, 16, 4)] {
            let addresses = (0..has).map(|at| IpAddr::from([10, 0, 1, at])).collect();
            let name = "n".repeat(253);
            let selection = select(vec![(name.clone(), addresses)], "own");
            assert_eq!(*selection.peers[0].name, *name);
            assert_eq!((selection.peers[0].addresses.len(), selection.unprobed), (probed, [0, beyond, 0, 0]));
        }
    }
}
