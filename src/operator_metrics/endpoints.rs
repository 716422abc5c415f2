//! CiliumEndpoints and CiliumEndpointSlices, which webb's operator does not make.

use crate::families::{Absent, Category};

/// The category.
pub static CATEGORY: Category = Category {
    title: "CiliumEndpoints and CiliumEndpointSlices",
    families: &[],
    absent: &[
        Absent { name: "cilium_operator_endpoint_gc_objects", reason: "webb makes no CiliumEndpoints" },
        Absent { name: "cilium_operator_number_of_*", reason: "webb makes no CiliumEndpointSlices" },
        Absent { name: "cilium_operator_ces_*", reason: "webb makes no CiliumEndpointSlices" },
    ],
};
