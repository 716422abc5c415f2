//! Finds which kinds of policy the server has beside NetworkPolicy, and follows each for as long as
//! it is there.
//!
//! Discovery is asked about once a minute, which is answered with 304 nearly always, and at once
//! when a kind that was there is answered with 404. A kind that is not there costs nothing else.
//! Its objects are forgotten when discovery has it no longer *and* a list is answered with 404: API
//! servers of one cluster may differ for seconds, and a CRD that is changed is away for moments.

use std::collections::{BTreeSet, HashSet};
use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep};

use super::backoff::{Backoff, random};
use super::catalogue::{Catalogue, ServedKind};
use super::discovery;
use super::error::ApiError;
use super::journal::Journal;
use super::link::Link;
use super::presence::Presence;
use super::streaming::Streaming;
use super::watch::Watch;
use super::{Resource, Status};
use crate::other::TIERED;
use crate::{Cache, Kind, OtherKind};

/// Name of the missing part until the first answer.
const WHAT: &str = "kinds of policy";

/// Shared parts of the watches of policy kinds.
#[derive(Debug)]
pub(super) struct Policies<'a> {
    pub(super) link: &'a Link<'a>,
    pub(super) cache: &'a Cache,
    pub(super) status: &'a Status,
    pub(super) changed: &'a Notify,
    pub(super) streaming: &'a Streaming,
    pub(super) journal: &'a Journal<'a>,
    /// Notified when a kind is answered with 404.
    pub(super) doubt: Notify,
}

/// A kind that is followed.
struct Follower<'a> {
    found: ServedKind,
    path: String,
    watch: Pin<Box<dyn Future<Output = Infallible> + 'a>>,
}

impl Policies<'_> {
    /// Follows the server until it is dropped.
    pub(super) async fn follow(&self) -> Infallible {
        let mut state = State { policies: self, followers: Vec::new(), marks: Marks::new(self.cache) };
        let (mut backoff, mut etag, mut catalogue) = (Backoff::new(self.link.timings), None, None);
        loop {
            let wanted = |group: &str| self.wants(group);
            let asked = beside(&mut state.followers, discovery::ask(self.link, &mut etag, wanted)).await;
            let wait = match asked {
                Ok(versions) => {
                    if let Some(versions) = versions {
                        catalogue = Some(Catalogue::new(&versions, self.cache.other_kinds()));
                    }
                    if let Some(catalogue) = &catalogue {
                        state.take(catalogue).await;
                    }
                    self.link
                        .timings
                        .discovery_interval
                        .saturating_sub(random(self.link.timings.discovery_interval / 4))
                }
                Err(error) => {
                    let wait = backoff.next(Instant::now(), error.class(), error.retry_after());
                    if catalogue.is_none() {
                        state.marks.missing(&format!("not looked for yet: {error}"));
                        self.changed.notify_one();
                    }
                    self.journal.failed(WHAT, &error, wait);
                    wait
                }
            };
            beside(&mut state.followers, self.pause(wait)).await;
        }
    }

    /// Waits; not for so long if a kind is answered with 404, or if the server is back.
    async fn pause(&self, wait: Duration) {
        let soon = random(self.link.timings.relist_backoff).min(wait);
        tokio::select! {
            () = sleep(wait) => {}
            () = self.doubt.notified() => sleep(soon).await,
            () = self.link.back_in_reach() => sleep(soon).await,
        }
    }

    fn wants(&self, group: &str) -> bool {
        group == TIERED || self.cache.other_kinds().with_effect().iter().any(|kind| kind.group() == group)
    }
}

/// Followed kinds, and their messages.
struct State<'a> {
    policies: &'a Policies<'a>,
    followers: Vec<Follower<'a>>,
    marks: Marks<'a>,
}

impl State<'_> {
    /// Follows what there is, and no longer what there is not.
    async fn take(&mut self, catalogue: &Catalogue) {
        let policies = self.policies;
        let mut changed = self.marks.set(catalogue, policies);
        for found in &catalogue.found {
            if self.followers.iter().any(|follower| follower.found == *found) {
                continue;
            }
            // Another version: the objects stay until that is listed.
            self.followers.retain(|follower| follower.found.kind != found.kind);
            tracing::info!("{} ({}) is served: it is read", found.kind.name(), found.kind.group());
            self.followers.push(policies.begin(found));
            changed = true;
        }
        let doubtful: Vec<(Kind, String)> = self
            .followers
            .iter()
            .filter(|Follower { found, .. }| {
                catalogue.find(found.kind).is_none() && !catalogue.stale.contains(found.kind.group())
            })
            .map(|Follower { found, path, .. }| (found.kind, path.clone()))
            .collect();
        for (kind, path) in doubtful {
            let path = format!("{path}?limit=1");
            let asked = beside(&mut self.followers, policies.link.get(&path, super::resource::JSON)).await;
            // Where the role does not name a kind, 403 is the answer whether there is such a kind
            // or not.
            if asked.is_err_and(|error| error.is_absent() || matches!(error, ApiError::Forbidden(_))) {
                tracing::info!("{} ({}) is not served any more", kind.name(), kind.group());
                self.followers.retain(|follower| follower.found.kind != kind);
                policies.status.drop(kind);
                policies.cache.keep_only(kind, &HashSet::new());
                changed = true;
            }
        }
        if changed {
            policies.changed.notify_one();
        }
        policies.status.discovered();
    }
}

