//! One end of a flow, with every name that a context can need, computed beforehand.
//!
//! The identifiers (hubble-contract §2.2) are functions of the endpoint alone, but for `ip` and
//! `dns`; they are computed here once per index, so the event path copies a [`Sym`] and formats
//! nothing.

use webb_flow::Sort;
use webb_flow::sym::Sym;

/// Type of an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum EndpointKind {
    /// Nothing known.
    #[default]
    Unknown,
    /// A pod.
    Pod,
    /// This node: `reserved:host`.
    Host,
    /// Another node: `reserved:remote-node`.
    RemoteNode,
    /// Outside the cluster: `reserved:world`.
    World,
    /// A pod that is not known, at an address of pods: `reserved:unknown`.
    Unnamed,
    /// Any other reserved identity.
    Reserved,
    /// A pod, node or service of another cluster of the mesh. No selector of a policy selects it.
    Mesh,
}

/// `flow.Workload`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Workload {
    /// For example `deathstar`.
    pub name: String,
    /// For example `Deployment`.
    pub kind: String,
}

/// Fields of an endpoint before its names are computed: `flow.Endpoint`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct EndpointSpec {
    /// Numeric security identity; 0 is unknown.
    pub identity: u32,
    /// Name of its cluster; empty where there is none.
    pub cluster: String,
    /// Namespace; empty where there is none.
    pub namespace: String,
    /// Pod name; empty where there is none.
    pub pod_name: String,
    /// `source:key=value`, sorted bytewise as Hubble prints them.
    pub labels: Vec<String>,
    /// Workloads; only the first is ever shown, filters match all.
    pub workloads: Vec<Workload>,
}

/// The labels of what is outside the cluster.
const WORLD: [&str; 3] = ["reserved:world", "reserved:world-ipv4", "reserved:world-ipv6"];

/// One end of a flow. All names are interned, and owned by the index; an absent one is
/// `Sym::EMPTY`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[allow(missing_docs, reason = "each field is the identifier of the same name in the hubble-contract §2.2")]
pub struct Endpoint {
    pub kind: EndpointKind,
    /// True for a pod of this node.
    pub local: bool,
    /// True with a label `reserved:world`, `reserved:world-ipv4` or `reserved:world-ipv6`, whatever
    /// else it is.
    pub world: bool,
    /// True for a pod in a network beside the cluster's, which NetworkPolicies do not cover.
    pub other_network: bool,
    /// Number of the entry of `zones.cidrs` that holds the address, from 1; 0 for none.
    pub cidr: u16,
    /// Row in the compiled policies; only meaningful for pods.
    pub policy_subject: u32,
    /// The node that a pod runs on.
    pub node: Sym,
    pub identity_number: u32,
    /// All labels joined with `,`: the identifier `identity`. Empty in an endpoint whose names are
    /// computed at the first lookup; read it by [`crate::Index::identity`].
    pub identity: Sym,
    pub cluster: Sym,
    pub namespace: Sym,
    pub pod: Sym,
    pub pod_name: Sym,
    pub reserved_identity: Sym,
    pub workload: Sym,
    pub workload_name: Sym,
    pub workload_kind: Sym,
    /// Every workload as `name/kind`, joined with `,`: for filters, which match all of them.
    pub workloads: Sym,
    pub app: Sym,
}

impl Endpoint {
    /// No endpoint: every name is empty.
    pub const EMPTY: Self = Self {
        kind: EndpointKind::Unknown,
        local: false,
        world: false,
        other_network: false,
        cidr: 0,
        policy_subject: 0,
        node: Sym::EMPTY,
        identity_number: 0,
        identity: Sym::EMPTY,
        cluster: Sym::EMPTY,
        namespace: Sym::EMPTY,
        pod: Sym::EMPTY,
        pod_name: Sym::EMPTY,
        reserved_identity: Sym::EMPTY,
        workload: Sym::EMPTY,
        workload_name: Sym::EMPTY,
        workload_kind: Sym::EMPTY,
        workloads: Sym::EMPTY,
        app: Sym::EMPTY,
    };

    /// `reserved:world`, identity 2.
    pub fn world() -> Self {
        Self::reserved(EndpointKind::World, 2, "reserved:world")
    }

    /// `reserved:unknown`, identity 0.
    pub fn unnamed() -> Self {
        Self::reserved(EndpointKind::Unnamed, 0, "reserved:unknown")
    }

    /// An endpoint that has one reserved label and nothing else.
    pub fn reserved(kind: EndpointKind, identity: u32, label: &str) -> Self {
        Self::new(kind, false, &EndpointSpec { identity, labels: vec![label.to_owned()], ..EndpointSpec::default() })
    }

    /// Works out every name, and interns them for ever. Not for the event path.
    pub fn new(kind: EndpointKind, local: bool, spec: &EndpointSpec) -> Self {
        let identity = Sym::new(&spec.labels.join(","));
        Self { identity, ..Self::named(kind, local, spec, Sym::new) }
    }

