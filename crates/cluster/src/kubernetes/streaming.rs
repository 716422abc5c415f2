//! Whether lists are streamed.

use std::cell::Cell;
use std::time::{Duration, Instant};

/// Whether the server has streamed lists.
#[derive(Debug, Default)]
pub(super) struct Streaming {
    /// Time until which streamed lists are not requested.
    paged_until: Cell<Option<Instant>>,
}

impl Streaming {
    pub(super) fn offered(&self) -> bool {
        self.paged_until.get().is_none_or(|until| Instant::now() >= until)
    }

    pub(super) fn refuse(&self, time: Duration) {
        self.paged_until.set(Some(Instant::now() + time));
    }
}
