//! A request to the kernel with an answer of many messages; it continues after a cancelled wait.

use std::fmt;
use std::io;

use futures::FutureExt;
use futures::future::BoxFuture;

/// At most one request, on its way.
pub(super) struct PendingRequest<T>(Option<BoxFuture<'static, io::Result<T>>>);

impl<T> Default for PendingRequest<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<T> fmt::Debug for PendingRequest<T> {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.debug_struct("PendingRequest").field("on_its_way", &self.0.is_some()).finish()
    }
}

impl<T> PendingRequest<T> {
    /// Waits for the answer of the request that is on its way, or else of a new one. Dropping the
    /// wait drops nothing else: the next wait goes on.
    pub(super) async fn finish<F>(&mut self, request: impl FnOnce() -> F) -> io::Result<T>
    where
        F: Future<Output = io::Result<T>> + Send + 'static,
    {
        let answer = self.0.get_or_insert_with(|| request().boxed()).await;
        self.0 = None;
        answer
    }

    /// Discards the messages still under way.
    pub(super) fn give_up(&mut self) {
        self.0 = None;
    }
}
