//! Follows Nodes, in large clusters without a watch.
//!
//! A kubelet writes its Node every five minutes, and a Node is 20 kB: in a cluster of 5,000, a
//! watch sends each agent 0.3 MB a second, for nothing, since what is used of a Node hardly ever
//! changes. So up to [`MAX_WATCHED`] Nodes are watched. In a larger cluster each is read once:
//!
//! - all of them by one list, compressed and from the server's memory;
//! - one that a pod or a later list names, by itself. It is read once more a round later, and until
//!   it has an address: one that has just registered may lack addresses and networks.
//!
//! Every `nodes_interval` of the timings a list of metadata alone brings labels and annotations,
//! and says which Nodes are gone or made anew. The own Node is read every `own_node_interval`.
//!
//! Where a relay sends addresses and networks of nodes, only the own Node is read whole. A list of
//! whole Nodes is fifty times one of metadata, both compressed, and all agents of a large cluster
//! would ask for one.

use std::cell::RefCell;
use std::collections::{BTreeSet, HashSet};
use std::convert::Infallible;
use std::time::Duration;

use serde_json::value::RawValue;
use tokio::time::{Instant, sleep};

use super::answer::{self, Item};
use super::backoff::{Backoff, random};
use super::error::ApiError;
use super::mirror::Mirror;
use super::resume::ResumePoint;
use super::watch::{Watch, encoded};
use super::{Resource, lines};
use crate::cutter::MAX_OBJECT_BYTES;
use crate::missing_nodes::key;
use crate::{Cache, Change, Kind, Object, ObjectKey, Reference};

/// Nodes of a cluster whose Nodes are watched, at most.
const MAX_WATCHED: usize = 100;

/// Nodes that are read one by one in a step, at most. The next round lists all where more are new.
const MAX_READS: usize = 20;

/// Follows Nodes.
#[derive(Debug)]
pub(super) struct Nodes<'a> {
    pub(super) watch: &'a Watch<'a, Cache>,
    /// Number of Nodes, before any is cached; zero if it is not known.
    pub(super) expected: usize,
}

/// What is known of the course of lists.
struct Course {
    place: ResumePoint,
    /// Time of the next list.
    next_round: Instant,
    /// The next list is one of whole Nodes.
    whole: bool,
    /// A relay sends what metadata does not have.
    relayed: bool,
    /// Time of the next reading of the own Node.
    next_own: Instant,
    /// Nodes that are to be read.
    wanted: BTreeSet<String>,
    /// Nodes that were new in this round.
    young: BTreeSet<String>,
    /// Those of them that the server's cache did not have: they are asked for past it.
    doubted: BTreeSet<String>,
    /// Nodes that the server did not have in this round, though pods name them.
    absent: BTreeSet<String>,
}

/// Collects the names of missing nodes for as long as it lives.
struct Collecting<'a>(&'a Cache);

impl Drop for Collecting<'_> {
    fn drop(&mut self) {
        self.0.collect_missing_nodes(false);
    }
}

