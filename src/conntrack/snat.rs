//! Connections with a translated source: how many there are, and how many of the ports of one
//! address the busiest mapping has in use.
//!
//! Kept up by the follower's events and counted anew by each of its dumps. A connection that begins
//! or ends while a dump is being read may count twice or not at all until the next one.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use webb_decode::nat::{Peer, Translation};
use webb_flow::hash::RandomState;
use webb_flow::{Address, L4};

type HashMap<K, V> = std::collections::HashMap<K, V, RandomState>;

/// Ports that netfilter takes for a translated source of 1024 or above: 1024 to 65535.
const PORTS: f64 = 64_512.0;

/// Mappings that are kept apart. On a node with more the busiest may be among those left out.
const MAX_MAPPINGS: usize = 65_536;

/// Interval at which the figures are published, as in Cilium.
const INTERVAL: Duration = Duration::from_secs(30);

/// Figures of one family of addresses.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SnatFigures {
    /// `ipv4` or `ipv6`.
    pub family: &'static str,
    /// Connections that there are.
    pub alive: u64,
    /// Connections that have ended since the last dump.
    pub deleted: u64,
    /// Largest share of ports that one egress address uses towards one remote address and port.
    pub saturation: f64,
}

/// The figures, for scrapes; none while connection tracking is not followed.
#[derive(Debug, Default)]
pub struct Snat(Mutex<Option<[SnatFigures; 2]>>);

impl Snat {
    /// The figures of both families.
    pub fn figures(&self) -> Option<[SnatFigures; 2]> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn publish(&self, figures: Option<[SnatFigures; 2]>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = figures;
    }
}

/// An egress address, a remote address and port, and a protocol: within it each port is used once.
type Mapping = (Address, Peer, L4);

/// The counts of the follower's thread.
#[derive(Debug, Default)]
pub(super) struct Tracker {
    ports: HashMap<Mapping, u32>,
    alive: [u64; 2],
    deleted: [u64; 2],
    published: Option<Instant>,
}

/// Index of the family of a connection that has a translated source.
fn family_of(translation: &Translation) -> Option<(usize, Mapping)> {
    let Translation { opened, arrived } = translation;
    let (egress, _) = arrived.source;
    let mapping = (egress, arrived.destination, arrived.protocol);
    (opened.source != arrived.source).then_some((usize::from(Address::v4(egress).is_none()), mapping))
}

impl Tracker {
    /// Forgets everything: a dump begins.
    pub(super) fn begin(&mut self) {
        *self = Self { ports: std::mem::take(&mut self.ports), published: None, ..Self::default() };
        self.ports.clear();
    }

    pub(super) fn add(&mut self, translation: &Translation) {
        let Some((family, mapping)) = family_of(translation) else { return };
        if let Some(alive) = self.alive.get_mut(family) {
            *alive += 1;
        }
        if self.ports.len() < MAX_MAPPINGS || self.ports.contains_key(&mapping) {
            *self.ports.entry(mapping).or_default() += 1;
        }
    }

    pub(super) fn remove(&mut self, translation: &Translation) {
        let Some((family, mapping)) = family_of(translation) else { return };
        if let Some(alive) = self.alive.get_mut(family) {
            *alive = alive.saturating_sub(1);
        }
        if let Some(deleted) = self.deleted.get_mut(family) {
            *deleted += 1;
        }
        if let Some(ports) = self.ports.get_mut(&mapping) {
            *ports -= 1;
            if *ports == 0 {
                self.ports.remove(&mapping);
            }
        }
    }

    /// Publishes the figures, if it is time.
    pub(super) fn publish(&mut self, to: &Snat) {
        let now = Instant::now();
        if self.published.is_none_or(|last| now >= last + INTERVAL) {
            self.published = Some(now);
            to.publish(Some(self.figures()));
        }
    }

    fn figures(&self) -> [SnatFigures; 2] {
        let mut busiest = [0; 2];
        for ((egress, ..), ports) in &self.ports {
            if let Some(most) = busiest.get_mut(usize::from(Address::v4(*egress).is_none())) {
                *most = (*ports).max(*most);
            }
        }
        let [v4, v6] = busiest.map(|ports| f64::from(ports) / PORTS);
        let [(alive4, deleted4), (alive6, deleted6)] =
            [(self.alive[0], self.deleted[0]), (self.alive[1], self.deleted[1])];
        [
            SnatFigures { family: "ipv4", alive: alive4, deleted: deleted4, saturation: v4 },
            SnatFigures { family: "ipv6", alive: alive6, deleted: deleted6, saturation: v6 },
        ]
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use webb_decode::nat::Connection;

    use super::*;

    fn peer(ip: &str, port: u16) -> Peer {
        (ip.parse::<IpAddr>().unwrap().into(), port)
    }

    fn translated(source: Peer, egress: Peer, remote: Peer) -> Translation {
        let of = |source| Connection { source, destination: remote, protocol: L4::Tcp };
        Translation { opened: of(source), arrived: of(egress) }
    }

    /// The busiest mapping counts, of each family; what has ended gives its port back, a translated
    /// destination is none, and a dump begins anew.
    #[test]
    fn the_busiest_mapping_counts() {
        let mut tracker = Tracker::default();
        let of = |number: u16, remote| {
            translated(peer("10.244.1.2", number), peer("192.0.2.1", 1024 + number), peer(remote, 443))
        };
        for number in 0..645 {
            tracker.add(&of(number, "203.0.113.1"));
        }
        for number in 0..100 {
            tracker.add(&of(number, "203.0.113.2"));
        }
        let v6 = translated(peer("fd00::2", 7), peer("2001:db8::1", 2000), peer("2001:db8::2", 443));
        tracker.add(&v6);
        let mut service = of(1, "203.0.113.1");
        (service.opened, service.arrived.source) =
            (Connection { destination: peer("10.96.0.1", 443), ..service.opened }, service.opened.source);
        tracker.add(&service);
        let [v4, of_v6] = tracker.figures();
        assert_eq!((v4.alive, v4.deleted, of_v6.alive), (745, 0, 1));
        assert!((v4.saturation - 645.0 / PORTS).abs() < 1e-12 && (of_v6.saturation - 1.0 / PORTS).abs() < 1e-12);

        for number in 100..645 {
            tracker.remove(&of(number, "203.0.113.1"));
        }
        tracker.remove(&v6);
        let [v4, of_v6] = tracker.figures();
        assert_eq!((v4.alive, v4.deleted, of_v6.alive, of_v6.deleted), (200, 545, 0, 1));
        assert!((v4.saturation - 100.0 / PORTS).abs() < 1e-12 && of_v6.saturation == 0.0);

        tracker.begin();
        tracker.add(&v6);
        let [v4, of_v6] = tracker.figures();
        assert_eq!((v4.alive, v4.deleted, v4.saturation, of_v6.alive), (0, 0, 0.0, 1));
    }

    /// Figures are there once they are published, and gone with the follower.
    #[test]
    fn figures_are_published() {
        let (mut tracker, snat) = (Tracker::default(), Snat::default());
        assert_eq!(snat.figures(), None);
        tracker.publish(&snat);
        assert!(snat.figures().is_some());
        snat.publish(None);
        tracker.publish(&snat);
        assert_eq!(snat.figures(), None, "not before the interval is over");
    }
}
