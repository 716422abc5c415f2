//! Pods behind interfaces of this node, and the addresses of pods that are not known yet.
//!
//! The container runtime gives a pod its address before the API server lists it, and some
//! containers are never listed. What a watched interface leads to is a pod all the same, so its
//! addresses are `reserved:unknown` at every hook, not at that interface alone: both ends of a flow
//! are looked up in one index. Once the pod is known only its listed addresses count: a pod that
//! gives itself an address of the world does not hide traffic to that address.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use webb_flow::{Address, EndpointId, Sort};

use super::super::claims::{Claim, Owner};
use super::super::store::PodInterface;
use super::{Builder, Kind};

impl Builder {
    /// Brings what is behind interfaces into the draft.
    pub(super) fn interfaces(&mut self, interfaces: &[PodInterface], now_ns: u64) {
        let behind = self.behind(interfaces);
        let known: HashSet<u32> = behind.iter().map(|(index, _)| *index).collect();
        let unknown = interfaces.iter().filter(|interface| interface.watched && !known.contains(&interface.index));
        let addresses = unknown.flat_map(|interface| &interface.addresses).map(|&address| Address::from(address));
        let unnamed = addresses.filter(|address| address.may_be_a_pods()).collect();
        let before = std::mem::replace(&mut self.unnamed, unnamed);
        let changed: Vec<Address> = before.symmetric_difference(&self.unnamed).copied().collect();
        for address in changed {
            self.settle(address, now_ns);
        }
        self.draft.set_interfaces(behind);
    }

    /// The pod behind each interface: the one that has an address behind it, and of interfaces that
    /// lead to the same namespace, the same.
    fn behind(&mut self, interfaces: &[PodInterface]) -> Vec<(u32, EndpointId)> {
        let (mut behind, mut rest, mut namespaces): (Vec<_>, Vec<_>, HashMap<i32, Owner>) = Default::default();
        for interface in interfaces {
            match self.claim_behind(interface) {
                Some(claim) => {
                    behind.push((interface.index, claim.id));
                    namespaces.extend(interface.namespace.map(|namespace| (namespace, claim.owner.clone())));
                }
                None => rest.push(interface),
            }
        }
        for interface in rest {
            let Some(owner) = interface.namespace.and_then(|namespace| namespaces.get(&namespace)) else { continue };
            let pod = self.applied.get(owner).and_then(|applied| applied.pod.as_ref());
            let Some((known, named)) = pod.map(|pod| (pod.elsewhere, Arc::clone(&pod.named))) else { continue };
            let id = known.unwrap_or_else(|| self.meet_elsewhere(&named));
            if let Some(pod) = self.applied.get_mut(owner).and_then(|applied| applied.pod.as_mut()) {
                pod.elsewhere = Some(id);
            }
            behind.push((interface.index, id));
        }
        behind
    }

    /// The best claim of a pod of this node on an address behind the interface. The cluster's
    /// network comes first: others may use the same addresses.
    fn claim_behind(&self, interface: &PodInterface) -> Option<&Claim> {
        let claims = interface.addresses.iter().filter_map(|&address| self.claims.holder(address.into()));
        let local = claims.filter(|claim| claim.owner.kind == Kind::Pod && claim.id.sort() == Sort::Local);
        local.max_by_key(|claim| claim.rank)
    }
}
