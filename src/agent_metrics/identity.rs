//! Identities: the sets of labels that pods have.

use std::sync::Arc;

use webb_cluster::Cache;

use crate::families::{Absent, Category, CategorySource, cilium_families};

cilium_families! {
    IDENTITY: gauge "cilium_identity" ["type"]
        "Number of identities currently allocated"
        from "distinct label sets of the pods of `cilium_endpoint`: `cluster_local`. An identity's number is a hash of its \
              labels, so that nothing allocates it. Reserved identities are fixed and not counted; there are no others";
    LABEL_SOURCES: gauge "cilium_identity_label_sources" ["source"]
        "Number of identities which contain at least one label of the given label source"
        from "the same label sets, all of whose labels are Kubernetes': `k8s`";
}

/// The category.
pub static CATEGORY: Category = Category {
    title: "Identity",
    families: FAMILIES,
    absent: &[
        Absent { name: "cilium_identity_updater_timer_*", reason: "identities are hashes and need no updates" },
        Absent { name: "cilium_ipcache_*", reason: "webb has no map of addresses and identities" },
    ],
};

/// Source of the rows.
pub fn source(cache: Arc<Cache>) -> CategorySource {
    Box::new(move |rows| {
        if !rows.wants(&IDENTITY) && !rows.wants(&LABEL_SOURCES) {
            return;
        }
        let identities = cache.node_identities() as u64;
        rows.add(&IDENTITY, &["cluster_local"], identities);
        rows.add(&LABEL_SOURCES, &["k8s"], identities);
    })
}