    /// Works out every name but the identity, each interned by `intern`.
    pub fn named(kind: EndpointKind, local: bool, spec: &EndpointSpec, mut intern: impl FnMut(&str) -> Sym) -> Self {
        let (workload_name, workload_kind) =
            spec.workloads.first().map_or(("", ""), |first| (first.name.as_str(), first.kind.as_str()));
        // Two clusters may have a pod of the same name in a namespace of the same name.
        let prefix = if kind == EndpointKind::Mesh { spec.cluster.as_str() } else { "" };
        let namespace = qualified(prefix, &spec.namespace);
        let namespace = if spec.namespace.is_empty() { "" } else { &namespace };
        Self {
            kind,
            local,
            world: spec.labels.iter().any(|label| WORLD.contains(&label.as_str())),
            other_network: false,
            cidr: 0,
            policy_subject: 0,
            node: Sym::EMPTY,
            identity_number: spec.identity,
            identity: Sym::EMPTY,
            cluster: intern(&spec.cluster),
            namespace: intern(&spec.namespace),
            // A namespace without a pod name gives `ns/`, as Hubble does (quirk 6).
            pod: intern(&qualified(namespace, &spec.pod_name)),
            pod_name: intern(&spec.pod_name),
            reserved_identity: intern(reserved_identity(&spec.labels)),
            workload: if workload_name.is_empty() { Sym::EMPTY } else { intern(&qualified(namespace, workload_name)) },
            workload_name: intern(workload_name),
            workload_kind: intern(workload_kind),
            workloads: intern(&workloads(&spec.workloads)),
            app: intern(app(&spec.labels)),
        }
    }

    /// The sort that an [`webb_flow::EndpointId`] of it carries.
    pub(crate) fn sort(&self) -> Sort {
        match self.kind {
            EndpointKind::Unknown => Sort::Unknown,
            EndpointKind::Pod if self.local => Sort::Local,
            EndpointKind::Pod => Sort::Remote,
            EndpointKind::Host | EndpointKind::RemoteNode | EndpointKind::Reserved => Sort::Node,
            EndpointKind::World => Sort::World,
            EndpointKind::Mesh => Sort::Mesh,
            EndpointKind::Unnamed => Sort::Unnamed,
        }
    }
}

fn qualified(namespace: &str, name: &str) -> String {
    if namespace.is_empty() { name.to_owned() } else { format!("{namespace}/{name}") }
}

fn workloads(list: &[Workload]) -> String {
    let texts: Vec<String> = list.iter().map(|workload| format!("{}/{}", workload.name, workload.kind)).collect();
    texts.join(",")
}

fn reserved_identity(labels: &[String]) -> &str {
    const API_SERVER: &str = "reserved:kube-apiserver";
    if labels.iter().any(|label| label == API_SERVER) {
        return API_SERVER;
    }
    labels.iter().find(|label| label.starts_with("reserved:")).map_or("", String::as_str)
}

fn app(labels: &[String]) -> &str {
    const KEYS: [&str; 3] = ["k8s:app.kubernetes.io/name=", "k8s:k8s-app=", "k8s:app="];
    labels
        .iter()
        .find_map(|label| KEYS.iter().find_map(|key| label.strip_prefix(key)).filter(|value| !value.is_empty()))
        .unwrap_or("")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(spec: &EndpointSpec) -> Endpoint {
        Endpoint::new(EndpointKind::Pod, true, spec)
    }

    /// Contract, 2.2: the rules of each identifier, quirks included.
    #[test]
    fn identifiers_follow_the_contract() {
        let spec = EndpointSpec {
            namespace: "default".into(),
            pod_name: "deathstar-1".into(),
            labels: vec!["k8s:app.kubernetes.io/name=".into(), "k8s:app=deathstar".into(), "k8s:org=empire".into()],
            workloads: vec![Workload { name: "deathstar".into(), kind: "Deployment".into() }],
            ..EndpointSpec::default()
        };
        let named = endpoint(&spec);
        assert_eq!(&*named.pod.text(), "default/deathstar-1");
        assert_eq!(&*named.workload.text(), "default/deathstar");
        assert_eq!(&*named.app.text(), "deathstar");
        assert_eq!(&*named.identity.text(), "k8s:app.kubernetes.io/name=,k8s:app=deathstar,k8s:org=empire");

        let spec = EndpointSpec { cluster: "east".into(), ..spec };
        assert_eq!(&*endpoint(&spec).pod.text(), "default/deathstar-1");
        let of_mesh = Endpoint::new(EndpointKind::Mesh, false, &spec);
        let names = [of_mesh.pod, of_mesh.workload, of_mesh.namespace, of_mesh.cluster].map(webb_flow::sym::Sym::text);
        assert_eq!(
            names.each_ref().map(|name| &**name),
            ["east/default/deathstar-1", "east/default/deathstar", "default", "east"]
        );
        let node = EndpointSpec { cluster: "east".into(), ..EndpointSpec::default() };
        assert!(Endpoint::new(EndpointKind::Mesh, false, &node).pod.is_empty());

        let only_namespace = endpoint(&EndpointSpec { namespace: "a".into(), ..EndpointSpec::default() });
        assert_eq!(&*only_namespace.pod.text(), "a/");
        assert!(only_namespace.workload.is_empty());

        let api = EndpointSpec {
            labels: vec!["reserved:host".into(), "reserved:kube-apiserver".into()],
            ..EndpointSpec::default()
        };
        assert_eq!(&*endpoint(&api).reserved_identity.text(), "reserved:kube-apiserver");

        let labels = vec!["cidr:1.1.1.1/32".into(), "reserved:world-ipv4".into()];
        assert!(endpoint(&EndpointSpec { labels, ..EndpointSpec::default() }).world);
        assert!(Endpoint::world().world);
        let labels = vec!["reserved:world-ipv".into(), "k8s:a=reserved:world".into()];
        assert!(!endpoint(&EndpointSpec { labels, ..EndpointSpec::default() }).world);
    }
}
