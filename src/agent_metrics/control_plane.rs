//! Parts of Cilium's control plane that a cluster without Cilium does not have.

use crate::families::{Absent, Category};

/// The category, which has no families.
pub static CATEGORY: Category = Category {
    title: "KVstore, BGP and features",
    families: &[],
    absent: &[
        Absent { name: "cilium_kvstore_*", reason: "webb uses no key-value store" },
        Absent { name: "cilium_bgp_control_plane_*", reason: "webb announces no routes" },
        Absent {
            name: "cilium_api_limiter_*",
            reason: "webb's API has no such limits; `webb_http_connections_dropped_total` has those of its listeners",
        },
        Absent {
            name: "cilium_cidrgroups_referenced",
            reason: "CiliumCIDRGroups are not evaluated, and Cilium no longer has it",
        },
        Absent {
            name: "cilium_cidrgroup_translation_time_stats_seconds",
            reason: "CiliumCIDRGroups are not evaluated, and Cilium no longer has it",
        },
        Absent { name: "cilium_feature_*", reason: "they say which features of Cilium are on" },
    ],
};
