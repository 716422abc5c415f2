//! The addresses of a pod in networks beside the cluster's own.
//!
//! Multus, and what speaks like it, writes into an annotation which interfaces a pod has and which
//! addresses they were given: a list in JSON, the first of it the cluster's network.
//! NetworkPolicies do not speak of the others.

use std::net::IpAddr;

use serde::Deserialize;

use super::passed_over::PassedOver;
use super::types::NETWORK_STATUS;

/// One interface of a pod, as the annotation has it.
#[derive(Debug, Deserialize)]
struct Status {
    #[serde(default)]
    ips: Vec<String>,
}

/// Networks that are read of one pod, and addresses of each: no pod has as many.
const MAX_NETWORKS: usize = 64;

/// The addresses in the annotation that are not `own`, those of the cluster's network. What cannot
/// be read is passed over and told in `odd`: the annotation is free text to the API server, and no
/// reason to do without the pod.
pub(super) fn addresses(annotation: &str, own: &[IpAddr], odd: &mut PassedOver) -> Vec<IpAddr> {
    let networks: Vec<Status> = match serde_json::from_str(annotation) {
        Ok(networks) => networks,
        Err(error) => {
            odd.note(format!("metadata.annotations.{NETWORK_STATUS} cannot be read: {error}"));
            return Vec::new();
        }
    };
    let mut addresses = Vec::new();
    for text in networks.iter().take(MAX_NETWORKS).flat_map(|network| network.ips.iter().take(MAX_NETWORKS)) {
        match text.parse() {
            Ok(address) if own.contains(&address) || addresses.contains(&address) => {}
            Ok(address) => addresses.push(address),
            Err(_) => {
                odd.note(format!(
                    "metadata.annotations.{NETWORK_STATUS}: `{}` is not an IP address",
                    text.escape_debug()
                ));
            }
        }
    }
    addresses
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As Multus writes it: the cluster's own address is listed too, and is not one of another
    /// network.
    #[test]
    fn multus() {
        let own: IpAddr = "10.244.1.11".parse().unwrap();
        let text = r#"[{
            "name": "cbr0", "interface": "eth0", "ips": ["10.244.1.11"], "mac": "02:00:00:00:00:01", "default": true, "dns": {}
        }, {
            "name": "default/storage", "interface": "net1", "ips": ["192.168.5.1", "fd05::1"], "dns": {}
        }, {
            "name": "default/no-ipam", "interface": "net2", "dns": {}
        }]"#;
        let expected: Vec<IpAddr> = ["192.168.5.1", "fd05::1"].map(|ip| ip.parse().unwrap()).into();
        let mut odd = PassedOver::default();
        assert_eq!(addresses(text, &[own], &mut odd), expected);
        assert_eq!(odd.count(), 0);
    }

    /// An unreadable part costs itself alone and is reported, and a text without end is not read to
    /// its end.
    #[test]
    fn unreadable_parts_are_passed_over() {
        for (text, good, bad) in [("not JSON", 0, 1), ("", 0, 1), (r#"[{"ips": ["here", "192.168.5.1"]}]"#, 1, 1)] {
            let mut odd = PassedOver::default();
            assert_eq!((addresses(text, &[], &mut odd).len(), odd.count()), (good, bad), "{text}: {odd:?}");
        }
        let many: Vec<String> = (0..1000).map(|n| format!("\"10.0.{}.{}\"", n / 250, n % 250)).collect();
        let text = format!(r#"[{{"ips": [{}]}}]"#, many.join(","));
        assert_eq!(addresses(&text, &[], &mut PassedOver::default()).len(), MAX_NETWORKS);
    }
}
