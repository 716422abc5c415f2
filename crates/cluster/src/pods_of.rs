//! Finds the pods of a workload, and the services in front of pods.
//!
//! The pods of each workload are grouped when a workload is first asked for, which goes through all
//! pods; afterwards each change of a pod is applied to its group. The groups are as large as some
//! tenth of the pods, so they are freed once nothing asks.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::net::IpAddr;
use std::sync::{Arc, Mutex};

use dashmap::DashMap;
use webb_index::ObjectKey;

use super::Cache;
use super::store::lock;
use super::stored_pod::{Profile, StoredPod};

/// Pods by workload, as `namespace/name`; none while nothing asks for them.
#[derive(Debug, Default)]
pub(super) struct WorkloadPods(Mutex<Option<Groups>>);

#[derive(Debug, Default)]
struct Groups {
    pods: HashMap<String, BTreeSet<Arc<ObjectKey>>>,
}

impl WorkloadPods {
    /// Applies a change of a pod that `pods` has already: its state before and now.
    pub(super) fn track(&self, key: &Arc<ObjectKey>, before: Option<&Profile>, now: Option<&Profile>) {
        let mut groups = lock(&self.0);
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
    fn read<T>(
        &self,
        pods: &DashMap<Arc<ObjectKey>, StoredPod>,
        workload: &str,
        read: impl FnOnce(Option<&BTreeSet<Arc<ObjectKey>>>) -> T,
    ) -> T {
        // Changes wait for the lock, and are in `pods` before: none is missed.
        let mut groups = lock(&self.0);
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

impl Cache {
    /// The pods of a name, which is a pod's or a workload's behind its namespace: their number, and
    /// the first `most` of them by name.
    pub fn pods_of(&self, name: &str, most: usize) -> (usize, Vec<ObjectKey>) {
        let Some((namespace, of)) = name.split_once('/') else { return (0, Vec::new()) };
        let key = ObjectKey { namespace: namespace.to_owned(), name: of.to_owned() };
        let single = self.store.pods.get(&key).map(|pod| Arc::clone(pod.key()));
        self.store.workload_pods.read(&self.store.pods, name, |pods| {
            let single = single.filter(|single| pods.is_none_or(|pods| !pods.contains(single)));
            let count = pods.map_or(0, BTreeSet::len) + usize::from(single.is_some());
            let mut first: Vec<Arc<ObjectKey>> = pods.into_iter().flatten().take(most).cloned().collect();
            first.extend(single);
            first.sort_unstable();
            (count, first.into_iter().take(most).map(|key| ObjectKey::clone(&key)).collect())
        })
    }

    /// Frees what [`Cache::pods_of`] needs; the next call makes it anew.
    pub fn forget_workloads(&self) {
        *lock(&self.store.workload_pods.0) = None;
    }

    /// The services with one of these addresses behind them, sorted, where their EndpointSlices are
    /// read: all in a manifest, those of `default/kubernetes` alone of an API server.
    pub fn services_of(&self, addresses: &HashSet<IpAddr>) -> BTreeSet<String> {
        let slices = self.store.slices.iter();
        let behind = slices.filter(|slice| slice.addresses.iter().any(|address| addresses.contains(address)));
        let services =
            behind.map(|slice| ObjectKey { namespace: slice.key().namespace.clone(), name: slice.service.clone() });
        services.filter(|key| self.store.services.contains_key(key)).map(|key| key.to_string()).collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use webb_index::Workload;

    use super::*;
    use crate::{CacheSettings, Kind, Object, Pod, Reference};

    fn key(name: &str) -> ObjectKey {
        ObjectKey { namespace: "a".into(), name: name.into() }
    }

    fn put(cache: &Cache, name: &str, workload: Option<&str>) {
        let workload = workload.map(|name| Workload { name: name.into(), kind: "Deployment".into() });
        cache.upsert(Object::Pod(key(name), Box::new(Pod { workload, ..Pod::default() })));
    }

    fn names(cache: &Cache, of: &str, most: usize) -> (usize, Vec<String>) {
        let (count, keys) = cache.pods_of(of, most);
        (count, keys.into_iter().map(|key| key.name).collect())
    }

    /// A name is a workload's, a pod's, or both; the first pods are by name.
    #[test]
    fn names_are_of_workloads_and_pods() {
        let cache = Cache::new(CacheSettings::default());
        for (pod, workload) in [("x-2", Some("x")), ("x-1", Some("x")), ("x-3", Some("x")), ("x", None)] {
            put(&cache, pod, workload);
        }
        assert_eq!(names(&cache, "a/x", 12), (4, ["x", "x-1", "x-2", "x-3"].map(str::to_owned).to_vec()));
        assert_eq!(names(&cache, "a/x", 2), (4, ["x", "x-1"].map(str::to_owned).to_vec()));
        assert_eq!(names(&cache, "a/x-2", 2), (1, vec!["x-2".to_owned()]));
        put(&cache, "x", Some("x"));
        assert_eq!(names(&cache, "a/x", 1).0, 4, "a pod with its workload's name is one");
        for none in ["b/x", "a/y", "x", ""] {
            assert_eq!(names(&cache, none, 12), (0, Vec::new()), "{none}");
        }
    }

    /// All pods are gone through once, and not again until the groups have been freed.
    #[test]
    fn all_pods_are_read_once() {
        let cache = Cache::new(CacheSettings::default());
        put(&cache, "x-1", Some("x"));
        assert!(lock(&cache.store.workload_pods.0).is_none(), "nothing has asked");
        assert_eq!(names(&cache, "a/x", 1).0, 1);
        // What is put here beside the cache is seen by a reading of all pods alone.
        let stored = cache.store.pods.get(&key("x-1")).unwrap().value().clone();
        cache.store.pods.insert(Arc::new(key("x-2")), stored);
        assert_eq!((names(&cache, "a/x", 1).0, names(&cache, "a/y", 1).0), (1, 0));
        cache.forget_workloads();
        assert_eq!(names(&cache, "a/x", 1).0, 2);
    }

    proptest! {
        /// Whatever pods come, change and go: the groups that were kept are those that are made
        /// anew.
        #[test]
        fn groups_follow_pods(steps in prop::collection::vec((0..6_u8, 0..4_u8), 1..40)) {
            let cache = Cache::new(CacheSettings::default());
            cache.pods_of("a/0", 1);
            for (pod, workload) in steps {
                let name = format!("pod-{pod}");
                match workload {
                    0 => drop(cache.remove(&Reference { kind: Kind::Pod, key: key(&name) })),
                    1 => put(&cache, &name, None),
                    of => put(&cache, &name, Some(&of.to_string())),
                }
            }
            let all = || ["a/2", "a/3"].map(|name| names(&cache, name, 12));
            let kept = all();
            let groups = lock(&cache.store.workload_pods.0).as_ref().unwrap().pods.len();
            prop_assert_eq!(groups, kept.iter().filter(|(count, _)| *count > 0).count(), "an empty group is removed");
            cache.forget_workloads();
            prop_assert_eq!(kept, all());
        }
    }
}
