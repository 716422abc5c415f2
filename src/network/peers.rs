//! The addresses at the other end of pods' interfaces, in the pods' own network namespaces.
//!
//! The kernel numbers the namespaces at the other ends of this one's pairs, and answers a request
//! for the addresses of such a namespace (`IFA_TARGET_NETNSID`); `CAP_NET_ADMIN` is enough. That
//! works with every network plugin, also where pods hang on a bridge and no route distinguishes
//! them. There are no notifications for other namespaces, so a new interface's namespace is asked
//! soon and then ever less often.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::addresses::Addresses;
use super::interface::Interface;
use super::watch::NetworkWatch;

/// Delay before the namespace of a new interface is read first. The wait doubles with each time.
const FIRST_WAIT: Duration = Duration::from_millis(50);

/// The longest wait: an address that is added later (an operator does so by hand) is found within
/// this time.
const MAX_WAIT: Duration = Duration::from_secs(30);

/// Known state of the namespaces at the other ends.
#[derive(Debug, Default)]
pub struct Peers(HashMap<i32, Namespace>);

#[derive(Debug)]
struct Namespace {
    addresses: Addresses,
    wait: Duration,
    due: Instant,
}

impl Peers {
    /// Records an interface that is new or has changed: its namespace is read soon.
    pub fn see(&mut self, interface: &Interface, now: Instant) {
        let Some(number) = interface.namespace.filter(|_| interface.leads_elsewhere()) else { return };
        let namespace = self.0.entry(number).or_insert_with(|| Namespace {
            addresses: Addresses::default(),
            wait: FIRST_WAIT,
            due: now,
        });
        namespace.wait = FIRST_WAIT;
        namespace.due = now + FIRST_WAIT;
    }

    /// Forgets the namespaces that none of these interfaces leads to.
    pub fn keep<'a>(&mut self, interfaces: impl Iterator<Item = &'a Interface>) {
        let there: HashSet<_> = interfaces.filter_map(|interface| interface.namespace).collect();
        self.0.retain(|number, _| there.contains(number));
    }

    /// Time of the next namespace read.
    pub fn due(&self) -> Option<Instant> {
        self.0.values().map(|namespace| namespace.due).min()
    }

    /// Reads the namespaces that are due. True if any answer differs from the last.
    pub async fn ask(&mut self, watch: &NetworkWatch, now: Instant) -> bool {
        let mut differs = false;
        for (number, namespace) in self.0.iter_mut().filter(|(_, namespace)| namespace.due <= now) {
            match watch.addresses_in(*number).await {
                Ok(found) => {
                    differs |= found != namespace.addresses;
                    namespace.addresses = found;
                }
                // It may have gone meanwhile, or belong to a user namespace in which we have no
                // rights.
                Err(error) => tracing::debug!(namespace = number, "its addresses cannot be read: {error}"),
            }
            namespace.wait = (namespace.wait * 2).min(MAX_WAIT);
            namespace.due = now + namespace.wait;
        }
        differs
    }

    /// Number of ignored addresses: those beyond the maximum of a namespace.
    pub fn beyond(&self) -> usize {
        self.0.values().map(|namespace| namespace.addresses.beyond).sum()
    }

    /// The addresses at the other end of an interface.
    pub fn behind(&self, interface: &Interface) -> Vec<IpAddr> {
        let (Some(number), Some(peer)) = (interface.namespace, interface.link) else { return Vec::new() };
        let addresses = self.0.get(&number).map_or(&[][..], |namespace| &namespace.addresses.known);
        addresses.iter().filter(|(index, _)| *index == peer).map(|(_, ip)| *ip).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::interface::Driver;
    use super::*;

    fn pair(index: u32, namespace: i32, peer: u32) -> Interface {
        Interface {
            index,
            name: format!("veth{index}"),
            kind: Driver::Veth,
            uplink: false,
            peer_in_other_namespace: true,
            namespace: Some(namespace),
            link: Some(peer),
            controller: None,
            bridged: false,
            ethernet: true,
            up: true,
        }
    }

    /// A namespace is read soon after an interface into it appears, and removed with its last
    /// interface.
    #[test]
    fn namespaces_come_and_go() {
        let (mut peers, now) = (Peers::default(), Instant::now());
        assert_eq!(peers.due(), None);
        let [first, second] = [pair(7, 0, 2), pair(8, 0, 3)];
        peers.see(&first, now);
        peers.see(&second, now);
        assert_eq!(peers.due(), Some(now + FIRST_WAIT));
        peers.see(&Interface { namespace: None, ..pair(9, 0, 2) }, now);
        assert_eq!(peers.0.len(), 1);
        peers.keep([&second].into_iter());
        assert_eq!(peers.0.len(), 1);
        peers.keep([].into_iter());
        assert_eq!(peers.due(), None);
    }

    /// Each interface has its own peer's addresses, not those of its neighbours in the same
    /// namespace.
    #[test]
    fn each_interface_has_its_peers_addresses() {
        let mut peers = Peers::default();
        let [first, second] = [pair(7, 0, 2), pair(8, 0, 3)];
        peers.see(&first, Instant::now());
        let [a, b]: [IpAddr; 2] = ["10.244.1.11", "192.168.5.1"].map(|ip| ip.parse().unwrap());
        peers.0.get_mut(&0).unwrap().addresses.known = vec![(2, a), (3, b)];
        assert_eq!((peers.behind(&first), peers.behind(&second)), (vec![a], vec![b]));
        assert_eq!(peers.behind(&pair(9, 1, 2)), Vec::<IpAddr>::new());
    }
}
