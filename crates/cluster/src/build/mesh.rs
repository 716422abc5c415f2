//! Objects of the mesh's other clusters: pods, nodes and external addresses of services.
//!
//! Their claims are the weakest, so that nothing of this cluster depends on another one. To
//! policies they are addresses without a pod: no selector selects across clusters. Cluster
//! addresses of services are left out, since each cluster has its own network of these, mostly the
//! same.

use std::collections::HashSet;
use std::sync::Arc;

use webb_flow::{Address, Sort};
use webb_index::{Describe, ObjectKey};

use super::super::claims::{ClusterNumber, Owner, Rank};
use super::super::mesh_cluster::{MeshCluster, labels_of};
use super::super::specs::Claimed;
use super::super::store::{Store, Touched};
use super::super::stored_pod::{MeshPod, NamedPod, StoredPod};
use super::{AppliedPod, Builder, Kind};

impl Builder {
    /// Brings changes of one cluster of the mesh into the draft. True if its services changed.
    pub(super) fn mesh(&mut self, number: ClusterNumber, store: &Store, touched: Touched, now_ns: u64) -> bool {
        let Touched { mut pods, services, namespaces, nodes, .. } = touched;
        let Some(cluster) = usize::from(number).checked_sub(1).and_then(|at| self.mesh.get_mut(at)) else {
            return false;
        };
        let mut relabelled: HashSet<String> = HashSet::new();
        for name in namespaces {
            let labels = labels_of(store, &name);
            if cluster.namespaces.get(&name).is_some_and(|known| *known != labels) {
                cluster.namespaces.insert(name.clone(), labels);
                relabelled.insert(name);
            }
        }
        if !relabelled.is_empty() {
            for pod in store.pods.iter().filter(|pod| relabelled.contains(&pod.key().namespace)) {
                pods.entry(Arc::clone(pod.key())).or_insert(now_ns);
            }
        }
        let mut pods: Vec<(u64, Arc<ObjectKey>)> = pods.into_iter().map(|(key, time_ns)| (time_ns, key)).collect();
        pods.sort_unstable();
        for (time_ns, key) in pods {
            let stored = store.pods.get(&key).map(|pod| pod.value().clone());
            self.mesh_pod(number, store, &key, stored, time_ns);
        }
        if nodes {
            self.mesh_nodes(number, store, now_ns);
        }
        for (key, time_ns) in &services {
            self.mesh_service(number, store, key, *time_ns);
        }
        !services.is_empty()
    }

    fn cluster(&mut self, number: ClusterNumber) -> Option<&mut MeshCluster> {
        self.mesh.get_mut(usize::from(number).checked_sub(1)?)
    }

    fn mesh_pod(
        &mut self,
        number: ClusterNumber,
        store: &Store,
        key: &Arc<ObjectKey>,
        stored: Option<StoredPod>,
        now_ns: u64,
    ) {
        let owner = Owner { kind: Kind::Pod, cluster: number, key: Arc::clone(key) };
        let before = self.applied.get_mut(&owner).and_then(|applied| applied.pod.take());
        let Some(cluster) = self.cluster(number) else { return };
        let stored = stored.filter(|stored| !stored.own_addresses().is_empty());
        let labels = stored.as_ref().map(|_| cluster.labels_of(store, &key.namespace)).unwrap_or_default();
        let (name, key_of_all) = (Arc::clone(&cluster.name), cluster.key(key));
        let Some(stored) = stored else {
            self.apply(&owner, 0, &[], now_ns);
            if let Some(before) = before {
                self.retire(&before, now_ns);
                self.changes.removed.push(key_of_all);
            }
            return;
        };
        let is_still = |named: &NamedPod| {
            Arc::ptr_eq(&named.profile, &stored.profile)
                && named.node == stored.node
                && named.namespace_labels == labels
        };
        let (id, named) = match &before {
            Some(before) if is_still(&before.named) => (before.id, Arc::clone(&before.named)),
            _ => {
                let named = Arc::new(NamedPod {
                    key: Arc::clone(key),
                    profile: Arc::clone(&stored.profile),
                    namespace_labels: labels,
                    cluster: name,
                    local: false,
                    node: Arc::clone(&stored.node),
                    subject: 0,
                });
                let described: Arc<dyn Describe> = Arc::new(MeshPod(Arc::clone(&named)));
                (self.draft.add_lazy(Sort::Mesh, described), named)
            }
        };
        let addresses: Vec<Address> = stored.own_addresses().iter().copied().map(Address::from).collect();
        let claimed: Vec<_> = addresses.iter().map(|address| (*address, Rank::MeshPod, id)).collect();
        self.apply(&owner, stored.created, &claimed, now_ns);
        if let Some(applied) = self.applied.get_mut(&owner) {
            applied.pod = Some(AppliedPod { id, named, elsewhere: None, own: addresses.into() });
        }
        match before {
            Some(before) if before.id != id => self.retire(&before, now_ns),
            Some(_) => {}
            None => self.changes.added.push(key_of_all),
        }
    }

    fn mesh_nodes(&mut self, number: ClusterNumber, store: &Store, now_ns: u64) {
        let Some(cluster) = self.cluster(number) else { return };
        let (id, before) = (cluster.node, std::mem::take(&mut cluster.nodes));
        let nodes: Vec<Claimed> = store
            .nodes
            .iter()
            .map(|node| {
                let owner = Owner { kind: Kind::Node, cluster: number, key: Arc::new(node.key().clone()) };
                let addresses = node.all_addresses().map(|ip| (Address::from(ip), Rank::MeshNode, id));
                (owner, addresses.collect())
            })
            .collect();
        let there: HashSet<&Owner> = nodes.iter().map(|(owner, _)| owner).collect();
        for owner in before.iter().filter(|owner| !there.contains(owner)) {
            self.apply(owner, 0, &[], now_ns);
        }
        for (owner, addresses) in &nodes {
            self.apply(owner, 0, addresses, now_ns);
        }
        if let Some(cluster) = self.cluster(number) {
            cluster.nodes = nodes.into_iter().map(|(owner, _)| owner).collect();
        }
    }

    fn mesh_service(&mut self, number: ClusterNumber, store: &Store, key: &Arc<ObjectKey>, now_ns: u64) {
        let Some(id) = self.cluster(number).map(|cluster| cluster.service) else { return };
        let service = store.services.get(key).map(|service| service.value().clone()).unwrap_or_default();
        let claimed = service.external().iter().map(|&ip| (Address::from(ip), Rank::MeshService, id));
        let owner = Owner { kind: Kind::Service, cluster: number, key: Arc::clone(key) };
        self.apply(&owner, 0, &claimed.collect::<Vec<_>>(), now_ns);
    }

    /// Drops labels of namespaces that are gone.
    pub(super) fn recycle_mesh(&mut self, stores: &[&Store]) {
        for (cluster, store) in self.mesh.iter_mut().zip(stores) {
            cluster.namespaces.retain(|name, _| {
                store.namespaces.contains_key(&ObjectKey { namespace: String::new(), name: name.clone() })
            });
        }
    }

    /// Name of a cluster.
    pub(in super::super) fn cluster_name(&self, number: ClusterNumber) -> Arc<str> {
        let of_mesh = usize::from(number).checked_sub(1).and_then(|at| self.mesh.get(at));
        Arc::clone(of_mesh.map_or(&self.cluster, |cluster| &cluster.name))
    }
}
