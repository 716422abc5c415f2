//! Builds an [`Index`] from the cache: changes are applied to the [`Draft`] of the next one.
//!
//! | address of | named |
//! | --- | --- |
//! | this machine | `reserved:host`, with `reserved:kube-apiserver` if the API is served here |
//! | another node | `reserved:remote-node`, likewise |
//! | an endpoint of the API on no node | `reserved:kube-apiserver`, `reserved:remote-node`, as
//! Cilium has it |
//! | a pod that runs | the pod; pods in the host's network leave the node its name |
//! | a pod that runs, in another network | the pod, unless an object above claims it; no
//! NetworkPolicy selects it there |
//! | none, in a network of pods or behind a watched interface | `reserved:unknown`: a pod that is
//! not known yet |
//! | a pod, node or service of another cluster, if nothing here has it | that object; no selector of a
//! policy selects it |
//! | a service | the world: a packet that still carries it has not met its backend |
//! | none | `reserved:world`; `-ipv4` or `-ipv6` as soon as a pod has addresses of both families |
//!
//! Cilium's `health`, `ingress`, `init` and `unmanaged` are endpoints of its own agent; where it
//! doesn't run nothing has such an identity. [`Claims`] chooses the holder of an address that
//! several claim.

mod behind;
mod lookups;
mod mesh;

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;

use webb_flow::room::is_spacious;
use webb_flow::{Address, EndpointId, Sort};
use webb_index::policy::spec::{Labels, PolicySpec, TierSpec};
use webb_index::policy::{Compiler, PolicyRevision};
use webb_index::{self as index, Describe, Draft, Endpoint, EndpointSpec, Index, PodChanges, Services};

use super::agents::nodes as agent_nodes;
use super::claims::{Claim, Claims, OWN, Owner, Rank};
use super::mesh_cluster::MeshCluster;
use super::networks::{Networks, first_addresses};
use super::places::{RemoteNodes, zones};
use super::specs::{Claimed, OVERLAY, node_specs, service_specs};
use super::store::{NAMESPACE_NAME, Store, Touched, is_api, lock};
use super::stored_pod::{NamedPod, OtherNetworkPod, StoredPod};
use super::{CacheSettings, Kind, ObjectKey};

const HOST: &str = "reserved:host";
const REMOTE_NODE: &str = "reserved:remote-node";
const API_SERVER: &str = "reserved:kube-apiserver";

/// An owner of addresses, as the draft has it.
#[derive(Debug)]
struct Applied {
    addresses: Box<[Address]>,
    /// None for owners that are no pods.
    pod: Option<AppliedPod>,
}

/// A pod as the draft has it.
#[derive(Debug)]
struct AppliedPod {
    id: EndpointId,
    named: Arc<NamedPod>,
    /// Its endpoint in networks beside the cluster's; none if it is in none.
    elsewhere: Option<EndpointId>,
    /// Its addresses in the cluster's network.
    own: Box<[Address]>,
}

/// The endpoints that are no pods, by what they are.
#[derive(Debug, Clone, Copy)]
struct Reserved {
    host: [EndpointId; 2],
    api_server: EndpointId,
}

/// Builds indexes, each from the one before.
#[derive(Debug, Default)]
pub(super) struct Builder {
    draft: Draft,
    claims: Claims,
    compiler: Compiler,
    applied: HashMap<Owner, Applied, webb_flow::hash::RandomState>,
    /// Each row's row in the policies.
    subjects: Vec<u32>,
    namespaces: HashMap<String, Arc<Labels>>,
    /// Reserved endpoints; none in a builder for nowhere.
    reserved: Option<Reserved>,
    nodes: Vec<Owner>,
    remote_nodes: RemoteNodes,
    mesh: Vec<MeshCluster>,
    cluster: Arc<str>,
    node: String,
    /// Pods with addresses of both families.
    dual: usize,
    /// Addresses behind watched interfaces that lead to no known pod.
    unnamed: HashSet<Address, webb_flow::hash::RandomState>,
    networks: Networks,
    changes: PodChanges,
}

