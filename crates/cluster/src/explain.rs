//! Explains how an address is resolved: candidates, the chosen one, the reason. The admin listener
//! serves it.

use std::net::IpAddr;
use std::sync::Arc;

use serde::Serialize;
use webb_flow::{Address, Direction, EndpointId};
use webb_index::policy::spec::{Labels, PolicyKind};
use webb_index::policy::{PolicyName, Truth};
use webb_index::{Endpoint, Index, ServicePort};

use super::build::Builder;
use super::claims::{Claim, OWN, Owner, Rank, winner};
use super::recent::ObjectChange;
use super::store::NAMESPACE_NAME;
use super::stored_pod::StoredPod;
use super::{Cache, Kind, ObjectKey, workload};

/// The names of an endpoint.
#[derive(Debug, Clone, Serialize)]
#[allow(missing_docs, reason = "hubble-contract §2.2 has these names")]
pub struct EndpointNames {
    /// Its sort: a value of the label `result` of `webb_cluster_lookups_total`.
    pub sort: &'static str,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub pod: String,
    pub identity: u32,
    pub labels: Vec<String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub workload: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub workload_kind: String,
}

/// An object that claims an address, or lists it without a claim.
#[derive(Debug, Clone, Serialize)]
pub struct Candidate {
    /// Kind and name of the object.
    pub object: String,
    /// Whether it has the address.
    pub has_it: bool,
    /// Reason for which the owner holds the address, or does not.
    pub reason: String,
}

/// A previous owner of an address.
#[derive(Debug, Clone, Serialize)]
pub struct PreviousOwner {
    /// End of the ownership, in milliseconds before now.
    pub until_ms_ago: u64,
    /// The names of flows of that time.
    pub named: EndpointNames,
}

/// The resolution of an address.
#[derive(Debug, Clone, Serialize)]
pub struct AddressExplanation {
    /// The address.
    pub ip: IpAddr,
    /// The names of current flows.
    pub named: EndpointNames,
    /// All candidates, the chosen one first.
    pub claims: Vec<Candidate>,
    /// Previous owners within the last minute, oldest first.
    pub history: Vec<PreviousOwner>,
}

/// A pod.
#[derive(Debug, Clone, Serialize)]
#[allow(missing_docs, reason = "the names say it")]
pub struct PodExplanation {
    pub pod: String,
    pub node: String,
    /// Whether it runs on this node.
    pub local: bool,
    pub host_network: bool,
    pub finished: bool,
    pub service_account: String,
    pub addresses: Vec<PodAddress>,
    /// Interfaces of this node that lead to it, by index.
    pub interfaces: Vec<u32>,
    /// Names of the pod; none if no flow resolves to it: it has no address, has lost it, or uses
    /// its node's.
    pub named: Option<EndpointNames>,
    /// The rule that its workload was found by, or why it has none (hubble-contract §5.8).
    pub workload_rule: &'static str,
    /// The policies that isolate it.
    pub policies: SelectingPolicies,
}

/// An address of a pod.
#[derive(Debug, Clone, Serialize)]
#[allow(missing_docs, reason = "the names say it")]
pub struct PodAddress {
    pub ip: IpAddr,
    pub has_it: bool,
    pub reason: String,
}

/// The policies that select a pod; with none it is not isolated in that direction.
#[derive(Debug, Clone, Serialize)]
#[allow(missing_docs, reason = "the names say it")]
pub struct SelectingPolicies {
    pub ingress: Vec<String>,
    pub egress: Vec<String>,
}

/// A service.
#[derive(Debug, Clone, Serialize)]
#[allow(missing_docs, reason = "the names say it")]
pub struct ServiceExplanation {
    pub service: String,
    pub addresses: Vec<IpAddr>,
    pub ports: Vec<ExplainedPort>,
    /// Its endpoints, where its EndpointSlices are read: all in a manifest, those of
    /// `default/kubernetes` alone of an API server.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub endpoints: Vec<ServiceEndpoint>,
}

