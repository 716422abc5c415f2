//! Good objects of every kind, each of their nodes replaced in turn by something else, read from
//! the API and from a manifest.

use serde_json::{Value, json};

use super::Resource;
use super::answer::{Event, event};
use crate::{Kind, Object, OtherKinds, parse};

/// An object of a kind, but for its head.
type Body = (Kind, &'static str, Value);

/// An object of every kind, with every field that is read.
fn objects() -> Vec<(Kind, Value)> {
    let meta = json!({
        "name": "web", "namespace": "a", "resourceVersion": "7", "generateName": "web-",
        "creationTimestamp": "2026-01-14T09:00:01Z", "labels": {"app": "web", "org": "empire"},
        "annotations": {"k8s.v1.cni.cncf.io/network-status": "[{\"ips\": [\"192.168.5.1\"]}]", "other": "x"},
        "ownerReferences": [{"kind": "Job", "name": "web-28000000", "controller": true}, {"kind": "Other", "name": "y"}],
    });
    let complete = |(kind, version, mut object): Body| {
        object["kind"] = kind.name().into();
        object["apiVersion"] = version.into();
        object["metadata"] = meta.clone();
        if kind == Kind::BaselineAdminNetworkPolicy {
            object["metadata"]["name"] = "default".into();
        }
        (kind, object)
    };
    no_policies().into_iter().chain(policies()).map(complete).collect()
}

fn no_policies() -> Vec<Body> {
    vec![
        (
            Kind::Pod,
            "v1",
            json!({
                "spec": {
                    "nodeName": "n1", "hostNetwork": false, "serviceAccountName": "robot",
                    "containers": [{"name": "c", "ports": [{"name": "http", "containerPort": 80, "protocol": "TCP"}, {"containerPort": 81}]}, {"name": "d"}],
                    "initContainers": [{"name": "i", "restartPolicy": "Always", "ports": [{"name": "side", "containerPort": 82}]}],
                },
                "status": {
                    "phase": "Running", "podIP": "10.0.0.1", "podIPs": [{"ip": "10.0.0.1"}, {"ip": "fd00::1"}, {"ip": "10.0.0.2"}],
                    "startTime": "2026-01-14T09:00:02Z",
                },
            }),
        ),
        (Kind::Namespace, "v1", json!({})),
        (
            Kind::Node,
            "v1",
            json!({
                "spec": {"podCIDR": "10.1.0.0/24", "podCIDRs": ["10.1.0.0/24", "fd00:1::/64"]},
                "status": {"addresses": [{"type": "InternalIP", "address": "172.18.0.2"}, {"type": "Hostname", "address": "n"}, {"type": "ExternalIP", "address": "192.0.2.1"}]},
            }),
        ),
        (
            Kind::Service,
            "v1",
            json!({
                "spec": {
                    "clusterIP": "10.96.0.1", "clusterIPs": ["10.96.0.1", "fd00:96::1"], "externalIPs": ["192.0.2.9"],
                    "ports": [{"protocol": "TCP", "port": 80, "nodePort": 30080}, {"port": 53, "protocol": "UDP"}],
                },
                "status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.7"}, {"hostname": "x"}]}},
            }),
        ),
        (
            Kind::EndpointSlice,
            "discovery.k8s.io/v1",
            json!({
                "addressType": "IPv4", "endpoints": [{"addresses": ["10.0.0.1"], "conditions": {"terminating": true}}, {"addresses": ["10.0.0.2", "10.0.0.3"]}],
            }),
        ),
    ]
}

fn policies() -> Vec<Body> {
    let rule = json!({
        "ports": [{"protocol": "TCP", "port": 80, "endPort": 90}, {"port": "http"}],
        "from": [
            {"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16"]}},
            {"podSelector": {"matchLabels": {"app": "db"}}, "namespaceSelector": {"matchExpressions": [
                {"key": "team", "operator": "In", "values": ["red", "blue"]}, {"key": "x", "operator": "Exists"},
            ]}},
        ],
    });
    let tiered = |peers: &str, ports: Value| {
        json!({
            "priority": 5, "tier": "Admin", "subject": {"pods": {"namespaceSelector": {}, "podSelector": {}}},
            "ingress": [{"action": "Deny", "name": "r", "from": [{"namespaces": {"matchLabels": {"a": "b"}}}], peers: ports}],
        })
    };
    let other = OtherKinds::default().find("cilium.io", "ciliumnetworkpolicies").unwrap();
    vec![
        (
            Kind::NetworkPolicy,
            "networking.k8s.io/v1",
            json!({
                "spec": {"podSelector": {"matchLabels": {"app": "web"}}, "policyTypes": ["Ingress"], "ingress": [rule]},
            }),
        ),
        (
            Kind::AdminNetworkPolicy,
            "policy.networking.k8s.io/v1alpha1",
            json!({
                "spec": {"priority": 5, "subject": {"namespaces": {}}, "ingress": tiered("ports", json!([{"portNumber": {"protocol": "TCP", "port": 80}}]))["ingress"]},
            }),
        ),
        (
            Kind::BaselineAdminNetworkPolicy,
            "policy.networking.k8s.io/v1alpha1",
            json!({
                "spec": {"subject": {"namespaces": {}}, "egress": [{"action": "Deny", "to": [{"networks": ["10.0.0.0/8"]}, {"nodes": {}}]}]},
            }),
        ),
        (
            Kind::ClusterNetworkPolicy,
            "policy.networking.k8s.io/v1alpha2",
            json!({
                "spec": tiered("protocols", json!([{"tcp": {"destinationPort": {"number": 80}}}])),
            }),
        ),
        (Kind::Other(other), "cilium.io/v2", json!({"spec": {"any": [1, {"thing": "x"}]}})),
    ]
}

