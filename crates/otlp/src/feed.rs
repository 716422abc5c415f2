//! Records on their way into requests of one output.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::attributes::Attributes;
use crate::encoding::Encoding;
use crate::output::Output;
use crate::record::Encoded;
use crate::request::{Request, RequestBuilder, Stream};

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
    pub fn add(&mut self, record: Encoded<'_>) {
        if let Some(full) = self.collect(record) {
            self.output.offer(full);
        }
    }

    /// Adds a record; returns the request before it if that is full, for a later offer.
    pub fn collect(&mut self, record: Encoded<'_>) -> Option<Request> {
        let is_full = self.builder.records() >= self.output.config().batch.max_records
            || self.builder.plain_bytes() + record.bytes().len() > self.max_bytes;
        let full = if is_full { self.take() } else { None };
        self.since.get_or_insert_with(Instant::now);
        self.builder.push(record);
        full
    }

    /// Time until the records have waited for `batch.linger`; none if there are none.
    pub fn due(&self) -> Option<Duration> {
        self.since.map(|since| self.output.config().batch.linger.saturating_sub(since.elapsed()))
    }

    /// Offers the records as a request, if there are any.
    pub fn flush(&mut self) {
        if let Some(request) = self.take() {
            self.output.offer(request);
        }
    }

    /// The records as a request, if there are any, for a later offer. It is not compressed if there
    /// is no memory for that.
    pub fn take(&mut self) -> Option<Request> {
        let (encoding, max_bytes) = self.output.limits();
        (self.max_bytes, self.since) = (max_bytes, None);
        match self.builder.take(encoding) {
            Ok(request) => request,
            Err(error) => {
                tracing::warn!(
                    output = self.output.config().name,
                    "{} records are sent as they are: they cannot be compressed: {error}",
                    self.builder.records()
                );
                // Plain bytes need no compressor.
                self.builder.take(Encoding::None).ok().flatten()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::OutputConfig;
    use crate::encoding::broken;
    use crate::environment::Environment;
    use crate::record::{Head, Record, Severity};

    /// Records that cannot be compressed are offered all the same, and so are those after them.
    #[test]
    fn a_failed_compression_loses_nothing() {
        let config = OutputConfig { endpoint: Some("https://not.there".to_owned()), ..OutputConfig::named("main") };
        let output = Arc::new(Output::new(config, &Environment::default(), "one").unwrap());
        let mut feed = Feed::new(Arc::clone(&output), Stream::Flows, &Attributes::new(), "webb.flows", "1");
        let mut record = Record::new();
        let head = Head {
            time_ns: 1,
            observed_ns: 1,
            severity: Severity::Info,
            event_name: "webb.flow",
            trace_id: None,
            body: "",
        };
        for (is_broken, offered) in [(true, 1), (false, 2)] {
            broken::set(is_broken);
            record.begin(&head).int("number", 1);
            feed.add(record.finish());
            feed.flush();
            assert_eq!((feed.due(), output.figures().ledger(Stream::Flows).offered), (None, offered));
        }
        let encodings: Vec<_> = output.state().queue.iter().map(|entry| entry.encoding).collect();
        assert_eq!(encodings, [Encoding::None, Encoding::Gzip]);
    }
}
