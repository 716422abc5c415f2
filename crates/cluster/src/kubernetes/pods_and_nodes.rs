//! Watches of all pods and of their nodes, for a relay of names.

use std::collections::HashSet;
use std::convert::Infallible;

use tokio::sync::Notify;

use super::journal::Journal;
use super::link::Link;
use super::nodes::Nodes;
use super::pods::{PodSink, Pods};
use super::streaming::Streaming;
use super::watch::Watch;
use super::{Access, RESOURCES, Status, WatchTimings, start};
use crate::{Cache, Change, Kind, ObjectKey, Pod};

/// A sink of pods that records the names of their nodes in a cache of nodes.
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
