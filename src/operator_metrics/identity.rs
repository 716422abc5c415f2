//! Identities, which webb's operator does not make.

use crate::families::{Absent, Category};

/// The category.
pub static CATEGORY: Category = Category {
    title: "Identities",
    families: &[],
    absent: &[
        Absent {
            name: "cilium_operator_identity_gc_*",
            reason: "webb's identities are no objects: nothing is collected",
        },
        Absent { name: "cilium_operator_cid_controller_*", reason: "webb makes no CiliumIdentities" },
    ],
};
