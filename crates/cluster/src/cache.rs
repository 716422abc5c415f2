//! The cache of cluster objects, by kind and key.
//!
//! This is the write side. Sources upsert and remove objects from whatever thread they run on; once
//! a burst has settled its owner asks for an [`Index`]. What was touched since the last one is
//! brought into it ([`Builder`]), so an update costs the same in a small cluster and in a large
//! one. Readers of flows only ever see indexes, so nothing here is on the event path.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard};

use dashmap::DashMap;
use webb_flow::clock::Clock;
use webb_index::Index;

use super::build::Builder;
use super::change::Change;
use super::names_only;
use super::other::Others;
use super::store::{CacheSettings, Counts, PodInterface, Store, Touched, is_api, lock};
use super::stored_pod::{AgentPod, Profiles};
use super::{Kind, Object, ObjectKey, OtherKind, OtherKinds, Reference};

/// Objects of the cluster by kind and key.
#[derive(Debug, Default)]
pub struct Cache {
    pub(super) store: Store,
    pub(super) profiles: Mutex<Profiles>,
    touched: Mutex<Touched>,
    builder: Mutex<Builder>,
    /// The other clusters of the mesh.
    pub(super) mesh: Vec<Arc<Self>>,
    /// Time from which [`Cache::trim_at`] has something to do, of `CLOCK_MONOTONIC` in
    /// nanoseconds; 0 for never.
    pub(super) trim_due_ns: AtomicU64,
}

/// Time after which readers have let go of the index before, in nanoseconds.
const READERS_NS: u64 = 5_000_000_000;

impl Cache {
    /// An empty cache.
    pub fn new(settings: CacheSettings) -> Self {
        Self::with_mesh(settings, Vec::new())
    }

    /// An empty cache with the caches of other clusters, each with its name in its settings. Their
    /// objects are in the index of this one.
    pub fn with_mesh(settings: CacheSettings, mesh: Vec<Arc<Self>>) -> Self {
        let builder = Mutex::new(new_builder(&settings, &mesh));
        let touched = Mutex::new(Touched { nodes: true, others: true, ..Touched::default() });
        let own_addresses = Mutex::new(settings.addresses.clone());
        let store = Store { settings, own_addresses, ..Store::default() };
        Self { store, touched, builder, mesh, ..Self::default() }
    }

    /// This cache with another clock than the kernel's.
    #[must_use]
    pub fn timed_by(mut self, clock: Clock) -> Self {
        self.store.clock = clock;
        self
    }

    /// Upserts an object.
    pub fn upsert(&self, object: Object) {
        self.upsert_at(object, self.store.clock.now_ns());
    }

    /// As [`Cache::upsert`], at a time of `CLOCK_MONOTONIC` in nanoseconds: from then on an address
    /// is another's.
    pub fn upsert_at(&self, object: Object, now_ns: u64) {
        self.apply(object, now_ns);
    }

