//! Objects of a cluster, made when they are asked for, of the sizes that real ones have.

use serde_json::{Value, json};

use super::server::VERSION;

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

/// Endpoints of a slice.
const ENDPOINTS: usize = 50;

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

fn uid(number: usize) -> String {
    let all = digits(number, 32);
    format!("{}-{}-{}-{}-{}", &all[..8], &all[8..12], &all[12..16], &all[16..20], &all[20..])
}

pub(super) fn node_name(number: usize) -> String {
    if number == 0 { "node-1".to_owned() } else { format!("pool-a-{}-{number:05}", digits(number / 50, 8)) }
}

fn pod_address(number: usize) -> String {
    format!("10.{}.{}.{}", 64 + number / 65_536, number / 256 % 256, number % 256)
}

fn fields(names: &[&str]) -> Value {
    names.iter().map(|name| (format!("f:{name}"), json!({}))).collect::<serde_json::Map<_, _>>().into()
}

impl Cluster {
    pub(super) fn pod(self, number: usize) -> Value {
        let workload = number % 3000;
        let (app, set) = (format!("team-{}-service-{workload}", workload % 20), digits(workload, 10));
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
        let labels = json!({"app.kubernetes.io/name": app, "app.kubernetes.io/instance": app, "app.kubernetes.io/version": "1.42.0",
            "app.kubernetes.io/managed-by": "Helm", "helm.sh/chart": format!("{app}-1.42.0"), "pod-template-hash": set});
        json!({"kind": "Pod", "apiVersion": "v1",
            "metadata": {"name": format!("{app}-{set}-{}", digits(number, 5)), "generateName": format!("{app}-{set}-"),
                "namespace": format!("team-{}", workload % 20), "uid": uid(number), "resourceVersion": VERSION, "creationTimestamp": "2026-01-14T09:00:00Z",
                "labels": labels,
                "annotations": {"checksum/config": digits(workload, 64), "kubectl.kubernetes.io/restartedAt": "2026-01-14T09:00:00Z",
                    "prometheus.io/scrape": "true", "prometheus.io/port": "9090"},
                "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": format!("{app}-{set}"), "uid": uid(workload),
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
            "spec": {"nodeName": node_name(number % self.nodes), "serviceAccountName": app, "serviceAccount": app, "restartPolicy": "Always",
                "terminationGracePeriodSeconds": 30, "dnsPolicy": "ClusterFirst", "schedulerName": "default-scheduler",
                "priority": 0, "enableServiceLinks": true, "preemptionPolicy": "PreemptLowerPriority", "securityContext": {"runAsNonRoot": true},
                "containers": [{"name": "main", "image": format!("registry.example.com/team/{app}:1.42.0"), "env": settings,
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
            "status": {"phase": "Running", "conditions": conditions, "hostIP": node_address(number % self.nodes),
                "hostIPs": [{"ip": node_address(number % self.nodes)}], "podIP": pod_address(number), "podIPs": [{"ip": pod_address(number)}],
                "startTime": "2026-01-14T09:00:01Z", "qosClass": "Burstable",
                "containerStatuses": [{"name": "main", "state": {"running": {"startedAt": "2026-01-14T09:00:02Z"}}, "lastState": {},
                    "ready": true, "restartCount": 0, "started": true, "image": format!("registry.example.com/team/{app}:1.42.0"),
                    "imageID": format!("registry.example.com/team/{app}@sha256:{}", digits(workload, 64)),
                    "containerID": format!("containerd://{}", digits(number, 64))}]}})
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
            "metadata": {"name": name, "uid": uid(number), "resourceVersion": VERSION, "creationTimestamp": "2026-01-10T09:00:00Z",
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
            .map(|pod| json!({"addresses": [pod_address(pod)], "conditions": {"ready": true, "serving": true, "terminating": false},
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
