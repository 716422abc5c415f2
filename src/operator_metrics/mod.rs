//! Cilium's operator metrics for a cluster without Cilium: one file for each category.
//!
//! Most of what Cilium's operator does has no counterpart here: webb gives out no addresses, makes
//! no identities and no objects. What is exposed are facts of the whole cluster that Kubernetes'
//! objects have, by the one replica that leads. `docs/operator-metrics.md` is written from these
//! files.

pub mod bgp;
mod cluster;
pub mod clustermesh;
pub mod controllers;
pub mod endpoints;
pub mod features;
pub mod identity;
pub mod ipam;
pub mod leader;
pub mod load_balancers;
pub mod multicluster;
pub mod pods;
pub mod process;

pub use cluster::Cluster;

use crate::families::Category;

/// The categories that every replica exposes.
pub static OF_EACH: &[&Category] = &[&process::CATEGORY, &leader::CATEGORY, &controllers::CATEGORY];

/// The categories that the leader alone exposes.
pub static OF_LEADER: &[&Category] = &[
    &pods::CATEGORY,
    &ipam::CATEGORY,
    &load_balancers::CATEGORY,
    &multicluster::CATEGORY,
    &features::CATEGORY,
    &identity::CATEGORY,
    &endpoints::CATEGORY,
    &clustermesh::CATEGORY,
    &bgp::CATEGORY,
];