    /// Upserts an object, and returns what that changed.
    pub(super) fn apply(&self, object: Object, now_ns: u64) -> Change {
        match if self.store.settings.of_mesh { names_only::strip(object) } else { object } {
            Object::Pod(key, pod) => {
                self.note_node(&pod.node);
                let agent = AgentPod::of(&self.store.settings.agent_labels, &pod);
                let stored = lock(&self.profiles).intern(&key.namespace, agent, *pod);
                let known = self.store.pods.get(&key).map(|pod| (Arc::clone(pod.key()), pod.value().clone()));
                if known.as_ref().is_some_and(|(_, known)| *known == stored) {
                    return Change::Equal;
                }
                let is_relabelled =
                    known.as_ref().is_some_and(|(_, known)| known.profile.subject != stored.profile.subject);
                let ends = stored.finished && known.as_ref().is_some_and(|(_, known)| !known.finished);
                let change = if known.is_some() { Change::Updated } else { Change::Created };
                let (key, before) = known.map_or_else(|| (Arc::new(key), None), |(key, pod)| (key, Some(pod)));
                self.store.track(&key, before.as_ref(), Some(&stored));
                if ends {
                    self.touched().ended.push((Arc::clone(&key), stored.clone(), now_ns));
                }
                let profile = Arc::clone(&stored.profile);
                self.store.pods.insert(Arc::clone(&key), stored);
                self.store.workload_pods.track(&key, before.as_ref().map(|pod| &*pod.profile), Some(&profile));
                let mut touched = self.touched();
                touched.pods.insert(key, now_ns);
                touched.agents |= before.map_or(AgentPod::No, |before| before.agent) != agent;
                self.revise(&mut touched, is_relabelled);
                change
            }
            Object::Namespace(key, labels) => {
                let mut touched = self.touched();
                touched.namespaces.insert(key.name.clone());
                let change = insert(&self.store.namespaces, key, Arc::new(labels));
                self.revise(&mut touched, change.is_any());
                change
            }
            Object::Node(key, node) => {
                let change = insert(&self.store.nodes, key, *node);
                self.store.nodes_version.fetch_add(u64::from(change.is_any()), Relaxed);
                let mut touched = self.touched();
                touched.nodes |= change.is_any();
                self.revise(&mut touched, change.is_any());
                change
            }
            Object::Service(key, service) => {
                let key = Arc::new(key);
                let change = insert(&self.store.services, Arc::clone(&key), service);
                if change.is_any() {
                    self.touched().services.insert(key, now_ns);
                }
                change
            }
            Object::EndpointSlice(key, slice) => {
                let before = self.store.slices.insert(key.clone(), slice.clone());
                let of_api = before.as_ref().is_some_and(|slice| is_api(&key, slice)) || is_api(&key, &slice);
                let change = Change::of(before.as_ref(), &slice);
                self.touched().nodes |= of_api && change.is_any();
                change
            }
            Object::NetworkPolicy(key, policy) => {
                let change = insert(&self.store.policies, key.clone(), policy);
                self.touch_policies(self.store.note_policy(Kind::NetworkPolicy, &key, change))
            }
            Object::Tiered(key, policy) => {
                let kind = Kind::of(policy.kind);
                let change = insert(&self.store.tiered, (kind, key.clone()), policy);
                self.touch_policies(self.store.note_policy(kind, &key, change))
            }
            Object::OtherPolicy(kind, key) => {
                let is_new = self.change_others(|others| others.objects.entry(kind).or_default().insert(key));
                if is_new { Change::Created } else { Change::Equal }
            }
        }
    }

    /// Takes an object out. Returns false if it wasn't there.
    pub fn remove(&self, reference: &Reference) -> bool {
        self.remove_at(reference, self.store.clock.now_ns())
    }

    /// As [`Cache::remove`], at a time of `CLOCK_MONOTONIC` in nanoseconds.
    pub fn remove_at(&self, Reference { kind, key }: &Reference, now_ns: u64) -> bool {
        match kind {
            Kind::Pod => match self.store.pods.remove(key) {
                Some((key, stored)) => {
                    self.store.track(&key, Some(&stored), None);
                    self.store.workload_pods.track(&key, Some(&stored.profile), None);
                    let mut touched = self.touched();
                    touched.agents |= stored.agent != AgentPod::No;
                    if !stored.finished {
                        touched.ended.push((Arc::clone(&key), stored, now_ns));
                    }
                    touched.pods.insert(key, now_ns)
                }
                None => return false,
            },
            Kind::Service => match self.store.services.remove(key) {
                Some((key, _)) => self.touched().services.insert(key, now_ns),
                None => return false,
            },
            Kind::Namespace => {
                let known = self.store.namespaces.remove(key).is_some();
                let mut touched = self.touched();
                touched.namespaces.insert(key.name.clone());
                self.revise(&mut touched, known);
                return known;
            }
            Kind::Node => {
                let known = self.store.nodes.remove(key).is_some();
                self.store.nodes_version.fetch_add(u64::from(known), Relaxed);
                let mut touched = self.touched();
                touched.nodes |= known;
                self.revise(&mut touched, known);
                return known;
            }
            Kind::EndpointSlice => {
                let known = self.store.slices.remove(key);
                self.touched().nodes |= known.as_ref().is_some_and(|(key, slice)| is_api(key, slice));
                return known.is_some();
            }
            Kind::NetworkPolicy => {
                return self.policy_removed(*kind, key, self.store.policies.remove(key).is_some());
            }
            Kind::AdminNetworkPolicy | Kind::BaselineAdminNetworkPolicy | Kind::ClusterNetworkPolicy => {
                let known = self.store.tiered.remove(&(*kind, key.clone())).is_some();
                return self.policy_removed(*kind, key, known);
            }
            Kind::Other(kind) => {
                return self.change_others(|others| {
                    let Some(keys) = others.objects.get_mut(kind) else { return false };
                    let known = keys.remove(key);
                    if keys.is_empty() {
                        others.objects.remove(kind);
                    }
                    known
                });
            }
        };
        true
    }

