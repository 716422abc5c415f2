//! Kinds of policy that belong to a vendor: what their mere presence means for verdicts.
//!
//! Their rules are not read. A policy of theirs may allow what every other policy forbids, or
//! forbid what they allow, so the pods that it may concern get no verdict: those of its namespace,
//! or all where it has none. Kinds that only copy other policies, stage or help them are listed
//! too, with no effect.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{Hash, Hasher};

use webb_index::policy::Effect;

use super::ObjectKey;

/// The group of the kinds that are evaluated, beside NetworkPolicy. A kind of it that is not known
/// may overrule them all.
pub(super) const TIERED: &str = "policy.networking.k8s.io";

/// A kind of policy by group and plural, as the API's paths name it.
#[derive(Debug, Clone, Copy)]
pub struct OtherKind(&'static Row);

/// A row of the table.
#[derive(Debug)]
struct Row {
    group: &'static str,
    kind: &'static str,
    plural: &'static str,
    scope: Scope,
    effect: Effect,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scope {
    Namespaced,
    Cluster,
    /// A kind from the configuration: each object decides.
    Open,
}

impl PartialEq for OtherKind {
    fn eq(&self, other: &Self) -> bool {
        (self.0.group, self.0.plural) == (other.0.group, other.0.plural)
    }
}

impl Eq for OtherKind {}

impl PartialOrd for OtherKind {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for OtherKind {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.0.group, self.0.plural).cmp(&(other.0.group, other.0.plural))
    }
}

impl Hash for OtherKind {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.0.group, self.0.plural).hash(state);
    }
}

impl OtherKind {
    /// Its API group.
    pub fn group(self) -> &'static str {
        self.0.group
    }

    /// Name in the field `kind:`.
    pub fn name(self) -> &'static str {
        self.0.kind
    }

    /// Plural name in paths and roles.
    pub fn plural(self) -> &'static str {
        self.0.plural
    }

    /// Effect of its objects on verdicts.
    pub fn effect(self) -> Effect {
        self.0.effect
    }

    /// True if its objects are of the whole cluster; false where only each object decides.
    pub fn is_cluster_wide(self) -> bool {
        self.0.scope == Scope::Cluster
    }

    /// The key of an object of that name: of the cluster, or in `default` if it names no namespace.
    pub fn key(self, namespace: Option<String>, name: String) -> ObjectKey {
        let namespace = namespace.filter(|namespace| !namespace.is_empty());
        let namespace = match self.0.scope {
            Scope::Cluster => String::new(),
            Scope::Open => namespace.unwrap_or_default(),
            Scope::Namespaced => namespace.unwrap_or_else(|| "default".to_owned()),
        };
        ObjectKey { namespace, name }
    }

    /// Whether an object of that name has the effect of its kind: Calico writes copies of other
    /// policies, which it names after what they are copies of.
    pub fn counts(self, name: &str) -> bool {
        let is_calico = matches!(self.0.group, "crd.projectcalico.org" | "projectcalico.org");
        self.0.effect != Effect::NONE && !(is_calico && COPIES.iter().any(|copy| name.starts_with(copy)))
    }
}

/// Beginnings of the names of Calico's copies; the last is OpenStack's.
const COPIES: [&str; 6] = [
    "knp.default.",
    "kanp.adminnetworkpolicy.",
    "kbanp.baselineadminnetworkpolicy.",
    "kcnp.kube-admin.",
    "kcnp.kube-baseline.",
    "ossg.",
];

const fn row(group: &'static str, kind: &'static str, plural: &'static str, scope: Scope, effect: Effect) -> Row {
    Row { group, kind, plural, scope, effect }
}

const CALICO_CRD: &str = "crd.projectcalico.org";
const CALICO: &str = "projectcalico.org";
const ANTREA: &str = "crd.antrea.io";
const AWS: &str = "networking.k8s.aws";

