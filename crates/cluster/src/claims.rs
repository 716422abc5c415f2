//! Claims of addresses by objects, and the holder among them.
//!
//! The claim of the highest [`Rank`] wins an address; among pods the newest, since addresses are
//! reused and the newest pod holds it now; among pods of one second the one with the name that
//! sorts last, so that all nodes of a cluster come to the same answer.

use std::sync::Arc;

use hashbrown::HashMap;
use webb_flow::hash::RandomState;
use webb_flow::{Address, EndpointId};
use webb_index::ObjectKey;

use super::Kind;

/// Rank of a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Rank {
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

/// The object behind a claim.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Owner {
    pub(super) kind: Kind,
    pub(super) key: Arc<ObjectKey>,
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

    /// The winning claim for an address.
    pub(super) fn holder(&self, address: Address) -> Option<&Claim> {
        self.of(address).first()
    }

    /// All claims of an address, the best first.
    pub(super) fn of(&self, address: Address) -> &[Claim] {
        self.by_address.get(&address).map_or(&[], |claims| claims)
    }

    /// Number of addresses that more than one pod claims.
    pub(super) fn contested(&self) -> usize {
        self.contested
    }

    fn change(&mut self, address: Address, change: impl FnOnce(&mut Vec<Claim>)) {
        let claims = self.by_address.entry(address).or_insert_with(|| Vec::with_capacity(1));
        self.contested -= usize::from(is_contested(claims));
        change(claims);
        self.contested += usize::from(is_contested(claims));
        if claims.is_empty() {
            self.by_address.remove(&address);
        }
    }
}

fn is_contested(claims: &[Claim]) -> bool {
    claims.iter().filter(|claim| claim.rank == Rank::Pod).count() > 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(rank: Rank, created: i64, name: &str) -> Claim {
        let key = Arc::new(ObjectKey { namespace: "a".into(), name: name.into() });
        Claim { rank, created, owner: Owner { kind: Kind::Pod, key }, id: EndpointId::NONE }
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