impl Builder {
    /// `mesh`: the names of the other clusters.
    pub(super) fn new<'a>(settings: &CacheSettings, mesh: impl Iterator<Item = &'a str>) -> Self {
        let mut draft = Draft::default();
        let mut make = |kind, number, labels: &[&str]| {
            let labels = labels.iter().map(|&label| label.to_owned()).collect();
            let cluster = settings.cluster.clone();
            let spec = EndpointSpec { identity: number, cluster, labels, ..EndpointSpec::default() };
            draft.add(Sort::Node, Endpoint::new(kind, false, &spec))
        };
        let reserved = Reserved {
            host: [
                make(index::EndpointKind::Host, 1, &[HOST]),
                make(index::EndpointKind::Host, 1, &[HOST, API_SERVER]),
            ],
            api_server: make(index::EndpointKind::Reserved, 7, &[API_SERVER, REMOTE_NODE]),
        };
        let (cluster, node) = (settings.cluster.as_str().into(), settings.node.clone());
        let mesh = mesh.map(|name| MeshCluster::new(name, &mut draft)).collect();
        Self { draft, reserved: Some(reserved), cluster, node, mesh, ..Self::default() }
    }

    pub(super) fn set_sourced(&mut self, sourced: bool) {
        self.draft.set_sourced(sourced);
    }

    pub(super) fn set_ready(&mut self, ready: bool) {
        self.draft.set_ready(ready);
    }

    pub(super) fn set_policy_revision(&mut self, counted: PolicyRevision, included: u64) {
        self.draft.set_policy_revision(counted, included);
    }

    /// True if the next index would free the remains of deleted pods.
    pub(super) fn has_garbage(&self, now_ns: u64) -> bool {
        self.draft.reusable_rows(now_ns) > 0
    }

    /// Gives back the room of tables that were larger.
    pub(super) fn shrink(&mut self) {
        if is_spacious(self.applied.capacity(), self.applied.len()) {
            self.applied.shrink_to_fit();
        }
        self.claims.shrink();
        self.draft.shrink();
    }

    /// The next index. `mesh`: the state of each other cluster, in their order.
    pub(super) fn build(
        &mut self,
        store: &Store,
        touched: Touched,
        mesh: Vec<(&Store, Touched)>,
        now_ns: u64,
    ) -> Index {
        let stores: Vec<&Store> = mesh.iter().map(|(store, _)| *store).collect();
        self.recycle(store, &stores, now_ns);
        let mut services_changed = false;
        for ((store, touched), number) in mesh.into_iter().zip(OWN + 1..) {
            services_changed |= self.mesh(number, store, touched, now_ns);
        }
        let Touched { mut pods, mut services, namespaces, ended, nodes, networks, places, agents, policies, others } =
            touched;
        let mut relabelled = namespaces;
        relabelled.retain(|name| self.namespaces.contains_key(name) && self.namespace(store, name));
        if !relabelled.is_empty() {
            // A namespace's labels are part of all its pods' identities.
            for pod in store.pods.iter().filter(|pod| relabelled.contains(&pod.key().namespace)) {
                pods.entry(Arc::clone(pod.key())).or_insert(now_ns);
            }
        }
        for (key, stored, time_ns) in ended {
            self.ended(store, key, &stored, time_ns);
        }
        let was_dual = self.dual > 0;
        // In the order in which it happened, and for equal times in one that does not depend on
        // hashes.
        let mut pods: Vec<(u64, Arc<ObjectKey>)> = pods.into_iter().map(|(key, time_ns)| (time_ns, key)).collect();
        pods.sort_unstable();
        for (time_ns, key) in pods {
            let stored = store.pods.get(&key).map(|pod| pod.value().clone());
            self.pod(store, &key, stored, time_ns);
        }
        if nodes {
            self.nodes(store, now_ns);
        }
        if networks {
            self.networks.set_relayed(lock(&store.relayed_blocks).clone());
        }
        if nodes || places {
            self.draft.set_zones(zones(store, &self.node), now_ns);
        }
        if agents {
            self.draft.set_agents(agent_nodes(store));
        }
        if was_dual != (self.dual > 0) {
            self.draft.set_dual_stack(self.dual > 0, now_ns);
            services.extend(store.services.iter().map(|service| (Arc::clone(service.key()), now_ns)));
        }
        if !services.is_empty() || services_changed {
            let clusters = self.mesh.iter().map(MeshCluster::name).zip(stores);
            self.draft.set_services(Services::new(&service_specs(store, clusters)));
        }
        for (key, time_ns) in services {
            self.service(store, &key, time_ns);
        }
        if policies {
            let mut specs: Vec<Arc<PolicySpec>> = store.policies.iter().map(|spec| Arc::clone(spec.value())).collect();
            specs.sort_unstable_by(|a, b| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)));
            let mut tiered: Vec<Arc<TierSpec>> = store.tiered.iter().map(|spec| Arc::clone(spec.value())).collect();
            tiered.sort_unstable_by(|a, b| (a.kind, &a.name).cmp(&(b.kind, &b.name)));
            self.compiler.set_all(specs, tiered);
        }
        if others {
            self.compiler.set_exclusions(store.exclusions());
        }
        if policies || self.compiler.is_stale() {
            self.draft.set_policies(self.compiler.policies().clone());
        }
        if let Some(networks) = self.networks.changed() {
            self.draft.set_networks(&networks);
        }
        self.interfaces(&store.interfaces(), now_ns);
        self.draft.set_contested(self.claims.contested());
        self.draft.publish(now_ns, std::mem::take(&mut self.changes))
    }

    /// Drops the state of retired rows that are reused, and deleted namespaces.
    fn recycle(&mut self, store: &Store, mesh: &[&Store], now_ns: u64) {
        let freed = self.draft.reuse_rows(now_ns);
        if freed.is_empty() {
            return;
        }
        for row in freed {
            if let Some(subject) = self.subjects.get_mut(row as usize) {
                self.compiler.release(std::mem::take(subject));
            }
        }
        if is_spacious(self.subjects.len(), self.draft.rows()) {
            self.subjects.truncate(self.draft.rows());
            self.subjects.shrink_to_fit();
        }
        let compiler = &mut self.compiler;
        self.namespaces.retain(|name, _| {
            let key = ObjectKey { namespace: String::new(), name: name.clone() };
            store.namespaces.contains_key(&key) || !compiler.remove_namespace(name)
        });
        self.recycle_mesh(mesh);
    }

    /// Takes in the labels of a namespace, whether there is an object for it or only pods; false if
    /// they are what they were.
    fn namespace(&mut self, store: &Store, name: &str) -> bool {
        let key = ObjectKey { namespace: String::new(), name: name.to_owned() };
        let mut labels = store.namespaces.get(&key).map(|labels| Arc::clone(labels.value())).unwrap_or_default();
        // The API server would have set it, and policies of hand-written manifests count on it.
        if !labels.contains_key(NAMESPACE_NAME) {
            Arc::make_mut(&mut labels).insert(NAMESPACE_NAME.to_owned(), name.to_owned());
        }
        let listed = store.is_whole() || store.namespaces.contains_key(&key);
        self.compiler.namespace(name, Labels::clone(&labels), listed);
        if self.namespaces.get(name) == Some(&labels) {
            return false;
        }
        self.namespaces.insert(name.to_owned(), labels);
        true
    }

    fn pod(&mut self, store: &Store, key: &Arc<ObjectKey>, stored: Option<StoredPod>, now_ns: u64) {
        let owner = Owner::new(Kind::Pod, Arc::clone(key));
        let before = self.applied.get_mut(&owner).and_then(|applied| applied.pod.take());
        let had = before.as_ref().map_or(&[][..], |before| &before.own);
        self.dual -= usize::from(is_dual(had));
        self.networks.went(had);
        let addresses: Vec<Address> =
            stored.iter().flat_map(StoredPod::own_addresses).copied().map(Address::from).collect();
        self.dual += usize::from(is_dual(&addresses));
        self.networks.came(&addresses);
        let Some(stored) = stored.filter(|_| !addresses.is_empty()) else {
            self.apply(&owner, 0, &[], now_ns);
            if let Some(before) = before {
                self.retire(&before, now_ns);
                self.changes.removed.push(Arc::clone(key));
            }
            return;
        };
        let (id, named, known) = match &before {
            Some(before) if self.is_still(store, &before.named, &stored) => {
                (before.id, Arc::clone(&before.named), before.elsewhere)
            }
            _ => {
                let (id, named) = self.meet(store, key, &stored);
                (id, named, None)
            }
        };
        let others = stored.own_other_addresses();
        let elsewhere = known.or_else(|| (!others.is_empty()).then(|| self.meet_elsewhere(&named)));
        let own = addresses.iter().map(|address| (*address, Rank::Pod, id));
        let others = others.iter().zip(elsewhere.into_iter().cycle());
        let others = others.map(|(&address, id)| (Address::from(address), Rank::OtherNetwork, id));
        let claimed: Vec<(Address, Rank, EndpointId)> = own.chain(others).collect();
        self.apply(&owner, stored.created, &claimed, now_ns);
        if let Some(applied) = self.applied.get_mut(&owner) {
            applied.pod = Some(AppliedPod { id, named, elsewhere, own: addresses.into() });
        }
        match before {
            Some(before) if before.id != id => self.retire(&before, now_ns),
            Some(_) => {}
            None => self.changes.added.push(Arc::clone(key)),
        }
    }

    /// A pod of this node has ended. One that never was in an index with its address (its first
    /// sign of that was its end, or both came at once) has had it until now: what it sent may still
    /// wait for its name.
    fn ended(&mut self, store: &Store, key: Arc<ObjectKey>, stored: &StoredPod, until_ns: u64) {
        let owner = Owner::new(Kind::Pod, key);
        if self.applied.contains_key(&owner) || !self.is_local(stored) || stored.host_network {
            return;
        }
        let free = |ip: &&IpAddr| self.claims.holder(Address::from(**ip)).is_none();
        let addresses: Vec<Address> = stored.addresses.iter().filter(free).copied().map(Address::from).collect();
        if addresses.is_empty() {
            return;
        }
        let Owner { key, .. } = owner;
        let (id, _) = self.meet(store, &key, stored);
        for address in addresses {
            self.draft.add_previous_owner(address, id, until_ns);
        }
        self.draft.retire(id, until_ns);
        self.changes.removed.push(key);
    }

    fn retire(&mut self, pod: &AppliedPod, now_ns: u64) {
        self.draft.retire(pod.id, now_ns);
        if let Some(elsewhere) = pod.elsewhere {
            self.draft.retire(elsewhere, now_ns);
        }
    }

    /// Whether the pod would be named as it is.
    fn is_still(&mut self, store: &Store, named: &NamedPod, stored: &StoredPod) -> bool {
        Arc::ptr_eq(&named.profile, &stored.profile)
            && named.local == self.is_local(stored)
            && named.node == stored.node
            && named.namespace_labels == self.labels_of(store, &named.key.namespace)
    }

    fn meet(&mut self, store: &Store, key: &Arc<ObjectKey>, stored: &StoredPod) -> (EndpointId, Arc<NamedPod>) {
        let named = Arc::new(NamedPod {
            key: Arc::clone(key),
            profile: Arc::clone(&stored.profile),
            namespace_labels: self.labels_of(store, &key.namespace),
            cluster: Arc::clone(&self.cluster),
            local: self.is_local(stored),
            node: Arc::clone(&stored.node),
            subject: self.compiler.subject(Arc::clone(&stored.profile.subject)),
        });
        let sort = if named.local { Sort::Local } else { Sort::Remote };
        let id = self.draft.add_lazy(sort, Arc::clone(&named) as Arc<dyn Describe>);
        let row = id.row() as usize;
        self.subjects.resize(self.subjects.len().max(row + 1), 0);
        if let Some(subject) = self.subjects.get_mut(row) {
            *subject = named.subject;
        }
        (id, named)
    }

    /// The pod as it is in networks beside the cluster's.
    fn meet_elsewhere(&mut self, named: &Arc<NamedPod>) -> EndpointId {
        let sort = if named.local { Sort::Local } else { Sort::Remote };
        self.draft.add_lazy(sort, Arc::new(OtherNetworkPod(Arc::clone(named))))
    }

    fn labels_of(&mut self, store: &Store, namespace: &str) -> Arc<Labels> {
        if !self.namespaces.contains_key(namespace) {
            self.namespace(store, namespace);
        }
        self.namespaces.get(namespace).map(Arc::clone).unwrap_or_default()
    }

    /// A pod that has an address has a node; one with an address alone is of a manifest written by
    /// hand, for this machine. One with neither is not yet scheduled.
    pub(super) fn is_local(&self, stored: &StoredPod) -> bool {
        if stored.node.is_empty() { !stored.addresses.is_empty() } else { *stored.node == *self.node }
    }

    fn service(&mut self, store: &Store, key: &Arc<ObjectKey>, now_ns: u64) {
        let addresses = store.services.get(key).map(|service| service.addresses.clone()).unwrap_or_default();
        let claimed = addresses.into_iter().map(Address::from);
        let claimed: Vec<(Address, Rank, EndpointId)> = claimed
            .map(|address| (address, Rank::Service, EndpointId::new(Sort::Service, self.draft.world(address).row())))
            .collect();
        self.apply(&Owner::new(Kind::Service, Arc::clone(key)), 0, &claimed, now_ns);
    }

    /// This node, all others, and the API; few enough to be done all at once.
    fn nodes(&mut self, store: &Store, now_ns: u64) {
        let Some(reserved) = self.reserved else { return };
        let slices = store.slices.iter().filter(|slice| is_api(slice.key(), slice.value()));
        let api: HashSet<IpAddr> = slices.flat_map(|slice| slice.addresses.clone()).collect();
        let mut own = store.own_addresses();
        let mut claimed: Vec<Claimed> = Vec::new();
        let mut networks = store.settings.pod_networks.clone();
        let mut claim = |kind, key: &ObjectKey, rank, addresses: Vec<(IpAddr, EndpointId)>| {
            let addresses = addresses.into_iter().map(|(address, id)| (Address::from(address), rank, id));
            let addresses: Vec<(Address, Rank, EndpointId)> = addresses.collect();
            claimed.push((Owner::new(kind, Arc::new(key.clone())), addresses));
        };
        for node in &store.nodes {
            networks.extend(&node.network.pod_networks);
            let is_own = node.key().name == self.node;
            let first = node.network.pod_networks.iter().flat_map(first_addresses);
            let mut remote = |serving| self.remote_nodes.id(&mut self.draft, &self.cluster, &node.key().name, serving);
            let plain = if is_own { reserved.host[0] } else { remote(false) };
            let first = first.map(|ip| (ip, plain));
            let overlay = ObjectKey { namespace: String::new(), name: format!("{}{OVERLAY}", node.key().name) };
            claim(Kind::Node, &overlay, Rank::Overlay, first.collect());
            if is_own {
                own.extend(node.all_addresses());
                continue;
            }
            let named = node.all_addresses().map(|ip| {
                let serving = api.contains(&ip);
                (ip, if serving { remote(true) } else { plain })
            });
            claim(Kind::Node, node.key(), Rank::RemoteNode, named.collect());
        }
        let [plain, serving] = reserved.host;
        let host = if own.iter().any(|address| api.contains(address)) { serving } else { plain };
        let this = ObjectKey { namespace: String::new(), name: self.node.clone() };
        claim(Kind::Node, &this, Rank::Host, own.into_iter().map(|address| (address, host)).collect());
        let kubernetes = ObjectKey { namespace: "default".to_owned(), name: "kubernetes".to_owned() };
        let named = api.into_iter().map(|address| (address, reserved.api_server)).collect();
        claim(Kind::EndpointSlice, &kubernetes, Rank::ApiServer, named);
        self.compiler.set_nodes(node_specs(store, &claimed));

        self.networks
            .set_of_nodes(networks, store.nodes.iter().flat_map(|node| node.all_addresses().collect::<Vec<_>>()));
        let owners: Vec<Owner> = claimed.iter().map(|(owner, ..)| owner.clone()).collect();
        let there: HashSet<&Owner> = owners.iter().collect();
        for owner in std::mem::take(&mut self.nodes).iter().filter(|owner| !there.contains(owner)) {
            self.apply(owner, 0, &[], now_ns);
        }
        for (owner, addresses) in claimed {
            self.apply(&owner, 0, &addresses, now_ns);
        }
        self.nodes = owners;
        self.remote_nodes.retire(&mut self.draft, store, now_ns);
    }

    /// Makes these the owner's addresses, each with the id that it is to lead to.
    fn apply(&mut self, owner: &Owner, created: i64, claimed: &[(Address, Rank, EndpointId)], now_ns: u64) {
        let before = self.applied.remove(owner).map(|applied| applied.addresses).unwrap_or_default();
        for &(address, rank, id) in claimed {
            self.claims.claim(address, Claim { rank, created, owner: owner.clone(), id });
        }
        let addresses: Box<[Address]> = claimed.iter().map(|(address, ..)| *address).collect();
        for address in before.iter().filter(|address| !addresses.contains(address)) {
            self.claims.give_up(*address, owner);
            self.settle(*address, now_ns);
        }
        for address in &addresses {
            self.settle(*address, now_ns);
        }
        if !addresses.is_empty() {
            self.applied.insert(owner.clone(), Applied { addresses, pod: None });
        }
    }

    /// Sets the owner of an address to the best claim. Flows from before keep the previous owner.
    fn settle(&mut self, address: Address, now_ns: u64) {
        let unnamed = || self.unnamed.contains(&address).then(|| self.draft.unnamed());
        let holder = self.claims.holder(address).map(|claim| claim.id).or_else(unnamed);
        if self.draft.find(address) != holder {
            self.draft.set(address, holder, Some(now_ns));
        }
    }
}

fn is_dual(addresses: &[Address]) -> bool {
    let v4 = addresses.iter().filter(|address| address.v4().is_some()).count();
    v4 > 0 && v4 < addresses.len()
}
