//! What the watches say about themselves: counters for the metrics, and the sentence for `/readyz`.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use crate::cluster::Kind;

/// Unreadable parts of one kind's objects that are logged.
const PARTS: usize = 64;

/// Why a watch was started again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the labels say it")]
pub enum Reason {
    Closed,
    Quiet,
    Cut,
    Gone,
    Late,
    Unreachable,
    Unconfigured,
    Throttled,
    Unauthorized,
    Forbidden,
    Rejected,
    Failed,
    Garbage,
    Rewound,
}

impl Reason {
    /// All reasons, in the order of their numbers.
    pub const ALL: [Self; 14] = [
        Self::Closed,
        Self::Quiet,
        Self::Cut,
        Self::Gone,
        Self::Late,
        Self::Unreachable,
        Self::Unconfigured,
        Self::Throttled,
        Self::Unauthorized,
        Self::Forbidden,
        Self::Rejected,
        Self::Failed,
        Self::Garbage,
        Self::Rewound,
    ];

    /// As the `reason` label prints it.
    pub fn label(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Quiet => "quiet",
            Self::Cut => "cut",
            Self::Gone => "gone",
            Self::Late => "late",
            Self::Unreachable => "unreachable",
            Self::Unconfigured => "unconfigured",
            Self::Throttled => "throttled",
            Self::Unauthorized => "unauthorized",
            Self::Forbidden => "forbidden",
            Self::Rejected => "rejected",
            Self::Failed => "failed",
            Self::Garbage => "garbage",
            Self::Rewound => "rewound",
        }
    }
}

/// One kind's watch. Written by its watch, read by anyone.
#[derive(Debug)]
pub struct Watched {
    /// Which kind.
    pub kind: Kind,
    started: Instant,
    synced: AtomicBool,
    streamed: AtomicU64,
    paged: AtomicU64,
    invalid: AtomicU64,
    unreadable: AtomicU64,
    unreadable_texts: Mutex<HashSet<String>>,
    restarts: [AtomicU64; Reason::ALL.len()],
    /// Milliseconds after `started`, plus one; zero is never.
    heard: AtomicU64,
    trouble: Mutex<Option<(Instant, String)>>,
}

impl Watched {
    fn new(kind: Kind) -> Self {
        Self {
            kind,
            started: Instant::now(),
            synced: AtomicBool::default(),
            streamed: AtomicU64::default(),
            paged: AtomicU64::default(),
            invalid: AtomicU64::default(),
            unreadable: AtomicU64::default(),
            unreadable_texts: Mutex::default(),
            restarts: std::array::from_fn(|_| AtomicU64::default()),
            heard: AtomicU64::default(),
            trouble: Mutex::default(),
        }
    }

    /// True once a list has come to its end, whatever happened since.
    pub fn synced(&self) -> bool {
        self.synced.load(Relaxed)
    }

