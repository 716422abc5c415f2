//! Groups pods by their workload, for those who look for the pods of one.
//!
//! The groups are made when a workload is first asked for, which goes through all pods; afterwards
//! each change of a pod is applied to its group. They are as large as some tenth of the pods, so
//! they are freed once nothing asks.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use dashmap::DashMap;
use webb_index::ObjectKey;

use super::stored_pod::{Profile, StoredPod};

/// Pods by workload, as `namespace/name`; none while nothing asks for them.
#[derive(Debug, Default)]
pub(super) struct WorkloadPods(Mutex<Option<Groups>>);

#[derive(Debug, Default)]
struct Groups {
    pods: HashMap<String, BTreeSet<Arc<ObjectKey>>>,
}

impl WorkloadPods {
    /// Frees the groups; the next reader makes them anew.
    pub(super) fn forget(&self) {
        *self.groups() = None;
    }

    /// Applies a change of a pod that `pods` has already: its state before and now.
    pub(super) fn track(&self, key: &Arc<ObjectKey>, before: Option<&Profile>, now: Option<&Profile>) {
        let mut groups = self.groups();
        let Some(groups) = groups.as_mut() else { return };
        let (before, now) = (before.and_then(|of| group(key, of)), now.and_then(|of| group(key, of)));
        if before != now
            && let Some(before) = before
        {
            groups.remove(&before, key);
        }
        if let Some(now) = now {
            groups.pods.entry(now).or_default().insert(Arc::clone(key));
        }
    }

    /// Calls `read` with the pods of a workload, sorted by name.
    pub(super) fn read<T>(
        &self,
        pods: &DashMap<Arc<ObjectKey>, StoredPod>,
        workload: &str,
        read: impl FnOnce(Option<&BTreeSet<Arc<ObjectKey>>>) -> T,
    ) -> T {
        // Changes wait for the lock, and are in `pods` before: none is missed.
        let mut groups = self.groups();
        let groups = groups.get_or_insert_with(|| {
            let mut groups = Groups::default();
            for pod in pods {
                if let Some(group) = group(pod.key(), &pod.profile) {
                    groups.pods.entry(group).or_default().insert(Arc::clone(pod.key()));
                }
            }
            groups
        });
        read(groups.pods.get(workload))
    }

    fn groups(&self) -> MutexGuard<'_, Option<Groups>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Number of the groups; none while there are none.
    #[cfg(test)]
    pub(super) fn len(&self) -> Option<usize> {
        self.groups().as_ref().map(|groups| groups.pods.len())
    }
}

impl Groups {
    fn remove(&mut self, group: &str, key: &Arc<ObjectKey>) {
        let Some(pods) = self.pods.get_mut(group) else { return };
        pods.remove(key);
        if pods.is_empty() {
            self.pods.remove(group);
        }
    }
}

/// The group of a pod; none without a workload.
fn group(key: &ObjectKey, of: &Profile) -> Option<String> {
    of.workload.as_ref().map(|workload| format!("{}/{}", key.namespace, workload.name))
}
