//! Flows of a history, and the ledger of what became of them.

use std::collections::BTreeMap;

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use prost::Message as _;
use webb_flow::{ConnectionEvent, Flow, Verdict};
use webb_index::Flows;
use webb_index::filters::{FilterSpec, Filters, FlowFilter};
use webb_otlp::{Encoding, Environment, OutputConfig};

use super::*;
use crate::record::Recorder;
use crate::stream::samples;
use crate::taken::Taken;

/// A stream over a history that the test fills.
struct Sending {
    history: Arc<History>,
    recorder: Recorder,
    failures: Arc<History>,
    failure_recorder: Recorder,
    stream: FlowStream,
    written: u64,
}

fn output(name: &str) -> Arc<Output> {
    let endpoint = Some("https://not.there".to_owned());
    let config = OutputConfig { endpoint, compression: Some(Encoding::None), ..OutputConfig::named(name) };
    Arc::new(Output::new(config, &Environment::default(), "test").unwrap())
}

impl Sending {
    fn new(limit: usize) -> Self {
        let history = Arc::new(History::new(limit));
        let failures = Arc::new(History::new(limit));
        let [flows, failed] = [&history, &failures].map(Arc::clone);
        let stream = FlowStream::new(flows, failed, samples::node(), Box::new(|_| Attributes::new()));
        stream.begin();
        let failure_recorder = Recorder::of(Taken::FailedConnections);
        Self { history, recorder: Recorder::default(), failures, failure_recorder, stream, written: 0 }
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

    /// Adds attempts to connect that were refused, each with the packets of it that are forwarded.
    fn refuse(&mut self, attempts: u16) {
        let (index, ids) = samples::index();
        let opening = samples::opening(ids);
        let of = |number: u16| Flow { source_port: 30_000 + number, ..opening };
        let flows = (0..attempts).flat_map(|number| [of(number), of(number).connection(ConnectionEvent::Refused, 0)]);
        let flows: Vec<Flow> = flows.collect();
        let batch = Flows { flows: &flows, extras: &[], index: &index };
        self.recorder.record(&self.history, batch, 0, 0);
        self.failure_recorder.record(&self.failures, batch, 0, 0);
        self.written += flows.len() as u64;
    }

    fn want(&self, settings: FlowSettings, outputs: &[&Arc<Output>]) {
        let outputs: Vec<_> = outputs.iter().map(|output| (*output, None)).collect();
        self.want_bodies(settings, &outputs);
    }

    fn want_bodies(&self, settings: FlowSettings, outputs: &[(&Arc<Output>, Option<Body>)]) {
        let outputs = outputs.iter().map(|(output, body)| FlowOutput { output: Arc::clone(output), body: *body });
        let outputs = outputs.collect();
        self.stream.want(Some(WantedFlows { settings, outputs }));
        self.read();
        assert!(self.stream.has_taken_up());
    }

    /// The texts of records that wait for others, by output; they are taken out.
    fn waiting_texts(&self) -> BTreeMap<String, Vec<String>> {
        let state = &mut *self.stream.state();
        let text = |record: LogRecord| match record.body.and_then(|body| body.value) {
            Some(Value::StringValue(text)) => text,
            other => other.map_or_else(String::new, |other| format!("{other:?}")),
        };
        let of_output = |feed: &mut Feed| {
            let request = ExportLogsServiceRequest::decode(&feed.take().unwrap().body[..]).unwrap();
            let logs = request.resource_logs.into_iter().flat_map(|logs| logs.scope_logs);
            (feed.output().config().name.clone(), logs.flat_map(|logs| logs.log_records).map(text).collect())
        };
        state.work.as_mut().unwrap().sender.feeds.iter_mut().map(|(_, feed)| of_output(feed)).collect()
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

fn verdict(verdict: Verdict) -> FlowFilter {
    FlowFilter::new(FilterSpec { verdict: vec![verdict as i32], ..FilterSpec::default() }).unwrap()
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

/// Each output has the text that it chooses, in the same records, or else that of the settings; a
/// change of a choice applies to what comes behind it.
#[test]
fn outputs_choose_their_text() {
    let mut sending = Sending::new(4095);
    let outputs = ["one", "other", "third", "fourth"].map(output);
    let [one, other, third, fourth] = outputs.each_ref();
    let settings = FlowSettings { body: Body::Hubble, ..FlowSettings::default() };
    let chosen = [(one, Some(Body::Summary)), (other, None), (third, Some(Body::None)), (fourth, Some(Body::Summary))];
    sending.want_bodies(settings.clone(), &chosen);
    sending.add(0, 2);
    sending.read();
    let texts = sending.waiting_texts();
    let [summary, hubble, none, again] = ["one", "other", "third", "fourth"].map(|name| &texts[name]);
    assert!(summary[0].starts_with("default/tie-1:30000") && summary == again, "{texts:?}");
    assert!(hubble[0].starts_with('{') && hubble[0].contains("30000"), "{texts:?}");
    assert_eq!(none, &["", ""]);
    sending.want_bodies(settings, &[(one, Some(Body::None)), (other, None), (third, None)]);
    sending.add(0, 1);
    sending.read();
    let texts = sending.waiting_texts();
    assert_eq!((&texts["one"][..], texts["third"] == texts["other"]), (&[String::new()][..], true), "{texts:?}");
    assert_eq!(sending.finish().included, 3);
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

/// Attempts that failed are sent beside the flows, from a history of their own: what is in it is no
/// flow of the other. What either loses, or exceeds the limit, is counted. No sample has them.
#[test]
fn failed_attempts_are_sent() {
    let mut sending = Sending::new(4095);
    let output = output("one");
    sending.want(FlowSettings { sample_every: 1, ..FlowSettings::default() }, &[&output]);
    sending.refuse(20);
    sending.add(5, 3);
    sending.read();
    let counts = sending.stream.counts();
    assert_eq!((counts.included, counts.sampled, sum(counts)), (23, 25, sending.written));
    assert_eq!((sending.history.totals().flows, sending.failures.totals().flows), (28, 20));
    let none = Filters { exclude: vec![verdict(Verdict::Unknown)], ..Filters::default() };
    sending.want(FlowSettings { filters: none, ..FlowSettings::default() }, &[&output]);
    sending.refuse(20);
    sending.add(0, 1);
    let counts = sending.finish();
    assert_eq!((counts.included, counts.passed_over, sum(counts)), (24, 40, sending.written));
    assert_eq!(offered(&output), 24 + 25);

    let mut sending = Sending::new(100);
    sending.want(FlowSettings { max_per_second: 20, ..FlowSettings::default() }, &[&output]);
    sending.refuse(300);
    let counts = sending.finish();
    assert_eq!((counts.passed_over, counts.overrun, sum(counts)), (100, 400, 600));
    assert!((20..40).contains(&counts.included) && counts.included + counts.limited == 100, "{counts:?}");
}

/// The limit is that of flows and of attempts that failed each: a flood of one keeps nothing of the
/// other.
#[test]
fn a_flood_of_drops_leaves_failed_attempts() {
    let mut sending = Sending::new(4095);
    let output = output("one");
    sending.want(FlowSettings { max_per_second: 20, ..FlowSettings::default() }, &[&output]);
    sending.add(0, 2000);
    sending.refuse(15);
    let counts = sending.finish();
    assert!((35..60).contains(&counts.included), "{counts:?}");
    assert_eq!(sum(counts), sending.written);
}

/// A stream that waits is woken by an attempt that failed, as it is by a flow.
#[test]
fn a_failed_attempt_ends_the_wait() {
    let mut sending = Sending::new(100);
    sending.want(FlowSettings::default(), &[&output("one")]);
    let (stream, longest) = (&sending.stream, Duration::from_mins(1));
    let (_, ids) = samples::index();
    let attempt = samples::opening(ids).connection(ConnectionEvent::TimedOut, 0);
    let (failures, recorder) = (&sending.failures, &mut sending.failure_recorder);
    let index = samples::index().0;
    std::thread::scope(|scope| {
        let began = Instant::now();
        let waiting = scope.spawn(|| stream.wait(longest));
        while lock(&stream.waiting).is_none() {
            std::thread::yield_now();
        }
        recorder.record(failures, Flows { flows: &[attempt], extras: &[], index: &index }, 0, 0);
        waiting.join().unwrap();
        assert!(began.elapsed() < longest, "nothing but the attempt ends the wait");
    });
    sending.read();
    assert_eq!(sending.stream.counts().included, 1);
}
