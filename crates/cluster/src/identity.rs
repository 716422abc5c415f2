//! Labels and numeric identity of a pod, as Hubble would show them.
//!
//! The number is a hash of the sorted labels: every node and every restart computes the same one
//! without coordination. It lies in 256 to 2^24 - 1, as Cilium's cluster-wide identities do. Two
//! label sets may fall on one number (about one chance in eight among 2,000 sets), so it is shown
//! and never used as a key.

use webb_index::policy::spec::Labels;

/// Beginnings of keys that say nothing about what a pod is, only which copy it is: left out of
/// identities, as Cilium does by default. Policies still see them.
const LEFT_OUT: [&str; 13] = [
    "io.kubernetes",
    "kubernetes.io",
    "k8s.io",
    "statefulset.kubernetes.io/pod-name",
    "apps.kubernetes.io/pod-index",
    "batch.kubernetes.io/job-completion-index",
    "batch.kubernetes.io/controller-uid",
    "pod-template-generation",
    "pod-template-hash",
    "controller-revision-hash",
    "controller-uid",
    "annotation",
    "etcd_node",
];

/// The labels of a pod's identity, `k8s:key=value`, sorted bytewise.
pub(super) fn labels(
    namespace: &str,
    namespace_labels: &Labels,
    cluster: &str,
    own: &Labels,
    service_account: &str,
) -> Vec<String> {
    let own = own.iter().filter(|(key, _)| !left_out(key)).map(|(key, value)| format!("k8s:{key}={value}"));
    let inherited =
        namespace_labels.iter().map(|(key, value)| format!("k8s:io.cilium.k8s.namespace.labels.{key}={value}"));
    let mut labels: Vec<String> = own.chain(inherited).collect();
    labels.push(format!("k8s:io.kubernetes.pod.namespace={namespace}"));
    labels.push(format!("k8s:io.cilium.k8s.policy.cluster={cluster}"));
    labels.push(format!("k8s:io.cilium.k8s.policy.serviceaccount={service_account}"));
    labels.sort_unstable();
    labels
}

fn left_out(key: &str) -> bool {
    LEFT_OUT.iter().any(|prefix| key.starts_with(prefix)) || key.contains("beta.kubernetes.io")
}

/// The number of a label set: FNV-1a over the labels, each ended by a zero byte, folded into the
/// range.
pub(super) fn number(labels: &[String]) -> u32 {
    const FIRST: u64 = 256;
    const END: u64 = 1 << 24;
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for label in labels {
        for byte in label.bytes().chain([0]) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
    // The low bits of FNV mix worst; fold the high half in.
    let folded = (hash ^ (hash >> 32)) % (END - FIRST) + FIRST;
    u32::try_from(folded).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&str, &str)]) -> Labels {
        pairs.iter().map(|&(key, value)| (key.to_owned(), value.to_owned())).collect()
    }

    /// Hubble prints labels sorted bytewise, with the namespace's labels and without the copy's
    /// own.
    #[test]
    fn labels_in_hubbles_form() {
        let own = map(&[("org", "empire"), ("app.kubernetes.io/name", "deathstar"), ("pod-template-hash", "abc")]);
        let labels = labels("default", &map(&[("kubernetes.io/metadata.name", "default")]), "lab", &own, "default");
        assert_eq!(
            labels,
            [
                "k8s:app.kubernetes.io/name=deathstar",
                "k8s:io.cilium.k8s.namespace.labels.kubernetes.io/metadata.name=default",
                "k8s:io.cilium.k8s.policy.cluster=lab",
                "k8s:io.cilium.k8s.policy.serviceaccount=default",
                "k8s:io.kubernetes.pod.namespace=default",
                "k8s:org=empire",
            ]
        );
    }

    /// Nodes must agree on a number without talking, in every version: the function is fixed, so a
    /// value is too.
    #[test]
    fn numbers_are_stable_and_in_range() {
        let set = |labels: &[&str]| number(&labels.iter().map(|&label| label.to_owned()).collect::<Vec<_>>());
        assert_eq!(set(&["k8s:a=b", "k8s:c=d"]), set(&["k8s:a=b", "k8s:c=d"]));
        assert_ne!(set(&["k8s:a=b", "k8s:c=d"]), set(&["k8s:a=b,k8s:c=d"]), "where a label ends matters");
        assert_eq!(set(&["k8s:org=empire"]), 1_850_163);
        for at in 0..10_000 {
            let number = set(&[&format!("k8s:pod={at}")]);
            assert!((256..1 << 24).contains(&number), "{number}");
        }
    }
}
