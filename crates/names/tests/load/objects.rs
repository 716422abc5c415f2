//! Objects of a cluster, made when they are asked for, of the sizes that real ones have.
//!
//! A pod has a number: that of its place, and above it how many were there before. A place has an
//! address and a node.

use std::sync::Arc;

use serde_json::{Value, json};
use webb_cluster::NodeNetwork;

/// A cluster of so many nodes and pods.
#[derive(Clone, Copy)]
pub(super) struct Cluster {
    pub(super) nodes: usize,
    pub(super) pods: usize,
}

/// Sizes of all objects of a kind together, as events of a watch.
pub(super) struct Sizes {
    pub(super) pods: usize,
    pub(super) nodes: usize,
    pub(super) slices: usize,
}

/// The version of everything at the start.
pub(super) const VERSION: usize = 41_000;

/// Endpoints of a slice.
const ENDPOINTS: usize = 50;

/// Events in the life of a place: its pod is asked to end, ends and is deleted; the next one is
/// created, gets a node, is prepared, runs with an address, and is ready.
pub(super) const STEPS: usize = 8;

/// The step in which a pod is deleted, and that in which the next one is created.
const DELETED: usize = 2;
const CREATED: usize = 3;

/// Hexadecimal digits that do not repeat, the same for the same number.
fn digits(number: usize, count: usize) -> String {
    let mut state = number as u64 ^ 0x9e37_79b9_7f4a_7c15;
    let mut text = String::new();
    while text.len() < count {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        text.push_str(&format!("{:08x}", state >> 32));
    }
    text.truncate(count);
    text
}

/// The end of a pod's name, which no two pods share.
fn suffix(number: usize) -> String {
    const LETTERS: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";
    let mixed = number * 7_654_321 % LETTERS.len().pow(5);
    (0..5).map(|at| char::from(LETTERS[mixed / LETTERS.len().pow(at) % LETTERS.len()])).collect()
}

fn uid(number: usize) -> String {
    let all = digits(number, 32);
    format!("{}-{}-{}-{}-{}", &all[..8], &all[8..12], &all[12..16], &all[16..20], &all[20..])
}

pub(super) fn node_name(number: usize) -> String {
    if number == 0 { "node-1".to_owned() } else { format!("pool-a-{}-{number:05}", digits(number / 50, 8)) }
}

fn fields(names: &[&str]) -> Value {
    names.iter().map(|name| (format!("f:{name}"), json!({}))).collect::<serde_json::Map<_, _>>().into()
}

fn remove(object: &mut Value, keys: &[&str]) {
    let object = object.as_object_mut().unwrap();
    for key in keys {
        object.remove(*key);
    }
}

/// Number of a pod's workload.
fn workload(number: usize) -> usize {
    number % 3000
}

fn app(workload: usize) -> String {
    format!("team-{}-service-{workload}", workload % 20)
}

impl Cluster {
    /// Namespace and name of a pod.
    pub(super) fn pod_name(self, number: usize) -> (String, String) {
        let workload = workload(number);
        (format!("team-{}", workload % 20), format!("{}-{}-{}", app(workload), self.set(number), suffix(number)))
    }

    pub(super) fn pod_address(self, number: usize) -> String {
        let place = number % self.pods;
        format!("10.{}.{}.{}", 64 + place / 65_536, place / 256 % 256, place % 256)
    }

    /// Number of a pod's node.
    pub(super) fn node_of(self, number: usize) -> usize {
        number % self.pods % self.nodes
    }

    /// How many pods its place had before.
    fn revision(self, number: usize) -> usize {
        number / self.pods
    }

    /// The hash of a pod's template, which a later version of the workload does not share.
    fn set(self, number: usize) -> String {
        digits(workload(number) + 3000 * self.revision(number), 10)
    }

