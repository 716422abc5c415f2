//! Claims of addresses by objects, and the holder among them.
//!
//! The claim of the highest [`Rank`] wins an address; among pods the newest, since addresses are
//! reused and the newest pod holds it now; among pods of one second the one with the name that
//! sorts last, so that all nodes of a cluster come to the same answer.
//!
//! A claim of this cluster wins against one of another cluster. An address that objects of two
//! other clusters claim names neither: which of them a packet is of cannot be known. Both are
//! counted as overlaps.

use std::collections::BTreeMap;
use std::sync::Arc;

use hashbrown::{HashMap, HashSet};
use webb_flow::hash::RandomState;
use webb_flow::room::is_spacious;
use webb_flow::{Address, EndpointId};
use webb_index::ObjectKey;

use super::Kind;

/// Rank of a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Rank {
    /// An external address of a service of another cluster.
    MeshService,
    /// A pod of another cluster.
    MeshPod,
    /// A node of another cluster.
    MeshNode,
    /// A service's own address. It names no endpoint, so any other claim wins.
    Service,
    /// A pod that runs, in a network beside the cluster's, which may use any addresses.
    OtherNetwork,
    /// An endpoint of the Kubernetes API that is nothing else: a managed control plane.
    ApiServer,
    /// A node's address in its own pods' network, which is a guess: the first ones are those of its
    /// tunnel and bridge.
    Overlay,
    /// A pod that runs.
    Pod,
    /// Another node: a machine's own address cannot be a pod's.
    RemoteNode,
    /// This node: the best source for its own addresses.
    Host,
}

/// The number of a cluster: [`OWN`], or its place in the mesh, from 1.
pub(super) type ClusterNumber = u16;

/// The cluster that this agent runs in.
pub(super) const OWN: ClusterNumber = 0;

/// The object behind a claim.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Owner {
    pub(super) kind: Kind,
    pub(super) cluster: ClusterNumber,
    pub(super) key: Arc<ObjectKey>,
}

impl Owner {
    /// An object of this cluster.
    pub(super) fn new(kind: Kind, key: Arc<ObjectKey>) -> Self {
        Self { kind, cluster: OWN, key }
    }
}

/// One claim on one address.
#[derive(Debug, Clone)]
pub(super) struct Claim {
    pub(super) rank: Rank,
    /// Creation time of the object.
    pub(super) created: i64,
    pub(super) owner: Owner,
    pub(super) id: EndpointId,
}

impl Claim {
    fn strength(&self) -> (Rank, i64, &ObjectKey) {
        (self.rank, self.created, &self.owner.key)
    }
}

/// All claims.
#[derive(Debug, Default)]
pub(super) struct Claims {
    /// The best claim first.
    by_address: HashMap<Address, Vec<Claim>, RandomState>,
    /// Addresses that more than one pod claims.
    contested: usize,
    /// Addresses that two clusters claim, by their numbers.
    overlaps: BTreeMap<(ClusterNumber, ClusterNumber), HashSet<Address, RandomState>>,
}

impl Claims {
    /// Makes a claim, in the place of the owner's last one.
    pub(super) fn claim(&mut self, address: Address, claim: Claim) {
        self.change(address, |claims| {
            claims.retain(|known| known.owner != claim.owner);
            let at = claims.partition_point(|known| known.strength() > claim.strength());
            claims.insert(at, claim);
        });
    }

    /// Takes a claim back.
    pub(super) fn give_up(&mut self, address: Address, owner: &Owner) {
        self.change(address, |claims| claims.retain(|known| known.owner != *owner));
    }

    /// The winning claim for an address; none if two other clusters claim it.
    pub(super) fn holder(&self, address: Address) -> Option<&Claim> {
        winner(self.of(address))
    }

    /// Addresses that two clusters claim, by the numbers of these.
    pub(super) fn overlaps(
        &self,
    ) -> impl Iterator<Item = ((ClusterNumber, ClusterNumber), &HashSet<Address, RandomState>)> {
        self.overlaps.iter().map(|(clusters, addresses)| (*clusters, addresses))
    }

    /// All claims of an address, the best first.
    pub(super) fn of(&self, address: Address) -> &[Claim] {
        self.by_address.get(&address).map_or(&[], |claims| claims)
    }

    /// Number of addresses that more than one pod claims.
    pub(super) fn contested(&self) -> usize {
        self.contested
    }

    /// Gives back the room of a table that was larger.
    pub(super) fn shrink(&mut self) {
        if is_spacious(self.by_address.capacity(), self.by_address.len()) {
            self.by_address.shrink_to_fit();
        }
    }

    fn change(&mut self, address: Address, change: impl FnOnce(&mut Vec<Claim>)) {
        let claims = self.by_address.entry(address).or_insert_with(|| Vec::with_capacity(1));
        self.contested -= usize::from(is_contested(claims));
        let before = overlaps(claims);
        change(claims);
        self.contested += usize::from(is_contested(claims));
        let after = overlaps(claims);
        if before != after {
            for clusters in before {
                let addresses = self.overlaps.entry(clusters).or_default();
                addresses.remove(&address);
                if addresses.is_empty() {
                    self.overlaps.remove(&clusters);
                }
            }
            for clusters in after {
                self.overlaps.entry(clusters).or_default().insert(address);
            }
        }
        if claims.is_empty() {
            self.by_address.remove(&address);
        }
    }
}

