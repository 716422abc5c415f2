//! What is wrong with the observer's server at present: several things may be, each by itself.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use webb_flow::fault::{Component, State};

/// What is wrong at present, by what it is about: the reason for which the component is degraded.
#[derive(Debug)]
pub(super) struct Complaints {
    component: Arc<Component>,
    list: Mutex<BTreeMap<String, String>>,
}

impl Complaints {
    /// None yet.
    pub(super) fn new(component: Arc<Component>) -> Self {
        Self { component, list: Mutex::default() }
    }

    /// Sets a complaint; logged if it is another than before.
    pub(super) fn set(&self, about: &str, text: String) {
        let mut list = self.list.lock().unwrap_or_else(PoisonError::into_inner);
        if list.get(about) != Some(&text) {
            tracing::warn!(component = self.component.name(), "{text}");
            list.insert(about.to_owned(), text);
        }
        self.show(&list);
    }

    /// Clears a complaint.
    pub(super) fn clear(&self, about: &str) {
        let mut list = self.list.lock().unwrap_or_else(PoisonError::into_inner);
        if list.remove(about).is_some() {
            self.show(&list);
        }
    }

    fn show(&self, list: &BTreeMap<String, String>) {
        let state = if list.is_empty() { State::Up } else { State::Degraded };
        self.component.set_state(state, &list.values().map(String::as_str).collect::<Vec<_>>().join("; "));
    }
}
