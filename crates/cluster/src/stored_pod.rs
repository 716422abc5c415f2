//! A pod as the cache stores it.
//!
//! The fields that a pod shares with its replicas (labels, service account, workload, ports) are
//! most of it, and are stored once for all of them: a cluster has ten times as many pods as kinds
//! of pods.

use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::Arc;

use webb_flow::sym::Names;
use webb_index::policy::spec::{Labels, Subject};
use webb_index::{Describe, Endpoint, EndpointKind, EndpointSpec, ObjectKey, Workload};

use super::{Pod, identity};

/// Fields that replicas share.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Profile {
    /// Namespace, labels and named ports.
    pub(super) subject: Arc<Subject>,
    pub(super) service_account: String,
    pub(super) workload: Option<Workload>,
}

/// What a pod is to the agents of the cluster, which are known by their labels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum AgentPod {
    /// None of them.
    #[default]
    No,
    /// One of them, which is not ready.
    NotReady,
    /// One of them, which is ready.
    Ready,
}

impl AgentPod {
    pub(super) fn of(labels: &[(String, String)], pod: &Pod) -> Self {
        let is_agent = !labels.is_empty() && labels.iter().all(|(name, value)| pod.labels.get(name) == Some(value));
        match (is_agent, pod.ready && !pod.finished) {
            (false, _) => Self::No,
            (true, false) => Self::NotReady,
            (true, true) => Self::Ready,
        }
    }
}

/// A pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct StoredPod {
    pub(super) profile: Arc<Profile>,
    pub(super) addresses: Box<[IpAddr]>,
    /// Addresses in networks beside the cluster's.
    pub(super) other_addresses: Box<[IpAddr]>,
    pub(super) created: i64,
    pub(super) node: Arc<str>,
    pub(super) finished: bool,
    pub(super) host_network: bool,
    pub(super) agent: AgentPod,
}

impl StoredPod {
    /// Its own addresses: none if it has finished or uses the node's.
    pub(super) fn own_addresses(&self) -> &[IpAddr] {
        if self.finished || self.host_network { &[] } else { &self.addresses }
    }

    /// Its own addresses in networks beside the cluster's.
    pub(super) fn own_other_addresses(&self) -> &[IpAddr] {
        if self.own_addresses().is_empty() { &[] } else { &self.other_addresses }
    }
}

/// Interns what replicas share.
#[derive(Debug, Default)]
pub(super) struct Profiles {
    interned: HashSet<Arc<Profile>>,
    nodes: HashSet<Arc<str>>,
    /// The number interned since unused ones were last evicted.
    met: usize,
}

impl Profiles {
    /// The pod, sharing what it has in common with others.
    pub(super) fn intern(&mut self, namespace: &str, agent: AgentPod, pod: Pod) -> StoredPod {
        let Pod {
            labels,
            addresses,
            other_addresses,
            created,
            workload,
            node,
            finished,
            host_network,
            service_account,
            mut ports,
            vendor,
            ready: _,
        } = pod;
        ports.sort_unstable();
        let subject = Arc::new(Subject { namespace: namespace.to_owned(), labels, ports, vendor });
        let profile = Profile { subject, service_account, workload };
        let profile = self.interned.get(&profile).cloned().unwrap_or_else(|| {
            let profile = Arc::new(profile);
            self.interned.insert(Arc::clone(&profile));
            self.met += 1;
            profile
        });
        let node = self.nodes.get(node.as_str()).cloned().unwrap_or_else(|| {
            let node: Arc<str> = node.into();
            self.nodes.insert(Arc::clone(&node));
            node
        });
        if self.met > 1024 + self.interned.len() / 2 {
            self.evict_unused();
        }
        let (addresses, other_addresses) = (addresses.into(), other_addresses.into());
        StoredPod { profile, addresses, other_addresses, created, node, finished, host_network, agent }
    }
}

impl Profiles {
    /// Number of descriptions.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.interned.len()
    }

    /// Drops what no pod has any more.
    pub(super) fn evict_unused(&mut self) {
        self.met = 0;
        self.interned.retain(|profile| Arc::strong_count(profile) > 1);
        self.nodes.retain(|node| Arc::strong_count(node) > 1);
        self.interned.shrink_to(self.interned.len() * 2);
    }
}

/// A pod with all that its names are made of.
#[derive(Debug, Clone)]
pub(super) struct NamedPod {
    pub(super) key: Arc<ObjectKey>,
    pub(super) profile: Arc<Profile>,
    pub(super) namespace_labels: Arc<Labels>,
    pub(super) cluster: Arc<str>,
    pub(super) local: bool,
    /// The node that it runs on.
    pub(super) node: Arc<str>,
    /// Its row in the compiled policies.
    pub(super) subject: u32,
}

/// A pod in networks beside the cluster's: of the same names, but no NetworkPolicy selects it
/// there.
#[derive(Debug)]
pub(super) struct OtherNetworkPod(pub(super) Arc<NamedPod>);

impl Describe for OtherNetworkPod {
    fn endpoint(&self, names: &mut Names) -> Endpoint {
        Endpoint { policy_subject: 0, other_network: true, ..self.0.endpoint(names) }
    }

    fn identity(&self) -> String {
        self.0.identity()
    }
}

/// A pod of another cluster: no policy of this one selects it.
#[derive(Debug)]
pub(super) struct MeshPod(pub(super) Arc<NamedPod>);

impl Describe for MeshPod {
    fn endpoint(&self, names: &mut Names) -> Endpoint {
        self.0.endpoint_of(EndpointKind::Mesh, names)
    }

    fn identity(&self) -> String {
        self.0.identity()
    }
}

impl NamedPod {
    fn endpoint_of(&self, kind: EndpointKind, names: &mut Names) -> Endpoint {
        let labels = self.labels();
        let spec = EndpointSpec {
            identity: identity::number(&labels),
            cluster: self.cluster.as_ref().to_owned(),
            namespace: self.key.namespace.clone(),
            pod_name: self.key.name.clone(),
            labels,
            workloads: self.profile.workload.clone().into_iter().collect(),
        };
        let node = names.intern(&self.node);
        let named = Endpoint::named(kind, self.local, &spec, |text| names.intern(text));
        Endpoint { policy_subject: self.subject, node, ..named }
    }

    /// Its labels, as Hubble shows them.
    pub(super) fn labels(&self) -> Vec<String> {
        let Profile { subject, service_account, .. } = &*self.profile;
        identity::labels(&self.key.namespace, &self.namespace_labels, &self.cluster, &subject.labels, service_account)
    }
}

impl Describe for NamedPod {
    fn endpoint(&self, names: &mut Names) -> Endpoint {
        self.endpoint_of(EndpointKind::Pod, names)
    }

    fn identity(&self) -> String {
        self.labels().join(",")
    }
}