/// Each kind of other groups that is known.
static TABLE: [Row; 37] = {
    use Scope::{Cluster, Namespaced};
    const BOTH: Effect = Effect::BOTH;
    const NONE: Effect = Effect::NONE;
    [
        row("cilium.io", "CiliumNetworkPolicy", "ciliumnetworkpolicies", Namespaced, BOTH),
        row("cilium.io", "CiliumClusterwideNetworkPolicy", "ciliumclusterwidenetworkpolicies", Cluster, BOTH),
        row(CALICO_CRD, "NetworkPolicy", "networkpolicies", Namespaced, BOTH),
        row(CALICO_CRD, "GlobalNetworkPolicy", "globalnetworkpolicies", Cluster, BOTH),
        row(CALICO, "NetworkPolicy", "networkpolicies", Namespaced, BOTH),
        row(CALICO, "GlobalNetworkPolicy", "globalnetworkpolicies", Cluster, BOTH),
        row(ANTREA, "NetworkPolicy", "networkpolicies", Namespaced, BOTH),
        row(ANTREA, "ClusterNetworkPolicy", "clusternetworkpolicies", Cluster, BOTH),
        row("k8s.ovn.org", "EgressFirewall", "egressfirewalls", Namespaced, Effect::EGRESS),
        row("network.openshift.io", "EgressNetworkPolicy", "egressnetworkpolicies", Namespaced, Effect::EGRESS),
        row(AWS, "ClusterNetworkPolicy", "clusternetworkpolicies", Cluster, BOTH),
        row(AWS, "ApplicationNetworkPolicy", "applicationnetworkpolicies", Namespaced, BOTH),
        row("networking.gke.io", "FQDNNetworkPolicy", "fqdnnetworkpolicies", Namespaced, Effect::EGRESS),
        row("isovalent.com", "IsovalentNetworkPolicy", "isovalentnetworkpolicies", Namespaced, BOTH),
        row("isovalent.com", "IsovalentClusterwideNetworkPolicy", "isovalentclusterwidenetworkpolicies", Cluster, BOTH),
        row("crd.nsx.vmware.com", "SecurityPolicy", "securitypolicies", Namespaced, BOTH),
        row(CALICO_CRD, "StagedNetworkPolicy", "stagednetworkpolicies", Namespaced, NONE),
        row(CALICO_CRD, "StagedGlobalNetworkPolicy", "stagedglobalnetworkpolicies", Cluster, NONE),
        row(CALICO_CRD, "StagedKubernetesNetworkPolicy", "stagedkubernetesnetworkpolicies", Namespaced, NONE),
        row(CALICO_CRD, "Tier", "tiers", Cluster, NONE),
        row(CALICO_CRD, "NetworkSet", "networksets", Namespaced, NONE),
        row(CALICO_CRD, "GlobalNetworkSet", "globalnetworksets", Cluster, NONE),
        row(CALICO_CRD, "HostEndpoint", "hostendpoints", Cluster, NONE),
        row(CALICO, "StagedNetworkPolicy", "stagednetworkpolicies", Namespaced, NONE),
        row(CALICO, "StagedGlobalNetworkPolicy", "stagedglobalnetworkpolicies", Cluster, NONE),
        row(CALICO, "StagedKubernetesNetworkPolicy", "stagedkubernetesnetworkpolicies", Namespaced, NONE),
        row(CALICO, "Tier", "tiers", Cluster, NONE),
        row(CALICO, "Profile", "profiles", Cluster, NONE),
        row(CALICO, "NetworkSet", "networksets", Namespaced, NONE),
        row(CALICO, "GlobalNetworkSet", "globalnetworksets", Cluster, NONE),
        row(CALICO, "HostEndpoint", "hostendpoints", Cluster, NONE),
        row(ANTREA, "Tier", "tiers", Cluster, NONE),
        row("controlplane.antrea.io", "NetworkPolicy", "networkpolicies", Cluster, NONE),
        row(AWS, "PolicyEndpoint", "policyendpoints", Namespaced, NONE),
        row(AWS, "ClusterPolicyEndpoint", "clusterpolicyendpoints", Cluster, NONE),
        row("vpcresources.k8s.aws", "SecurityGroupPolicy", "securitygrouppolicies", Namespaced, NONE),
        row("k8s.ovn.org", "AdminPolicyBasedExternalRoute", "adminpolicybasedexternalroutes", Cluster, NONE),
    ]
};

/// The kinds that are no policies, and that an operator reads where the server has them.
static VIEWED: [Row; 4] = [
    row(MULTICLUSTER, "ServiceExport", "serviceexports", Scope::Namespaced, Effect::NONE),
    row(MULTICLUSTER, "ServiceImport", "serviceimports", Scope::Namespaced, Effect::NONE),
    row("gateway.networking.k8s.io", "GatewayClass", "gatewayclasses", Scope::Cluster, Effect::NONE),
    row("networking.k8s.io", "IngressClass", "ingressclasses", Scope::Cluster, Effect::NONE),
];

/// The group of the Multi-Cluster Services API.
const MULTICLUSTER: &str = "multicluster.x-k8s.io";

