//! Names from DNS.

use crate::families::{Absent, Category, CategorySource, cilium_families};

cilium_families! {
    GC_DELETIONS: counter "cilium_fqdn_gc_deletions_total" []
        "Number of FQDNs that have been cleaned on FQDN garbage collector job"
        from "names of DNS answers that were kept by pod and address until their time was over; absent without layer 7";
}

/// The category.
pub static CATEGORY: Category = Category {
    title: "FQDN",
    families: FAMILIES,
    absent: &[
        Absent { name: "cilium_fqdn_active_names", reason: "its `endpoint` is a number that Cilium gives out" },
        Absent { name: "cilium_fqdn_active_ips", reason: "its `endpoint` is a number that Cilium gives out" },
        Absent {
            name: "cilium_fqdn_alive_zombie_connections",
            reason: "its `endpoint` is a number that Cilium gives out",
        },
        Absent { name: "cilium_fqdn_selectors", reason: "webb enforces no policy by names" },
        Absent { name: "cilium_fqdn_semaphore_rejected_total", reason: "there is no DNS proxy" },
    ],
};

/// Source of the rows: `expired` is the number of names whose time was over, if names are kept.
pub fn source(expired: impl Fn() -> Option<u64> + Send + Sync + 'static) -> CategorySource {
    Box::new(move |rows| {
        if let Some(expired) = expired() {
            rows.add(&GC_DELETIONS, &[], expired);
        }
    })
}
