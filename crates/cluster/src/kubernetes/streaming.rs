//! Tracks the server's support of streamed lists.

use std::cell::Cell;
use std::time::Duration;

use tokio::time::Instant;

/// Support of streamed lists by the server.
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
