//! Counts the flows of files.

use webb_flowlog::{Counts, JsonError, Reader};
use webb_metrics::Aggregator;
use webb_metrics::expose::server;

use super::exposition::ReplayExposition;
use super::files::Lines;

/// The metrics, and the reader of the flows that they count.
#[derive(Debug)]
pub(super) struct Counting {
    aggregators: Vec<Aggregator>,
    reader: Reader,
}

impl Counting {
    pub(super) fn new(aggregators: Vec<Aggregator>) -> Self {
        Self { aggregators, reader: Reader::default() }
    }

    /// All that was counted.
    pub(super) fn exposition(mut self) -> ReplayExposition {
        let snapshots = self.aggregators.iter_mut().flat_map(Aggregator::snapshot).collect();
        ReplayExposition { snapshots, families: vec![server::lost_events(self.reader.counts().lost)] }
    }
}

impl Lines for Counting {
    fn line(&mut self, line: &[u8]) -> Result<(), JsonError> {
        let read = self.reader.line(line);
        if self.reader.is_full() {
            self.end();
        }
        read
    }

    fn bad_line(&mut self) {
        self.reader.bad_line();
    }

    /// Gives the batch to every metric.
    fn end(&mut self) {
        let batch = self.reader.batch();
        for aggregator in &mut self.aggregators {
            let mut position = 0;
            aggregator.observe(batch, 0, &mut position);
        }
        self.reader.turn();
    }

    fn counts(&self) -> &Counts {
        self.reader.counts()
    }
}
