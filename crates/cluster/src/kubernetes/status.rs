//! Status of the watches: counters for the metrics, and the text for `/readyz`.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::Requests;
use super::events::{Action, EventCounts, Events};
use crate::Kind;

/// Unreadable parts of one kind's objects that are logged.
const MAX_UNREADABLE_LOGGED: usize = 64;

/// The reason for a restart of a watch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the labels are the documentation")]
pub enum Reason {
    Closed,
    Silent,
    Interrupted,
    Gone,
    Timeout,
    Unreachable,
    Unconfigured,
    Throttled,
    Unauthorized,
    Forbidden,
    Rejected,
    Failed,
    Malformed,
    Rewound,
}

impl Reason {
    /// All reasons, in the order of their numbers.
    pub const ALL: [Self; 14] = [
        Self::Closed,
        Self::Silent,
        Self::Interrupted,
        Self::Gone,
        Self::Timeout,
        Self::Unreachable,
        Self::Unconfigured,
        Self::Throttled,
        Self::Unauthorized,
        Self::Forbidden,
        Self::Rejected,
        Self::Failed,
        Self::Malformed,
        Self::Rewound,
    ];

    /// Value of the `reason` label.
    pub fn label(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Silent => "silent",
            Self::Interrupted => "interrupted",
            Self::Gone => "gone",
            Self::Timeout => "timeout",
            Self::Unreachable => "unreachable",
            Self::Unconfigured => "unconfigured",
            Self::Throttled => "throttled",
            Self::Unauthorized => "unauthorized",
            Self::Forbidden => "forbidden",
            Self::Rejected => "rejected",
            Self::Failed => "failed",
            Self::Malformed => "malformed",
            Self::Rewound => "rewound",
        }
    }
}

/// A kind as labels and texts name it: with its group if it is a vendor's kind with a name that
/// others have too.
fn label(kind: Kind) -> String {
    match kind {
        Kind::Other(other) => format!("{}.{}", other.name(), other.group()),
        kind => kind.name().to_owned(),
    }
}

/// The status of one kind's watch, which alone writes it.
#[derive(Debug)]
pub struct Watched {
    /// Kind of the objects.
    pub kind: Kind,
    label: String,
    started: Instant,
    synced: AtomicBool,
    /// Milliseconds after `started` at which listing began.
    began: AtomicU64,
    /// Milliseconds from then until the first complete list, plus one; zero is never.
    sync: AtomicU64,
    events: Events,
    streamed: AtomicU64,
    paged: AtomicU64,
    invalid: AtomicU64,
    unreadable: AtomicU64,
    unreadable_texts: Mutex<HashSet<String>>,
    restarts: [AtomicU64; Reason::ALL.len()],
    /// Milliseconds after `started`, plus one; zero is never.
    last_contact: AtomicU64,
    failure: Mutex<Option<(Instant, String)>>,
}

impl Watched {
    pub(super) fn new(kind: Kind) -> Self {
        Self {
            kind,
            label: label(kind),
            started: Instant::now(),
            synced: AtomicBool::default(),
            began: AtomicU64::default(),
            sync: AtomicU64::default(),
            events: Events::default(),
            streamed: AtomicU64::default(),
            paged: AtomicU64::default(),
            invalid: AtomicU64::default(),
            unreadable: AtomicU64::default(),
            unreadable_texts: Mutex::default(),
            restarts: std::array::from_fn(|_| AtomicU64::default()),
            last_contact: AtomicU64::default(),
            failure: Mutex::default(),
        }
    }

    /// The kind as labels and texts name it.
    pub fn label(&self) -> &str {
        &self.label
    }

    /// True once a list has come to its end, whatever happened since.
    pub fn synced(&self) -> bool {
        self.synced.load(Relaxed)
    }

    /// Time from the start of the watch to its first complete list; none before.
    pub fn sync_duration(&self) -> Option<Duration> {
        self.sync.load(Relaxed).checked_sub(1).map(Duration::from_millis)
    }

