//! Keeps a [`ClusterView`] equal to the server's state: a watch for each kind that every server
//! has, and one for each further kind that discovery finds.

use std::cell::RefCell;
use std::collections::HashSet;
use std::convert::Infallible;

use futures::future;
use serde_json::value::RawValue;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep};

use super::answer::{self, Item};
use super::backoff::{Backoff, random};
use super::discovery::{self, Version};
use super::journal::Journal;
use super::link::Link;
use super::mirror::Mirror;
use super::streaming::Streaming;
use super::watch::Watch;
use super::{Access, RESOURCES, Resource, Status, WatchTimings};
use crate::view::{self, ClusterView, KINDS, ViewedKind, ViewedObject};
use crate::{Change, Kind, ObjectKey, PassedOver, Reference};

/// What discovery is called in the log.
const DISCOVERY: &str = "further kinds";

impl Mirror for ClusterView {
    type Object = ViewedObject;

    fn read(resource: &Resource, raw: &RawValue) -> Item<ViewedObject> {
        let head = answer::head(resource, raw);
        let object = match &head.key {
            Some(key) => view::read(resource.kind, key.clone(), raw.get()),
            None => Err("it has no name, or metadata.namespace is no text".to_owned()),
        };
        Item { head, object, passed_over: PassedOver::default() }
    }

    fn apply(&self, object: ViewedObject) -> Change {
        self.upsert(object)
    }

    fn remove(&self, reference: &Reference) -> bool {
        self.remove(reference)
    }

    fn keep_only(&self, kind: Kind, listed: &HashSet<ObjectKey>) {
        self.keep_only(kind, listed);
    }
}

/// The shared parts of the watches.
struct Viewer<'a> {
    link: &'a Link<'a>,
    view: &'a ClusterView,
    status: &'a Status,
    changed: &'a Notify,
    streaming: &'a Streaming,
    journal: &'a Journal<'a>,
    /// The version of each further kind that the server has.
    served: RefCell<[Option<String>; ViewedKind::ALL.len()]>,
    /// Notified when `served` changes.
    discovered: [Notify; ViewedKind::ALL.len()],
}

/// Keeps `view` equal to the API server's state, until it is dropped. Needs a tokio runtime with
/// I/O and time. `status` is one of the kinds [`KINDS`].
pub async fn follow_view(access: &Access, timings: &WatchTimings, view: &ClusterView, status: &Status) -> Infallible {
    status.begin();
    let link = Link::new(access, timings).counted(status.requests());
    let (streaming, journal, changed) = (Streaming::default(), Journal::new(status), Notify::new());
    let viewer = Viewer {
        link: &link,
        view,
        status,
        changed: &changed,
        streaming: &streaming,
        journal: &journal,
        served: RefCell::default(),
        discovered: Default::default(),
    };
    let resources = RESOURCES.iter().filter(|resource| KINDS.contains(&resource.kind));
    let core = resources.zip(status.watched()).map(|(resource, watched)| {
        let watch = viewer.watch(resource, watched);
        Box::pin(async move { watch.follow().await })
    });
    let further = ViewedKind::ALL.into_iter().enumerate().map(|(at, kind)| Box::pin(viewer.follow(at, kind)));
    tokio::select! {
        (never, _, _) = future::select_all(core) => match never {},
        (never, _, _) = future::select_all(further) => match never {},
        never = viewer.discover() => match never {},
    }
}

impl Viewer<'_> {
    fn watch<'b>(&'b self, resource: &'b Resource, watched: &'b super::Watched) -> Watch<'b, ClusterView> {
        Watch {
            resource,
            link: self.link,
            objects: self.view,
            watched,
            changed: self.changed,
            streaming: self.streaming,
            journal: self.journal,
            presence: None,
        }
    }

    /// Asks again and again which kinds the server has. API servers of one cluster may differ for
    /// seconds, which only makes a kind be listed anew.
    async fn discover(&self) -> Infallible {
        let (mut backoff, mut etag) = (Backoff::new(self.link.timings), None);
        let wanted = |group: &str| ViewedKind::ALL.iter().any(|kind| kind.kind().group() == group);
        loop {
            let wait = match discovery::ask(self.link, &mut etag, wanted).await {
                Ok(versions) => {
                    if let Some(versions) = versions {
                        self.take(&versions);
                    }
                    self.status.discovered();
                    let interval = self.link.timings.discovery_interval;
                    interval.saturating_sub(random(interval / 4))
                }
                Err(error) => {
                    let wait = backoff.next(Instant::now(), error.class(), error.retry_after());
                    self.journal.failed(DISCOVERY, &error, wait);
                    wait
                }
            };
            tokio::select! {
                () = sleep(wait) => {}
                () = self.link.back_in_reach() => sleep(random(self.link.timings.relist_backoff)).await,
            }
        }
    }

    fn take(&self, versions: &[Version]) {
        for ((kind, known), discovered) in
            ViewedKind::ALL.into_iter().zip(&mut *self.served.borrow_mut()).zip(&self.discovered)
        {
            let Served::Known(served) = served(kind, versions) else { continue };
            if *known != served {
                // Shown as not listed before discovery counts as done.
                match &served {
                    Some(_) => drop(self.status.add(kind.kind())),
                    None => self.status.drop(kind.kind()),
                }
                *known = served;
                discovered.notify_one();
            }
        }
    }

    /// Follows a further kind for as long as the server has it.
    async fn follow(&self, at: usize, kind: ViewedKind) -> Infallible {
        loop {
            let version = self.served.borrow().get(at).cloned().flatten();
            let discovered = async {
                match self.discovered.get(at) {
                    Some(discovered) => discovered.notified().await,
                    None => future::pending().await,
                }
            };
            let Some(version) = version else {
                discovered.await;
                continue;
            };
            tracing::info!("{} ({}) is served: it is read", kind.kind().name(), kind.kind().group());
            let (resource, found) = (Resource::whole(kind.kind(), version), self.status.found());
            let Some(watched) = found.iter().find(|watched| watched.kind == kind.kind()) else {
                discovered.await;
                continue;
            };
            let watch = self.watch(&resource, watched);
            tokio::select! {
                never = watch.follow() => match never {},
                () = discovered => {}
            }
            self.view.keep_only(kind.kind(), &HashSet::new());
        }
    }
}

/// What discovery says of a kind.
enum Served {
    /// The best of the versions that are read; none if it has none of them.
    Known(Option<String>),
    /// Nothing, because an aggregated server is away.
    Unknown,
}

fn served(kind: ViewedKind, versions: &[Version]) -> Served {
    let of_group = || versions.iter().filter(|version| version.group == kind.kind().group());
    let has = |name: &str| {
        of_group().any(|version| {
            let mut resources = version.resources.iter().flatten();
            version.name == name && resources.any(|resource| resource.plural == kind.kind().plural())
        })
    };
    match kind.versions().iter().find(|name| has(name)) {
        Some(name) => Served::Known(Some((*name).to_owned())),
        None if of_group().all(|version| version.resources.is_some()) => Served::Known(None),
        None => Served::Unknown,
    }
}
