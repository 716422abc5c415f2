//! Node connectivity: every address by its status, and how long the answers take.
//!
//! Cilium counts addresses, not nodes. It observes the last latencies of each address at every
//! collection; here each probe is observed once.

use std::sync::Arc;

use webb_metrics::expose::Histogram;
use webb_settings::Compat;

use crate::families::{Category, CategorySource, Family, SelectedRows, Versions, cilium_families};
use crate::health::{BUCKETS, Connectivity, Health, NodeReport, Observed};

cilium_families! {
    STATUS: gauge "cilium_node_health_connectivity_status" ["type", "status"]
        "Number of endpoints with last observed status of both ICMP and HTTP connectivity between the current Cilium agent and other Cilium nodes"
        from "probes between the agents, while `health.listen` is set: internal addresses of other nodes by status; a \
              node without one is `unknown`. ICMP counts where the kernel allows it. `type` is always `node`: webb has \
              no responder in the pod network",
        in Versions::from(Compat::V1_19);
    STATUS_OF_NODE: gauge "cilium_node_health_connectivity_status" ["source_cluster", "source_node_name", "type", "status"]
        "Number of endpoints with last observed status of both ICMP and HTTP connectivity between the current Cilium agent and other Cilium nodes"
        from "as in later versions, with the labels of this node",
        in V1_18;
    LATENCY: histogram "cilium_node_health_connectivity_latency_seconds" ["type", "protocol", "address_type"]
        "Histogram for last observed latency between the current Cilium agent and other Cilium nodes in seconds"
        from "the same probes, each observed once; one that failed as 10 s. `primary` is the first internal address \
              of a Node object, all others are `secondary`",
        in Versions::from(Compat::V1_19);
    LATENCY_OF_NODE: histogram "cilium_node_health_connectivity_latency_seconds" ["source_cluster", "source_node_name", "type", "protocol", "address_type"]
        "Histogram for last observed latency between the current Cilium agent and other Cilium nodes in seconds"
        from "as in later versions, with the labels of this node",
        in V1_18;
    PAIR_STATUS: gauge "cilium_node_connectivity_status" ["source_cluster", "source_node_name", "target_cluster", "target_node_name", "target_node_type", "type"]
        "The last observed status of both ICMP and HTTP connectivity between the current Cilium agent and other Cilium nodes"
        from "the same probes: 1 for a node that is reachable, 0 for one that is not; no row while that is unknown",
        in Versions::to(Compat::V1_16);
    PAIR_LATENCY: gauge "cilium_node_connectivity_latency_seconds" ["source_cluster", "source_node_name", "target_cluster", "target_node_name", "target_node_ip", "target_node_type", "type", "protocol", "address_type"]
        "The last observed latency between the current Cilium agent and other Cilium nodes in seconds"
        from "the same probes: the last answer of each address; 10 s while it is unreachable",
        in Versions::to(Compat::V1_16);
}

/// The version with labels of the source node.
const V1_18: Versions = Versions { from: Compat::V1_18, to: Compat::V1_18 };

/// Peers of this cluster, as Cilium has it.
const TARGET_TYPE: &str = "remote_intra_cluster";

/// `type` of a node's own addresses.
const TYPE: &str = "node";

/// Latency of an address that is unreachable, in seconds.
const UNREACHABLE_SECONDS: f64 = 10.0;

/// The category.
pub static CATEGORY: Category = Category { title: "Node connectivity", families: FAMILIES, absent: &[] };

/// Health of the other nodes, and the names of this one.
#[derive(Debug, Clone)]
pub struct NodeHealth {
    /// State of every address.
    pub health: Arc<Health>,
    /// Name of this cluster.
    pub cluster: String,
    /// Name of this node.
    pub node: String,
}

/// Source of the rows; none while nodes are not probed.
pub fn source(nodes: Option<NodeHealth>) -> CategorySource {
    Box::new(move |rows| {
        if let Some(nodes) = &nodes {
            counts(nodes, rows);
            latencies(nodes, rows);
            if rows.wants(&PAIR_STATUS) || rows.wants(&PAIR_LATENCY) {
                for target in nodes.health.report().nodes {
                    pair(nodes, &target, rows);
                }
            }
        }
    })
}

/// The form of a family with labels of the source node and the one without: either is of the
/// version.
fn both<'a>(nodes: &'a NodeHealth, labels: &[&'a str]) -> (Vec<&'a str>, Vec<&'a str>) {
    let with_source = [&[nodes.cluster.as_str(), nodes.node.as_str()], labels].concat();
    (labels.to_vec(), with_source)
}

fn counts(nodes: &NodeHealth, rows: &mut SelectedRows<'_>) {
    let counts = nodes.health.counts().addresses;
    for (status, count) in Connectivity::ALL.into_iter().zip(counts) {
        let (plain, with_source) = both(nodes, &[TYPE, status.label()]);
        rows.add(&STATUS, &plain, count);
        rows.add(&STATUS_OF_NODE, &with_source, count);
    }
}

fn latencies(nodes: &NodeHealth, rows: &mut SelectedRows<'_>) {
    for (protocol, rank, observed) in nodes.health.latencies().filter(|(_, _, observed)| observed.count > 0) {
        let (plain, with_source) = both(nodes, &[TYPE, protocol.label(), rank.label()]);
        let histogram = histogram(&observed);
        let forms: [(&Family, &[&str]); 2] = [(&LATENCY, &plain), (&LATENCY_OF_NODE, &with_source)];
        for (family, labels) in forms {
            rows.add_histogram(family, labels, &histogram);
        }
    }
}