/// A port of a service.
#[derive(Debug, Clone, Serialize)]
#[allow(missing_docs, reason = "the names say it")]
pub struct ExplainedPort {
    pub protocol: &'static str,
    pub port: u16,
    /// Port on every node.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node_port: Option<u16>,
}

/// An endpoint of a service, with its name.
#[derive(Debug, Clone, Serialize)]
#[allow(missing_docs, reason = "the names say it")]
pub struct ServiceEndpoint {
    pub ip: IpAddr,
    pub named: String,
}

/// A policy.
#[derive(Debug, Clone, Serialize)]
#[allow(missing_docs, reason = "the names say it")]
pub struct PolicySummary {
    pub policy: String,
    /// Whether it applies to ingress of the pods that it selects: a NetworkPolicy isolates them,
    /// others have rules.
    pub ingress: bool,
    /// Whether it applies to their egress.
    pub egress: bool,
}

impl Cache {
    /// Explains how `index` resolves `ip`, with previous owners.
    pub fn explain_address(&self, ip: IpAddr, index: &Index) -> AddressExplanation {
        self.explain_address_at(ip, index, self.store.clock.now_ns())
    }

    /// As [`Cache::explain_address`], at a time of `CLOCK_MONOTONIC` in nanoseconds.
    pub fn explain_address_at(&self, ip: IpAddr, index: &Index, now_ns: u64) -> AddressExplanation {
        let address = Address::from(ip);
        let mut claims = claims(&self.builder(), address);
        let mut others: Vec<Candidate> = self
            .store
            .pods
            .iter()
            .filter(|pod| pod.addresses.contains(&ip))
            .filter_map(|pod| {
                let reason = not_claimed(&pod)?.to_owned();
                Some(Candidate { object: format!("Pod {}", pod.key()), has_it: false, reason })
            })
            .collect();
        others.sort_unstable_by(|a, b| a.object.cmp(&b.object));
        claims.extend(others);
        let past = index.previous_owners(address).into_iter().map(|(until_ns, id)| PreviousOwner {
            until_ms_ago: now_ns.saturating_sub(until_ns) / 1_000_000,
            named: EndpointNames::new(index, id),
        });
        AddressExplanation {
            ip,
            named: EndpointNames::new(index, index.find(address)),
            claims,
            history: past.collect(),
        }
    }

    /// The last changes of this node's pods and of policies, oldest first, 256 at most.
    pub fn recent_changes(&self) -> Vec<ObjectChange> {
        self.store.recent.all()
    }

    /// Explains how a pod is named; none if there is no such pod.
    pub fn explain_pod(&self, key: &ObjectKey, index: &Index) -> Option<PodExplanation> {
        let pod = self.store.pods.get(key)?.value().clone();
        let owner = Owner::new(Kind::Pod, Arc::new(key.clone()));
        let builder = self.builder();
        let id = builder.id_of(&owner);
        let address = |&ip: &IpAddr| {
            let has_it = builder.claims().holder(ip.into()).is_some_and(|holder| holder.owner == owner);
            let reason = match not_claimed(&pod) {
                Some(reason) => reason.to_owned(),
                None => reason(builder.claims().of(ip.into()), &owner, &builder),
            };
            PodAddress { ip, has_it, reason }
        };
        let addresses = pod.addresses.iter().map(address).collect();
        let endpoint = id.map(|id| index.endpoint(id));
        Some(PodExplanation {
            pod: key.to_string(),
            node: pod.node.to_string(),
            local: builder.is_local(&pod),
            host_network: pod.host_network,
            finished: pod.finished,
            service_account: pod.profile.service_account.clone(),
            addresses,
            interfaces: builder.interfaces_of(&owner, index),
            named: id.map(|id| EndpointNames::new(index, id)),
            workload_rule: workload::rule(pod.profile.workload.as_ref()),
            policies: match endpoint {
                Some(endpoint) => SelectingPolicies {
                    ingress: selecting(index, endpoint, Direction::Ingress),
                    egress: selecting(index, endpoint, Direction::Egress),
                },
                None => self.would_select(&pod),
            },
        })
    }

