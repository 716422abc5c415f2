//! The stored objects, and the state that their source reports.
//!
//! The cache writes it; the builder of indexes reads it.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use dashmap::DashMap;
use ipnet::IpNet;
use tokio::sync::Notify;
use webb_flow::clock::Clock;
use webb_index::CidrSpec;
use webb_index::policy::spec::{Labels, PolicySpec, TierSpec};
use webb_index::policy::{Effect, PolicyRevision, VerdictExclusions};

use super::change::Change;
use super::local_pods::LocalPods;
use super::other::Others;
use super::recent::{ObjectEvent, RecentChanges};
use super::stored_pod::StoredPod;
use super::workload_pods::WorkloadPods;
use super::{Kind, Node, NodeNetwork, ObjectKey, OtherKinds, Service, Slice};

/// CacheSettings of the cache: the node and cluster that it runs in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CacheSettings {
    /// Name of this node, as `spec.nodeName` of its pods has it.
    pub node: String,
    /// Name of the cluster, for the label that Cilium gives to pods.
    pub cluster: String,
    /// True for another cluster of the mesh, of which only names are kept.
    pub of_mesh: bool,
    /// Addresses of this machine that its Node object doesn't list, such as those of its bridges:
    /// `reserved:host` too. As it has them at first; [`set_own_addresses`] says what they become.
    ///
    /// [`set_own_addresses`]: crate::Cache::set_own_addresses
    pub addresses: Vec<IpAddr>,
    /// The kinds of policy that are not evaluated, and what each means.
    pub other_kinds: OtherKinds,
    /// Networks that pods have their addresses from, beyond those that nodes have in their objects.
    pub pod_networks: Vec<IpNet>,
    /// Labels of the pods of agents, and of no others; none if that is not known.
    pub agent_labels: Vec<(String, String)>,
}

/// The label that the API server gives to every namespace.
pub(super) const NAMESPACE_NAME: &str = "kubernetes.io/metadata.name";

/// Objects of the cluster by kind and key.
#[derive(Debug, Default)]
pub(super) struct Store {
    pub(super) settings: CacheSettings,
    /// Time of changes, and of indexes.
    pub(super) clock: Clock,
    pub(super) pods: DashMap<Arc<ObjectKey>, StoredPod>,
    pub(super) local_pods: LocalPods,
    pub(super) workload_pods: WorkloadPods,
    pub(super) namespaces: DashMap<ObjectKey, Arc<Labels>>,
    pub(super) nodes: DashMap<ObjectKey, Node>,
    /// Nodes that pods name and that are not here; none while the source brings all of itself.
    pub(super) missing_nodes: Mutex<Option<BTreeSet<String>>>,
    /// Counts the changes of `nodes`.
    pub(super) nodes_version: AtomicU64,
    pub(super) services: DashMap<Arc<ObjectKey>, Service>,
    pub(super) slices: DashMap<ObjectKey, Slice>,
    pub(super) policies: DashMap<ObjectKey, Arc<PolicySpec>>,
    pub(super) tiered: DashMap<(Kind, ObjectKey), Arc<TierSpec>>,
    pub(super) others: Mutex<Others>,
    /// True for a source with a watch for each kind: a pod may come before its namespace; false if
    /// the source lists all there is.
    pub(super) watched: AtomicBool,
    /// Only this node's pods are watched; a relay names others.
    pub(super) relayed: AtomicBool,
    /// Blocks that the relay knows pods in.
    pub(super) relayed_blocks: Mutex<Vec<IpNet>>,
    /// Addresses and networks of nodes that the relay has sent.
    pub(super) relayed_nodes: Mutex<RelayedNodes>,
    /// Notified when `sends_nodes` of them is set.
    pub(super) relay_greeted: Notify,
    pub(super) own_addresses: Mutex<Vec<IpAddr>>,
    pub(super) interfaces: Mutex<Vec<PodInterface>>,
    /// The places of networks outside the cluster, and the bytes that a tunnel adds to a packet.
    pub(super) places: Mutex<(Arc<[CidrSpec]>, u32)>,
    pub(super) revision: PolicyRevision,
    pub(super) recent: RecentChanges,
}

/// Nodes as a relay has sent them.
#[derive(Debug, Default)]
pub(super) struct RelayedNodes {
    /// Whether the relay sends nodes; none before its greeting.
    pub(super) sends_nodes: Option<bool>,
    /// Addresses and networks by name.
    pub(super) networks: HashMap<String, Arc<NodeNetwork>>,
}

/// Changes since the last index.
#[derive(Debug, Default)]
#[allow(clippy::struct_excessive_bools, reason = "each is a part of its own")]
pub(super) struct Touched {
    /// Changed pods with the time of the last change.
    pub(super) pods: HashMap<Arc<ObjectKey>, u64>,
    pub(super) services: HashMap<Arc<ObjectKey>, u64>,
    pub(super) namespaces: HashSet<String>,
    /// Pods that ended, with their last state: those that never were in an index have had their
    /// addresses until that time.
    pub(super) ended: Vec<(Arc<ObjectKey>, StoredPod, u64)>,
    /// Nodes, or the endpoints of the API.
    pub(super) nodes: bool,
    /// Networks that a relay knows pods in.
    pub(super) networks: bool,
    /// Places of networks outside, and what tunnels add.
    pub(super) places: bool,
    /// Pods of agents.
    pub(super) agents: bool,
    pub(super) policies: bool,
    /// True if the state of other kinds of policy, or of missing ones, has changed.
    pub(super) others: bool,
}

