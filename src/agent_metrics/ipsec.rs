//! IPsec.

use std::sync::Arc;

use crate::families::{Category, CategorySource, cilium_families};
use crate::ipsec::Ipsec;

cilium_families! {
    XFRM_ERROR: gauge "cilium_ipsec_xfrm_error" ["type", "error"]
        "Total number of xfrm errors"
        from "`/proc/net/xfrm_stat` of the node's network namespace. Rows that Cilium has no name for are left out. Absent \
              without `CONFIG_XFRM_STATISTICS` in the kernel";
    KEYS: gauge "cilium_ipsec_keys" []
        "Number of keys in use"
        from "distinct keys of the states in a netlink dump, whichever program has made them. Absent without \
              `CONFIG_XFRM_USER` in the kernel, and with `privileges.least`: a dump takes CAP_NET_ADMIN";
    STATES: gauge "cilium_ipsec_xfrm_states" ["direction"]
        "Number of XFRM states"
        from "the same dump. The direction is the kernel's (Linux 6.10), else `out` for a state whose source is an address of \
              this node, and `in` for one whose destination is; others are left out";
    POLICIES: gauge "cilium_ipsec_xfrm_policies" ["direction"]
        "Number of XFRM policies"
        from "the same dump; those of sockets are left out";
}

/// The category.
pub static CATEGORY: Category = Category { title: "IPsec", families: FAMILIES, absent: &[] };

/// Source of the rows.
pub fn source(ipsec: Arc<Ipsec>) -> CategorySource {
    Box::new(move |rows| {
        let found = ipsec.found();
        for error in found.errors.iter().flatten() {
            rows.add(&XFRM_ERROR, &[error.direction, error.error], error.count);
        }
        let Some(counts) = found.counts else { return };
        rows.add(&KEYS, &[], counts.keys);
        for (direction, count) in ["in", "out"].iter().zip(counts.states) {
            rows.add(&STATES, &[direction], count);
        }
        for (direction, count) in ["in", "out", "fwd"].iter().zip(counts.policies) {
            rows.add(&POLICIES, &[direction], count);
        }
    })
}
