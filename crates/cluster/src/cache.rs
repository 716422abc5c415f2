//! The cache of cluster objects, by kind and key.
//!
//! This is the write side. Sources upsert and remove objects from whatever thread they run on; once
//! a burst has settled its owner asks for an [`Index`]. What was touched since the last one is
//! brought into it ([`Builder`]), so an update costs the same in a small cluster and in a large
//! one. Readers of flows only ever see indexes, so nothing here is on the event path.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use dashmap::DashMap;
use ipnet::IpNet;
use webb_flow::clock;
use webb_index::Index;
use webb_index::policy::spec::{Labels, PolicySpec, TierSpec};
use webb_index::policy::{Effect, VerdictExclusions};

use super::build::Builder;
use super::keep::{Kept, Shared};
use super::other::Others;
use super::{Kind, Node, Object, ObjectKey, OtherKind, OtherKinds, Reference, Service, Slice};

/// Settings of the cache: the node and cluster that it runs in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settings {
    /// Name of this node, as `spec.nodeName` of its pods has it.
    pub node: String,
    /// Name of the cluster, for the label that Cilium gives to pods.
    pub cluster: String,
    /// Addresses of this machine that its Node object doesn't list, such as those of its bridges:
    /// `reserved:host` too. As it has them at first; [`Cache::set_own_addresses`] says what they
    /// become.
    pub addresses: Vec<IpAddr>,
    /// The kinds of policy that are not evaluated, and what each means.
    pub other_kinds: OtherKinds,
    /// Networks that pods have their addresses from, beyond those that nodes have in their objects.
    pub pod_networks: Vec<IpNet>,
}

/// Objects of the cluster by kind and key.
#[derive(Debug, Default)]
pub struct Cache {
    pub(super) settings: Settings,
    pub(super) pods: DashMap<Arc<ObjectKey>, Kept>,
    pub(super) namespaces: DashMap<ObjectKey, Arc<Labels>>,
    pub(super) nodes: DashMap<ObjectKey, Node>,
    pub(super) services: DashMap<Arc<ObjectKey>, Service>,
    pub(super) slices: DashMap<ObjectKey, Slice>,
    pub(super) policies: DashMap<ObjectKey, Arc<PolicySpec>>,
    pub(super) tiered: DashMap<(Kind, ObjectKey), Arc<TierSpec>>,
    others: Mutex<Others>,
    /// The source tells all there is; one that watches each kind by itself may not yet have told a
    /// pod's namespace.
    watched: AtomicBool,
    own_addresses: Mutex<Vec<IpAddr>>,
    interfaces: Mutex<Vec<PodInterface>>,
    shared: Mutex<Shared>,
    touched: Mutex<Touched>,
    builder: Mutex<Builder>,
}

/// What has changed since the last index.
#[derive(Debug, Default)]
pub(super) struct Touched {
    /// With the time of the last change.
    pub(super) pods: HashMap<Arc<ObjectKey>, u64>,
    pub(super) services: HashMap<Arc<ObjectKey>, u64>,
    pub(super) namespaces: HashSet<String>,
    /// Pods that ended, as they were: those that never were in an index have had their addresses
    /// until that time.
    pub(super) ended: Vec<(Arc<ObjectKey>, Kept, u64)>,
    /// Nodes, or the endpoints of the API.
    pub(super) nodes: bool,
    pub(super) policies: bool,
    /// What is known of other kinds of policy, or of what is missing.
    pub(super) others: bool,
}

/// An interface of this node that leads to a pod.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct PodInterface {
    /// Its index.
    pub index: u32,
    /// The number of the pod's network namespace, if it is known: all interfaces into one are one
    /// pod's.
    pub namespace: Option<i32>,
    /// Whether it is watched as a pod's: whatever is behind it is a pod, known or not.
    pub watched: bool,
    /// Addresses that only a packet for this interface has.
    pub addresses: Vec<IpAddr>,
}

/// How many objects of each kind are cached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[allow(missing_docs, reason = "the names are the kinds'")]
pub struct Counts {
    pub pods: usize,
    pub namespaces: usize,
    pub nodes: usize,
    pub services: usize,
    pub endpoint_slices: usize,
    pub network_policies: usize,
    pub admin_network_policies: usize,
    pub baseline_admin_network_policies: usize,
    pub cluster_network_policies: usize,
    pub other_policies: usize,
}