impl Nodes<'_> {
    /// Follows Nodes until it is dropped.
    pub(super) async fn follow(&self) -> Infallible {
        let mut expected = self.expected;
        loop {
            if expected <= MAX_WATCHED {
                tokio::select! {
                    never = self.watch.follow() => match never {},
                    () = self.grows() => {}
                }
            }
            expected = 0;
            self.list().await;
        }
    }

    /// Whether a Node has no addresses (yet).
    fn is_bare(&self, name: &str) -> bool {
        self.watch.objects.store.nodes.get(&key(name)).is_some_and(|node| node.network.addresses().next().is_none())
    }

    fn is_large(&self) -> bool {
        self.watch.objects.counts().nodes > MAX_WATCHED
    }

    /// Returns once there are too many Nodes to be watched.
    async fn grows(&self) {
        while !self.is_large() {
            sleep(self.watch.link.timings.node_reads_interval).await;
        }
    }

    /// Lists and reads Nodes, for as long as there are many.
    async fn list(&self) {
        let (cache, timings) = (self.watch.objects, self.watch.link.timings);
        cache.collect_missing_nodes(true);
        let _collecting = Collecting(cache);
        // Without a relay's greeting the agent is not ready, and may need no whole list.
        cache.relay_has_greeted().await;
        let now = Instant::now();
        let relayed = cache.has_relayed_nodes();
        if relayed {
            cache.upsert_relayed_nodes();
        }
        let mut course = Course {
            place: ResumePoint::default(),
            next_round: now,
            whole: !relayed,
            relayed,
            next_own: if relayed { now } else { now + timings.own_node_interval },
            wanted: BTreeSet::new(),
            young: BTreeSet::new(),
            doubted: BTreeSet::new(),
            absent: BTreeSet::new(),
        };
        let mut backoff = Backoff::new(timings);
        loop {
            match self.step(&mut course).await {
                Ok(()) if !self.is_large() => return,
                Ok(()) => sleep(around(timings.node_reads_interval)).await,
                Err(error) => {
                    self.watch.watched.restart(error.reason());
                    let error = self.watch.after_sync(error);
                    let wait = backoff.next(Instant::now(), error.class(), error.retry_after());
                    self.watch.report_failure(&error, wait);
                    self.watch.pause(wait, &error).await;
                }
            }
        }
    }

    /// Lists if that is due, and reads some of the Nodes that are new.
    async fn step(&self, course: &mut Course) -> Result<(), ApiError> {
        let (cache, timings) = (self.watch.objects, self.watch.link.timings);
        let now = Instant::now();
        let relayed = cache.has_relayed_nodes();
        if course.relayed != relayed {
            // A relay of an earlier version sends no nodes. Until the next round those of the relay
            // before are as good as those of a list.
            (course.relayed, course.whole) = (relayed, !relayed);
            if relayed {
                cache.upsert_relayed_nodes();
            }
        }
        course.wanted.extend(cache.take_missing_nodes().into_iter().filter(|name| !course.absent.contains(name)));
        let own = &cache.store.settings.node;
        if now >= course.next_own && !own.is_empty() {
            // Before a list of metadata, behind which the agent is ready.
            course.next_own = now + timings.own_node_interval;
            if !self.read(own, false).await? {
                course.wanted.insert(own.clone());
            }
        }
        let is_due = now >= course.next_round;
        if is_due {
            course.wanted.append(&mut course.young);
            course.whole |= !relayed && course.wanted.len() > MAX_READS;
            if course.whole {
                self.watch.list(&mut course.place).await?;
                course.wanted.clear();
            } else {
                let labels = Labels { cache, read: RefCell::default(), keep: course.wanted.clone() };
                self.of_metadata(&self.watch.resource.metadata(), &labels).list(&mut course.place).await?;
                if relayed {
                    course.wanted.retain(|name| !cache.is_node_complete(name));
                }
                course.wanted.extend(labels.read.into_inner());
            }
            course.place.forget();
            course.absent.clear();
            course.doubted.clear();
            course.whole = false;
            course.next_round = Instant::now() + around(timings.nodes_interval);
        }
        let names: Vec<String> = course.wanted.iter().take(MAX_READS).cloned().collect();
        for name in names {
            let is_known = cache.store.nodes.contains_key(&key(&name));
            let is_doubted = course.doubted.remove(&name);
            let is_there = self.read(&name, is_doubted).await?;
            if !is_there && !is_doubted {
                course.doubted.insert(name);
                continue;
            }
            course.wanted.remove(&name);
            if !is_there {
                course.absent.insert(name);
            } else if !relayed && (!is_known || self.is_bare(&name)) {
                course.young.insert(name);
            }
        }
        Ok(())
    }

    /// The watch of the same objects, of which only the metadata is requested.
    fn of_metadata<'a>(&'a self, resource: &'a Resource, objects: &'a Labels<'a>) -> Watch<'a, Labels<'a>> {
        let Watch { link, watched, changed, streaming, journal, .. } = *self.watch;
        Watch { resource, link, objects, watched, changed, streaming, journal, presence: None }
    }

    /// Reads one Node: from the API server's cache, or as it is `now`. False if it is not there; a
    /// Node that is not there now is removed. Where a relay sends the rest, the metadata is enough
    /// of all but the own one.
    async fn read(&self, name: &str, now: bool) -> Result<bool, ApiError> {
        let cache = self.watch.objects;
        if cache.has_relayed_nodes() && name != cache.store.settings.node {
            let labels = Labels { cache, read: RefCell::default(), keep: BTreeSet::new() };
            self.read_by(&self.of_metadata(&self.watch.resource.metadata(), &labels), name, now).await
        } else {
            self.read_by(self.watch, name, now).await
        }
    }

    async fn read_by<M: Mirror>(&self, watch: &Watch<'_, M>, name: &str, now: bool) -> Result<bool, ApiError> {
        let (resource, timeout) = (watch.resource, watch.link.timings.answer_timeout);
        let version = if now { "" } else { "?resourceVersion=0" };
        let path = format!("{}/{}{version}", resource.path(), encoded(name));
        let is_there = match watch.link.get(&path, resource.accept_watch()).await {
            Ok(answer) => {
                let body = lines::read_body(answer.into_body(), MAX_OBJECT_BYTES, timeout).await?;
                let raw: &RawValue = serde_json::from_slice(&body)
                    .map_err(|error| ApiError::Malformed(format!("the node {name}: {error}")))?;
                watch.apply(M::read(resource, raw), None);
                true
            }
            Err(error) if error.is_absent() => {
                if now {
                    self.watch.objects.remove(&Reference { kind: Kind::Node, key: key(name) });
                    self.watch.changed.notify_one();
                }
                false
            }
            Err(error) => return Err(error),
        };
        self.watch.watched.record_contact();
        self.watch.succeeded();
        Ok(is_there)
    }
}

/// A time around `interval`, a fifth more or less.
fn around(interval: Duration) -> Duration {
    interval / 5 * 4 + random(interval / 5 * 2)
}

/// The place of metadata alone: labels and annotations of Nodes that are cached.
#[derive(Debug)]
struct Labels<'a> {
    cache: &'a Cache,
    /// Nodes that are not cached, or were made anew since: to be read.
    read: RefCell<BTreeSet<String>>,
    /// Nodes that the list may be too old to have.
    keep: BTreeSet<String>,
}

impl Mirror for Labels<'_> {
    type Object = Object;

    fn read(resource: &Resource, raw: &RawValue) -> Item<Object> {
        answer::item(resource, raw)
    }

    fn apply(&self, object: Object) -> Change {
        let Object::Node(key, node) = object else { return Change::Equal };
        let name = key.name.clone();
        self.cache.upsert_node_metadata(key, *node).unwrap_or_else(|| {
            self.read.borrow_mut().insert(name);
            Change::Equal
        })
    }

    fn remove(&self, reference: &Reference) -> bool {
        self.cache.remove(reference)
    }

    fn keep_only(&self, _: Kind, listed: &HashSet<ObjectKey>) {
        let young = self.keep.iter().map(|name| key(name));
        self.cache.keep_nodes(&listed.iter().cloned().chain(young).collect());
    }
}