impl<'a> Policies<'a> {
    fn begin(&'a self, found: &ServedKind) -> Follower<'a> {
        let ServedKind { kind, version, cluster_wide } = found.clone();
        let resource = Resource::found(kind, version);
        let path = resource.path();
        let watched = self.status.add(kind);
        let presence = Presence::new(kind, watched.label(), self.cache, &self.doubt);
        let watch = async move {
            let watch = Watch {
                resource: &resource,
                link: self.link,
                objects: self.cache,
                watched: &watched,
                changed: self.changed,
                streaming: self.streaming,
                journal: self.journal,
                presence: Some(&presence),
            };
            if cluster_wide { watch.poll().await } else { watch.follow().await }
        };
        Follower { found: found.clone(), path, watch: Box::pin(watch) }
    }
}

/// Gaps of discovery, as last recorded in the cache; removed at the end.
struct Marks<'a> {
    cache: &'a Cache,
    incomplete: Vec<String>,
    unlisted: Vec<OtherKind>,
    /// Groups of an earlier discovery, also if they are missing at the moment: kinds that they
    /// lacked are still absent.
    settled: BTreeSet<String>,
}

impl<'a> Marks<'a> {
    fn new(cache: &'a Cache) -> Self {
        let marks = Self { cache, incomplete: vec![WHAT.to_owned()], unlisted: Vec::new(), settled: BTreeSet::new() };
        marks.missing("not looked for yet");
        marks
    }

    fn missing(&self, why: &str) {
        self.cache.set_incomplete(WHAT, Some(why.to_owned()));
    }

    /// Records the gaps of this catalogue; true if they have changed.
    fn set(&mut self, catalogue: &Catalogue, policies: &Policies<'_>) -> bool {
        let mut incomplete: Vec<(String, String)> = Vec::new();
        for (kind, served) in &catalogue.unknown {
            let known = kind.versions().join(", ");
            incomplete.push((format!("{} in versions", kind.name()), format!("{served}; {known} are known")));
        }
        self.settled = &catalogue.fresh | &(&self.settled & &catalogue.stale);
        let open = |group: &str| catalogue.stale.contains(group) && !self.settled.contains(group);
        if open(TIERED) {
            let why = "the API server does not know what it has (stale discovery)";
            incomplete.push((TIERED.to_owned(), why.to_owned()));
        }
        let others = policies.cache.other_kinds().with_effect();
        let unlisted: Vec<OtherKind> = others.into_iter().filter(|kind| open(kind.group())).collect();
        let names: Vec<String> = incomplete.iter().map(|(what, _)| what.clone()).collect();
        let changed = names != self.incomplete || unlisted != self.unlisted;
        self.clear(&names, &unlisted);
        for (what, why) in incomplete {
            self.cache.set_incomplete(&what, Some(why));
        }
        for kind in &unlisted {
            self.cache.set_unlisted(*kind, true);
        }
        let strange = self.cache.set_strange(catalogue.strange.iter().cloned());
        (self.incomplete, self.unlisted) = (names, unlisted);
        changed || strange
    }

    fn clear(&self, but: &[String], but_unlisted: &[OtherKind]) {
        for what in self.incomplete.iter().filter(|what| !but.contains(what)) {
            self.cache.set_incomplete(what, None);
        }
        for kind in self.unlisted.iter().filter(|kind| !but_unlisted.contains(kind)) {
            self.cache.set_unlisted(*kind, false);
        }
    }
}

impl Drop for Marks<'_> {
    fn drop(&mut self) {
        self.clear(&[], &[]);
        self.cache.set_strange([]);
    }
}

/// Does `work`, and keeps the followers running meanwhile.
async fn beside<T>(followers: &mut [Follower<'_>], work: impl Future<Output = T>) -> T {
    let mut work = pin!(work);
    poll_fn(|context| {
        for follower in &mut *followers {
            match follower.watch.as_mut().poll(context) {
                Poll::Pending => {}
                Poll::Ready(never) => match never {},
            }
        }
        work.as_mut().poll(context)
    })
    .await
}