    /// The policies that will isolate a pod once it has an address: it is in no index yet.
    fn would_select(&self, pod: &StoredPod) -> SelectingPolicies {
        let mut selecting = SelectingPolicies { ingress: Vec::new(), egress: Vec::new() };
        if pod.finished || pod.host_network {
            return selecting;
        }
        let subject = &pod.profile.subject;
        for policy in &self.store.policies {
            if policy.namespace != subject.namespace || policy.pods.matches(&subject.labels) == Truth::No {
                continue;
            }
            let name = policy.key().to_string();
            if policy.egress.is_some() {
                selecting.egress.push(name.clone());
            }
            if policy.ingress.is_some() {
                selecting.ingress.push(name);
            }
        }
        let namespace = ObjectKey { namespace: String::new(), name: subject.namespace.clone() };
        let mut labels = self.store.namespaces.get(&namespace).map(|labels| Labels::clone(&labels)).unwrap_or_default();
        labels.entry(NAMESPACE_NAME.to_owned()).or_insert(namespace.name);
        for policy in &self.store.tiered {
            let pods = policy.pods.as_ref().map_or(Truth::Yes, |pods| pods.matches(&subject.labels));
            if policy.namespaces.matches(&labels).min(pods) == Truth::No {
                continue;
            }
            let name = format!("{} {}", policy.kind.name(), policy.name);
            if !policy.egress.is_empty() {
                selecting.egress.push(name.clone());
            }
            if !policy.ingress.is_empty() {
                selecting.ingress.push(name);
            }
        }
        selecting.ingress.sort_unstable();
        selecting.egress.sort_unstable();
        selecting
    }

    /// All services, by name, each with its addresses and named endpoints.
    pub fn explain_services(&self, index: &Index) -> Vec<ServiceExplanation> {
        let mut services: Vec<ServiceExplanation> = self
            .store
            .services
            .iter()
            .map(|service| ServiceExplanation {
                service: service.key().to_string(),
                addresses: service.addresses.clone(),
                ports: service.ports.iter().map(ExplainedPort::from).collect(),
                endpoints: Vec::new(),
            })
            .collect();
        services.sort_unstable_by(|a, b| a.service.cmp(&b.service));
        for slice in &self.store.slices {
            let key = ObjectKey { namespace: slice.key().namespace.clone(), name: slice.service.clone() }.to_string();
            let at = services.binary_search_by(|service| service.service.cmp(&key));
            let Some(service) = at.ok().and_then(|at| services.get_mut(at)) else { continue };
            service.endpoints.extend(slice.addresses.iter().map(|&ip| {
                let endpoint = index.endpoint(index.find(ip.into()));
                let named = if endpoint.pod_name.is_empty() { endpoint.reserved_identity } else { endpoint.pod };
                ServiceEndpoint { ip, named: named.text().to_string() }
            }));
        }
        for service in &mut services {
            service.endpoints.sort_unstable_by_key(|endpoint| endpoint.ip);
            service.endpoints.dedup_by_key(|endpoint| endpoint.ip);
        }
        services
    }

    /// All policies, by name.
    pub fn explain_policies(&self) -> Vec<PolicySummary> {
        let mut policies: Vec<PolicySummary> = self
            .store
            .policies
            .iter()
            .map(|policy| PolicySummary {
                policy: policy.key().to_string(),
                ingress: policy.ingress.is_some(),
                egress: policy.egress.is_some(),
            })
            .collect();
        policies.extend(self.store.tiered.iter().map(|policy| PolicySummary {
            policy: format!("{} {}", policy.kind.name(), policy.name),
            ingress: !policy.ingress.is_empty(),
            egress: !policy.egress.is_empty(),
        }));
        policies.sort_unstable_by(|a, b| a.policy.cmp(&b.policy));
        policies
    }
}

