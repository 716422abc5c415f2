//! Watches of pods alone: for a sink, or those of this node.

use std::collections::HashSet;

use serde_json::value::RawValue;

use super::Resource;
use super::answer::{self, Item};
use super::mirror::Mirror;
use super::protobuf::{self, ReadMessage};
use super::watch::encoded;
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