    /// Makes these objects the whole content: for a source that lists everything at once.
    pub fn replace(&self, objects: Vec<Object>) {
        let listed: HashSet<Reference> = objects.iter().map(Object::reference).collect();
        for object in objects {
            self.upsert(object);
        }
        self.keep_all(listed);
    }

    /// Removes all objects but these: for a source that has added each object by itself.
    pub fn keep_all(&self, objects: HashSet<Reference>) {
        let mut listed: HashMap<Kind, HashSet<ObjectKey>> = self.kinds().map(|kind| (kind, HashSet::new())).collect();
        for Reference { kind, key } in objects {
            listed.entry(kind).or_default().insert(key);
        }
        for (kind, listed) in listed {
            self.keep_only(kind, &listed);
        }
    }

    /// Removes all objects of a kind but these: for a source that has listed the kind completely.
    pub fn keep_only(&self, kind: Kind, listed: &HashSet<ObjectKey>) {
        let keys: Vec<ObjectKey> = match kind {
            Kind::Pod => self.store.pods.iter().map(|entry| ObjectKey::clone(entry.key())).collect(),
            Kind::Namespace => self.store.namespaces.iter().map(|entry| entry.key().clone()).collect(),
            Kind::Node => self.store.nodes.iter().map(|entry| entry.key().clone()).collect(),
            Kind::Service => self.store.services.iter().map(|entry| ObjectKey::clone(entry.key())).collect(),
            Kind::EndpointSlice => self.store.slices.iter().map(|entry| entry.key().clone()).collect(),
            Kind::NetworkPolicy => self.store.policies.iter().map(|entry| entry.key().clone()).collect(),
            Kind::AdminNetworkPolicy | Kind::BaselineAdminNetworkPolicy | Kind::ClusterNetworkPolicy => {
                let all = self.store.tiered.iter().map(|entry| entry.key().clone());
                all.filter(|(found, _)| *found == kind).map(|(_, key)| key).collect()
            }
            Kind::Other(kind) => {
                let keys = self.store.others().objects.get(&kind).cloned().unwrap_or_default();
                keys.into_iter().collect()
            }
        };
        for key in keys {
            if !listed.contains(&key) {
                self.remove(&Reference { kind, key });
            }
        }
    }

    /// Every kind of which something is or may be here.
    fn kinds(&self) -> impl Iterator<Item = Kind> + use<> {
        let others: Vec<Kind> = self.store.others().objects.keys().copied().map(Kind::Other).collect();
        Kind::CORE.into_iter().chain(Kind::TIERED).chain(others)
    }

    /// Marks policies of some kind as incomplete, with the reason; none marks them as complete. As
    /// long as one kind is missing, no pod has verdicts. `what` is a kind for people, or what else
    /// is missing.
    pub fn set_incomplete(&self, what: &str, why: Option<String>) {
        self.change_others(|others| match why {
            Some(why) => others.incomplete.insert(what.to_owned(), why.clone()).as_ref() != Some(&why),
            None => others.incomplete.remove(what).is_some(),
        });
    }

    /// Records whether the server has a vendor's kind that cannot be listed, so that it may concern
    /// any pod.
    pub fn set_unlisted(&self, kind: OtherKind, unlisted: bool) {
        self.change_others(
            |others| {
                if unlisted { others.unlisted.insert(kind) } else { others.unlisted.remove(&kind) }
            },
        );
    }