impl OtherKind {
    /// The kinds that are no policies, and that an operator reads: `ServiceExport`,
    /// `ServiceImport`, `GatewayClass` and `IngressClass`.
    pub fn viewed() -> [Self; 4] {
        VIEWED.each_ref().map(Self)
    }
}

/// The kinds that are looked for: the table's, and those that the configuration adds. Empty if it
/// ignores them all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OtherKinds {
    /// Whether none of them matters.
    ignored: bool,
    added: Vec<OtherKind>,
}

impl OtherKinds {
    /// All that are known, and those of `added`: group, plural and effect. One of the table may be
    /// given another effect.
    pub fn new(ignored: bool, added: &[(String, String, Effect)]) -> Self {
        let leak = |text: &String| -> &'static str { Box::leak(text.clone().into_boxed_str()) };
        let added = added.iter().map(|(group, plural, effect)| {
            let known = TABLE.iter().find(|row| row.group == group && row.plural == plural);
            let (kind, scope) = known.map_or_else(|| (leak(plural), Scope::Open), |row| (row.kind, row.scope));
            // What the configuration names stays for as long as the process, and is a few lines.
            OtherKind(Box::leak(Box::new(row(leak(group), kind, leak(plural), scope, *effect))))
        });
        Self { ignored, added: added.collect() }
    }

    /// Whether none of them matters: then none need be listed.
    pub fn are_ignored(&self) -> bool {
        self.ignored
    }

    /// The kind of a group by its plural, as discovery names it.
    pub fn find(&self, group: &str, plural: &str) -> Option<OtherKind> {
        let is = |kind: &OtherKind| kind.group() == group && kind.plural() == plural;
        self.added.iter().copied().find(is).or_else(|| TABLE.iter().map(OtherKind).find(is))
    }

    /// The kind of a group by its name, as an object names it.
    pub fn find_kind(&self, group: &str, kind: &str) -> Option<OtherKind> {
        let known = TABLE.iter().find(|row| row.group == group && row.kind == kind);
        self.find(group, &known.map_or_else(|| plural(kind), |row| row.plural.to_owned()))
    }

    /// The kinds that have an effect: those that are to be listed where the API server has them.
    pub fn with_effect(&self) -> Vec<OtherKind> {
        let table = TABLE.iter().map(OtherKind).filter(|kind| !self.added.contains(kind));
        let all = table.chain(self.added.iter().copied());
        all.filter(|kind| !self.ignored && kind.effect() != Effect::NONE).collect()
    }
}

/// The plural of a kind, guessed as Kubernetes guesses it.
fn plural(kind: &str) -> String {
    let kind = kind.to_ascii_lowercase();
    match kind.strip_suffix('y') {
        Some(stem) => format!("{stem}ies"),
        None if kind.ends_with('s') => format!("{kind}es"),
        None => format!("{kind}s"),
    }
}

/// Known policies beyond those that are evaluated, and missing parts of the latter.
#[derive(Debug, Default)]
pub(super) struct Others {
    pub(super) objects: BTreeMap<OtherKind, BTreeSet<ObjectKey>>,
    /// Kinds that the server has and that cannot be listed.
    pub(super) unlisted: BTreeSet<OtherKind>,
    /// Kinds by group that are policies by their name or group, and of which nothing is known.
    pub(super) strange: BTreeSet<(String, String)>,
    /// Reasons for which evaluated policies are incomplete, by the missing part.
    pub(super) incomplete: BTreeMap<String, String>,
}

impl Others {
    /// The effect on every pod, and that on the pods of each namespace.
    pub(super) fn effects(&self, kinds: &OtherKinds) -> (Effect, HashMap<String, Effect>) {
        let mut all = if self.incomplete.is_empty() { Effect::NONE } else { Effect::BOTH };
        let mut namespaces: HashMap<String, Effect> = HashMap::new();
        if kinds.are_ignored() {
            return (all, namespaces);
        }
        if self.strange.iter().any(|(group, _)| group == TIERED) {
            all = Effect::BOTH;
        }
        for kind in &self.unlisted {
            all = all.with(kind.effect());
        }
        for (kind, key) in self.counting() {
            if key.namespace.is_empty() {
                all = all.with(kind.effect());
            } else {
                let effect = namespaces.entry(key.namespace.clone()).or_insert(Effect::NONE);
                *effect = effect.with(kind.effect());
            }
        }
        (all, namespaces)
    }

