//! Cilium's agent metrics for a cluster without Cilium: one file for each category.
//!
//! A family is exposed where a true source exists, and computed at a scrape from counters that
//! exist. `docs/agent-metrics.md` is written from these files: it has each family's source, and
//! each that is left out with the reason.

pub mod api;
pub mod cluster_health;
pub mod cluster_mesh;
pub mod control_plane;
pub mod controllers;
pub mod datapath;
pub mod drop_forward;
pub mod ebpf;
pub mod endpoint;
pub mod errors;
pub mod fqdn;
pub mod identity;
pub mod ipam;
pub mod ipsec;
pub mod kubernetes;
pub mod l7_policy;
pub mod node_connectivity;
pub mod nodes;
pub mod policy;
pub mod process;
pub mod services;

use crate::families::Category;

/// All categories, in the order of the documents.
pub static CATEGORIES: &[&Category] = &[
    &cluster_health::CATEGORY,
    &node_connectivity::CATEGORY,
    &process::CATEGORY,
    &errors::CATEGORY,
    &datapath::CATEGORY,
    &ipsec::CATEGORY,
    &ebpf::CATEGORY,
    &drop_forward::CATEGORY,
    &controllers::CATEGORY,
    &api::CATEGORY,
    &l7_policy::CATEGORY,
    &fqdn::CATEGORY,
    &cluster_mesh::CATEGORY,
    &endpoint::CATEGORY,
    &services::CATEGORY,
    &nodes::CATEGORY,
    &identity::CATEGORY,
    &policy::CATEGORY,
    &ipam::CATEGORY,
    &kubernetes::CATEGORY,
    &control_plane::CATEGORY,
];