impl Touched {
    /// All that is no pod, service or namespace, which are touched one by one.
    pub(super) fn all_else() -> Self {
        Self {
            nodes: true,
            networks: true,
            places: true,
            agents: true,
            policies: true,
            others: true,
            ..Self::default()
        }
    }
}

/// An interface of this node that leads to a pod.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct PodInterface {
    /// Its index.
    pub index: u32,
    /// The number of the pod's network namespace, if it is known: all interfaces into one are one
    /// pod's.
    pub namespace: Option<i32>,
    /// Whether it is watched as a pod's: whatever is behind it is a pod, known or not.
    pub watched: bool,
    /// Addresses that only a packet for this interface has.
    pub addresses: Vec<IpAddr>,
}

/// Number of cached objects by kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[allow(missing_docs, reason = "the names are the kinds'")]
pub struct Counts {
    pub pods: usize,
    pub namespaces: usize,
    pub nodes: usize,
    pub services: usize,
    pub endpoint_slices: usize,
    pub network_policies: usize,
    pub admin_network_policies: usize,
    pub baseline_admin_network_policies: usize,
    pub cluster_network_policies: usize,
    pub other_policies: usize,
}

impl Store {
    /// Tracks a change of a pod, if it was or is of this node.
    pub(super) fn track(&self, key: &Arc<ObjectKey>, before: Option<&StoredPod>, now: Option<&StoredPod>) {
        let is_here = |pod: &&StoredPod| *pod.node == *self.settings.node;
        let (before, now) = (before.filter(is_here), now.filter(is_here));
        if before.is_some() || now.is_some() {
            self.local_pods.track(key, before, now);
            let event = match (before, now) {
                (None, _) => Some(ObjectEvent::Created),
                (Some(_), None) => Some(ObjectEvent::Removed),
                (Some(before), Some(now)) => (now.finished && !before.finished).then_some(ObjectEvent::Finished),
            };
            if let Some(event) = event {
                self.recent.push(Kind::Pod, key, event);
            }
        }
    }

    /// Lists the change of a policy.
    pub(super) fn note_policy(&self, kind: Kind, key: &ObjectKey, change: Change) -> Change {
        match change {
            Change::Created => self.recent.push(kind, key, ObjectEvent::Created),
            Change::Updated => self.recent.push(kind, key, ObjectEvent::Changed),
            Change::Equal => {}
        }
        change
    }

    /// Lists the removal of a policy, if it was known.
    pub(super) fn note_removed(&self, kind: Kind, key: &ObjectKey, known: bool) -> bool {
        if known {
            self.recent.push(kind, key, ObjectEvent::Removed);
        }
        known
    }

    pub(super) fn interfaces(&self) -> MutexGuard<'_, Vec<PodInterface>> {
        lock(&self.interfaces)
    }

    pub(super) fn own_addresses(&self) -> Vec<IpAddr> {
        lock(&self.own_addresses).clone()
    }

    pub(super) fn is_whole(&self) -> bool {
        !self.watched.load(Relaxed)
    }

    /// Pods without verdicts.
    pub(super) fn exclusions(&self) -> VerdictExclusions {
        let kinds = &self.settings.other_kinds;
        let (all, namespaces) = self.others().effects(kinds);
        let annotated = if kinds.are_ignored() { Effect::NONE } else { Effect::BOTH };
        VerdictExclusions { all, namespaces, annotated }
    }

    pub(super) fn others(&self) -> MutexGuard<'_, Others> {
        lock(&self.others)
    }

    /// Number of objects by kind.
    pub(super) fn counts(&self) -> Counts {
        Counts {
            pods: self.pods.len(),
            namespaces: self.namespaces.len(),
            nodes: self.nodes.len(),
            services: self.services.len(),
            endpoint_slices: self.slices.len(),
            network_policies: self.policies.len(),
            admin_network_policies: self.count(Kind::AdminNetworkPolicy),
            baseline_admin_network_policies: self.count(Kind::BaselineAdminNetworkPolicy),
            cluster_network_policies: self.count(Kind::ClusterNetworkPolicy),
            other_policies: self.others().objects.values().map(BTreeSet::len).sum(),
        }
    }

    fn count(&self, kind: Kind) -> usize {
        self.tiered.iter().filter(|entry| entry.key().0 == kind).count()
    }
}

/// Locks a mutex; a poisoned one too, since its content is whole at any moment.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether these are endpoints of the service default/kubernetes.
pub(super) fn is_api(key: &ObjectKey, slice: &Slice) -> bool {
    key.namespace == "default" && slice.service == "kubernetes"
}
