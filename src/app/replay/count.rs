//! Counts the flows of files.

use webb_flow::names::LOST_EVENT_SOURCES;
use webb_flowlog::{Counts, JsonError, Reader};
use webb_metrics::Aggregator;
use webb_metrics::expose::{Family, FamilyType, server};

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
        ReplayExposition { snapshots, families: vec![lost_events(self.reader.counts())] }
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

/// `hubble_lost_events_total` as the file's own events make it (hubble-contract §3.1).
fn lost_events(counts: &Counts) -> Family {
    let lost = |wanted: &str| {
        let by_source = LOST_EVENT_SOURCES.iter().zip(counts.lost);
        by_source.filter(|((_, name), _)| *name == wanted).map(|(_, count)| count).sum()
    };
    let mut family = server::lost_events(lost("PERF_EVENT_RING_BUFFER"), lost("OBSERVER_EVENTS_QUEUE"));
    debug_assert_eq!(family.kind, FamilyType::Counter, "it only ever grows");
    for name in ["HUBBLE_RING_BUFFER", "UNKNOWN_LOST_EVENT_SOURCE"] {
        if lost(name) > 0 {
            family.push(&[("source", &name.to_ascii_lowercase())], lost(name));
        }
    }
    family
}
