//! Policies.

use std::sync::Arc;

use webb_cluster::kubernetes::{Action, EventCounts, Watched};
use webb_cluster::{Cache, Kind};
use webb_settings::Compat;

use super::kubernetes::Watches;
use crate::families::{Absent, Category, CategorySource, SelectedRows, Versions, cilium_families};

cilium_families! {
    POLICY: gauge "cilium_policy" []
        "Number of policies currently loaded"
        from "NetworkPolicies and policies of `policy.networking.k8s.io` of the cluster, all of which are evaluated";
    CHANGES: counter "cilium_policy_change_total" ["outcome"]
        "Number of policy changes by outcome"
        from "events of the watches of these that changed something (`success`), or whose object cannot be used \
              (`failure`)", in Versions::to(Compat::V1_19);
    CHANGES_BY_SOURCE: counter "cilium_policy_change_total" ["source", "operation", "outcome"]
        "Number of policy changes by source, operation and outcome"
        from "as in earlier versions; `source` is `k8s`, and a failure is `fail`", in Versions::from(Compat::V1_20);
    ENFORCEMENT: gauge "cilium_policy_endpoint_enforcement_status" ["enforcement"]
        "Number of endpoints labeled by policy enforcement status"
        from "the pods of `cilium_endpoint` by the `policyTypes` of the NetworkPolicies that select them, whether the CNI \
              enforces these or not. webb has no audit mode: `audit-*` is 0";
}

/// The category.
pub static CATEGORY: Category = Category {
    title: "Policy",
    families: FAMILIES,
    absent: &[
        Absent { name: "cilium_policy_max_revision", reason: "there is no repository of policies with revisions" },
        Absent { name: "cilium_policy_implementation_delay", reason: "webb enforces no policy" },
        Absent { name: "cilium_policy_incremental_update_duration", reason: "webb enforces no policy" },
        Absent { name: "cilium_policy_selector_cache_*", reason: "webb has no cache of selectors" },
        Absent {
            name: "cilium_policy_selector_match_count_max",
            reason: "webb keeps matches of selectors with groups of pods that have all labels in common, those of single \
                     copies too, and these groups are no identities",
        },
        Absent { name: "cilium_policy_missing_proxy_redirects", reason: "there is no proxy" },
        Absent { name: "cilium_policy_regeneration_*", reason: "webb enforces no policy" },
    ],
};

/// The kinds that [`POLICY`] counts.
const KINDS: [Kind; 4] =
    [Kind::NetworkPolicy, Kind::AdminNetworkPolicy, Kind::BaselineAdminNetworkPolicy, Kind::ClusterNetworkPolicy];

/// Source of the rows.
pub fn source(cache: Arc<Cache>, watches: Watches) -> CategorySource {
    Box::new(move |rows| {
        let counts = cache.counts();
        let tiered =
            counts.admin_network_policies + counts.baseline_admin_network_policies + counts.cluster_network_policies;
        rows.add(&POLICY, &[], (counts.network_policies + tiered) as u64);
        watches(&mut |status| {
            let found = status.found();
            let watched = status.watched().iter().chain(found.iter().map(AsRef::as_ref));
            let events = |watched: &Watched| (watched.kind, Action::ALL.map(|action| watched.events(action)));
            add_changes(rows, watched.map(events));
        });
        if !rows.wants(&ENFORCEMENT) {
            return;
        }
        let pods = cache.isolation();
        for (enforcement, count) in [
            ("none", pods.none),
            ("ingress", pods.ingress),
            ("egress", pods.egress),
            ("both", pods.both),
            ("audit-ingress", 0),
            ("audit-egress", 0),
            ("audit-both", 0),
        ] {
            rows.add(&ENFORCEMENT, &[enforcement], count as u64);
        }
    })
}