    /// The objects that have an effect.
    pub(super) fn counting(&self) -> impl Iterator<Item = (OtherKind, &ObjectKey)> {
        let all = self.objects.iter().flat_map(|(kind, keys)| keys.iter().map(|key| (*kind, key)));
        all.filter(|(kind, key)| kind.counts(&key.name))
    }

    /// Readable reason for undecided verdicts; empty if there is none.
    pub(super) fn complaint(&self, kinds: &OtherKinds) -> String {
        const MAX_NAMES_SHOWN: usize = 10;
        let mut parts: Vec<String> =
            self.incomplete.iter().map(|(what, why)| format!("no verdicts: {what}: {why}")).collect();
        if !kinds.are_ignored() {
            let mut places: BTreeMap<OtherKind, BTreeSet<&str>> = BTreeMap::new();
            for (kind, key) in self.counting() {
                places.entry(kind).or_default().insert(&key.namespace);
            }
            let counted = !places.is_empty() || !self.unlisted.is_empty();
            for (kind, namespaces) in places {
                let further = namespaces.len().saturating_sub(MAX_NAMES_SHOWN);
                let shown: Vec<&str> = namespaces.iter().copied().take(MAX_NAMES_SHOWN).collect();
                let mut place = format!("in {}", shown.join(", "));
                if further > 0 {
                    place.push_str(&format!(" and {further} more namespaces"));
                }
                if namespaces.contains("") {
                    "in every namespace".clone_into(&mut place);
                }
                parts.push(format!("{} ({}) {place}", kind.name(), kind.group()));
            }
            for kind in &self.unlisted {
                parts.push(format!("{} ({}), which cannot be listed, in every namespace", kind.name(), kind.group()));
            }
            if counted {
                let silence = "`policies.other_kinds: ignore` if they change nothing";
                parts.push(format!("policies of other kinds leave verdicts undecided; {silence}"));
            }
            for (group, kind) in &self.strange {
                let effect = if group == TIERED { "no verdicts: " } else { "" };
                parts.push(format!("{effect}{kind} ({group}) is not known; `policies.more_kinds` can define it"));
            }
        }
        parts.join("; ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two rows of one group and plural, or of one group and kind, would hide each other.
    #[test]
    fn rows_are_distinct() {
        let kinds = OtherKinds::default();
        for row in &TABLE {
            let by_plural = kinds.find(row.group, row.plural).unwrap();
            let by_kind = kinds.find_kind(row.group, row.kind).unwrap();
            assert_eq!((by_plural.name(), by_kind.plural()), (row.kind, row.plural));
        }
        assert_eq!(kinds.with_effect().len(), 16);
        assert_eq!(OtherKinds::new(true, &[]).with_effect(), []);
    }

    /// The same name in another group is another kind; copies and helpers change nothing.
    #[test]
    fn names_are_of_groups() {
        let kinds = OtherKinds::default();
        assert!(kinds.find("policy.networking.k8s.io", "clusternetworkpolicies").is_none());
        let calico = kinds.find_kind("projectcalico.org", "NetworkPolicy").unwrap();
        assert!(calico.counts("default.allow-all"));
        assert!(!calico.counts("knp.default.locked"));
        let antrea = kinds.find_kind("crd.antrea.io", "NetworkPolicy").unwrap();
        assert!(antrea.counts("knp.default.locked"));
        let staged = kinds.find_kind("projectcalico.org", "StagedNetworkPolicy").unwrap();
        assert!(!staged.counts("any"));
    }

    /// The configuration adds kinds, which are found by the plural of their name, and may change
    /// those of the table.
    #[test]
    fn kinds_are_added() {
        let add = |group: &str, plural: &str, effect| (group.to_owned(), plural.to_owned(), effect);
        let added = [
            add("example.com", "firewallpolicies", Effect::INGRESS),
            add("cilium.io", "ciliumnetworkpolicies", Effect::NONE),
        ];
        let kinds = OtherKinds::new(false, &added);
        let firewall = kinds.find_kind("example.com", "FirewallPolicy").unwrap();
        assert_eq!(firewall.effect(), Effect::INGRESS);
        assert_eq!(firewall.key(None, "x".into()).namespace, "");
        assert_eq!(firewall.key(Some("a".into()), "x".into()).namespace, "a");
        assert_eq!(kinds.find_kind("cilium.io", "CiliumNetworkPolicy").unwrap().effect(), Effect::NONE);
        assert_eq!(kinds.with_effect().len(), 16, "one more, one less");
        assert_eq!(plural("Bus"), "buses");
        assert_eq!(plural("Rule"), "rules");
    }
}
