//! From the cache to an [`Index`]: who has which address, with every name worked out.
//!
//! Where several claim an address, the last in this order has it:
//!
//! 1. services;
//! 2. endpoints of the Kubernetes API that are nothing else (a managed control plane);
//! 3. pods, oldest first: an address is used again, and the newest pod is the one that holds it now. Finished pods have
//!    given theirs up, and pods in the host's network never had one of their own;
//! 4. other nodes, then this node: what the machine itself has cannot be a pod's.

use std::collections::{BTreeMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;

use super::{Cache, Key, Pod, identity};
use crate::flow::Address;
use crate::index::policy::Compiler;
use crate::index::policy::spec::{Labels, PolicySpec, Subject};
use crate::index::{Endpoint, EndpointSpec, Index, Kind, ServiceSpec, Services};

/// What Hubble takes a service's address for.
const WORLD: &str = "reserved:world";
const HOST: &str = "reserved:host";
const REMOTE_NODE: &str = "reserved:remote-node";
const API_SERVER: &str = "reserved:kube-apiserver";
/// The label that the API server gives to every namespace.
const NAMESPACE_NAME: &str = "kubernetes.io/metadata.name";

type Entry = (Endpoint, Vec<Address>);

pub(super) fn index(cache: &Cache) -> Index {
    let mut compiler = Compiler::default();
    let namespaces = namespaces(cache);
    for (name, labels) in &namespaces {
        compiler.namespace(name, labels.clone());
    }
    let api: HashSet<IpAddr> = api_server(cache);
    let services = services(cache);
    let fronts = services.iter().flat_map(|service| service.addresses.iter().map(|address| address.ip()));
    let mut entries = vec![
        reserved(Kind::Service, 2, &[WORLD], fronts),
        reserved(Kind::Reserved, 7, &[API_SERVER, REMOTE_NODE], api.iter().copied()),
    ];
    entries.extend(pods(cache, &namespaces, &mut compiler));
    entries.extend(nodes(cache, &api));

    let mut policies: Vec<Arc<PolicySpec>> = cache.policies.iter().map(|policy| Arc::clone(policy.value())).collect();
    policies.sort_unstable_by(|a, b| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)));
    Index::new(entries, compiler.compile(policies.iter().map(AsRef::as_ref))).with_services(Services::new(&services))
}

/// Every service that has an address or a port on the nodes, in the order of their names.
fn services(cache: &Cache) -> Vec<ServiceSpec> {
    let mut all: Vec<ServiceSpec> = cache
        .services
        .iter()
        .filter(|service| !service.ports.is_empty())
        .map(|service| ServiceSpec {
            namespace: service.key().namespace.clone(),
            name: service.key().name.clone(),
            addresses: service.addresses.iter().copied().map(Address::from).collect(),
            ports: service.ports.clone(),
        })
        .collect();
    all.sort_unstable_by(|a, b| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)));
    all
}

/// Labels of every namespace that has an object or a pod, with the name's label where nobody set it: the API server
/// would have, and policies of hand-written manifests count on it.
fn namespaces(cache: &Cache) -> BTreeMap<String, Labels> {
    let mut all: BTreeMap<String, Labels> =
        cache.namespaces.iter().map(|found| (found.key().name.clone(), found.value().clone())).collect();
    for pod in &cache.pods {
        if !all.contains_key(&pod.key().namespace) {
            all.insert(pod.key().namespace.clone(), Labels::new());
        }
    }
    for (name, labels) in &mut all {
        labels.entry(NAMESPACE_NAME.to_owned()).or_insert_with(|| name.clone());
    }
    all
}

/// Addresses of the service default/kubernetes.
fn api_server(cache: &Cache) -> HashSet<IpAddr> {
    cache
        .slices
        .iter()
        .filter(|slice| slice.key().namespace == "default" && slice.service == "kubernetes")
        .flat_map(|slice| slice.addresses.clone())
        .collect()
}

fn pods(cache: &Cache, namespaces: &BTreeMap<String, Labels>, compiler: &mut Compiler) -> Vec<Entry> {
    let no_labels = Labels::new();
    let mut found: Vec<((i64, Key), Entry)> = cache
        .pods
        .iter()
        .filter(|pod| !pod.finished && !pod.host_network && !pod.addresses.is_empty())
        .map(|pod| {
            let namespace_labels = namespaces.get(&pod.key().namespace).unwrap_or(&no_labels);
            let endpoint = endpoint(cache, pod.key(), pod.value(), namespace_labels, compiler);
            let addresses = pod.addresses.iter().copied().map(Address::from).collect();
            ((pod.created, pod.key().clone()), (endpoint, addresses))
        })
        .collect();
    found.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
    found.into_iter().map(|(_, entry)| entry).collect()
}

fn endpoint(cache: &Cache, key: &Key, pod: &Pod, namespace_labels: &Labels, compiler: &mut Compiler) -> Endpoint {
    let labels = identity::labels(&key.namespace, namespace_labels, &cache.settings.cluster, pod);
    let spec = EndpointSpec {
        identity: identity::number(&labels),
        namespace: key.namespace.clone(),
        pod_name: key.name.clone(),
        labels,
        workloads: pod.workload.clone().into_iter().collect(),
    };
    // A pod that has an address has a node; one without is of a manifest written by hand, for this machine.
    let local = pod.node.is_empty() || pod.node == cache.settings.node;
    let subject = Subject { namespace: key.namespace.clone(), labels: pod.labels.clone(), ports: pod.ports.clone() };
    Endpoint { policy_subject: compiler.subject(subject), ..Endpoint::new(Kind::Pod, local, &spec) }
}

/// Other nodes, those of them that serve the API, and this node; the last has the last word.
fn nodes(cache: &Cache, api: &HashSet<IpAddr>) -> Vec<Entry> {
    let (mut serving, mut others) = (Vec::new(), Vec::new());
    let mut own = cache.settings.addresses.clone();
    for node in &cache.nodes {
        if node.key().name == cache.settings.node {
            own.extend(&node.addresses);
            continue;
        }
        for address in &node.addresses {
            if api.contains(address) { &mut serving } else { &mut others }.push(*address);
        }
    }
    let host: &[&str] = if own.iter().any(|address| api.contains(address)) { &[HOST, API_SERVER] } else { &[HOST] };
    vec![
        reserved(Kind::RemoteNode, 6, &[REMOTE_NODE], others),
        reserved(Kind::RemoteNode, 7, &[API_SERVER, REMOTE_NODE], serving),
        reserved(Kind::Host, 1, host, own),
    ]
}

fn reserved(kind: Kind, identity: u32, labels: &[&str], addresses: impl IntoIterator<Item = IpAddr>) -> Entry {
    let labels = labels.iter().map(|&label| label.to_owned()).collect();
    let endpoint = Endpoint::new(kind, false, &EndpointSpec { identity, labels, ..EndpointSpec::default() });
    (endpoint, addresses.into_iter().map(Address::from).collect())
}