impl Cache {
    /// An empty cache.
    pub fn new(settings: Settings) -> Self {
        let builder = Mutex::new(Builder::new(&settings));
        let touched = Mutex::new(Touched { nodes: true, others: true, ..Touched::default() });
        let own_addresses = Mutex::new(settings.addresses.clone());
        Self { settings, own_addresses, touched, builder, ..Self::default() }
    }

    /// Upserts an object.
    pub fn upsert(&self, object: Object) {
        self.upsert_at(object, clock::now_ns());
    }

    /// As [`Cache::upsert`], at a time of `CLOCK_MONOTONIC` in nanoseconds: from then on an address
    /// is another's.
    pub fn upsert_at(&self, object: Object, now_ns: u64) {
        match object {
            Object::Pod(key, pod) => {
                let kept = lock(&self.shared).keep(&key.namespace, *pod);
                let known = self.pods.get(&key).map(|pod| (Arc::clone(pod.key()), pod.value().clone()));
                if known.as_ref().is_some_and(|(_, known)| *known == kept) {
                    return;
                }
                let ends = kept.finished && known.as_ref().is_some_and(|(_, known)| !known.finished);
                let key = known.map_or_else(|| Arc::new(key), |(key, _)| key);
                if ends {
                    self.touched().ended.push((Arc::clone(&key), kept.clone(), now_ns));
                }
                self.pods.insert(Arc::clone(&key), kept);
                self.touched().pods.insert(key, now_ns);
            }
            Object::Namespace(key, labels) => {
                self.touched().namespaces.insert(key.name.clone());
                self.namespaces.insert(key, Arc::new(labels));
            }
            Object::Node(key, node) => self.touched().nodes |= differs(&self.nodes, key, node),
            Object::Service(key, service) => {
                let key = Arc::new(key);
                if differs(&self.services, Arc::clone(&key), service) {
                    self.touched().services.insert(key, now_ns);
                }
            }
            Object::EndpointSlice(key, slice) => {
                let before = self.slices.insert(key.clone(), slice.clone());
                let of_api = before.as_ref().is_some_and(|slice| is_api(&key, slice)) || is_api(&key, &slice);
                self.touched().nodes |= of_api && before.as_ref() != Some(&slice);
            }
            Object::NetworkPolicy(key, policy) => self.touched().policies |= differs(&self.policies, key, policy),
            Object::Tiered(key, policy) => {
                let key = (Kind::of(policy.kind), key);
                self.touched().policies |= differs(&self.tiered, key, policy);
            }
            Object::OtherPolicy(kind, key) => {
                self.change_others(|others| others.objects.entry(kind).or_default().insert(key));
            }
        }
    }

    /// Takes an object out. Returns false if it wasn't there.
    pub fn remove(&self, reference: &Reference) -> bool {
        self.remove_at(reference, clock::now_ns())
    }

