//! Keeps one kind of object in a [`Mirror`] equal to the server's: list, then watch, for ever.
//!
//! ```text
//!            ┌── streamed list (one request, goes on as the watch) ──┐
//!  no version┤                                                       ├──► watch ──► ended: watch again from the last
//!            └── list, in pages of 500 where it is not from a cache ─┘      │       version seen (event or bookmark)
//!                        ▲                                                  │
//!                        └── version too old, version gone back, silence, or resuming failed three times ──┘
//! ```
//!
//! Objects go into the cache as they come; when a list is complete, what it did not name is
//! removed. So the cache never holds less than it could, and an object that was deleted while no
//! watch ran goes with the next list.
//!
//! A list that is not streamed is asked for as any version will do (`resourceVersion=0`), which a
//! server answers from its memory: thousands of agents that list at once would be too much for the
//! store behind it. Such a list may be older than what is known already. Then, and when a list in
//! pages grew too old on the way, the most recent one is asked for.
//!
//! A server whose store was restored from a backup takes a version of later times without a word,
//! and sends nothing: no event, no bookmark. So a silent watch is not resumed, but begins with a
//! list.

use std::collections::HashSet;
use std::convert::Infallible;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep};

use super::answer::{Event, Head, Item, Page};
use super::backoff::{Backoff, Class, random};
use super::error::ApiError;
use super::form::{self, Readers};
use super::items::Items;
use super::journal::Journal;
use super::lines::{Lines, Next};
use super::link::Link;
use super::mirror::Mirror;
use super::presence::{PAGE_OBJECTS, Presence};
use super::resume::ResumePoint;
use super::streaming::Streaming;
use super::tokens::Tokens;
use super::{Resource, Watched, protobuf};
use crate::{Kind, ObjectKey, Reference};

/// Consecutive failures of resuming from a version, or of streaming a list, after which the watch
/// starts with a plain list. Fewer would make a recovering server list for all agents at once.
const MAX_RESUME_FAILURES: u32 = 3;

/// The watch of one kind.
#[derive(Debug)]
pub(super) struct Watch<'a, M> {
    pub(super) resource: &'a Resource,
    pub(super) link: &'a Link<'a>,
    pub(super) objects: &'a M,
    pub(super) watched: &'a Watched,
    pub(super) changed: &'a Notify,
    /// Support of streamed lists by the server, as far as it is known; shared by all kinds.
    pub(super) streaming: &'a Streaming,
    pub(super) journal: &'a Journal<'a>,
    /// Presence of the kind; none for kinds that every server has.
    pub(super) presence: Option<&'a Presence<'a>>,
}

