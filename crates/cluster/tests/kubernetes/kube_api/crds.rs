//! Kinds that a server may have or not: custom resources, and the discovery that names them.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;

use serde_json::{Value, json};

use super::http::{self, Asked, Stream};
use super::serve::{admitted, planned, refuse};
use super::store::KINDS;
use super::{Api, Ending, Fault, Shared};

/// A kind.
#[derive(Clone, Debug)]
pub struct Crd {
    pub group: &'static str,
    pub versions: Vec<&'static str>,
    pub kind: &'static str,
    pub plural: &'static str,
    pub namespaced: bool,
}

impl Crd {
    pub fn new(group: &'static str, version: &'static str, kind: &'static str, plural: &'static str) -> Self {
        Self { group, versions: vec![version], kind, plural, namespaced: false }
    }

    pub fn namespaced(self) -> Self {
        Self { namespaced: true, ..self }
    }

    /// As requests and objects of it are found.
    pub fn id(&self) -> String {
        format!("{}.{}", self.kind, self.group)
    }

    /// An object of it.
    pub fn object(&self, namespace: &str, name: &str, spec: &Value) -> Value {
        let mut metadata = json!({"name": name});
        if self.namespaced {
            metadata["namespace"] = json!(namespace);
        }
        let version = self.versions[0];
        json!({"apiVersion": format!("{}/{version}", self.group), "kind": self.kind, "metadata": metadata, "spec": spec})
    }
}

/// In which form discovery is answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Documents {
    #[default]
    Aggregated,
    /// As before 1.30.
    Beta,
    /// As before 1.26: groups, and a document for each version.
    Old,
}

/// Kinds beyond those of every server.
#[derive(Default)]
pub struct Further {
    served: Vec<Crd>,
    /// Kinds that discovery shows: some seconds behind, if a test wants it so.
    shown: Vec<Crd>,
    stale: Vec<&'static str>,
    documents: Documents,
    /// Answers of discovery so far, by status.
    asked: Vec<u16>,
}

impl Further {
    /// Resource at a path: as roles name it, and the kind if there is such a kind.
    pub fn at(&self, path: &str) -> Option<(String, Option<String>)> {
        let parts: Vec<&str> = path.strip_prefix("/apis/")?.split('/').collect();
        let [group, version, plural] = parts[..] else { return None };
        let serves = |crd: &&Crd| crd.group == group && crd.plural == plural && crd.versions.contains(&version);
        Some((format!("{plural}.{group}"), self.served.iter().find(serves).map(Crd::id)))
    }

    pub fn has_group(&self, role: &str) -> bool {
        let group = role.split_once('.').map_or("", |(_, group)| group);
        self.served.iter().any(|crd| crd.group == group)
    }
}

impl Api {
    /// Makes a kind; discovery shows it at once.
    pub fn install(&self, crd: &Crd) {
        self.serve(crd);
        self.show(crd);
    }

    /// Serves a kind that discovery does not show yet, in the place of its last form.
    pub fn serve(&self, crd: &Crd) {
        self.change(|state| {
            state.further.served.retain(|known| known.id() != crd.id());
            state.further.served.push(crd.clone());
        });
    }

    pub fn show(&self, crd: &Crd) {
        self.change(|state| {
            state.further.shown.retain(|known| known.id() != crd.id());
            state.further.shown.push(crd.clone());
        });
    }

    /// Deletes a kind as a server does: its objects, then its watches, then its path. Discovery
    /// still shows it.
    pub fn uninstall(&self, crd: &Crd) {
        let of_kind = self.objects(&crd.id());
        let id: &'static str = Box::leak(crd.id().into_boxed_str());
        self.change(|state| {
            for object in of_kind {
                let text = |path: &str| object.pointer(path).and_then(Value::as_str).unwrap_or_default();
                state.store.delete(id, text("/metadata/namespace"), text("/metadata/name"));
            }
            state.further.served.retain(|known| known.id() != id);
        });
        self.end_watches(Some(id), Ending::AfterAll);
    }

    /// Its path is gone without a word, as for a moment while a kind is changed, or on one server
    /// of several.
    pub fn withdraw(&self, crd: &Crd) {
        let id: &'static str = Box::leak(crd.id().into_boxed_str());
        self.change(|state| state.further.served.retain(|known| known.id() != id));
        self.end_watches(Some(id), Ending::InOrder);
    }

    /// Discovery shows it no longer.
    pub fn hide(&self, crd: &Crd) {
        self.change(|state| state.further.shown.retain(|known| known.id() != crd.id()));
    }

