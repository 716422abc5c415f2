//! Reports to the cache whether a kind of policy is listed and readable.
//!
//! Whether the server has it is for discovery to say: a list of a kind that does not exist is
//! answered with 404, or with 403 if the role does not name it. As long as a kind that is there has
//! not been listed, any pod may be concerned.

use tokio::sync::Notify;

use super::error::ApiError;
use crate::{Cache, Kind};

/// Objects on one page of a list.
pub(super) const PAGE_OBJECTS: usize = 500;

/// The state of one kind of policy, reported by its watch.
#[derive(Debug)]
pub(super) struct Presence<'a> {
    kind: Kind,
    /// The kind as texts name it.
    label: String,
    cache: &'a Cache,
    /// Notified when the server does not serve the kind, so that discovery is read at once.
    doubt: &'a Notify,
}

impl<'a> Presence<'a> {
    /// Registers a kind as present and not listed yet.
    pub(super) fn new(kind: Kind, label: &str, cache: &'a Cache, doubt: &'a Notify) -> Self {
        let presence = Self { kind, label: label.to_owned(), cache, doubt };
        presence.missing(Some("not listed yet".to_owned()));
        presence
    }

    /// All its objects are in the cache.
    pub(super) fn listed(&self) {
        self.missing(None);
        self.unreadable(None);
    }

    /// A request for it failed. After a list, what is in the cache serves.
    pub(super) fn failed(&self, error: &ApiError, listed: bool) {
        if error.is_absent() {
            self.doubt.notify_one();
        }
        if listed {
            return;
        }
        match error {
            ApiError::Forbidden(_) => self.unreadable(Some(error.to_string())),
            other => self.missing(Some(format!("not listed yet: {other}"))),
        }
    }

    /// Number of objects that is enough to decide whether one of them counts.
    pub(super) fn enough(&self) -> usize {
        // Calico writes copies of other policies, which do not count.
        if self.kind.group().ends_with("projectcalico.org") { PAGE_OBJECTS } else { 1 }
    }

    fn missing(&self, why: Option<String>) {
        self.cache.set_incomplete(&self.label, why);
    }

    /// A vendor's kind that may not be read has its effect on all pods; one that is evaluated
    /// leaves nothing decided.
    fn unreadable(&self, why: Option<String>) {
        match self.kind {
            Kind::Other(kind) => {
                self.cache.set_unlisted(kind, why.is_some());
                self.missing(None);
            }
            _ => self.missing(why),
        }
    }
}

impl Drop for Presence<'_> {
    /// The watch has ended, so its state is reset.
    fn drop(&mut self) {
        self.listed();
    }
}
