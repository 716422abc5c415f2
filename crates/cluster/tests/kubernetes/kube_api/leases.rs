//! Leases: read, created and replaced one at a time, each write under the condition that the API
//! has.

use std::io;
use std::sync::Arc;

use serde_json::{Value, json};

use super::http::{self, Asked, Stream};
use super::serve::refuse;
use super::{Api, Shared};

/// The kind, as the store has it.
pub const KIND: &str = "Lease.coordination.k8s.io";

/// Namespace of a path of Leases, and the name if it is that of one.
pub fn at(path: &str) -> Option<(String, Option<String>)> {
    let rest = path.strip_prefix("/apis/coordination.k8s.io/v1/namespaces/")?;
    let parts: Vec<&str> = rest.split('/').collect();
    match parts[..] {
        [namespace, "leases"] => Some((namespace.to_owned(), None)),
        [namespace, "leases", name] => Some((namespace.to_owned(), Some(name.to_owned()))),
        _ => None,
    }
}

fn find(shared: &Shared, namespace: &str, name: &str) -> Option<Arc<Value>> {
    let state = shared.state();
    let all = state.store.at(KIND, state.store.version).into_iter();
    let mut found = all.filter(|(id, _)| id.1 == namespace && id.2 == name);
    found.next().map(|(_, object)| object)
}

/// The server's own checks of a `spec`.
fn is_valid(object: &Value) -> bool {
    let spec = &object["spec"];
    let micro = |time: &Value| {
        time.is_null() || time.as_str().is_some_and(|time| time.len() == 27 && time.as_bytes()[19] == b'.')
    };
    spec["leaseDurationSeconds"].as_i64().is_none_or(|seconds| seconds > 0 && i32::try_from(seconds).is_ok())
        && spec["leaseTransitions"].as_i64().is_none_or(|count| i32::try_from(count).is_ok_and(|count| count >= 0))
        && micro(&spec["renewTime"])
        && micro(&spec["acquireTime"])
}

pub(super) fn answer(
    (namespace, name): &(String, Option<String>),
    asked: &Asked,
    to: &mut Stream,
    shared: &Shared,
) -> io::Result<u16> {
    let body: Value = serde_json::from_slice(&asked.body).unwrap_or_default();
    let name = name.as_deref().or_else(|| body["metadata"]["name"].as_str()).unwrap_or_default().to_owned();
    let name = name.as_str();
    let found = find(shared, namespace, name);
    let newest = found.as_ref().map(|object| object["metadata"]["resourceVersion"].clone());
    match (asked.method.as_str(), found) {
        ("GET", Some(object)) => return whole(to, 200, &object),
        ("GET" | "PUT", None) => return refuse(to, 404, "NotFound", &format!("leases {name:?} not found")),
        ("POST", Some(_)) => return refuse(to, 409, "AlreadyExists", &format!("leases {name:?} already exists")),
        ("PUT", Some(_)) if Some(&body["metadata"]["resourceVersion"]) != newest.as_ref() => {
            return refuse(to, 409, "Conflict", "the object has been modified; please apply your changes");
        }
        ("POST", None) | ("PUT", Some(_)) => {}
        _ => return refuse(to, 405, "MethodNotAllowed", "no such method"),
    }
    if !is_valid(&body) {
        return refuse(to, 422, "Invalid", "Lease is invalid");
    }
    // Two writes of one version at once: only the first is done.
    {
        let mut state = shared.state();
        let all = state.store.at(KIND, state.store.version);
        let now = all.iter().find(|(id, _)| id.1 == *namespace && id.2 == name);
        if now.map(|(_, object)| &object["metadata"]["resourceVersion"]) != newest.as_ref() {
            drop(state);
            return refuse(to, 409, "Conflict", "the object has been modified; please apply your changes");
        }
        state.store.put(body);
    }
    shared.changed.notify_all();
    let status = if asked.method == "POST" { 201 } else { 200 };
    let written = find(shared, namespace, name).unwrap_or_default();
    whole(to, status, &written)
}

fn whole(to: &mut Stream, status: u16, object: &Value) -> io::Result<u16> {
    http::answer(to, status, "", object.to_string().as_bytes())?;
    Ok(status)
}

/// A Lease with this record.
pub fn lease(namespace: &str, name: &str, spec: &Value) -> Value {
    json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": {"name": name, "namespace": namespace}, "spec": spec})
}

impl Api {
    /// The record of a Lease; null if there is no such Lease.
    pub fn lease(&self, namespace: &str, name: &str) -> Value {
        find(&self.shared, namespace, name).map_or(Value::Null, |object| object["spec"].clone())
    }

    /// The record of each version of a Lease so far.
    pub fn lease_history(&self) -> Vec<Value> {
        let state = self.shared.state();
        state.store.after(KIND, 0).into_iter().map(|change| change.object["spec"].clone()).collect()
    }
}