    /// The servers of these groups are away, so that discovery does not know what they have.
    pub fn set_stale(&self, groups: &[&'static str]) {
        self.change(|state| state.further.stale = groups.to_vec());
    }

    pub fn set_documents(&self, documents: Documents) {
        self.change(|state| state.further.documents = documents);
    }

    /// Answers of discovery so far, by status.
    pub fn discoveries(&self) -> Vec<u16> {
        self.shared.state().further.asked.clone()
    }
}

/// Groups with their versions, and what each has; none if that is not known.
type Groups = BTreeMap<&'static str, BTreeMap<&'static str, Option<Vec<Value>>>>;

fn groups(further: &Further, old: bool) -> Groups {
    let verbs = json!(["delete", "get", "list", "watch"]);
    let mut groups = Groups::new();
    let mut add = |group, version, kind: &str, plural: &str, namespaced: bool| {
        let resource = if old {
            json!({"name": plural, "kind": kind, "namespaced": namespaced, "verbs": verbs})
        } else {
            json!({"resource": plural, "responseKind": {"group": group, "version": version, "kind": kind},
                "scope": if namespaced { "Namespaced" } else { "Cluster" }, "verbs": verbs})
        };
        let version = groups.entry(group).or_default().entry(version).or_insert_with(|| Some(Vec::new()));
        version.as_mut().unwrap().push(resource);
    };
    for (kind, path, namespaced) in KINDS.into_iter().filter(|(_, path, _)| path.starts_with("/apis/")) {
        let parts: Vec<&'static str> = path.split('/').collect();
        add(parts[2], parts[3], kind, parts[4], namespaced);
    }
    for crd in &further.shown {
        for version in &crd.versions {
            add(crd.group, version, crd.kind, crd.plural, crd.namespaced);
        }
    }
    for group in &further.stale {
        let versions = groups.entry(group).or_default();
        if versions.is_empty() {
            versions.insert("v1", None);
        }
        for resources in versions.values_mut() {
            *resources = None;
        }
    }
    groups
}

/// Answers what is no object: discovery, or nothing.
pub(super) fn discover(asked: &Asked, to: &mut Stream, shared: &Shared) -> io::Result<()> {
    let note = |status| shared.state().further.asked.push(status);
    if asked.path != "/apis" && !asked.path.starts_with("/apis/") {
        return http::not_found(to);
    }
    match planned("discovery", false, shared) {
        Some(Fault::Status(code)) => {
            note(code);
            return refuse(to, code, "InternalError", "planned by a test").map(drop);
        }
        Some(other) => panic!("{other:?} is for other requests"),
        None => {}
    }
    match admitted(asked, "discovery", shared) {
        (false, _) => return refuse(to, 401, "Unauthorized", "Unauthorized").map(drop),
        (true, true) => {
            note(403);
            return refuse(to, 403, "Forbidden", "discovery is forbidden").map(drop);
        }
        (true, false) => {}
    }
    let body = {
        let state = shared.state();
        let documents = state.further.documents;
        let groups = groups(&state.further, documents == Documents::Old);
        drop(state);
        if documents == Documents::Old {
            old(&asked.path, &groups)
        } else {
            let version = if documents == Documents::Beta { "v2beta1" } else { "v2" };
            assert!(asked.accept.contains(&format!("g=apidiscovery.k8s.io;v={version};as=APIGroupDiscoveryList")));
            Some(aggregated(version, &groups))
        }
    };
    let Some(body) = body.map(|body| body.to_string()) else {
        note(503);
        return refuse(to, 503, "ServiceUnavailable", "the aggregated server is away").map(drop);
    };
    let mut hasher = DefaultHasher::new();
    body.hash(&mut hasher);
    let etag = format!("\"{:x}\"", hasher.finish());
    if asked.known.as_ref() == Some(&etag) {
        note(304);
        return http::answer(to, 304, &format!("etag: {etag}\r\n"), b"");
    }
    note(200);
    http::answer(to, 200, &format!("etag: {etag}\r\n"), body.as_bytes())
}

fn aggregated(version: &str, groups: &Groups) -> Value {
    let items: Vec<Value> = groups
        .iter()
        .map(|(group, versions)| {
            let versions: Vec<Value> = versions
                .iter()
                .map(|(version, resources)| {
                    let freshness = if resources.is_some() { "Current" } else { "Stale" };
                    json!({"version": version, "resources": resources, "freshness": freshness})
                })
                .collect();
            json!({"metadata": {"name": group, "creationTimestamp": null}, "versions": versions})
        })
        .collect();
    json!({"kind": "APIGroupDiscoveryList", "apiVersion": format!("apidiscovery.k8s.io/{version}"), "metadata": {},
        "items": items})
}

/// The documents of old servers; none for the version of a server that is away.
fn old(path: &str, groups: &Groups) -> Option<Value> {
    if let Some((group, version)) = path.strip_prefix("/apis/").and_then(|rest| rest.split_once('/')) {
        let resources = groups.get(group)?.get(version)?.as_ref()?;
        return Some(
            json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": format!("{group}/{version}"),
            "resources": resources}),
        );
    }
    let groups: Vec<Value> = groups
        .iter()
        .map(|(group, versions)| {
            let versions: Vec<Value> = versions
                .keys()
                .map(|version| json!({"groupVersion": format!("{group}/{version}"), "version": version}))
                .collect();
            json!({"name": group, "versions": versions, "preferredVersion": versions[0]})
        })
        .collect();
    Some(json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}))
}
