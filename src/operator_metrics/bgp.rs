//! BGP, which webb's operator does not speak.

use crate::families::{Absent, Category};

/// The category.
pub static CATEGORY: Category = Category {
    title: "BGP",
    families: &[],
    absent: &[Absent { name: "cilium_operator_bgp_control_plane_*", reason: "webb announces no routes" }],
};