    /// Records which kinds the source has, by group and kind, that are policies by their name or
    /// group and of which nothing is known. They are named, and have no effect, but for those of
    /// `policy.networking.k8s.io`: with one of these no pod has verdicts. False if they are what
    /// they were.
    pub fn set_strange(&self, kinds: impl IntoIterator<Item = (String, String)>) -> bool {
        let kinds = kinds.into_iter().collect();
        self.change_others(|others| {
            let differs = others.strange != kinds;
            others.strange = kinds;
            differs
        })
    }

    /// The kinds of policy that are not evaluated, and what each means.
    pub fn other_kinds(&self) -> &OtherKinds {
        &self.store.settings.other_kinds
    }

    /// Reason for undecided verdicts beyond those that policies themselves leave open; empty if
    /// there is none.
    pub fn undecided_because(&self) -> String {
        let mut text = self.store.others().complaint(&self.store.settings.other_kinds);
        let oversize = self.builder().oversize();
        if !oversize.is_empty() {
            let separator = if text.is_empty() { "" } else { "; " };
            text.push_str(&format!("{separator}no verdicts for pods of policies with too many peers: {oversize}"));
        }
        text
    }

    /// Number of objects of each other kind of policy, by group, kind and effect. Unknown kinds
    /// count as one, with the effect `unknown`.
    pub fn other_counts(&self) -> Vec<(String, String, &'static str, usize)> {
        let others = self.store.others();
        let counted = others
            .objects
            .iter()
            .map(|(kind, keys)| (kind.group().to_owned(), kind.name().to_owned(), kind.effect().label(), keys.len()));
        let strange = others.strange.iter().map(|(group, kind)| (group.clone(), kind.clone(), "unknown", 1));
        counted.chain(strange).collect()
    }

    /// Sets the addresses behind each interface of this node, whatever their owner.
    pub fn set_interfaces(&self, interfaces: Vec<PodInterface>) {
        *lock(&self.store.interfaces) = interfaces;
    }

    /// Sets this machine's own addresses, in the place of those in [`CacheSettings`]. False if they
    /// are what they were.
    pub fn set_own_addresses(&self, addresses: Vec<IpAddr>) -> bool {
        let mut own = lock(&self.store.own_addresses);
        if *own == addresses {
            return false;
        }
        *own = addresses;
        self.touched().nodes = true;
        true
    }

    /// Sets whether a source of names is configured; one is by default. Without one no flow waits
    /// for a name.
    pub fn set_sourced(&self, sourced: bool) {
        lock(&self.builder).set_sourced(sourced);
    }

    /// Sets whether the initial sync of the source is complete; it is by default.
    pub fn set_ready(&self, ready: bool) {
        self.store.recent.set_begun(ready);
        lock(&self.builder).set_ready(ready);
    }

    /// The index of what is cached now. [`Index::changes`] is since the last call, so it must have
    /// one caller only.
    pub fn index(&self) -> Index {
        self.index_at(self.store.clock.now_ns())
    }

    /// As [`Cache::index`], at a time of `CLOCK_MONOTONIC` in nanoseconds.
    pub fn index_at(&self, now_ns: u64) -> Index {
        let mut builder = self.builder.lock().unwrap_or_else(|broken| {
            // A panic in the middle of a change: the index is rebuilt from the objects, which are
            // all here.
            let mut builder = broken.into_inner();
            *builder = new_builder(&self.store.settings, &self.mesh);
            self.touch_all(now_ns);
            self.mesh.iter().for_each(|cluster| cluster.touch_all(now_ns));
            self.builder.clear_poison();
            builder
        });
        let (touched, revision) = {
            let mut touched = self.touched();
            (std::mem::take(&mut *touched), self.store.revision.current())
        };
        builder.set_policy_revision(self.store.revision.clone(), revision);
        let has_garbage = builder.has_garbage(now_ns);
        let mesh = self.mesh.iter().map(|cluster| (&cluster.store, std::mem::take(&mut *cluster.touched())));
        let index = builder.build(&self.store, touched, mesh.collect(), now_ns);
        if has_garbage {
            self.trim_due_ns.store(now_ns + READERS_NS, Relaxed);
        }
        index
    }

