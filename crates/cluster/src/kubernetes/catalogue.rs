//! Finds the kinds of policy that a server serves.

use std::collections::BTreeSet;

use webb_index::policy::Effect;

use super::discovery::{Served, Version};
use crate::other::TIERED;
use crate::{Kind, OtherKinds};

/// Groups of Kubernetes' own that have a kind with such a name.
const OWN: [&str; 2] = ["networking.k8s.io", "extensions"];

/// A kind that is served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ServedKind {
    pub(super) kind: Kind,
    pub(super) version: String,
    /// Its objects are read as a vendor's of the whole cluster: it only matters whether there is
    /// one.
    pub(super) cluster_wide: bool,
}

/// The kinds of policy that a server has.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Catalogue {
    pub(super) found: Vec<ServedKind>,
    /// Kinds that are served in versions only that are not known: which.
    pub(super) unknown: Vec<(Kind, String)>,
    /// Groups of which it is not known what they have.
    pub(super) stale: BTreeSet<String>,
    /// The others.
    pub(super) fresh: BTreeSet<String>,
    /// Group and kind of what is a policy by its name or group, and not known.
    pub(super) strange: BTreeSet<(String, String)>,
}

impl Catalogue {
    pub(super) fn new(versions: &[Version], others: &OtherKinds) -> Self {
        let mut catalogue = Self::default();
        for kind in Kind::TIERED {
            catalogue.add_tiered(kind, versions);
        }
        for version in versions {
            match &version.resources {
                Some(resources) => {
                    catalogue.fresh.insert(version.group.clone());
                    for served in resources {
                        catalogue.add_other(version, served, others);
                    }
                }
                None => drop(catalogue.stale.insert(version.group.clone())),
            }
        }
        catalogue.fresh = &catalogue.fresh - &catalogue.stale;
        catalogue.leave_out_copies();
        catalogue
    }

    /// Adds the best of several known versions.
    fn add_tiered(&mut self, kind: Kind, versions: &[Version]) {
        let serves = |version: &&Version| {
            version.group == kind.group()
                && version.resources.iter().flatten().any(|served| served.plural == kind.plural())
        };
        let served: Vec<&str> = versions.iter().filter(serves).map(|version| version.name.as_str()).collect();
        match kind.versions().iter().find(|known| served.contains(known)) {
            Some(best) => {
                self.found.push(ServedKind { kind, version: (*best).to_owned(), cluster_wide: false });
            }
            None if served.is_empty() => {}
            None => self.unknown.push((kind, served.join(", "))),
        }
    }

    fn add_other(&mut self, Version { group, name, .. }: &Version, served: &Served, others: &OtherKinds) {
        if others.are_ignored() {
            return;
        }
        let Some(other) = others.find(group, &served.plural) else {
            let is_strange = if group == TIERED {
                !Kind::TIERED.iter().any(|kind| kind.plural() == served.plural)
            } else {
                served.kind.ends_with("NetworkPolicy") && !OWN.contains(&group.as_str())
            };
            if is_strange {
                self.strange.insert((group.clone(), served.kind.clone()));
            }
            return;
        };
        let kind = Kind::Other(other);
        // The first version is the one that the server prefers.
        if other.effect() == Effect::NONE || self.found.iter().any(|found| found.kind == kind) {
            return;
        }
        // Where the table does not know, the server does.
        let key = other.key(None, String::new());
        let cluster_wide = other.is_cluster_wide() || (!served.namespaced && key.namespace.is_empty());
        self.found.push(ServedKind { kind, version: name.clone(), cluster_wide });
    }

    /// Calico's own API server shows the same objects a second time, under other rights.
    fn leave_out_copies(&mut self) {
        let plurals: Vec<&str> = self
            .found
            .iter()
            .filter_map(|found| match found.kind {
                Kind::Other(other) if other.group() == "crd.projectcalico.org" => Some(other.plural()),
                _ => None,
            })
            .collect();
        let is_copy = |kind: Kind| match kind {
            Kind::Other(other) => other.group() == "projectcalico.org" && plurals.contains(&other.plural()),
            _ => false,
        };
        self.found.retain(|found| !is_copy(found.kind));
        if !plurals.is_empty() {
            self.stale.remove("projectcalico.org");
        }
    }