impl<M: Mirror> Watch<'_, M> {
    /// Follows the server until it is dropped.
    pub(super) async fn follow(&self) -> Infallible {
        let timings = self.link.timings;
        let mut backoff = Backoff::new(timings);
        let mut place = ResumePoint::default();
        sleep(random(timings.start_spread)).await;
        loop {
            let began = Instant::now();
            let Err(error) = self.turn(&mut place).await;
            self.watched.restart(error.reason());
            if error == ApiError::Closed && began.elapsed() >= timings.min_watch {
                continue;
            }
            if self.resource.is_in_protobuf() && is_unread(&error, place.failures) {
                self.link.doubt_protobuf(&error);
            }
            let error = self.after_sync(error);
            if error.doubts_request() {
                place.failures += 1;
            }
            let class = error.class();
            if class == Class::Stale || place.failures >= MAX_RESUME_FAILURES {
                place.forget();
            }
            let wait = backoff.next(Instant::now(), class, error.retry_after());
            self.report_failure(&error, wait);
            self.pause(wait, &error).await;
        }
    }

    /// Reports a failure to `/readyz` and the log, or as a reason for undecided verdicts.
    pub(super) fn report_failure(&self, error: &ApiError, wait: Duration) {
        if let Some(presence) = self.presence {
            presence.failed(error, self.watched.synced());
            self.changed.notify_one();
            // No such kind (any more): no failure.
            if error.is_absent() {
                return;
            }
        }
        // A list is as good as the watch that went before: nothing is amiss yet.
        if *error != ApiError::Closed && error.class() != Class::Stale {
            self.watched.set_failure(error.to_string());
            self.journal.count();
        }
        self.journal.failed(self.watched.label(), error, wait);
    }

    /// Waits; for a server out of reach, not for longer than until it answers to another watch.
    pub(super) async fn pause(&self, wait: Duration, error: &ApiError) {
        if !error.out_of_reach() {
            return sleep(wait).await;
        }
        tokio::select! {
            () = sleep(wait) => {}
            () = self.link.back_in_reach() => sleep(random(self.link.timings.relist_backoff).min(wait)).await,
        }
    }

    /// Runs one watch, with a list before it if there is no version to resume from. Returns when it
    /// ends, however it does.
    async fn turn(&self, place: &mut ResumePoint) -> Result<Infallible, ApiError> {
        if place.version.is_none() && self.streaming.offered() && place.failures < MAX_RESUME_FAILURES {
            match self.stream(place).await {
                Err(error) if error.refuses_streaming() => {
                    self.streaming.refuse(self.link.timings.paged_period);
                    tracing::info!("the API server does not stream lists: they come in pages ({error})");
                }
                ended => return ended,
            }
        }
        if place.version.is_none() {
            self.list(place).await?;
        }
        let version = place.version.clone().unwrap_or_default();
        let lines = self.open(&format!("resourceVersion={}", encoded(&version))).await?;
        self.succeeded();
        self.read(lines, place, None).await
    }

    /// A list as the beginning of a watch.
    async fn stream(&self, place: &mut ResumePoint) -> Result<Infallible, ApiError> {
        let lines = self.open("sendInitialEvents=true&resourceVersionMatch=NotOlderThan").await?;
        self.read(lines, place, Some(HashSet::new())).await
    }

    async fn open(&self, query: &str) -> Result<Lines, ApiError> {
        let longest = self.link.timings.max_watch;
        let seconds = longest.saturating_sub(random(longest / 4)).as_secs().max(1);
        let parameters = format!("watch=true&allowWatchBookmarks=true&timeoutSeconds={seconds}&{query}");
        let path = self.resource.request(&parameters);
        let accept = self.accept(self.resource.accept_watch());
        Ok(Lines::new(self.link.get(&path, accept).await?))
    }

    /// Reads a watch to its end. `listed`: what a streamed list has named so far; none once it is
    /// complete.
    async fn read(
        &self,
        mut lines: Lines,
        place: &mut ResumePoint,
        mut listed: Option<HashSet<ObjectKey>>,
    ) -> Result<Infallible, ApiError> {
        let timings = self.link.timings;
        loop {
            let timeout = if listed.is_some() { timings.answer_timeout } else { timings.silence_timeout };
            let line = match lines.next(timeout).await? {
                Next::Event(event) => event,
                Next::End if listed.is_some() => {
                    return Err(ApiError::Interrupted("before the list was complete".to_owned()));
                }
                Next::Silence if listed.is_some() => return Err(ApiError::Endless),
                Next::End => return Err(ApiError::Closed),
                Next::Silence => return Err(ApiError::Silent(timeout)),
            };
            let event = readers::<M>().event(lines.form(), self.resource, &line)?;
            self.watched.record_contact();
            if listed.is_none() {
                place.advance(event.version())?;
            }
            match event {
                Event::Error(error) => return Err(error),
                Event::Applied(item) => self.apply(item, listed.as_mut()),
                Event::Deleted(head) => self.delete(head),
                // A server that knows streamed lists sends no other bookmark before the one that
                // ends the list.
                Event::Bookmark { complete: false, .. } if listed.is_some() => {
                    return Err(ApiError::Endless);
                }
                Event::Bookmark { version, complete } => {
                    if let Some(listed) = listed.take_if(|_| complete) {
                        self.complete(&listed, true);
                        *place = ResumePoint::at(version);
                    }
                }
            }
        }
    }

    /// Follows a kind of which only matters whether it has an object: a short list now and then
    /// instead of a watch.
    pub(super) async fn poll(&self) -> Infallible {
        let timings = self.link.timings;
        let mut backoff = Backoff::new(timings);
        loop {
            let wait = match self.poll_once().await {
                Ok(()) => timings.discovery_interval.saturating_sub(random(timings.discovery_interval / 4)),
                Err(error) => {
                    self.watched.restart(error.reason());
                    let error = self.after_sync(error);
                    let wait = backoff.next(Instant::now(), error.class(), error.retry_after());
                    self.report_failure(&error, wait);
                    wait
                }
            };
            sleep(wait).await;
        }
    }

    /// Lists until there is an object that counts. Whatever else there is makes no difference.
    async fn poll_once(&self) -> Result<(), ApiError> {
        let limit = self.presence.map_or(PAGE_OBJECTS, Presence::enough);
        let (mut listed, mut next, mut tokens) = (HashSet::new(), String::new(), Tokens::new(self.resource));
        loop {
            let mut items = self.items(limit, &next, false).await?;
            while let Some(item) = items.next(self.link.timings.answer_timeout).await? {
                // The rest is read, so that the connection serves again.
                if listed.is_empty() {
                    let item = readers::<M>().list_item(items.form(), self.resource, &item)?;
                    if item.head.key.as_ref().is_some_and(|key| self.counts(key)) {
                        self.apply(item, Some(&mut listed));
                    }
                }
            }
            let page = form::page(items.form(), self.resource, &items.into_rest())?;
            self.watched.record_contact();
            if page.next.is_empty() || !listed.is_empty() {
                self.complete(&listed, false);
                return Ok(());
            }
            next = tokens.next(page.next)?;
        }
    }

    fn counts(&self, key: &ObjectKey) -> bool {
        matches!(self.resource.kind, Kind::Other(kind) if kind.counts(&key.name))
    }

    /// A 403 after a list has another meaning than before.
    pub(super) fn after_sync(&self, error: ApiError) -> ApiError {
        match error {
            ApiError::Forbidden(text) if self.watched.synced() => ApiError::Withheld(text),
            other => other,
        }
    }

    /// Requests a list, or its page after the token `next`. A server that answers from its cache
    /// ignores `limit`.
    async fn items(&self, limit: usize, next: &str, most_recent: bool) -> Result<Items, ApiError> {
        let mut parameters = format!("limit={limit}");
        if !next.is_empty() {
            parameters.push_str(&format!("&continue={}", encoded(next)));
        } else if !most_recent {
            parameters.push_str("&resourceVersion=0");
        }
        let path = self.resource.request(&parameters);
        let accept = self.accept(self.resource.accept_list());
        Items::new(self.link.list(&path, accept).await?, self.resource)
    }

    /// The forms that are requested, where JSON's is `json`.
    fn accept(&self, json: &'static str) -> &'static str {
        if M::PROTOBUF.is_some() && self.resource.is_in_protobuf() { protobuf::ACCEPT } else { json }
    }

    /// A list, at once or in pages.
    pub(super) async fn list(&self, place: &mut ResumePoint) -> Result<(), ApiError> {
        let (mut listed, mut next, mut tokens) = (HashSet::new(), String::new(), Tokens::new(self.resource));
        loop {
            let page = match self.page(&next, place, &mut listed).await {
                Ok(Some(page)) => page,
                Ok(None) => {
                    tracing::debug!(kind = self.resource.kind.name(), "a list is older than what is known");
                    place.most_recent = true;
                    listed.clear();
                    continue;
                }
                Err(error) => {
                    // Pages of a cached list are of the version that it had, which may be old from
                    // the beginning.
                    place.most_recent |= !next.is_empty() && matches!(error, ApiError::Gone(_));
                    return Err(error);
                }
            };
            self.watched.record_contact();
            if page.next.is_empty() {
                self.complete(&listed, false);
                *place = ResumePoint::at(Some(page.version));
                return Ok(());
            }
            next = tokens.next(page.next)?;
        }
    }

    /// A page of a list, put into the cache. None if it is older than what is known, and the first
    /// one.
    pub(super) async fn page(
        &self,
        next: &str,
        place: &ResumePoint,
        listed: &mut HashSet<ObjectKey>,
    ) -> Result<Option<Page>, ApiError> {
        let is_older = |page: &Page| next.is_empty() && !place.most_recent && place.is_after(&page.version);
        let mut items = self.items(PAGE_OBJECTS, next, place.most_recent).await?;
        let mut read: usize = 0;
        while let Some(item) = items.next(self.link.timings.answer_timeout).await? {
            // Servers name kind and version before the items: another kind, or an old version, ends
            // the reading before it does harm.
            if read == 0 {
                let (form, beginning) = (items.form(), items.beginning());
                form::check_beginning(form, self.resource, &beginning)?;
                if form::page(form, self.resource, &beginning).is_ok_and(|page| is_older(&page)) {
                    return Ok(None);
                }
            }
            self.apply(readers::<M>().list_item(items.form(), self.resource, &item)?, Some(listed));
            read += 1;
            if read.is_multiple_of(PAGE_OBJECTS) {
                // So many are some milliseconds of work: the other watches get their turn.
                self.watched.record_contact();
                tokio::task::yield_now().await;
            }
        }
        let page = form::page(items.form(), self.resource, &items.into_rest())?;
        Ok((!is_older(&page)).then_some(page))
    }

    pub(super) fn succeeded(&self) {
        self.watched.clear_failure();
        self.journal.recovered();
    }

    fn complete(&self, listed: &HashSet<ObjectKey>, streamed: bool) {
        self.objects.keep_only(self.resource.kind, listed);
        self.watched.listed(streamed);
        if let Some(presence) = self.presence {
            presence.listed();
        }
        self.succeeded();
        self.changed.notify_one();
        tracing::debug!(kind = self.resource.kind.name(), objects = listed.len(), streamed, "listed");
    }

    /// Puts an object in. One that cannot be used is counted and named; what was known of it before
    /// stays.
    pub(super) fn apply(&self, item: Item<M::Object>, listed: Option<&mut HashSet<ObjectKey>>) {
        let Item { head: Head { key, strange, .. }, object, passed_over } = item;
        let (key, object) = match strange {
            Some(other) => (None, Err(format!("an object of the kind {other:?} came in its place"))),
            None => (key, object),
        };
        let kind = self.resource.kind.name();
        self.watched.add_unreadable(passed_over.count());
        for why in passed_over.described {
            let name = key.as_ref().map_or_else(String::new, ToString::to_string);
            let text = format!("a part of {kind} {name} cannot be read and is passed over: {why}");
            if self.watched.is_new(&text) {
                tracing::warn!("{text}");
            } else {
                tracing::debug!("{text}");
            }
        }
        match object {
            Ok(object) => {
                self.watched.counted().applied(self.objects.apply(object));
                self.changed.notify_one();
            }
            Err(why) => {
                self.watched.add_invalid();
                self.watched.counted().invalid();
                let name = key.as_ref().map_or_else(|| "without a name".to_owned(), ToString::to_string);
                tracing::warn!("{kind} {name} cannot be used: {why}");
            }
        }
        if let (Some(listed), Some(key)) = (listed, key) {
            listed.insert(key);
        }
    }

    fn delete(&self, Head { key, strange, .. }: Head) {
        if let Some(other) = strange {
            self.watched.add_invalid();
            self.watched.counted().invalid();
            tracing::warn!("an object of the kind {other:?} was deleted in a watch of {}", self.resource.plural);
        } else if let Some(key) = key {
            let known = self.objects.remove(&Reference { kind: self.resource.kind, key });
            self.watched.counted().deleted(known);
            self.changed.notify_one();
        } else {
            self.watched.add_invalid();
            tracing::warn!("a {} without a name was deleted", self.resource.kind.name());
        }
    }
}

/// True if an answer could not be read: a server that is restarted cuts one off, and one that cuts
/// off each answer will do so for ever.
fn is_unread(error: &ApiError, failures: u32) -> bool {
    let is_cut_again = matches!(error, ApiError::Interrupted(_)) && failures + 1 >= MAX_RESUME_FAILURES;
    is_cut_again || matches!(error, ApiError::Malformed(_))
}

/// The readers of the objects of a mirror.
fn readers<M: Mirror>() -> Readers<M::Object> {
    Readers { json: M::read, protobuf: M::PROTOBUF }
}

/// A server's own word, safe in a query.
pub(super) fn encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A continue token is base64: `+`, `/` and `=` mean something else in a query.
    #[test]
    fn tokens_are_encoded() {
        assert_eq!(encoded("eyJ2+/a=.-_~ é"), "eyJ2%2B%2Fa%3D.-_~%20%C3%A9");
    }
}
