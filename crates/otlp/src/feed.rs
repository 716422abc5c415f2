//! Records on their way into requests of one output.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::attributes::Attributes;
use crate::output::Output;
use crate::record::Encoded;
use crate::request::{RequestBuilder, Stream};

/// Collects records of one stream, and offers them to an output in requests of its size.
///
/// Records in it are not in the ledger yet. It belongs into the state of its owner that survives a
/// panic, and is flushed at the end of a window, at [`Feed::due`], and at a stop.
#[derive(Debug)]
pub struct Feed {
    output: Arc<Output>,
    builder: RequestBuilder,
    /// Plain bytes of the present request at most.
    max_bytes: usize,
    /// Time at which the first record of the request was added.
    since: Option<Instant>,
}

impl Feed {
    /// A feed without records. `resource`: attributes of the agent, the same in all requests.
    pub fn new(
        output: Arc<Output>,
        stream: Stream,
        resource: &Attributes,
        scope_name: &str,
        scope_version: &str,
    ) -> Self {
        let (_, max_bytes) = output.limits();
        let builder = RequestBuilder::new(stream, resource, scope_name, scope_version);
        Self { output, builder, max_bytes, since: None }
    }

    /// The output.
    pub fn output(&self) -> &Arc<Output> {
        &self.output
    }

    /// Adds a record; offers the request before it if that is full.
    ///
    /// # Errors
    /// If there is no memory to compress a request with. The records stay, and are counted when
    /// they are offered.
    pub fn add(&mut self, record: Encoded<'_>) -> io::Result<()> {
        let is_full = self.builder.records() >= self.output.config().batch.max_records
            || self.builder.plain_bytes() + record.bytes().len() > self.max_bytes;
        let flushed = if is_full { self.flush() } else { Ok(()) };
        // A request that could not be compressed keeps its records, and this one with them.
        self.since.get_or_insert_with(Instant::now);
        self.builder.push(record);
        flushed
    }

    /// Time until the records have waited for `batch.linger`; none if there are none.
    pub fn due(&self) -> Option<Duration> {
        self.since.map(|since| self.output.config().batch.linger.saturating_sub(since.elapsed()))
    }

    /// Offers the records as a request, if there are any.
    ///
    /// # Errors
    /// As [`Feed::add`].
    pub fn flush(&mut self) -> io::Result<()> {
        let (encoding, max_bytes) = self.output.limits();
        self.max_bytes = max_bytes;
        if let Some(request) = self.builder.take(encoding)? {
            self.output.offer(request);
        }
        self.since = None;
        Ok(())
    }
}
