//! Multi-Cluster Services, where the cluster has their API.

use webb_cluster::ObjectKey;
use webb_cluster::view::{Condition, ViewedKind};

use super::cluster::Cluster;
use crate::families::{Category, CategorySource, Family, SelectedRows, cilium_families};

cilium_families! {
    EXPORT_INFO: gauge "cilium_operator_mcsapi_serviceexport_info" ["serviceexport", "namespace"]
        "Information about ServiceExport in the local cluster"
        from "the ServiceExports of `multicluster.x-k8s.io`; always 1";
    EXPORT_CONDITION: gauge "cilium_operator_mcsapi_serviceexport_status_condition"
        ["serviceexport", "namespace", "condition", "status", "reason"]
        "Status condition of ServiceExport in the local cluster"
        from "their conditions; always 1";
    IMPORT_INFO: gauge "cilium_operator_mcsapi_serviceimport_info" ["serviceimport", "namespace"]
        "Information about ServiceImport in the local cluster"
        from "the ServiceImports of `multicluster.x-k8s.io`; always 1";
    IMPORT_CONDITION: gauge "cilium_operator_mcsapi_serviceimport_status_condition"
        ["serviceimport", "namespace", "condition", "status", "reason"]
        "Status condition of ServiceImport in the local cluster"
        from "their conditions; always 1";
    IMPORT_CLUSTERS: gauge "cilium_operator_mcsapi_serviceimport_status_clusters" ["serviceimport", "namespace"]
        "The number of clusters currently backing a ServiceImport"
        from "`status.clusters`";
}

/// The category.
pub static CATEGORY: Category = Category { title: "Multi-Cluster Services", families: FAMILIES, absent: &[] };

/// Source of the rows.
pub fn source(cluster: &Cluster) -> CategorySource {
    cluster.source(|cluster, rows| {
        if cluster.watches.has_listed(ViewedKind::ServiceExport.kind()) {
            cluster.view.each_export(|key, conditions| {
                rows.add(&EXPORT_INFO, &[&key.name, &key.namespace], 1);
                add_conditions(rows, &EXPORT_CONDITION, key, conditions);
            });
        }
        if cluster.watches.has_listed(ViewedKind::ServiceImport.kind()) {
            cluster.view.each_import(|key, import| {
                rows.add(&IMPORT_INFO, &[&key.name, &key.namespace], 1);
                add_conditions(rows, &IMPORT_CONDITION, key, &import.conditions);
                rows.add(&IMPORT_CLUSTERS, &[&key.name, &key.namespace], import.clusters);
            });
        }
    })
}

/// Adds the conditions of one object. A type has one condition: of two, which only a server without
/// its checks would send, the first counts.
fn add_conditions(rows: &mut SelectedRows<'_>, family: &Family, key: &ObjectKey, conditions: &[Condition]) {
    for (at, condition) in conditions.iter().enumerate() {
        if !conditions.iter().take(at).any(|before| before.name == condition.name) {
            let Condition { name, status, reason } = condition;
            rows.add(family, &[&key.name, &key.namespace, name, status, reason], 1);
        }
    }
}