/// Adds the rows of changes, from the events of each kind by action.
fn add_changes(rows: &mut SelectedRows<'_>, events: impl Iterator<Item = (Kind, [EventCounts; Action::ALL.len()])>) {
    let (mut updated, mut deleted, mut failed) = (0, 0, 0);
    for (_, [created, update, delete]) in events.filter(|(kind, _)| KINDS.contains(kind)) {
        updated += created.changed + update.changed;
        deleted += delete.changed;
        failed += update.invalid;
    }
    rows.add(&CHANGES, &["success"], updated + deleted);
    rows.add(&CHANGES, &["failure"], failed);
    rows.add(&CHANGES_BY_SOURCE, &["k8s", "update", "success"], updated);
    rows.add(&CHANGES_BY_SOURCE, &["k8s", "delete", "success"], deleted);
    rows.add(&CHANGES_BY_SOURCE, &["k8s", "update", "fail"], failed);
}

#[cfg(test)]
mod tests {
    use webb_cluster::{CacheSettings, parse};

    use super::*;
    use crate::families::{CategorySource, listed};

    /// Changes are those of evaluated kinds: what was created, changed, deleted or cannot be used,
    /// and nothing that is as before.
    #[test]
    fn changes_of_policies() {
        let counts = |changed, equal, invalid| EventCounts { changed, equal, invalid, since_last: None };
        let source: CategorySource = Box::new(move |rows| {
            let policies = [counts(1, 2, 0), counts(4, 8, 16), counts(32, 64, 0)];
            let tiered = [counts(128, 0, 0), counts(0, 0, 256), counts(512, 0, 0)];
            let pods = [counts(9, 9, 9); 3];
            let kinds = [(Kind::NetworkPolicy, policies), (Kind::AdminNetworkPolicy, tiered), (Kind::Pod, pods)];
            add_changes(rows, kinds.into_iter());
        });
        assert_eq!(
            listed(&source, Compat::V1_19),
            ["cilium_policy_change_total [failure] 272", "cilium_policy_change_total [success] 677"]
        );
        assert_eq!(
            listed(&source, Compat::V1_20),
            [
                "cilium_policy_change_total [k8s delete success] 544",
                "cilium_policy_change_total [k8s update fail] 272",
                "cilium_policy_change_total [k8s update success] 133",
            ]
        );
    }

    /// Policies of all evaluated kinds are counted, and this node's pods by the directions that the
    /// NetworkPolicies among them restrict. Without watches no change is known.
    #[test]
    fn policies_and_the_pods_that_they_select() {
        let cache = Cache::new(CacheSettings { node: "n1".into(), ..CacheSettings::default() });
        let text = "
apiVersion: v1
kind: Pod
metadata: {name: plain, namespace: a}
spec: {nodeName: n1}
status: {podIP: 10.0.0.1}
---
apiVersion: v1
kind: Pod
metadata: {name: guarded, namespace: a, labels: {app: db}}
spec: {nodeName: n1}
status: {podIP: 10.0.0.2}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: in, namespace: a}
spec: {podSelector: {matchLabels: {app: db}}, policyTypes: [Ingress]}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: out, namespace: a}
spec: {podSelector: {}, policyTypes: [Egress]}
---
apiVersion: policy.networking.k8s.io/v1alpha1
kind: AdminNetworkPolicy
metadata: {name: all}
spec: {priority: 5, subject: {namespaces: {}}}
";
        for object in parse("test", text).unwrap().objects {
            cache.upsert(object);
        }
        let source = source(Arc::new(cache), Arc::new(|_| {}));
        assert_eq!(
            listed(&source, Compat::V1_19),
            [
                "cilium_policy [] 3",
                "cilium_policy_endpoint_enforcement_status [audit-both] 0",
                "cilium_policy_endpoint_enforcement_status [audit-egress] 0",
                "cilium_policy_endpoint_enforcement_status [audit-ingress] 0",
                "cilium_policy_endpoint_enforcement_status [both] 1",
                "cilium_policy_endpoint_enforcement_status [egress] 1",
                "cilium_policy_endpoint_enforcement_status [ingress] 0",
                "cilium_policy_endpoint_enforcement_status [none] 0",
            ]
        );
    }
}