    /// A step in the life of a place in which the next pod replaces this one: the type of the event
    /// in a watch of all pods, and its object.
    pub(super) fn step(self, pod: usize, step: usize, version: usize) -> (&'static str, Value) {
        let mut pod = self.pod(if step < CREATED { pod } else { pod + self.pods });
        pod["metadata"]["resourceVersion"] = json!(version.to_string());
        let ready = |is: &str| json!([{"type": "PodScheduled", "status": "True"}, {"type": "Ready", "status": is}]);
        if step <= DELETED {
            pod["metadata"]["deletionTimestamp"] = json!("2026-01-14T10:00:30Z");
            pod["metadata"]["deletionGracePeriodSeconds"] = json!(30);
        }
        let status = &mut pod["status"];
        match step {
            1 | DELETED => {
                status["phase"] = json!("Succeeded");
                status["conditions"] = ready("False");
                status["containerStatuses"][0]["state"] = json!({"terminated": {"exitCode": 0, "reason": "Completed"}});
            }
            CREATED | 4 => *status = json!({"phase": "Pending", "qosClass": "Burstable"}),
            5 => {
                status["phase"] = json!("Pending");
                remove(status, &["podIP", "podIPs"]);
                status["containerStatuses"][0]["state"] = json!({"waiting": {"reason": "ContainerCreating"}});
            }
            6 => status["conditions"] = ready("False"),
            _ => {}
        }
        match step {
            DELETED => return ("DELETED", pod),
            CREATED => {
                remove(&mut pod["spec"], &["nodeName"]);
                return ("ADDED", pod);
            }
            4 => pod["status"]["conditions"] = json!([{"type": "PodScheduled", "status": "True"}]),
            _ => {}
        }
        ("MODIFIED", pod)
    }

    /// As [`Cluster::step`], in a watch of the pods of the first node: a pod that gets its node is
    /// new there.
    pub(super) fn step_of_node(self, pod: usize, step: usize, version: usize) -> Option<(&'static str, Value)> {
        if self.node_of(pod) != 0 || step == CREATED {
            return None;
        }
        let (what, object) = self.step(pod, step, version);
        Some((if step == CREATED + 1 { "ADDED" } else { what }, object))
    }