    /// The version in which a kind is served.
    pub(super) fn find(&self, kind: Kind) -> Option<&ServedKind> {
        self.found.iter().find(|found| found.kind == kind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(group: &str, name: &str, resources: &[(&str, &str, bool)]) -> Version {
        let served = resources.iter().map(|(plural, kind, namespaced)| Served {
            plural: (*plural).to_owned(),
            kind: (*kind).to_owned(),
            namespaced: *namespaced,
        });
        Version { group: group.to_owned(), name: name.to_owned(), resources: Some(served.collect()) }
    }

    fn found(catalogue: &Catalogue) -> Vec<String> {
        let text = |found: &ServedKind| {
            let wide = if found.cluster_wide { " of the cluster" } else { "" };
            format!("{}.{}/{}{wide}", found.kind.name(), found.kind.group(), found.version)
        };
        catalogue.found.iter().map(text).collect()
    }

    /// The best version that is known; kinds by group and plural, never by name alone; helpers are
    /// left out.
    #[test]
    fn kinds_are_found() {
        let cnp = ("clusternetworkpolicies", "ClusterNetworkPolicy", false);
        let versions = [
            version(TIERED, "v1alpha2", &[cnp]),
            version(TIERED, "v1beta1", &[cnp]),
            version(TIERED, "v1alpha1", &[("adminnetworkpolicies", "AdminNetworkPolicy", false)]),
            version("networking.k8s.io", "v1", &[("networkpolicies", "NetworkPolicy", true)]),
            version("crd.antrea.io", "v1beta1", &[cnp, ("tiers", "Tier", false)]),
            version("cilium.io", "v2", &[("ciliumnetworkpolicies", "CiliumNetworkPolicy", true)]),
            version("cilium.io", "v2alpha1", &[("ciliumnetworkpolicies", "CiliumNetworkPolicy", true)]),
            version("example.com", "v1", &[("mynetworkpolicies", "MyNetworkPolicy", true)]),
        ];
        let catalogue = Catalogue::new(&versions, &OtherKinds::default());
        let all = [
            "AdminNetworkPolicy.policy.networking.k8s.io/v1alpha1",
            "ClusterNetworkPolicy.policy.networking.k8s.io/v1beta1",
            "ClusterNetworkPolicy.crd.antrea.io/v1beta1 of the cluster",
            "CiliumNetworkPolicy.cilium.io/v2",
        ];
        assert_eq!(found(&catalogue), all);
        assert_eq!(catalogue.strange, [("example.com".to_owned(), "MyNetworkPolicy".to_owned())].into());
        assert_eq!((catalogue.unknown, catalogue.stale), (vec![], BTreeSet::new()));
        let catalogue = Catalogue::new(&versions, &OtherKinds::new(true, &[]));
        assert_eq!(found(&catalogue), all[..2], "ignored");
        assert!(catalogue.strange.is_empty());
    }

    /// A version of later times is not guessed at.
    #[test]
    fn versions_may_be_unknown() {
        let versions = [version(TIERED, "v2", &[("clusternetworkpolicies", "ClusterNetworkPolicy", false)])];
        let catalogue = Catalogue::new(&versions, &OtherKinds::default());
        assert_eq!(catalogue.unknown, [(Kind::ClusterNetworkPolicy, "v2".to_owned())]);
        assert!(catalogue.found.is_empty());
    }

    /// Calico's kinds are read where they are stored; through its own API server only where that is
    /// the only way.
    #[test]
    fn copies_are_left_out() {
        let stored = version("crd.projectcalico.org", "v1", &[("networkpolicies", "NetworkPolicy", true)]);
        let shown = version("projectcalico.org", "v3", &[("networkpolicies", "NetworkPolicy", true)]);
        let away = Version { resources: None, ..shown.clone() };
        let stale: BTreeSet<String> = ["projectcalico.org".to_owned()].into();
        for (versions, kinds, unknown) in [
            (vec![stored.clone(), shown.clone()], vec!["NetworkPolicy.crd.projectcalico.org/v1"], BTreeSet::new()),
            (vec![shown], vec!["NetworkPolicy.projectcalico.org/v3"], BTreeSet::new()),
            (vec![stored, away.clone()], vec!["NetworkPolicy.crd.projectcalico.org/v1"], BTreeSet::new()),
            (vec![away], vec![], stale),
        ] {
            let catalogue = Catalogue::new(&versions, &OtherKinds::default());
            assert_eq!((found(&catalogue), catalogue.stale), (kinds.into_iter().map(str::to_owned).collect(), unknown));
        }
    }

    /// The scope of a kind that the configuration adds is the server's word.
    #[test]
    fn kinds_of_the_configuration() {
        let added = [("example.com".to_owned(), "firewalls".to_owned(), Effect::BOTH)];
        for (namespaced, text) in
            [(true, "firewalls.example.com/v1"), (false, "firewalls.example.com/v1 of the cluster")]
        {
            let versions = [version("example.com", "v1", &[("firewalls", "Firewall", namespaced)])];
            assert_eq!(found(&Catalogue::new(&versions, &OtherKinds::new(false, &added))), [text]);
        }
    }
}
