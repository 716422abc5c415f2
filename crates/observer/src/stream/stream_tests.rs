//! Flows of a history, and the ledger of what became of them.

use webb_flow::{Flow, Verdict};
use webb_index::Flows;
use webb_otlp::{Environment, OutputConfig};

use super::*;
use crate::record::Recorder;
use crate::stream::samples;

/// A stream over a history that the test fills.
struct Sending {
    history: Arc<History>,
    recorder: Recorder,
    stream: FlowStream,
    written: u64,
}

fn output(name: &str) -> Arc<Output> {
    let config = OutputConfig { endpoint: Some("https://not.there".to_owned()), ..OutputConfig::named(name) };
    Arc::new(Output::new(config, &Environment::default(), "test").unwrap())
}

impl Sending {
    fn new(limit: usize) -> Self {
        let history = Arc::new(History::new(limit));
        let stream = FlowStream::new(Arc::clone(&history), samples::node(), Box::new(|_| Attributes::new()));
        stream.begin();
        Self { history, recorder: Recorder::default(), stream, written: 0 }
    }

    /// Adds forwarded flows of many connections, and dropped ones.
    fn add(&mut self, forwarded: u16, dropped: u16) {
        let (index, ids) = samples::index();
        let opening = samples::opening(ids);
        let of = |verdict| move |number: u16| Flow { source_port: 30_000 + number, verdict, ..opening };
        let flows = (0..forwarded).map(of(Verdict::Forwarded)).chain((0..dropped).map(of(Verdict::Dropped)));
        let flows: Vec<Flow> = flows.collect();
        self.recorder.record(&self.history, Flows { flows: &flows, extras: &[], index: &index }, 0, 0);
        self.written += flows.len() as u64;
    }

    fn want(&self, settings: FlowSettings, outputs: &[&Arc<Output>]) {
        let outputs = outputs.iter().map(|output| Arc::clone(output)).collect();
        self.stream.want(Some(WantedFlows { settings, outputs }));
        self.read();
        assert!(self.stream.has_taken_up());
    }

    /// Takes turns until there is nothing to read.
    fn read(&self) -> Duration {
        loop {
            match self.stream.turn() {
                Next::Turn => {}
                Next::Wait(time) => return time,
                Next::End => return Duration::ZERO,
            }
        }
    }

    /// Has the stream send all, and returns what became of the events.
    fn finish(&self) -> FlowCounts {
        self.stream.stop();
        self.read();
        assert_eq!(self.stream.turn(), Next::End);
        self.stream.counts()
    }
}

fn sum(counts: FlowCounts) -> u64 {
    let FlowCounts { included, sampled, passed_over, limited, overrun, panicked } = counts;
    included + sampled + passed_over + limited + overrun + panicked
}

fn offered(output: &Output) -> u64 {
    let ledger = output.figures().ledger(Stream::Flows);
    assert!(ledger.is_closed(), "{ledger:?}");
    assert_eq!(output.figures().ledger(Stream::Rollups).offered, 0);
    ledger.offered
}

/// Without filters problems are sent and nothing else; each output gets all of them, and every
/// event is accounted for.
#[test]
fn problems_are_sent() {
    let mut sending = Sending::new(4095);
    let outputs = [output("one"), output("other")];
    sending.want(FlowSettings::default(), &[&outputs[0], &outputs[1]]);
    sending.add(200, 30);
    sending.add(0, 3);
    sending.read();
    let counts = sending.finish();
    assert_eq!((counts.included, counts.passed_over, sum(counts)), (33, 200, sending.written));
    assert_eq!(outputs.each_ref().map(|output| offered(output)), [33, 33]);
}

/// Records wait for others, and are offered when they have waited for long enough.
#[test]
fn records_linger() {
    let mut sending = Sending::new(4095);
    let patient = output("patient");
    let hasty = OutputConfig { endpoint: Some("https://not.there".to_owned()), ..OutputConfig::named("hasty") };
    let batch = webb_otlp::BatchConfig { linger: Duration::ZERO, ..hasty.batch };
    let hasty = Output::new(OutputConfig { batch, ..hasty }, &Environment::default(), "test").unwrap();
    let hasty = Arc::new(hasty);
    sending.want(FlowSettings::default(), &[&patient, &hasty]);
    assert_eq!(sending.read(), Duration::MAX);
    sending.add(0, 5);
    let wait = sending.read();
    assert!(wait > Duration::ZERO && wait <= Duration::from_secs(5), "{wait:?}");
    assert_eq!((offered(&patient), offered(&hasty)), (0, 5));
    sending.finish();
    assert_eq!(offered(&patient), 5);
}

/// What was there before flows were wanted is not sent. Without an output nothing is read; another
/// choice goes on at the same place, and so does another output.
#[test]
fn changes_lose_no_flow() {
    let mut sending = Sending::new(4095);
    sending.add(0, 50);
    assert_eq!(sending.read(), Duration::MAX);
    let (one, other) = (output("one"), output("other"));
    sending.want(FlowSettings::default(), &[&one]);
    sending.add(0, 3);
    sending.read();
    sending.want(FlowSettings { uid: false, ..FlowSettings::default() }, &[&one]);
    assert_eq!(offered(&one), 3, "of before the change");
    sending.add(0, 4);
    sending.read();
    sending.want(FlowSettings { uid: false, ..FlowSettings::default() }, &[&other]);
    sending.add(0, 5);
    sending.read();
    sending.stream.want(None);
    sending.read();
    assert_eq!((offered(&one), offered(&other)), (7, 5));
    sending.add(0, 9);
    assert_eq!(sending.finish().included, 12);
}

/// Samples have one in so many connections, and problems are sent all the same.
#[test]
fn connections_are_sampled() {
    let mut sending = Sending::new(4095);
    let output = output("one");
    sending.want(FlowSettings { sample_every: 10, max_per_second: 100_000, ..FlowSettings::default() }, &[&output]);
    for _ in 0..3 {
        sending.add(1000, 7);
    }
    let counts = sending.finish();
    assert_eq!((counts.included, sum(counts)), (21, sending.written));
    assert!((180..420).contains(&counts.sampled) && counts.sampled.is_multiple_of(3), "{counts:?}");
    assert_eq!(offered(&output), counts.included + counts.sampled);
}

/// What exceeds the limit, and what the history has lost, is dropped and counted.
#[test]
fn what_is_too_much_is_counted() {
    let mut sending = Sending::new(100);
    let output = output("one");
    sending.want(FlowSettings { max_per_second: 20, ..FlowSettings::default() }, &[&output]);
    sending.add(0, 1000);
    let counts = sending.finish();
    assert_eq!((counts.overrun, sum(counts)), (900, 1000));
    assert!((20..40).contains(&counts.included), "{counts:?}");
    assert_eq!((offered(&output), counts.limited), (counts.included, 100 - counts.included));
}