    /// Completed lists by how they came: `streamed` in a watch, or `paged`.
    pub fn lists(&self) -> [(&'static str, u64); 2] {
        [("streamed", self.streamed.load(Relaxed)), ("paged", self.paged.load(Relaxed))]
    }

    /// Objects that could not be used.
    pub fn invalid(&self) -> u64 {
        self.invalid.load(Relaxed)
    }

    /// Parts of objects that could not be read.
    pub fn unreadable(&self) -> u64 {
        self.unreadable.load(Relaxed)
    }

    /// How often the watch was started again for this reason.
    pub fn restarts(&self, reason: Reason) -> u64 {
        self.restarts.get(reason as usize).map_or(0, |counter| counter.load(Relaxed))
    }

    /// Seconds since the last event or bookmark; since the start if there was none.
    pub fn lag(&self) -> f64 {
        let now = self.started.elapsed().as_secs_f64();
        match self.heard.load(Relaxed) {
            0 => now,
            #[allow(clippy::cast_precision_loss, reason = "milliseconds of an uptime fit many times")]
            heard => (now - (heard - 1) as f64 / 1000.0).max(0.0),
        }
    }

    /// What is wrong now, and since when; none while the watch runs.
    pub fn trouble(&self) -> Option<(Instant, String)> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn hear(&self) {
        let now = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.heard.store(now.saturating_add(1), Relaxed);
    }

    pub(super) fn listed(&self, streamed: bool) {
        let counter = if streamed { &self.streamed } else { &self.paged };
        counter.fetch_add(1, Relaxed);
        self.synced.store(true, Relaxed);
    }

    pub(super) fn add_invalid(&self) {
        self.invalid.fetch_add(1, Relaxed);
    }

    /// Counts a part that cannot be read. True if this is to be logged: an object comes again with each change of it,
    /// and no more than [`PARTS`] different ones are logged.
    pub(super) fn add_unreadable(&self, text: &str) -> bool {
        self.unreadable.fetch_add(1, Relaxed);
        let mut known = self.unreadable_texts.lock().unwrap_or_else(PoisonError::into_inner);
        known.len() < PARTS && known.insert(text.to_owned())
    }

    pub(super) fn restart(&self, reason: Reason) {
        if let Some(counter) = self.restarts.get(reason as usize) {
            counter.fetch_add(1, Relaxed);
        }
    }

    pub(super) fn well(&self) {
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Notes what is wrong. A trouble that goes on keeps its beginning.
    pub(super) fn unwell(&self, text: String) {
        let mut trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        let since = trouble.as_ref().map_or_else(Instant::now, |(since, _)| *since);
        *trouble = Some((since, text));
    }

    /// A new life of the watches lists everything anew.
    fn begin(&self) {
        self.synced.store(false, Relaxed);
        self.well();
    }
}

/// All watches.
#[derive(Debug)]
pub struct Status {
    watched: [Watched; Kind::CORE.len()],
}

impl Default for Status {
    fn default() -> Self {
        Self { watched: Kind::CORE.map(Watched::new) }
    }
}

impl Status {
    /// Each kind's watch.
    pub fn watched(&self) -> &[Watched] {
        &self.watched
    }

    /// True once every kind has been listed.
    pub fn synced(&self) -> bool {
        self.watched.iter().all(Watched::synced)
    }

    /// What keeps names from being complete and fresh; empty if nothing does.
    ///
    /// For example `Pod, Node: not listed yet: cannot reach the API server: ... (for 12 s)`.
    pub fn complaint(&self) -> String {
        let mut parts: Vec<(Vec<&str>, String)> = Vec::new();
        // All watches lose one server within moments: one time stands for all.
        let mut began: Option<Instant> = None;
        for watched in &self.watched {
            let text = match (watched.synced(), watched.trouble()) {
                (true, None) => continue,
                (false, None) => "not listed yet".to_owned(),
                (synced, Some((since, trouble))) => {
                    began = Some(began.map_or(since, |began| began.min(since)));
                    if synced { trouble } else { format!("not listed yet: {trouble}") }
                }
            };
            match parts.iter_mut().find(|(_, known)| *known == text) {
                Some((kinds, _)) => kinds.push(watched.kind.name()),
                None => parts.push((vec![watched.kind.name()], text)),
            }
        }
        let parts: Vec<_> = parts.iter().map(|(kinds, text)| format!("{}: {text}", kinds.join(", "))).collect();
        let age = began.map_or_else(String::new, |began| format!(" (for {} s)", began.elapsed().as_secs()));
        format!("{}{age}", parts.join("; "))
    }

    pub(super) fn begin(&self) {
        self.watched.iter().for_each(Watched::begin);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A counter that nobody can find would be no counter.
    #[test]
    fn reasons_are_in_order() {
        for (at, reason) in Reason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, at);
        }
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
        status.watched()[0].unwell("no route".to_owned());
        status.watched()[2].unwell("no route".to_owned());
        status.watched()[5].unwell("forbidden".to_owned());
        assert_eq!(status.complaint(), "Pod, Node: no route; NetworkPolicy: forbidden (for 0 s)");
        status.begin();
        assert!(!status.synced());
    }
}