    /// As [`Cache::remove`], at a time of `CLOCK_MONOTONIC` in nanoseconds.
    pub fn remove_at(&self, Reference { kind, key }: &Reference, now_ns: u64) -> bool {
        match kind {
            Kind::Pod => match self.pods.remove(key) {
                Some((key, kept)) => {
                    let mut touched = self.touched();
                    if !kept.finished {
                        touched.ended.push((Arc::clone(&key), kept, now_ns));
                    }
                    touched.pods.insert(key, now_ns)
                }
                None => return false,
            },
            Kind::Service => match self.services.remove(key) {
                Some((key, _)) => self.touched().services.insert(key, now_ns),
                None => return false,
            },
            Kind::Namespace => {
                let known = self.namespaces.remove(key).is_some();
                self.touched().namespaces.insert(key.name.clone());
                return known;
            }
            Kind::Node => {
                let known = self.nodes.remove(key).is_some();
                self.touched().nodes |= known;
                return known;
            }
            Kind::EndpointSlice => {
                let known = self.slices.remove(key);
                self.touched().nodes |= known.as_ref().is_some_and(|(key, slice)| is_api(key, slice));
                return known.is_some();
            }
            Kind::NetworkPolicy => {
                let known = self.policies.remove(key).is_some();
                self.touched().policies |= known;
                return known;
            }
            Kind::AdminNetworkPolicy | Kind::BaselineAdminNetworkPolicy | Kind::ClusterNetworkPolicy => {
                let known = self.tiered.remove(&(*kind, key.clone())).is_some();
                self.touched().policies |= known;
                return known;
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

    /// Makes these objects the whole content: for a source that tells everything at once.
    pub fn replace(&self, objects: Vec<Object>) {
        let mut listed: HashMap<Kind, HashSet<ObjectKey>> = self.kinds().map(|kind| (kind, HashSet::new())).collect();
        for object in objects {
            let Reference { kind, key } = object.reference();
            listed.entry(kind).or_default().insert(key);
            self.upsert(object);
        }
        for (kind, listed) in listed {
            self.keep_only(kind, &listed);
        }
    }

    /// Removes all objects of a kind but these: for a source that has listed the kind completely.
    pub fn keep_only(&self, kind: Kind, listed: &HashSet<ObjectKey>) {
        let keys: Vec<ObjectKey> = match kind {
            Kind::Pod => self.pods.iter().map(|entry| ObjectKey::clone(entry.key())).collect(),
            Kind::Namespace => self.namespaces.iter().map(|entry| entry.key().clone()).collect(),
            Kind::Node => self.nodes.iter().map(|entry| entry.key().clone()).collect(),
            Kind::Service => self.services.iter().map(|entry| ObjectKey::clone(entry.key())).collect(),
            Kind::EndpointSlice => self.slices.iter().map(|entry| entry.key().clone()).collect(),
            Kind::NetworkPolicy => self.policies.iter().map(|entry| entry.key().clone()).collect(),
            Kind::AdminNetworkPolicy | Kind::BaselineAdminNetworkPolicy | Kind::ClusterNetworkPolicy => {
                let all = self.tiered.iter().map(|entry| entry.key().clone());
                all.filter(|(found, _)| *found == kind).map(|(_, key)| key).collect()
            }
            Kind::Other(kind) => {
                let keys = self.others().objects.get(&kind).cloned().unwrap_or_default();
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
        let others: Vec<Kind> = self.others().objects.keys().copied().map(Kind::Other).collect();
        Kind::CORE.into_iter().chain(Kind::TIERED).chain(others)
    }

    /// Tells that policies of some kind are not all here, and why; none tells that they are. As
    /// long as one kind is missing, no pod has verdicts. `what` is a kind for people, or what else
    /// is missing.
    pub fn set_incomplete(&self, what: &str, why: Option<String>) {
        self.change_others(|others| match why {
            Some(why) => others.incomplete.insert(what.to_owned(), why.clone()).as_ref() != Some(&why),
            None => others.incomplete.remove(what).is_some(),
        });
    }

    /// Tells whether the server has a vendor's kind that cannot be listed: then it may concern any
    /// pod.
    pub fn set_unlisted(&self, kind: OtherKind, unlisted: bool) {
        self.change_others(
            |others| {
                if unlisted { others.unlisted.insert(kind) } else { others.unlisted.remove(&kind) }
            },
        );
    }

    /// Tells which kinds the source has, by group and kind, that are policies by their name or
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
        &self.settings.other_kinds
    }

    /// What keeps verdicts undecided beyond what policies themselves leave open; empty if nothing
    /// does.
    pub fn undecided_because(&self) -> String {
        let mut text = self.others().complaint(&self.settings.other_kinds);
        let oversize = self.builder().oversize();
        if !oversize.is_empty() {
            let separator = if text.is_empty() { "" } else { "; " };
            text.push_str(&format!("{separator}no verdicts for pods of policies with too many peers: {oversize}"));
        }
        text
    }

    /// How many objects there are of each other kind of policy, by group, kind and effect. Kinds of
    /// which nothing is known count as one, with the effect `unknown`.
    pub fn other_counts(&self) -> Vec<(String, String, &'static str, usize)> {
        let others = self.others();
        let counted = others
            .objects
            .iter()
            .map(|(kind, keys)| (kind.group().to_owned(), kind.name().to_owned(), kind.effect().label(), keys.len()));
        let strange = others.strange.iter().map(|(group, kind)| (group.clone(), kind.clone(), "unknown", 1));
        counted.chain(strange).collect()
    }

    /// Sets the addresses behind each interface of this node, whatever their owner.
    pub fn set_interfaces(&self, interfaces: Vec<PodInterface>) {
        *lock(&self.interfaces) = interfaces;
    }

    pub(super) fn interfaces(&self) -> MutexGuard<'_, Vec<PodInterface>> {
        lock(&self.interfaces)
    }

    /// Sets this machine's own addresses, in the place of those in [`Settings`]. False if they are
    /// what they were.
    pub fn set_own_addresses(&self, addresses: Vec<IpAddr>) -> bool {
        let mut own = lock(&self.own_addresses);
        if *own == addresses {
            return false;
        }
        *own = addresses;
        self.touched().nodes = true;
        true
    }

    pub(super) fn own_addresses(&self) -> Vec<IpAddr> {
        lock(&self.own_addresses).clone()
    }

    /// Sets whether the initial sync of the source is complete; it is by default.
    pub fn set_ready(&self, ready: bool) {
        lock(&self.builder).set_ready(ready);
    }

    /// The index of what is cached now. [`Index::changes`] is since the last call, so it must have
    /// one caller only.
    pub fn index(&self) -> Index {
        self.index_at(clock::now_ns())
    }

    /// As [`Cache::index`], at a time of `CLOCK_MONOTONIC` in nanoseconds.
    pub fn index_at(&self, now_ns: u64) -> Index {
        let mut builder = self.builder.lock().unwrap_or_else(|broken| {
            // A panic in the middle of a change: the index is rebuilt from the objects, which are
            // all here.
            let mut builder = broken.into_inner();
            *builder = Builder::new(&self.settings);
            self.touch_all(now_ns);
            self.builder.clear_poison();
            builder
        });
        let touched = std::mem::take(&mut *self.touched());
        builder.build(self, touched, now_ns)
    }

    fn touch_all(&self, now_ns: u64) {
        let pods = self.pods.iter().map(|pod| (Arc::clone(pod.key()), now_ns)).collect();
        let services = self.services.iter().map(|service| (Arc::clone(service.key()), now_ns)).collect();
        let namespaces = self.namespaces.iter().map(|namespace| namespace.key().name.clone()).collect();
        let mut touched = self.touched();
        let ended = std::mem::take(&mut touched.ended);
        *touched = Touched { pods, services, namespaces, ended, nodes: true, policies: true, others: true };
    }

    /// Tells whether each kind comes by itself, so that a pod may be here before its namespace. Not
    /// so at first.
    pub fn set_watched(&self, watched: bool) {
        self.watched.store(watched, Relaxed);
    }

    pub(super) fn is_whole(&self) -> bool {
        !self.watched.load(Relaxed)
    }

    /// Which pods have no verdicts.
    pub(super) fn exclusions(&self) -> VerdictExclusions {
        let kinds = &self.settings.other_kinds;
        let (all, namespaces) = self.others().effects(kinds);
        let annotated = if kinds.are_ignored() { Effect::NONE } else { Effect::BOTH };
        VerdictExclusions { all, namespaces, annotated }
    }

    /// How many objects there are.
    pub fn counts(&self) -> Counts {
        Counts {
            pods: self.pods.len(),
            namespaces: self.namespaces.len(),
            nodes: self.nodes.len(),
            services: self.services.len(),
            endpoint_slices: self.slices.len(),
            network_policies: self.policies.len(),
            admin_network_policies: self.count(Kind::AdminNetworkPolicy),
            baseline_admin_network_policies: self.count(Kind::BaselineAdminNetworkPolicy),
            cluster_network_policies: self.count(Kind::ClusterNetworkPolicy),
            other_policies: self.others().objects.values().map(BTreeSet::len).sum(),
        }
    }

    fn count(&self, kind: Kind) -> usize {
        self.tiered.iter().filter(|entry| entry.key().0 == kind).count()
    }

    pub(super) fn others(&self) -> MutexGuard<'_, Others> {
        lock(&self.others)
    }

    /// Changes what is known of other kinds; `change` says whether anything differs.
    fn change_others(&self, change: impl FnOnce(&mut Others) -> bool) -> bool {
        let differs = change(&mut self.others());
        self.touched().others |= differs;
        differs
    }

    pub(super) fn builder(&self) -> MutexGuard<'_, Builder> {
        lock(&self.builder)
    }

    fn touched(&self) -> MutexGuard<'_, Touched> {
        lock(&self.touched)
    }
}

/// What these hold is whole at any moment.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Puts an object in and says whether that changes anything.
fn differs<K: Eq + std::hash::Hash, V: PartialEq + Clone>(map: &DashMap<K, V>, key: K, value: V) -> bool {
    map.insert(key, value.clone()) != Some(value)
}

/// Whether these are endpoints of the service default/kubernetes.
pub(super) fn is_api(key: &ObjectKey, slice: &Slice) -> bool {
    key.namespace == "default" && slice.service == "kubernetes"
}