fn histogram(observed: &Observed) -> Histogram {
    let buckets = BUCKETS.into_iter().zip(observed.cumulative).collect();
    Histogram { buckets, sum: observed.sum, count: observed.count }
}

fn pair(source: &NodeHealth, target: &NodeReport, rows: &mut SelectedRows<'_>) {
    let (cluster, node) = (source.cluster.as_str(), source.node.as_str());
    let reachable = Connectivity::Reachable.label();
    if target.status != Connectivity::Unknown.label() {
        let labels = [cluster, node, cluster, &target.name, TARGET_TYPE, TYPE];
        rows.add(&PAIR_STATUS, &labels, u64::from(target.status == reachable));
    }
    for address in &target.addresses {
        let ip = address.address.to_string();
        for probe in &address.protocols {
            let seconds = if probe.status == reachable {
                probe.latency_seconds
            } else {
                (probe.status == Connectivity::Unreachable.label()).then_some(UNREACHABLE_SECONDS)
            };
            let labels = [cluster, node, cluster, &target.name, &ip, TARGET_TYPE, TYPE, probe.protocol, address.rank];
            if let Some(seconds) = seconds {
                rows.add_f64(&PAIR_LATENCY, &labels, seconds);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use webb_settings::{Compat, Toggle};

    use super::*;
    use crate::agent_metrics::cluster_health;
    use crate::families::Selection;

    fn exposed(compat: Compat, toggles: &[Toggle]) -> Vec<(String, Vec<String>)> {
        let health = Arc::new(Health::sample());
        let nodes = NodeHealth { health: Arc::clone(&health), cluster: "c1".to_owned(), node: "own".to_owned() };
        let selection = Selection::new(compat, toggles);
        let mut rows = SelectedRows::new(&selection);
        source(Some(nodes))(&mut rows);
        cluster_health::source(Some(health))(&mut rows);
        let of_family = |family: &prometheus::proto::MetricFamily| {
            let labelled = |metric: &prometheus::proto::Metric| {
                let labels = metric.get_label().iter().map(|pair| format!("{}={}", pair.name(), pair.value()));
                let number = metric.get_gauge().get_value() + metric.get_histogram().get_sample_sum();
                format!("{} {number}", labels.collect::<Vec<_>>().join(" "))
            };
            (family.name().to_owned(), family.get_metric().iter().map(labelled).collect())
        };
        rows.into_families().iter().map(of_family).collect()
    }

    fn rows<'a>(exposed: &'a [(String, Vec<String>)], name: &str) -> &'a [String] {
        exposed.iter().find(|(known, _)| known == name).map_or(&[], |(_, rows)| rows)
    }

    /// The counts of later versions: addresses by status, with the labels of the source node only
    /// where Cilium had them; no pair of nodes is named.
    #[test]
    fn later_versions_count() {
        for (compat, prefix) in
            [(Compat::V1_18, "source_cluster=c1 source_node_name=own "), (Compat::V1_19, ""), (Compat::V1_20, "")]
        {
            let exposed = exposed(compat, &[]);
            assert_eq!(rows(&exposed, "cilium_unreachable_nodes"), [" 1"]);
            let status = [("reachable", 1), ("unreachable", 1), ("unknown", 1)]
                .map(|(status, count)| format!("{prefix}type=node status={status} {count}"));
            assert_eq!(rows(&exposed, "cilium_node_health_connectivity_status"), status);
            // 2 ms once, and twice the time-out.
            let latency = format!("{prefix}type=node protocol=http address_type=primary 20.002");
            assert_eq!(rows(&exposed, "cilium_node_health_connectivity_latency_seconds"), [latency]);
            assert!(exposed.iter().all(|(name, _)| !name.starts_with("cilium_node_connectivity")), "{exposed:?}");
        }
    }

    /// 1.16 has a row for each pair of nodes: none for one that is unknown.
    #[test]
    fn older_versions_name_pairs() {
        let exposed = exposed(Compat::V1_16, &[]);
        let pair = |target: &str, rest: &str| {
            format!("source_cluster=c1 source_node_name=own target_cluster=c1 target_node_name={target} {rest}")
        };
        let kind = "target_node_type=remote_intra_cluster type=node";
        let status = [pair("cut", &format!("{kind} 0")), pair("good", &format!("{kind} 1"))];
        assert_eq!(rows(&exposed, "cilium_node_connectivity_status"), status);
        let latency = |target: &str, ip: &str, seconds: &str| {
            pair(target, &format!("target_node_ip={ip} {kind} protocol=http address_type=primary {seconds}"))
        };
        let latencies = [latency("cut", "10.0.0.2", "10"), latency("good", "10.0.0.1", "0.002")];
        assert_eq!(rows(&exposed, "cilium_node_connectivity_latency_seconds"), latencies);
        assert!(exposed.iter().all(|(name, _)| !name.starts_with("cilium_node_health")), "{exposed:?}");
    }

    /// A family that is switched off has no row, and without a prober none has.
    #[test]
    fn what_is_off_has_no_rows() {
        let off = Toggle::new("-cilium_node_health_connectivity_latency_seconds");
        let exposed = exposed(Compat::V1_19, &[off]);
        assert_eq!(exposed.len(), 2, "{exposed:?}");
        let selection = Selection::new(Compat::V1_19, &[]);
        let mut none = SelectedRows::new(&selection);
        source(None)(&mut none);
        cluster_health::source(None)(&mut none);
        assert!(none.into_families().is_empty());
    }
}