impl From<&ServicePort> for ExplainedPort {
    fn from(port: &ServicePort) -> Self {
        let node_port = (port.node_port != 0).then_some(port.node_port);
        Self { protocol: port.protocol.name(), port: port.port, node_port }
    }
}

impl EndpointNames {
    fn new(index: &Index, id: EndpointId) -> Self {
        let endpoint = index.endpoint(id);
        let labels = index.identity(id).text();
        Self {
            sort: id.sort().label(),
            pod: if endpoint.pod_name.is_empty() { String::new() } else { endpoint.pod.text().to_string() },
            identity: endpoint.identity_number,
            labels: labels.split(',').filter(|label| !label.is_empty()).map(str::to_owned).collect(),
            workload: endpoint.workload.text().to_string(),
            workload_kind: endpoint.workload_kind.text().to_string(),
        }
    }
}

fn claims(builder: &Builder, address: Address) -> Vec<Candidate> {
    let claims = builder.claims().of(address);
    let winner = winner(claims).map(|claim| &claim.owner);
    let candidate = |claim: &Claim| Candidate {
        object: object(claim, builder),
        has_it: winner == Some(&claim.owner),
        reason: reason(claims, &claim.owner, builder),
    };
    claims.iter().map(candidate).collect()
}

fn object(claim: &Claim, builder: &Builder) -> String {
    let Owner { kind, cluster, key } = &claim.owner;
    let of = if *cluster == OWN { String::new() } else { format!(" of cluster {}", builder.cluster_name(*cluster)) };
    format!("{} {key}{of}", kind.name())
}

/// Reason for which an owner holds an address, or does not, among all claims.
fn reason(claims: &[Claim], owner: &Owner, builder: &Builder) -> String {
    let (Some(first), Some(own)) = (claims.first(), claims.iter().find(|claim| claim.owner == *owner)) else {
        return "it is not yet in the index".to_owned();
    };
    if winner(claims).is_none() && claims.iter().any(|claim| claim.owner.cluster != owner.cluster) {
        return "another cluster claims it too: neither has it".to_owned();
    }
    if first.owner == *owner {
        let rivals = claims.iter().filter(|claim| claim.rank == Rank::Pod).count() > 1;
        return match own.rank {
            Rank::Pod if rivals => "the newest of the pods that claim it",
            Rank::Pod => "its pod runs",
            Rank::OtherNetwork => "its pod runs, and has it in another network",
            Rank::Host => "this machine's own",
            Rank::RemoteNode => "another node's own",
            Rank::Overlay => "the first of the node's pod network, which its tunnel or bridge has, and no pod has it",
            Rank::ApiServer => "the Kubernetes API is served there, and no other object claims it",
            Rank::Service | Rank::MeshService => "the service's own",
            Rank::MeshPod => "its pod runs, in another cluster, and nothing of this cluster claims it",
            Rank::MeshNode => "a node's own, in another cluster, and nothing of this cluster claims it",
        }
        .to_owned();
    }
    let winner = object(first, builder);
    match (first.rank == own.rank, first.created == own.created) {
        (false, _) => format!("{winner} comes first"),
        (true, false) => format!("{winner} is newer"),
        (true, true) => format!("{winner} was made in the same second, and its name sorts last"),
    }
}

/// Reason for which a pod does not claim its object's addresses.
fn not_claimed(pod: &StoredPod) -> Option<&'static str> {
    if pod.host_network {
        Some("it uses the network of its node, whose address it is")
    } else if pod.finished {
        Some("it has finished and given it up")
    } else {
        None
    }
}

fn selecting(index: &Index, endpoint: &Endpoint, direction: Direction) -> Vec<String> {
    let text = |policy: PolicyName| match policy.kind {
        PolicyKind::NetworkPolicy => format!("{}/{}", policy.namespace.text(), policy.name.text()),
        kind => format!("{} {}", kind.name(), policy.name.text()),
    };
    index.policies().selecting(endpoint, direction).map(text).collect()
}