    fn touch_all(&self, now_ns: u64) {
        let pods = self.store.pods.iter().map(|pod| (Arc::clone(pod.key()), now_ns)).collect();
        let services = self.store.services.iter().map(|service| (Arc::clone(service.key()), now_ns)).collect();
        let namespaces = self.store.namespaces.iter().map(|namespace| namespace.key().name.clone()).collect();
        let mut touched = self.touched();
        let ended = std::mem::take(&mut touched.ended);
        *touched = Touched { pods, services, namespaces, ended, ..Touched::all_else() };
    }

    /// Records whether each kind comes by itself, so that a pod may be here before its namespace.
    /// Not so at first.
    pub fn set_watched(&self, watched: bool) {
        self.store.watched.store(watched, Relaxed);
    }

    /// Changes the state of other kinds; `change` returns true if anything differs.
    fn change_others(&self, change: impl FnOnce(&mut Others) -> bool) -> bool {
        let differs = change(&mut self.store.others());
        let mut touched = self.touched();
        touched.others |= differs;
        self.revise(&mut touched, differs);
        differs
    }

    fn policy_removed(&self, kind: Kind, key: &ObjectKey, known: bool) -> bool {
        self.touch_policies(if known { Change::Updated } else { Change::Equal });
        self.store.note_removed(kind, key, known)
    }

    fn touch_policies(&self, change: Change) -> Change {
        let mut touched = self.touched();
        touched.policies |= change.is_any();
        self.revise(&mut touched, change.is_any());
        change
    }

    /// Counts a change of policies, or of what they select by: published indexes are outdated. An
    /// index that takes what is touched has the count as well, so both change under one lock.
    fn revise(&self, _touched: &mut Touched, differs: bool) {
        if differs {
            self.store.revision.advance();
        }
    }

    /// Number of objects by kind.
    pub fn counts(&self) -> Counts {
        self.store.counts()
    }

    pub(super) fn builder(&self) -> MutexGuard<'_, Builder> {
        lock(&self.builder)
    }

    pub(super) fn touched(&self) -> MutexGuard<'_, Touched> {
        lock(&self.touched)
    }
}

fn new_builder(settings: &CacheSettings, mesh: &[Arc<Cache>]) -> Builder {
    Builder::new(settings, mesh.iter().map(|cluster| cluster.store.settings.cluster.as_str()))
}

/// Inserts an object, and returns what that changed.
fn insert<K: Eq + std::hash::Hash, V: PartialEq + Clone>(map: &DashMap<K, V>, key: K, value: V) -> Change {
    let now = value.clone();
    Change::of(map.insert(key, value).as_ref(), &now)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::Pod;

    const SECOND: u64 = 1_000_000_000;

    /// What only deleted pods had is freed, and their tables are small again, though readers had
    /// the index of before for a while; what a pod has stays.
    #[test]
    fn deleted_pods_leave_no_room_behind() {
        const PODS: u32 = 20_000;
        let cache = Cache::new(CacheSettings::default());
        let key = |number: u32| ObjectKey { namespace: "a".into(), name: format!("job-{number}") };
        for number in 0..PODS {
            let pod = Pod {
                addresses: vec![Ipv4Addr::from(0x0a00_0000 + number).into()],
                service_account: format!("account-{number}"),
                ..Pod::default()
            };
            cache.upsert_at(Object::Pod(key(number), Box::new(pod)), 0);
        }
        let first = cache.index_at(0);
        for number in 1..PODS {
            cache.remove_at(&Reference { kind: Kind::Pod, key: key(number) }, SECOND);
        }
        let second = cache.index_at(SECOND);
        drop(first);
        let third = cache.index_at(63 * SECOND);
        cache.trim_at(63 * SECOND);
        assert_eq!(lock(&cache.profiles).len(), PODS as usize, "readers have the index of before");
        drop(second);
        cache.trim_at(69 * SECOND);
        assert_eq!(lock(&cache.profiles).len(), 1);
        assert!(cache.store.pods.capacity() < PODS as usize / 4, "{}", cache.store.pods.capacity());
        assert_eq!(third.addresses(), 1);
    }
}