    pub(super) fn pod(self, number: usize) -> Value {
        let workload = workload(number);
        let (app, set) = (app(workload), self.set(number));
        let (namespace, name) = self.pod_name(number);
        let (version, node) = (format!("1.{}.0", 42 + self.revision(number)), self.node_of(number));
        let settings: Vec<Value> =
            (0..10).map(|at| json!({"name": format!("APP_SETTING_{at}"), "value": format!("http://setting-{at}.team:8080/path")})).collect();
        let of_settings: serde_json::Map<String, Value> = (0..10)
            .map(|at| (format!("k:{{\"name\":\"APP_SETTING_{at}\"}}"), json!({".": {}, "f:name": {}, "f:value": {}})))
            .collect();
        let probe = |path: &str| {
            json!({"httpGet": {"path": path, "port": "http", "scheme": "HTTP"}, "initialDelaySeconds": 5,
            "timeoutSeconds": 3, "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3})
        };
        let of_probe = json!({".": {}, "f:failureThreshold": {}, "f:httpGet": fields(&["path", "port", "scheme"]),
            "f:initialDelaySeconds": {}, "f:periodSeconds": {}, "f:successThreshold": {}, "f:timeoutSeconds": {}});
        let conditions: Vec<Value> = ["PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled"]
            .map(|kind| json!({"type": kind, "status": "True", "lastProbeTime": null, "lastTransitionTime": "2026-01-14T09:00:03Z"}))
            .into();
        let of_conditions: serde_json::Map<String, Value> = ["Initialized", "Ready", "ContainersReady"]
            .map(|kind| {
                (
                    format!("k:{{\"type\":\"{kind}\"}}"),
                    json!({".": {}, "f:lastProbeTime": {}, "f:lastTransitionTime": {}, "f:status": {}, "f:type": {}}),
                )
            })
            .into_iter()
            .collect();
        let labels = json!({"app.kubernetes.io/name": app, "app.kubernetes.io/instance": app, "app.kubernetes.io/version": version,
            "app.kubernetes.io/managed-by": "Helm", "helm.sh/chart": format!("{app}-{version}"), "pod-template-hash": set});
        json!({"kind": "Pod", "apiVersion": "v1",
            "metadata": {"name": name, "generateName": format!("{app}-{set}-"),
                "namespace": namespace, "uid": uid(number), "resourceVersion": VERSION.to_string(), "creationTimestamp": "2026-01-14T09:00:00Z",
                "labels": labels,
                "annotations": {"checksum/config": digits(workload, 64), "kubectl.kubernetes.io/restartedAt": "2026-01-14T09:00:00Z",
                    "prometheus.io/scrape": "true", "prometheus.io/port": "9090"},
                "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": format!("{app}-{set}"), "uid": uid(workload + 3000 * self.revision(number)),
                    "controller": true, "blockOwnerDeletion": true}],
                "managedFields": [
                    {"manager": "kube-controller-manager", "operation": "Update", "apiVersion": "v1", "time": "2026-01-14T09:00:00Z",
                        "fieldsType": "FieldsV1", "fieldsV1": {
                            "f:metadata": {"f:annotations": fields(&["checksum/config", "prometheus.io/port", "prometheus.io/scrape"]),
                                "f:generateName": {}, "f:labels": fields(&["app.kubernetes.io/name", "app.kubernetes.io/instance",
                                    "app.kubernetes.io/version", "helm.sh/chart", "pod-template-hash"]), "f:ownerReferences": {}},
                            "f:spec": {"f:affinity": {}, "f:containers": {"k:{\"name\":\"main\"}": {".": {}, "f:env": of_settings,
                                "f:image": {}, "f:imagePullPolicy": {}, "f:livenessProbe": of_probe, "f:readinessProbe": of_probe,
                                "f:ports": {}, "f:resources": fields(&["limits", "requests"]), "f:securityContext": {}, "f:volumeMounts": {}}},
                                "f:dnsPolicy": {}, "f:restartPolicy": {}, "f:schedulerName": {}, "f:securityContext": {}, "f:volumes": {}}}},
                    {"manager": "kubelet", "operation": "Update", "apiVersion": "v1", "time": "2026-01-14T09:00:03Z",
                        "fieldsType": "FieldsV1", "subresource": "status", "fieldsV1": {"f:status": {"f:conditions": of_conditions,
                            "f:containerStatuses": {}, "f:hostIP": {}, "f:hostIPs": {}, "f:phase": {}, "f:podIP": {}, "f:podIPs": {}, "f:startTime": {}}}}]},
            "spec": {"nodeName": node_name(node), "serviceAccountName": app, "serviceAccount": app, "restartPolicy": "Always",
                "terminationGracePeriodSeconds": 30, "dnsPolicy": "ClusterFirst", "schedulerName": "default-scheduler",
                "priority": 0, "enableServiceLinks": true, "preemptionPolicy": "PreemptLowerPriority", "securityContext": {"runAsNonRoot": true},
                "containers": [{"name": "main", "image": format!("registry.example.com/team/{app}:{version}"), "env": settings,
                    "ports": [{"name": "http", "containerPort": 8080, "protocol": "TCP"}, {"name": "metrics", "containerPort": 9090, "protocol": "TCP"}],
                    "resources": {"limits": {"memory": "512Mi"}, "requests": {"cpu": "100m", "memory": "256Mi"}},
                    "livenessProbe": probe("/healthz"), "readinessProbe": probe("/ready"), "imagePullPolicy": "IfNotPresent",
                    "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File",
                    "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}, "readOnlyRootFilesystem": true},
                    "volumeMounts": [{"name": "config", "mountPath": "/etc/app"}, {"name": "tmp", "mountPath": "/tmp"},
                        {"name": "kube-api-access", "readOnly": true, "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount"}]}],
                "volumes": [{"name": "config", "configMap": {"name": app, "defaultMode": 420}}, {"name": "tmp", "emptyDir": {}},
                    {"name": "kube-api-access", "projected": {"defaultMode": 420, "sources": [
                        {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}},
                        {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
                        {"downwardAPI": {"items": [{"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}}]}}]}}],
                "tolerations": [{"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300},
                    {"key": "node.kubernetes.io/unreachable", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}]},
            "status": {"phase": "Running", "conditions": conditions, "hostIP": node_address(node),
                "hostIPs": [{"ip": node_address(node)}], "podIP": self.pod_address(number), "podIPs": [{"ip": self.pod_address(number)}],
                "startTime": "2026-01-14T09:00:01Z", "qosClass": "Burstable",
                "containerStatuses": [{"name": "main", "state": {"running": {"startedAt": "2026-01-14T09:00:02Z"}}, "lastState": {},
                    "ready": true, "restartCount": 0, "started": true, "image": format!("registry.example.com/team/{app}:{version}"),
                    "imageID": format!("registry.example.com/team/{app}@sha256:{}", digits(workload, 64)),
                    "containerID": format!("containerd://{}", digits(number, 64))}]}})
    }

    /// The same node as a relay sends it.
    pub(super) fn node_network(number: usize) -> Arc<NodeNetwork> {
        Arc::new(NodeNetwork {
            internal: vec![node_address(number).parse().unwrap()],
            external: vec![],
            pod_networks: vec![format!("100.{}.{}.0/24", 64 + number / 256, number % 256).parse().unwrap()],
        })
    }

    pub(super) fn node(number: usize) -> Value {
        let name = node_name(number);
        let images: Vec<Value> = (0..50)
            .map(|at| (number * 7 + at * 13) % 400)
            .map(|image| {
                json!({"names": [format!("registry.example.com/team/service-{image}@sha256:{}", digits(image, 64)),
                format!("registry.example.com/team/service-{image}:1.42.0")], "sizeBytes": 40_000_000 + image * 70_001})
            })
            .collect();
        let amounts = json!({"cpu": "8", "ephemeral-storage": "101430960Ki", "hugepages-1Gi": "0", "hugepages-2Mi": "0",
            "memory": "32386544Ki", "pods": "110"});
        let conditions: Vec<Value> = ["MemoryPressure", "DiskPressure", "PIDPressure", "Ready"]
            .map(|kind| json!({"type": kind, "status": "False", "lastHeartbeatTime": format!("2026-01-14T09:{:02}:{:02}Z", number / 60 % 60, number % 60),
                "lastTransitionTime": "2026-01-10T09:00:00Z", "reason": format!("KubeletHas{kind}"), "message": "kubelet has what it needs"}))
            .into();
        let status = fields(&[
            "addresses",
            "allocatable",
            "capacity",
            "conditions",
            "images",
            "nodeInfo",
            "volumesAttached",
            "volumesInUse",
        ]);
        json!({"kind": "Node", "apiVersion": "v1",
            "metadata": {"name": name, "uid": uid(number), "resourceVersion": VERSION.to_string(), "creationTimestamp": "2026-01-10T09:00:00Z",
                "labels": {"beta.kubernetes.io/arch": "amd64", "beta.kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64",
                    "kubernetes.io/hostname": name, "kubernetes.io/os": "linux", "node.kubernetes.io/instance-type": "m6i.2xlarge",
                    "topology.kubernetes.io/region": "eu-west-1", "topology.kubernetes.io/zone": format!("eu-west-1{}", ["a", "b", "c"][number % 3]),
                    "failure-domain.beta.kubernetes.io/zone": format!("eu-west-1{}", ["a", "b", "c"][number % 3]), "node-pool": "pool-a"},
                "annotations": {"node.alpha.kubernetes.io/ttl": "300", "volumes.kubernetes.io/controller-managed-attach-detach": "true",
                    "csi.volume.kubernetes.io/nodeid": format!("{{\"ebs.csi.aws.com\":\"i-{}\"}}", digits(number, 17))},
                "managedFields": [
                    {"manager": "cloud-controller-manager", "operation": "Update", "apiVersion": "v1", "time": "2026-01-10T09:00:05Z",
                        "fieldsType": "FieldsV1", "fieldsV1": {"f:metadata": {"f:labels": fields(&["topology.kubernetes.io/region",
                            "topology.kubernetes.io/zone", "node.kubernetes.io/instance-type"])}, "f:spec": {"f:providerID": {}}}},
                    {"manager": "kubelet", "operation": "Update", "apiVersion": "v1", "time": "2026-01-14T09:00:00Z", "fieldsType": "FieldsV1",
                        "subresource": "status", "fieldsV1": {"f:metadata": {"f:annotations": {}, "f:labels": {}}, "f:status": status}}]},
            "spec": {"podCIDR": format!("100.{}.{}.0/24", 64 + number / 256, number % 256),
                "podCIDRs": [format!("100.{}.{}.0/24", 64 + number / 256, number % 256)], "providerID": format!("aws:///eu-west-1a/i-{}", digits(number, 17))},
            "status": {"capacity": amounts, "allocatable": amounts, "conditions": conditions, "images": images,
                "addresses": [{"type": "InternalIP", "address": node_address(number)}, {"type": "Hostname", "address": name}],
                "daemonEndpoints": {"kubeletEndpoint": {"Port": 10250}},
                "nodeInfo": {"machineID": digits(number, 32), "systemUUID": uid(number), "bootID": uid(number + 1_000_000), "kernelVersion": "6.1.0",
                    "osImage": "Linux", "containerRuntimeVersion": "containerd://2.0.0", "kubeletVersion": "v1.33.1", "operatingSystem": "linux", "architecture": "amd64"}}})
    }

    fn slice(self, number: usize) -> Value {
        let endpoints: Vec<Value> = (number * ENDPOINTS..self.pods.min((number + 1) * ENDPOINTS))
            .map(|pod| json!({"addresses": [self.pod_address(pod)], "conditions": {"ready": true, "serving": true, "terminating": false},
                "nodeName": node_name(pod % self.nodes), "zone": "eu-west-1a",
                "targetRef": {"kind": "Pod", "namespace": "team-1", "name": format!("team-1-service-{}", digits(pod, 16)), "uid": uid(pod)}}))
            .collect();
        json!({"kind": "EndpointSlice", "apiVersion": "discovery.k8s.io/v1", "addressType": "IPv4", "endpoints": endpoints,
            "metadata": {"name": format!("service-{number}-{}", digits(number, 5)), "namespace": "team-1", "uid": uid(number),
                "labels": {"kubernetes.io/service-name": format!("service-{number}")}},
            "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}]})
    }

    /// Sizes of all objects, by every hundredth of each kind.
    pub(super) fn sizes(self) -> Sizes {
        let envelope = br#"{"type":"ADDED","object":}"#.len() + 1;
        let all = |count: usize, one: &dyn Fn(usize) -> Value| {
            let samples: Vec<usize> = (0..count).step_by((count / 100).max(1)).collect();
            let bytes: usize = samples.iter().map(|&number| one(number).to_string().len() + envelope).sum();
            bytes * count / samples.len()
        };
        Sizes {
            pods: all(self.pods, &|number| self.pod(number)),
            nodes: all(self.nodes, &Self::node),
            slices: all(self.pods.div_ceil(ENDPOINTS), &|number| self.slice(number)),
        }
    }
}

fn node_address(number: usize) -> String {
    format!("172.{}.{}.{}", 16 + number / 65_536, number / 256 % 256, number % 256)
}