/// The claim that wins, of those of one address.
pub(super) fn winner(claims: &[Claim]) -> Option<&Claim> {
    let first = claims.first()?;
    let is_alone = || claims.iter().all(|claim| claim.owner.cluster == first.owner.cluster);
    (first.owner.cluster == OWN || is_alone()).then_some(first)
}

/// Pairs of the winning, or first, cluster and each other one with a claim; the lower number first.
/// No allocation if there is only one cluster.
fn overlaps(claims: &[Claim]) -> Vec<(ClusterNumber, ClusterNumber)> {
    let Some(first) = claims.first().map(|claim| claim.owner.cluster) else { return Vec::new() };
    let others = claims.iter().map(|claim| claim.owner.cluster).filter(|cluster| *cluster != first);
    let mut pairs: Vec<_> = others.map(|other| (first.min(other), first.max(other))).collect();
    pairs.sort_unstable();
    pairs.dedup();
    pairs
}

fn is_contested(claims: &[Claim]) -> bool {
    claims.iter().filter(|claim| claim.rank == Rank::Pod).count() > 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(rank: Rank, created: i64, name: &str) -> Claim {
        let key = Arc::new(ObjectKey { namespace: "a".into(), name: name.into() });
        Claim { rank, created, owner: Owner::new(Kind::Pod, key), id: EndpointId::NONE }
    }

    fn of_mesh(cluster: ClusterNumber, rank: Rank) -> Claim {
        let claim = claim(rank, 0, "web");
        Claim { owner: Owner { cluster, ..claim.owner }, ..claim }
    }

    fn holder(claims: &Claims) -> Option<&str> {
        claims.holder(Address::default()).map(|claim| claim.owner.key.name.as_str())
    }

    /// The rule of the module's head, in whatever order claims are made.
    #[test]
    fn the_best_claim_has_it() {
        let told = [
            claim(Rank::Pod, 5, "new"),
            claim(Rank::Pod, 5, "new-too"),
            claim(Rank::Pod, 4, "old"),
            claim(Rank::ApiServer, 9, "api"),
            claim(Rank::Service, 9, "service"),
        ];
        for start in 0..told.len() {
            let mut claims = Claims::default();
            for at in 0..told.len() {
                claims.claim(Address::default(), told[(start + at) % told.len()].clone());
            }
            let order: Vec<&str> =
                claims.of(Address::default()).iter().map(|claim| claim.owner.key.name.as_str()).collect();
            assert_eq!(order, ["new-too", "new", "old", "api", "service"]);
            assert_eq!(claims.contested(), 1);
        }
    }

    /// Any claim of this cluster beats one of the mesh; two clusters of the mesh refuse each other,
    /// and the address is the last one's again.
    #[test]
    fn clusters_that_overlap() {
        let mut claims = Claims::default();
        let [east, west] = [of_mesh(1, Rank::MeshPod), of_mesh(2, Rank::MeshNode)];
        let owner = |claims: &Claims| claims.holder(Address::default()).map(|claim| claim.owner.cluster);
        let overlaps = |claims: &Claims| -> Vec<_> {
            claims.overlaps().map(|(clusters, addresses)| (clusters, addresses.len())).collect()
        };
        claims.claim(Address::default(), east.clone());
        assert_eq!((owner(&claims), overlaps(&claims)), (Some(1), vec![]));
        claims.claim(Address::default(), west.clone());
        assert_eq!((owner(&claims), overlaps(&claims)), (None, vec![((1, 2), 1)]));
        let own = claim(Rank::Service, 0, "own");
        claims.claim(Address::default(), own.clone());
        assert_eq!((owner(&claims), overlaps(&claims)), (Some(OWN), vec![((0, 1), 1), ((0, 2), 1)]));
        claims.give_up(Address::default(), &own.owner);
        claims.give_up(Address::default(), &east.owner);
        assert_eq!((owner(&claims), overlaps(&claims)), (Some(2), vec![]));
        assert_eq!(claims.contested(), 0, "contested addresses are of one cluster's pods");
    }

    /// After a claim is released the next one holds the address; after the last one none does.
    #[test]
    fn claims_are_taken_back() {
        let mut claims = Claims::default();
        let [old, new] = [claim(Rank::Pod, 1, "old"), claim(Rank::Pod, 2, "new")];
        claims.claim(Address::default(), old.clone());
        claims.claim(Address::default(), new.clone());
        claims.claim(Address::default(), new.clone());
        assert_eq!((holder(&claims), claims.contested()), (Some("new"), 1));
        claims.give_up(Address::default(), &new.owner);
        assert_eq!((holder(&claims), claims.contested()), (Some("old"), 0));
        claims.give_up(Address::default(), &old.owner);
        claims.give_up(Address::default(), &old.owner);
        assert_eq!((holder(&claims), claims.contested()), (None, 0));
    }
}
