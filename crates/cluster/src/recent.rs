//! The last changes of this node's pods and of policies, for those who look for what changed.
//! Bounded; the objects of the first reading are no changes.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};

use webb_flow::clock;

use super::{Kind, ObjectKey};

/// Changes that are kept.
const MAX_CHANGES: usize = 256;

/// What became of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ObjectEvent {
    /// It is new; a pod: on this node.
    Created,
    /// A part of a policy that is used differs.
    Changed,
    /// All containers of a pod have ended.
    Finished,
    /// It is gone.
    Removed,
}

/// A change of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectChange {
    /// Time at which it was read, in seconds since 1970.
    pub unix: u64,
    /// Kind of the object.
    pub kind: Kind,
    /// Its name.
    pub key: ObjectKey,
    /// What became of it.
    pub event: ObjectEvent,
}

/// The last changes, oldest first.
#[derive(Debug, Default)]
pub(super) struct RecentChanges {
    changes: Mutex<VecDeque<ObjectChange>>,
    /// True once all objects have been read.
    begun: AtomicBool,
}

impl RecentChanges {
    /// Lists changes from now on, or no more.
    pub(super) fn set_begun(&self, begun: bool) {
        self.begun.store(begun, Relaxed);
    }

    pub(super) fn push(&self, kind: Kind, key: &ObjectKey, event: ObjectEvent) {
        if !self.begun.load(Relaxed) {
            return;
        }
        let change = ObjectChange { unix: clock::unix_ns() / 1_000_000_000, kind, key: key.clone(), event };
        let mut changes = self.changes.lock().unwrap_or_else(PoisonError::into_inner);
        if changes.len() >= MAX_CHANGES {
            changes.pop_front();
        }
        changes.push_back(change);
    }

    pub(super) fn all(&self) -> Vec<ObjectChange> {
        self.changes.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }
}