/// The paths of all nodes below the root, as messages have them and for `Value::pointer`.
fn paths(of: &Value, path: &str, pointer: &str, into: &mut Vec<(String, String)>) {
    let children: Vec<(String, String, &Value)> = match of {
        Value::Object(fields) => fields
            .iter()
            .map(|(name, child)| {
                let step = name.replace('~', "~0").replace('/', "~1");
                let dot = if path.is_empty() { "" } else { "." };
                (format!("{path}{dot}{name}"), format!("{pointer}/{step}"), child)
            })
            .collect(),
        Value::Array(items) => items
            .iter()
            .enumerate()
            .map(|(at, child)| (format!("{path}[{at}]"), format!("{pointer}/{at}"), child))
            .collect(),
        _ => return,
    };
    for (path, pointer, child) in children {
        into.push((path.clone(), pointer.clone()));
        paths(child, &path, &pointer, into);
    }
}

/// The object without a node: of a list, the item is nothing.
fn without(object: &Value, pointer: &str) -> Option<Value> {
    let (parent, step) = pointer.rsplit_once('/')?;
    let mut object = object.clone();
    match object.pointer_mut(parent)? {
        Value::Object(fields) => _ = fields.remove(&step.replace("~1", "/").replace("~0", "~")),
        Value::Array(items) => _ = items.remove(step.parse().ok()?),
        _ => return None,
    }
    Some(object)
}

/// The object that a reader parses, and its messages about parts that it passed over, or about the
/// whole.
type Outcome = (Option<Object>, Vec<String>);

fn by_api(kind: Kind, object: &Value) -> Outcome {
    let resource = Resource::found(kind, "v1".to_owned());
    let line = json!({"type": "ADDED", "object": object}).to_string();
    let Event::Applied(item) = event(&resource, line.as_bytes(), super::answer::item).unwrap() else {
        panic!("an object was added")
    };
    let mut said: Vec<String> = item.passed_over.described.iter().map(ToString::to_string).collect();
    said.extend(item.object.as_ref().err().cloned());
    (item.object.ok(), said)
}

fn by_manifest(object: &Value) -> Outcome {
    let mut manifest = parse("m.yaml", &object.to_string()).unwrap();
    let [kind, name] =
        ["/kind", "/metadata/name"].map(|at| object.pointer(at).and_then(Value::as_str).unwrap_or_default());
    for problem in &manifest.problems {
        assert!(problem.object.starts_with(kind) && problem.object.contains(name) && problem.line == 1, "{problem}");
    }
    let problems = manifest.problems.iter().map(|problem| problem.text.clone()).collect();
    (manifest.objects.pop(), problems)
}

/// Any value in the place of a part costs only that part (and the whole that is void without it):
/// the object is kept, and the message begins with the part's path. Only the object's name must be
/// readable.
#[test]
fn any_part_may_be_anything() {
    let (mut mutations, mut passed_over) = (0, 0);
    for (kind, good) in objects() {
        let key = by_api(kind, &good).0.unwrap().reference().key;
        for (object, said) in [by_api(kind, &good), by_manifest(&good)] {
            assert!(object.is_some() && said.is_empty(), "{}: {said:?}", kind.name());
        }
        let is_policy = !matches!(kind, Kind::Pod | Kind::Namespace | Kind::Node | Kind::Service | Kind::EndpointSlice);
        let mut all = Vec::new();
        paths(&good, "", "", &mut all);
        for (path, pointer) in all {
            // The object without the part, and without what that is a part of.
            let around = [Some(pointer.as_str()), pointer.rsplit_once('/').map(|(parent, _)| parent)];
            let rests = around.into_iter().flatten().filter_map(|pointer| without(&good, pointer));
            let rests: Vec<String> = rests.map(|rest| format!("{:?}", by_api(kind, &rest).0)).collect();
            for other in [Value::Null, json!({}), json!([]), json!(7), json!("x")] {
                let mut object = good.clone();
                let node = object.pointer_mut(&pointer).unwrap();
                if *node == other {
                    continue;
                }
                *node = other.clone();
                mutations += 1;
                let mut outcomes = vec![by_api(kind, &object)];
                // A manifest's object is none of ours without these.
                if !["kind", "apiVersion"].contains(&path.as_str()) {
                    outcomes.push(by_manifest(&object));
                }
                for (read, said) in outcomes {
                    let context = format!("{}: {path} is {other}: {said:?}", kind.name());
                    if ["metadata", "metadata.name", "metadata.namespace"].contains(&path.as_str()) {
                        assert!(read.is_some() || said.iter().any(|said| said.starts_with("metadata")), "{context}");
                        continue;
                    }
                    let read = read.unwrap_or_else(|| panic!("{context}"));
                    assert_eq!(read.reference().key, key, "{context}");
                    for said in &said {
                        let about = said.split([':', ' ']).next().unwrap();
                        assert!(path.starts_with(about) || about.starts_with(&path), "{context}");
                    }
                    passed_over += usize::from(!said.is_empty());
                    if !said.is_empty() && !is_policy {
                        assert!(rests.contains(&format!("{:?}", Some(&read))), "{context}: {read:?}");
                    }
                }
            }
        }
    }
    assert!(mutations > 1000 && passed_over > 1000, "{passed_over} of {mutations}");
}