    /// Completed lists by how they came: `streamed` in a watch, or `paged`.
    pub fn lists(&self) -> [(&'static str, u64); 2] {
        [("streamed", self.streamed.load(Relaxed)), ("paged", self.paged.load(Relaxed))]
    }

    /// Events of an action.
    pub fn events(&self, action: Action) -> EventCounts {
        self.events.counts(action)
    }

    pub(super) fn counted(&self) -> &Events {
        &self.events
    }

    /// Objects that could not be used.
    pub fn invalid(&self) -> u64 {
        self.invalid.load(Relaxed)
    }

    /// Parts of objects that could not be read.
    pub fn unreadable(&self) -> u64 {
        self.unreadable.load(Relaxed)
    }

    /// Number of restarts of the watch for this reason.
    pub fn restarts(&self, reason: Reason) -> u64 {
        self.restarts.get(reason as usize).map_or(0, |counter| counter.load(Relaxed))
    }

    /// Seconds since the last event or bookmark; since the start if there was none.
    pub fn lag(&self) -> f64 {
        let now = self.started.elapsed().as_secs_f64();
        match self.last_contact.load(Relaxed) {
            0 => now,
            #[allow(clippy::cast_precision_loss, reason = "milliseconds of an uptime fit many times")]
            last_contact => (now - (last_contact - 1) as f64 / 1000.0).max(0.0),
        }
    }

    /// The present failure and its beginning; none while the watch runs.
    pub fn failure(&self) -> Option<(Instant, String)> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn record_contact(&self) {
        self.last_contact.store(self.uptime().saturating_add(1), Relaxed);
    }

    /// Milliseconds since `started`.
    fn uptime(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    pub(super) fn listed(&self, streamed: bool) {
        let counter = if streamed { &self.streamed } else { &self.paged };
        counter.fetch_add(1, Relaxed);
        if !self.synced.swap(true, Relaxed) {
            let duration = self.uptime().saturating_sub(self.began.load(Relaxed));
            self.sync.store(duration.saturating_add(1), Relaxed);
        }
    }

    pub(super) fn add_invalid(&self) {
        self.invalid.fetch_add(1, Relaxed);
    }

    /// Counts parts that cannot be read.
    pub(super) fn add_unreadable(&self, parts: usize) {
        self.unreadable.fetch_add(parts as u64, Relaxed);
    }

    /// True if the text about an unreadable part is to be logged: an object comes again with each
    /// change of it, and no more than [`MAX_UNREADABLE_LOGGED`] different ones are logged.
    pub(super) fn is_new(&self, text: &str) -> bool {
        let mut known = self.unreadable_texts.lock().unwrap_or_else(PoisonError::into_inner);
        known.len() < MAX_UNREADABLE_LOGGED && known.insert(text.to_owned())
    }

    pub(super) fn restart(&self, reason: Reason) {
        if let Some(counter) = self.restarts.get(reason as usize) {
            counter.fetch_add(1, Relaxed);
        }
    }

    pub(super) fn clear_failure(&self) {
        *self.failure.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Sets the failure. One that persists keeps its beginning.
    pub(super) fn set_failure(&self, text: String) {
        let mut failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        let since = failure.as_ref().map_or_else(Instant::now, |(since, _)| *since);
        *failure = Some((since, text));
    }

    /// Resets the status: a restarted watch lists everything anew.
    fn begin(&self) {
        self.synced.store(false, Relaxed);
        self.began.store(self.uptime(), Relaxed);
        self.clear_failure();
    }
}

/// All watches.
#[derive(Debug)]
pub struct Status {
    watched: Box<[Watched]>,
    /// The kinds of policy that were found on the server, and are followed.
    found: Mutex<Vec<Arc<Watched>>>,
    /// True once the server's kinds of policy are discovered.
    discovered: AtomicBool,
    requests: Requests,
    failures: AtomicU64,
    last_failure: Mutex<Option<Instant>>,
}

impl Default for Status {
    fn default() -> Self {
        Self::of(&Kind::CORE)
    }
}

impl Status {
    /// Of another cluster: its policies are not read.
    pub fn of_mesh() -> Self {
        Self::of(&Kind::MESH)
    }

    /// Of watches of these kinds, and of others that may be found.
    pub fn of(kinds: &[Kind]) -> Self {
        Self {
            watched: kinds.iter().copied().map(Watched::new).collect(),
            found: Mutex::default(),
            discovered: AtomicBool::default(),
            requests: Requests::default(),
            failures: AtomicU64::default(),
            last_failure: Mutex::default(),
        }
    }

    /// The requests to the server.
    pub fn requests(&self) -> &Requests {
        &self.requests
    }

    /// Number of failed attempts to list or watch, of all kinds.
    pub fn failures(&self) -> u64 {
        self.failures.load(Relaxed)
    }

    /// Time of the last of them; none if there was none.
    pub fn last_failure(&self) -> Option<Instant> {
        *self.last_failure.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// True while every kind has been listed and none of their watches fails.
    pub fn is_well(&self) -> bool {
        self.watched.iter().all(|watched| watched.synced() && watched.failure().is_none())
    }

    pub(super) fn count_failure(&self) {
        self.failures.fetch_add(1, Relaxed);
        *self.last_failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    /// True once this kind has been listed.
    pub fn has_listed(&self, kind: Kind) -> bool {
        let is_listed = |watched: &Watched| watched.kind == kind && watched.synced();
        self.watched.iter().any(is_listed) || self.lock_found().iter().any(|watched| is_listed(watched))
    }

    /// True once discovery has answered, and if this kind is not followed.
    pub fn is_without(&self, kind: Kind) -> bool {
        self.discovered.load(Relaxed) && !self.lock_found().iter().any(|watched| watched.kind == kind)
    }

    /// The watch of each kind that every server has.
    pub fn watched(&self) -> &[Watched] {
        &self.watched
    }

    /// The watch of each further kind that this server has.
    pub fn found(&self) -> Vec<Arc<Watched>> {
        self.lock_found().clone()
    }

    fn lock_found(&self) -> MutexGuard<'_, Vec<Arc<Watched>>> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// True once every kind has been listed that every server has.
    pub fn synced(&self) -> bool {
        self.watched.iter().all(Watched::synced)
    }

    /// Number of listed kinds among those that every server has, and the number of all of these.
    pub fn progress(&self) -> (usize, usize) {
        (self.watched.iter().filter(|watched| watched.synced()).count(), self.watched.len())
    }

    /// True once the rest is known as well: which kinds of policy the server has, and their
    /// objects, or why not.
    pub fn complete(&self) -> bool {
        let settled = |watched: &Arc<Watched>| watched.synced() || watched.failure().is_some();
        self.synced() && self.discovered.load(Relaxed) && self.lock_found().iter().all(settled)
    }

    /// Reason for which names are incomplete or stale; empty if there is none.
    ///
    /// For example `Pod, Node: not listed yet: cannot reach the API server: ... (for 12 s)`.
    pub fn complaint(&self) -> String {
        let mut complaint = Complaint::default();
        for watched in &*self.watched {
            complaint.add(watched);
        }
        // Those that were never listed leave verdicts undecided, which is said where that is.
        for watched in self.lock_found().iter().filter(|watched| watched.synced()) {
            complaint.add(watched);
        }
        complaint.text()
    }

    pub(super) fn begin(&self) {
        self.watched.iter().for_each(Watched::begin);
        self.lock_found().clear();
        self.discovered.store(false, Relaxed);
    }

    pub(super) fn discovered(&self) {
        self.discovered.store(true, Relaxed);
    }

    /// Begins to show a kind that was found.
    pub(super) fn add(&self, kind: Kind) -> Arc<Watched> {
        let watched = Arc::new(Watched::new(kind));
        let mut found = self.lock_found();
        found.retain(|known| known.kind != kind);
        found.push(Arc::clone(&watched));
        watched
    }

    /// Shows a kind no longer.
    pub(super) fn drop(&self, kind: Kind) {
        self.lock_found().retain(|known| known.kind != kind);
    }
}

/// A sentence that describes a fault, with the kinds that have it.
#[derive(Default)]
struct Complaint {
    /// Kinds by what is wrong with them.
    parts: Vec<(Vec<String>, String)>,
    /// All watches lose one server within moments: one time stands for all.
    began: Option<Instant>,
}

impl Complaint {
    fn add(&mut self, watched: &Watched) {
        let text = match (watched.synced(), watched.failure()) {
            (true, None) => return,
            (false, None) => "not listed yet".to_owned(),
            (synced, Some((since, failure))) => {
                self.began = Some(self.began.map_or(since, |began| began.min(since)));
                if synced { failure } else { format!("not listed yet: {failure}") }
            }
        };
        let kind = watched.label().to_owned();
        match self.parts.iter_mut().find(|(_, known)| *known == text) {
            Some((kinds, _)) => kinds.push(kind),
            None => self.parts.push((vec![kind], text)),
        }
    }

    fn text(&self) -> String {
        let parts: Vec<_> = self.parts.iter().map(|(kinds, text)| format!("{}: {text}", kinds.join(", "))).collect();
        let age = self.began.map_or_else(String::new, |began| format!(" (for {} s)", began.elapsed().as_secs()));
        format!("{}{age}", parts.join("; "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every reason has a counter.
    #[test]
    fn reasons_are_in_order() {
        for (at, reason) in Reason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, at);
        }
    }

    /// The first list of a watch is timed, and no later one; a restarted watch is timed anew.
    #[test]
    fn the_first_list_is_timed() {
        let pause = Duration::from_millis(20);
        let watched = Watched::new(Kind::Pod);
        assert_eq!(watched.sync_duration(), None);
        std::thread::sleep(pause);
        watched.listed(true);
        let first = watched.sync_duration().unwrap();
        assert!(first >= pause);
        std::thread::sleep(pause);
        watched.listed(true);
        assert_eq!(watched.sync_duration(), Some(first), "a later list is none of the start");
        let all = watched.started.elapsed();
        watched.begin();
        watched.listed(false);
        let second = watched.sync_duration().unwrap();
        assert!(second + all <= watched.started.elapsed(), "the time before the restart does not count: {second:?}");
    }

    /// The complaint names each kind, groups what is the same, and goes away.
    #[test]
    fn complaints_name_kinds() {
        let status = Status::default();
        assert_eq!(status.complaint(), "Pod, Namespace, Node, Service, EndpointSlice, NetworkPolicy: not listed yet");
        for watched in status.watched() {
            watched.listed(true);
        }
        assert_eq!(status.complaint(), "");
        status.watched()[0].set_failure("no route".to_owned());
        status.watched()[2].set_failure("no route".to_owned());
        status.watched()[5].set_failure("forbidden".to_owned());
        assert_eq!(status.complaint(), "Pod, Node: no route; NetworkPolicy: forbidden (for 0 s)");
        status.begin();
        assert!(!status.synced());
    }
}
