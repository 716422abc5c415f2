//! The pods behind an end of a pair, where they run, and which policies select them.

use std::collections::{BTreeSet, HashSet};

use serde::Serialize;

use super::explain::Explain;

/// Pods of an end that are named.
const MAX_PODS: usize = 12;

/// A pod of an end.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct PodOfEnd {
    pub(super) pod: String,
    pub(super) node: String,
}

/// What is known of an end by its name.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub(super) struct PodsOfEnd {
    /// The first pods, by name.
    pub(super) pods: Vec<PodOfEnd>,
    /// Number of all.
    pub(super) count: usize,
    /// Policies that select one of the first pods, for what it receives.
    pub(super) ingress_policies: BTreeSet<String>,
    /// The same for what it sends.
    pub(super) egress_policies: BTreeSet<String>,
    /// Services with one of the first pods behind them, where endpoints are read.
    pub(super) services: BTreeSet<String>,
}

/// The pods of an end, which is a pod or a workload with its namespace; none of any other.
pub(super) fn of_end(names: &Explain, end: &str) -> Option<PodsOfEnd> {
    let index = names.index.load();
    let (count, found) = names.cache.pods_of(end, MAX_PODS);
    if count == 0 {
        return None;
    }
    let (mut of, mut addresses) = (PodsOfEnd { count, ..PodsOfEnd::default() }, HashSet::new());
    for key in found {
        let Some(pod) = names.cache.explain_pod(&key, &index) else { continue };
        addresses.extend(pod.addresses.iter().filter(|address| address.has_it).map(|address| address.ip));
        of.ingress_policies.extend(pod.policies.ingress);
        of.egress_policies.extend(pod.policies.egress);
        of.pods.push(PodOfEnd { pod: pod.pod, node: pod.node });
    }
    of.services = names.cache.services_of(&addresses);
    Some(of)
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::Arc;

    use arc_swap::ArcSwap;
    use webb_cluster::{Cache, CacheSettings, parse};

    use super::*;

    /// Names with two pods of a workload, two policies for one of them, and a service.
    pub(crate) fn names() -> Explain {
        let pod = |name: &str, ip: &str, node: &str| {
            format!(
                "---\napiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, generateName: cart-, namespace: shop, labels: {{app: {name}}}, \
                 ownerReferences: [{{apiVersion: apps/v1, kind: DaemonSet, name: cart, controller: true, uid: u}}]}}\n\
                 spec: {{nodeName: {node}}}\nstatus: {{phase: Running, podIP: {ip}, podIPs: [{{ip: {ip}}}]}}\n"
            )
        };
        let policy = "---\napiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: closed, namespace: shop}\n\
                      spec: {podSelector: {matchLabels: {app: cart-1}}, policyTypes: [Ingress]}\n\
                      ---\napiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: inside, namespace: shop}\n\
                      spec: {podSelector: {matchLabels: {app: cart-1}}, policyTypes: [Egress]}\n";
        let service = "---\napiVersion: v1\nkind: Service\nmetadata: {name: cart, namespace: shop}\n\
                       spec: {clusterIP: 10.9.0.1, clusterIPs: [10.9.0.1], ports: [{port: 80}]}\n---\n\
                       apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {name: cart-x, namespace: shop, \
                       labels: {kubernetes.io/service-name: cart}}\naddressType: IPv4\nendpoints: \
                       [{addresses: [10.0.0.1]}]\nports: [{port: 80}]\n";
        let text = [&pod("cart-1", "10.0.0.1", "here"), &pod("cart-2", "10.0.0.2", "there"), policy, service].concat();
        let cache = Arc::new(Cache::new(CacheSettings { node: "here".into(), ..CacheSettings::default() }));
        let manifest = parse("names", &text).unwrap();
        assert!(manifest.problems.is_empty(), "{:?}", manifest.problems);
        cache.replace(manifest.objects);
        let index = Arc::new(ArcSwap::from_pointee(cache.index()));
        Explain { cache, index }
    }

    /// A workload has its pods with their nodes, and what selects or serves any of them; a name
    /// that is neither a pod's nor a workload's has none.
    #[test]
    fn ends_have_their_pods() {
        let names = names();
        let of = of_end(&names, "shop/cart").unwrap();
        let pods: Vec<_> = of.pods.iter().map(|pod| (pod.pod.as_str(), pod.node.as_str())).collect();
        assert_eq!((of.count, pods), (2, vec![("shop/cart-1", "here"), ("shop/cart-2", "there")]));
        assert_eq!(of.ingress_policies.iter().collect::<Vec<_>>(), ["shop/closed"]);
        assert_eq!(of.egress_policies.iter().collect::<Vec<_>>(), ["shop/inside"]);
        assert_eq!(of.services.iter().collect::<Vec<_>>(), ["shop/cart"]);
        let of = of_end(&names, "shop/cart-2").unwrap();
        assert_eq!((of.count, of.ingress_policies.len()), (1, 0));
        for end in ["reserved:world", "shop/other", "cart", ""] {
            assert_eq!(of_end(&names, end), None, "{end}");
        }
    }
}
