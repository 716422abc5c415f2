//! Finds the pods of a workload, and the services in front of pods.

use std::collections::{BTreeSet, HashSet};
use std::net::IpAddr;
use std::sync::Arc;

use webb_index::ObjectKey;

use super::Cache;

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
        self.store.workload_pods.forget();
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
        assert_eq!(cache.store.workload_pods.len(), None, "nothing has asked");
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
            let groups = kept.iter().filter(|(count, _)| *count > 0).count();
            prop_assert_eq!(cache.store.workload_pods.len(), Some(groups), "an empty group is removed");
            cache.forget_workloads();
            prop_assert_eq!(kept, all());
        }
    }
}
