//! The values that a leader exposes, against the objects that the server has.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::kube_api::Api;
use crate::kube_api::crds::Crd;
use crate::kube_api::leases::lease;
use crate::kube_api::store::pod;
use crate::replica::{Replica, STUCK};

fn node(name: &str, cidr: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}, "spec": {"podCIDR": cidr, "podCIDRs": [cidr]},
        "status": {"addresses": []}})
}

fn service(name: &str, status: &Value) -> Value {
    json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": "default"},
        "spec": {"type": "LoadBalancer", "clusterIP": "10.96.0.11"}, "status": status})
}

fn on(node: &str, mut pod: Value) -> Value {
    pod["spec"]["nodeName"] = json!(node);
    pod
}

fn agent(node: &str) -> Value {
    let mut agent = on(node, pod("kube-system", &format!("webb-{node}"), "10.0.0.1"));
    agent["metadata"]["labels"] = json!({"app.kubernetes.io/name": "webb"});
    agent["spec"]["hostNetwork"] = json!(true);
    agent
}

struct Leader {
    api: Api,
    replica: Replica,
}

impl Leader {
    /// A replica that leads at once, by a Lease that was given up.
    fn start(objects: impl IntoIterator<Item = Value>) -> Self {
        let api = Api::start();
        api.put_all(objects);
        api.put(lease("kube-system", "webb-operator", &json!({"holderIdentity": "", "leaseDurationSeconds": 1})));
        let replica = Replica::start(&api.kubeconfig(None), 0);
        Self { api, replica }
    }

    /// Waits until a scrape has all of these lines and returns it.
    fn has(&self, lines: &[&str]) -> String {
        let began = Instant::now();
        loop {
            let text = self.replica.get("/metrics").map(|(_, text)| text).unwrap_or_default();
            let missing: Vec<_> = lines.iter().filter(|line| !text.lines().any(|has| has == **line)).collect();
            if missing.is_empty() {
                return text;
            }
            assert!(began.elapsed() < STUCK, "missing: {missing:?}\n{text}\n{}", self.replica.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// promtool's answer to an exposition; empty if there is nothing to say.
fn promtool(text: &str) -> Option<String> {
    // scripts/setup unpacks it there.
    let unpacked = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/promtool");
    let tool = Command::new(if unpacked.exists() { unpacked } else { "promtool".into() })
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(mut tool) = tool else {
        println!("SKIPPED: there is no promtool");
        return None;
    };
    tool.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = tool.wait_with_output().unwrap();
    Some(String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr))
}

/// Services, pods and nodes: each value is that of the objects, and follows them.
#[test]
fn objects_of_every_server() {
    let leader = Leader::start([
        node("node-1", "10.244.0.0/24"),
        node("node-2", "10.244.1.0/25"),
        agent("node-1"),
        on("node-1", pod("default", "seen", "10.244.0.7")),
        on("node-2", pod("default", "unseen", "10.244.1.7")),
        service("without", &json!({"loadBalancer": {}})),
        service("with", &json!({"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}})),
    ]);
    let text = leader.has(&[
        "webb_operator_leader 1",
        "cilium_operator_unmanaged_pods 1",
        "cilium_lbipam_services_matching 2",
        "cilium_lbipam_services_unsatisfied 1",
        r#"cilium_operator_ipam_available_ips{target_node="node-1"} 253"#,
        r#"cilium_operator_ipam_used_ips{target_node="node-2"} 1"#,
        r#"cilium_operator_ipam_available_ips{target_node="node-2"} 125"#,
        "cilium_operator_feature_adv_connect_and_lb_gateway_api_enabled 0",
    ]);
    assert!(text.contains("\ncilium_operator_version{") && text.contains("\ncilium_operator_process_open_fds "));
    assert!(!text.contains("cilium_operator_mcsapi_"), "the server has no such API");
    if let Some(said) = promtool(&text) {
        // Cilium's own names: what promtool would have otherwise is known.
        let other: Vec<_> = said.lines().filter(|line| !line.starts_with("cilium_operator_version ")).collect();
        assert!(other.is_empty(), "{said}");
    }
    leader.api.put(service("without", &json!({"loadBalancer": {"ingress": [{"hostname": "lb.example.com"}]}})));
    leader.api.put(agent("node-2"));
    leader.api.delete("Node", "", "node-1");
    let text = leader.has(&["cilium_operator_unmanaged_pods 0", "cilium_lbipam_services_unsatisfied 0"]);
    assert!(leader.has(&["webb_operator_leader 1"]).contains("target_node=\"node-2\""), "{text}");
    let began = Instant::now();
    while leader.has(&[]).contains("target_node=\"node-1\"") {
        assert!(began.elapsed() < STUCK, "the series of a node that is gone");
    }
}

/// Kinds that a server has or has not: Multi-Cluster Services with their conditions, and classes.
#[test]
fn further_kinds() {
    let exports = Crd::new("multicluster.x-k8s.io", "v1alpha1", "ServiceExport", "serviceexports").namespaced();
    let imports = Crd::new("multicluster.x-k8s.io", "v1alpha1", "ServiceImport", "serviceimports").namespaced();
    let gateways = Crd::new("gateway.networking.k8s.io", "v1", "GatewayClass", "gatewayclasses");
    let mut export = exports.object("default", "web", &json!({}));
    let condition = |name: &str, status: &str, reason: &str| json!({"type": name, "status": status, "reason": reason});
    export["status"] =
        json!({"conditions": [condition("Valid", "True", "Valid"), condition("Valid", "False", "Twice")]});
    let mut import = imports.object("default", "web", &json!({"ports": []}));
    import["status"] = json!({"clusters": [{"cluster": "a"}, {"cluster": "b"}],
        "conditions": [condition("Ready", "False", "Conflict")]});
    let api = Api::start();
    for crd in [&exports, &imports, &gateways] {
        api.install(crd);
    }
    api.put_all([export, import, gateways.object("", "any", &json!({"controllerName": "example.com/c"}))]);
    api.put(lease("kube-system", "webb-operator", &json!({"holderIdentity": "", "leaseDurationSeconds": 1})));
    let replica = Replica::start(&api.kubeconfig(None), 0);
    let leader = Leader { api, replica };
    let text = leader.has(&[
        r#"cilium_operator_mcsapi_serviceexport_info{namespace="default",serviceexport="web"} 1"#,
        r#"cilium_operator_mcsapi_serviceexport_status_condition{condition="Valid",namespace="default",reason="Valid",serviceexport="web",status="True"} 1"#,
        r#"cilium_operator_mcsapi_serviceimport_info{namespace="default",serviceimport="web"} 1"#,
        r#"cilium_operator_mcsapi_serviceimport_status_condition{condition="Ready",namespace="default",reason="Conflict",serviceimport="web",status="False"} 1"#,
        r#"cilium_operator_mcsapi_serviceimport_status_clusters{namespace="default",serviceimport="web"} 2"#,
        "cilium_operator_feature_adv_connect_and_lb_gateway_api_enabled 1",
        "cilium_operator_feature_adv_connect_and_lb_ingress_controller_enabled 0",
    ]);
    assert!(!text.contains("Twice"), "a type has one condition");
    if let Some(said) = promtool(&text) {
        let other: Vec<_> = said.lines().filter(|line| !line.starts_with("cilium_operator_version ")).collect();
        assert!(other.is_empty(), "{said}");
    }
}
