//! Store of the server: objects with their whole history, as etcd keeps it, and its compacted part.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};

/// Kind, API path, whether it has a namespace. EndpointSlices are asked for in one namespace only.
pub const KINDS: [(&str, &str, bool); 6] = [
    ("Pod", "/api/v1/pods", true),
    ("Namespace", "/api/v1/namespaces", false),
    ("Node", "/api/v1/nodes", false),
    ("Service", "/api/v1/services", true),
    ("EndpointSlice", "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices", true),
    ("NetworkPolicy", "/apis/networking.k8s.io/v1/networkpolicies", true),
];

/// Kind, namespace, name.
pub type Id = (String, String, String);

/// The versions of an object; none where it was deleted.
type States = Vec<(u64, Option<Arc<Value>>)>;

/// One change.
#[derive(Clone)]
pub struct Change {
    pub version: u64,
    pub id: Id,
    /// `ADDED`, `MODIFIED` or `DELETED`.
    pub what: &'static str,
    /// A deleted object is shown as it was last, with the version of its deletion.
    pub object: Arc<Value>,
}

/// Everything, with its history.
#[derive(Default)]
pub struct Store {
    pub version: u64,
    objects: BTreeMap<Id, States>,
    log: Vec<Change>,
    /// Changes up to this version are forgotten.
    pub compacted: u64,
}

/// A kind of which a server need not know is named with its group: others have kinds of that name.
fn id_of(object: &Value) -> Id {
    let text = |path: &str| object.pointer(path).and_then(Value::as_str).unwrap_or_default().to_owned();
    let (kind, version) = (text("/kind"), text("/apiVersion"));
    let kind = match version.split_once('/') {
        Some((group, _)) if !matches!(group, "discovery.k8s.io" | "networking.k8s.io") => format!("{kind}.{group}"),
        _ => kind,
    };
    (kind, text("/metadata/namespace"), text("/metadata/name"))
}

impl Store {
    /// Makes or changes an object, as the API would: gives it a version and what every object
    /// carries besides.
    pub fn put(&mut self, mut object: Value) {
        self.version += 1;
        let id = id_of(&object);
        let known = self.get(&id).is_some();
        let meta = object["metadata"].as_object_mut().expect("an object has metadata");
        meta.insert("resourceVersion".into(), json!(self.version.to_string()));
        meta.entry("uid").or_insert_with(|| json!(format!("uid-{}-{}", id.1, id.2)));
        meta.entry("managedFields").or_insert_with(|| {
            json!([{"manager": "kubelet", "operation": "Update", "apiVersion": "v1", "fieldsType": "FieldsV1",
                "fieldsV1": {"f:status": {"f:podIP": {}, "f:phase": {}}}}])
        });
        self.change(id, if known { "MODIFIED" } else { "ADDED" }, object, false);
    }

    pub fn delete(&mut self, kind: &str, namespace: &str, name: &str) {
        let id = (kind.to_owned(), namespace.to_owned(), name.to_owned());
        let mut object = (*self.get(&id).expect("only what is there can be deleted")).clone();
        self.version += 1;
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        self.change(id, "DELETED", object, true);
    }

    fn change(&mut self, id: Id, what: &'static str, object: Value, gone: bool) {
        let object = Arc::new(object);
        let now = (!gone).then(|| Arc::clone(&object));
        self.objects.entry(id.clone()).or_default().push((self.version, now));
        self.log.push(Change { version: self.version, id, what, object });
    }

    fn get(&self, id: &Id) -> Option<Arc<Value>> {
        self.objects.get(id)?.last()?.1.clone()
    }

    /// Objects of a kind as they were at `version`, in the order of their names.
    pub fn at(&self, kind: &str, version: u64) -> Vec<(Id, Arc<Value>)> {
        self.objects
            .iter()
            .filter(|(id, _)| id.0 == kind)
            .filter_map(|(id, states)| {
                let (_, state) = states.iter().rev().find(|(at, _)| *at <= version)?;
                Some((id.clone(), Arc::clone(state.as_ref()?)))
            })
            .collect()
    }

    /// Changes of a kind after `version`.
    pub fn after(&self, kind: &str, version: u64) -> Vec<Change> {
        let from = self.log.partition_point(|change| change.version <= version);
        self.log[from..].iter().filter(|change| change.id.0 == kind).cloned().collect()
    }

    /// Goes back to an earlier state, as a restored backup does.
    pub fn rewind(&mut self, by: u64) {
        self.version -= by;
        let version = self.version;
        self.log.retain(|change| change.version <= version);
        self.objects.retain(|_, states| {
            states.retain(|(at, _)| *at <= version);
            !states.is_empty()
        });
    }

    /// Forgets all history up to now.
    pub fn compact(&mut self) {
        self.compacted = self.version;
    }
}

/// A pod as a kubelet fills it in, with many fields that are not read.
pub fn pod(namespace: &str, name: &str, ip: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": name, "namespace": namespace, "creationTimestamp": "2026-01-02T15:04:05Z",
            "labels": {"app": "web", "pod-template-hash": "5d4f8c7b9"},
            "annotations": {"kubernetes.io/config.seen": "2026-01-02T15:04:05.123456789Z"},
            "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web-5d4f8c7b9",
                "uid": "u", "controller": true, "blockOwnerDeletion": true}]
        },
        "spec": {
            "nodeName": "node-1", "serviceAccountName": "default", "restartPolicy": "Always",
            "containers": [{"name": "web", "image": "web:1", "resources": {},
                "ports": [{"name": "http", "containerPort": 8080, "protocol": "TCP"}]}],
            "tolerations": [{"key": "node.kubernetes.io/not-ready", "operator": "Exists", "tolerationSeconds": 300}]
        },
        "status": {
            "phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}], "hostIP": "10.0.0.1", "qosClass": "BestEffort",
            "startTime": "2026-01-02T15:04:05Z",
            "conditions": [{"type": "Ready", "status": "True", "lastProbeTime": null}]
        }
    })
}

/// One object of each of the other kinds.
pub fn surroundings() -> Vec<Value> {
    vec![
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "default",
            "labels": {"kubernetes.io/metadata.name": "default"}}, "status": {"phase": "Active"}}),
        json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "node-1"}, "spec": {"podCIDR": "10.244.0.0/24"},
            "status": {"addresses": [{"type": "InternalIP", "address": "10.0.0.1"},
                {"type": "Hostname", "address": "node-1"}]}}),
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web", "namespace": "default"},
            "spec": {"clusterIP": "10.96.0.10", "clusterIPs": ["10.96.0.10"], "ports": [{"port": 80}]}}),
        // Without endpoints the API says `null`.
        json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4", "endpoints": null,
            "ports": null, "metadata": {"name": "kubernetes", "namespace": "default",
            "labels": {"kubernetes.io/service-name": "kubernetes"}}}),
        json!({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": "deny",
            "namespace": "default"}, "spec": {"podSelector": {}, "policyTypes": ["Ingress"]}}),
    ]
}
