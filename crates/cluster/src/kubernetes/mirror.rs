//! A place in which watches keep objects equal to the server's: the cache of names, or the view of
//! an operator.

use std::collections::HashSet;

use serde_json::value::RawValue;

use super::Resource;
use super::answer::{self, Item};
use super::protobuf::{self, ReadMessage};
use crate::{Cache, Change, Kind, Object, ObjectKey, Reference};

/// Objects that watches keep equal to the server's.
pub(super) trait Mirror {
    /// One object, as far as it is used.
    type Object;

    /// Parses an object in protocol buffers; none where only JSON is requested.
    const PROTOBUF: Option<ReadMessage<Self::Object>> = None;

    /// Parses an object in JSON.
    fn read(resource: &Resource, raw: &RawValue) -> Item<Self::Object>;

    /// Adds an object, or replaces it.
    fn apply(&self, object: Self::Object) -> Change;

    /// Removes an object. False if it was not there.
    fn remove(&self, reference: &Reference) -> bool;

    /// Removes the objects of a kind that a list did not name.
    fn keep_only(&self, kind: Kind, listed: &HashSet<ObjectKey>);
}

impl Mirror for Cache {
    type Object = Object;

    const PROTOBUF: Option<ReadMessage<Object>> = Some(protobuf::item);

    fn read(resource: &Resource, raw: &RawValue) -> Item<Object> {
        answer::item(resource, raw)
    }

    fn apply(&self, object: Object) -> Change {
        self.apply(object, self.store.clock.now_ns())
    }

    fn remove(&self, reference: &Reference) -> bool {
        self.remove(reference)
    }

    fn keep_only(&self, kind: Kind, listed: &HashSet<ObjectKey>) {
        self.keep_only(kind, listed);
    }
}
