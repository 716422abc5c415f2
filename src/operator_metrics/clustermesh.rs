//! Cluster mesh, in which webb's operator has no part.

use crate::families::{Absent, Category};

/// The category.
pub static CATEGORY: Category = Category {
    title: "Cluster mesh",
    families: &[],
    absent: &[
        Absent {
            name: "cilium_clustermesh_*",
            reason: "webb's operator watches its own cluster; agents watch others, and expose this of them",
        },
        Absent { name: "cilium_operator_clustermesh_*", reason: "webb makes no EndpointSlices of other clusters" },
    ],
};
