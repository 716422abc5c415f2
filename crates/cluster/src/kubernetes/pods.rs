//! Watches of pods: all of them, with their nodes, for a relay, or those of this node.

use std::collections::HashSet;
use std::convert::Infallible;

use serde_json::value::RawValue;
use tokio::sync::Notify;

use super::answer::{self, Item};
use super::journal::Journal;
use super::link::Link;
use super::mirror::Mirror;
use super::nodes::Nodes;
use super::protobuf::{self, ReadMessage};
use super::streaming::Streaming;
use super::watch::{Watch, encoded};
use super::{Access, RESOURCES, Resource, Status, WatchTimings, start};
use crate::{Cache, Change, Kind, Object, ObjectKey, Pod, Reference};

/// A place that a watch keeps equal to the server's pods.
pub trait PodSink {
    /// Adds a pod, or replaces it.
    fn apply(&self, key: ObjectKey, pod: Pod) -> Change;

    /// Removes a pod. False if it was not there.
    fn remove(&self, key: &ObjectKey) -> bool;

    /// Removes the pods that a list did not name.
    fn keep_only(&self, listed: &HashSet<ObjectKey>);
}

/// The pods of a sink.
#[derive(Debug)]
pub(super) struct Pods<'a, S>(pub(super) &'a S);

impl<S: PodSink> Mirror for Pods<'_, S> {
    type Object = Object;

    const PROTOBUF: Option<ReadMessage<Object>> = Some(protobuf::item);

    fn read(resource: &Resource, raw: &RawValue) -> Item<Object> {
        answer::item(resource, raw)
    }

    fn apply(&self, object: Object) -> Change {
        match object {
            Object::Pod(key, pod) => self.0.apply(key, *pod),
            // No other kind is asked for.
            _ => Change::Equal,
        }
    }

    fn remove(&self, reference: &Reference) -> bool {
        self.0.remove(&reference.key)
    }

    fn keep_only(&self, _: Kind, listed: &HashSet<ObjectKey>) {
        self.0.keep_only(listed);
    }
}

/// The pods of this node in the cache of names, where a relay names the others.
#[derive(Debug)]
pub(super) struct OwnPods<'a>(pub(super) &'a Cache);

impl PodSink for OwnPods<'_> {
    fn apply(&self, key: ObjectKey, pod: Pod) -> Change {
        self.0.apply(Object::Pod(key, Box::new(pod)), self.0.store.clock.now_ns())
    }

    fn remove(&self, key: &ObjectKey) -> bool {
        self.0.is_own(key) && self.0.remove(&Reference { kind: Kind::Pod, key: key.clone() })
    }

    fn keep_only(&self, listed: &HashSet<ObjectKey>) {
        for key in self.0.store.local_pods.keys().iter().filter(|key| !listed.contains(&***key)) {
            self.remove(key);
        }
    }
}

/// The pods of a node.
pub(super) fn of_node(pods: &Resource, node: &str) -> Resource {
    pods.selected(format!("&fieldSelector=spec.nodeName%3D{}", encoded(node)))
}

/// A sink of pods, beside a cache of nodes that is told where they run.
#[derive(Debug)]
struct OnNodes<'a, S> {
    pods: &'a S,
    nodes: &'a Cache,
}

impl<S: PodSink> PodSink for OnNodes<'_, S> {
    fn apply(&self, key: ObjectKey, pod: Pod) -> Change {
        self.nodes.note_node(&pod.node);
        self.pods.apply(key, pod)
    }

    fn remove(&self, key: &ObjectKey) -> bool {
        self.pods.remove(key)
    }

    fn keep_only(&self, listed: &HashSet<ObjectKey>) {
        self.pods.keep_only(listed);
    }
}

/// Keeps `sink` equal to the server's pods and `nodes` to its Nodes, until it is dropped; `changed`
/// is notified when Nodes change. Needs a tokio runtime with I/O and time. `status` is of the kinds
/// `Pod` and `Node`.
pub async fn follow_pods_and_nodes(
    access: &Access,
    timings: &WatchTimings,
    sink: &impl PodSink,
    nodes: &Cache,
    status: &Status,
    changed: &Notify,
) -> Infallible {
    status.begin();
    let link = &Link::new(access, timings).counted(status.requests());
    let (streaming, journal, of_pods) = (&Streaming::default(), &Journal::new(status), &Notify::new());
    let of = |kind| {
        let resource = RESOURCES.iter().find(|resource| resource.kind == kind);
        resource.zip(status.watched().iter().find(|watched| watched.kind == kind))
    };
    let (Some(pod), Some(node)) = (of(Kind::Pod), of(Kind::Node)) else { return std::future::pending().await };
    let objects = &Pods(&OnNodes { pods: sink, nodes });
    let (resource, watched) = pod;
    let pods = Watch { resource, link, objects, watched, changed: of_pods, streaming, journal, presence: None };
    let (resource, watched) = node;
    let watch = &Watch { resource, link, objects: nodes, watched, changed, streaming, journal, presence: None };
    let nodes = async {
        let expected = start::count(link, &resource.metadata()).await.unwrap_or(0);
        Nodes { watch, expected }.follow().await
    };
    tokio::select! {
        never = pods.follow() => never,
        never = nodes => never,
    }
}
