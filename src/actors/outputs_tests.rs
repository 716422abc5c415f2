//! What becomes of the figures of outputs that change and go.

use arc_swap::ArcSwap;
use tokio::sync::mpsc::unbounded_channel;
use webb_observer::History;
use webb_observer::export::Node;
use webb_otlp::{Attributes, Encoding, Head, Ledger, Record, RequestBuilder, Severity};
use webb_settings::SourceFile;

use super::*;
use crate::actors::restart::RestartPolicy;
use crate::actors::{flows, rollups};
use crate::pipeline::{Consumer, RollupSite, new_uuid};

/// A set of outputs, with the threads that take up its changes.
struct Set {
    outputs: Outputs,
    supervisors: [Addr<ThreadSupervisor>; 2],
}

fn set() -> Set {
    let components = Components::default();
    let policy = Arc::new(ArcSwap::from_pointee(RestartPolicy {
        max_restarts: 5,
        window: Duration::from_mins(1),
        backoff_min: Duration::from_millis(20),
        backoff_max: Duration::from_millis(100),
        stall_after: Duration::from_mins(1),
    }));
    let (escalations, _) = unbounded_channel();
    let intensity = |name: &str| Intensity::new(components.component(name), Arc::clone(&policy), escalations.clone());
    let (lane, items) = Lane::to(Consumer::Rollups, components.component("unused"));
    let site = RollupSite { cluster: "default".to_owned(), node: "node".to_owned() };
    let rollups = Arc::new(RollupState::new(Arc::new(lane), site));
    let history = || Arc::new(History::new(100));
    let node = Node { name: "node".to_owned(), qualified: "node".to_owned(), version: "test".to_owned(), run: 1 };
    let flows = Arc::new(FlowStream::new(history(), history(), node, Box::new(|_| Attributes::new())));
    let supervisors = [
        rollups::start(items, Arc::clone(&rollups), intensity("rollups")),
        flows::start(Arc::clone(&flows), intensity("flows")),
    ];
    let factory = OutputFactory {
        components: components.clone(),
        directory: Directory::default(),
        policy: Arc::clone(&policy),
        escalations: escalations.clone(),
        environment: Environment::default(),
        instance: new_uuid(),
        node: "node".to_owned(),
    };
    let (lane, _) = Lane::to(Consumer::History, components.component("unused"));
    let streams = Streams { rollups, flows, lane: Arc::new(lane), is_for_outputs: false };
    Set { outputs: Outputs::new(factory, streams), supervisors }
}

impl Set {
    /// Makes the outputs those of a file without rows.
    async fn change(&self, outputs: &str) {
        let text = format!("rollups: {{window: 0s}}\notlp: [{outputs}]\n");
        let file = SourceFile { name: "outputs.yaml".to_owned(), text };
        assert_eq!(self.outputs.change(&exports::read_outputs(file, &Environment::default()).unwrap()).await, None);
    }

    /// Offers a request of so many records to an output.
    fn offer(&self, name: &str, records: u32) {
        let output = Arc::clone(&self.outputs.held().get(name).unwrap().output);
        let mut builder = RequestBuilder::new(Stream::Flows, &Attributes::new(), "webb.flows", "1");
        let mut record = Record::new();
        for _ in 0..records {
            let (event_name, severity) = ("webb.flow", Severity::Info);
            record.begin(&Head { time_ns: 1, observed_ns: 1, severity, event_name, trace_id: None, body: "" });
            builder.push(record.finish());
        }
        output.offer(builder.take(Encoding::None).unwrap().unwrap());
    }

    /// The ledger of flows, which is closed.
    fn ledger(&self, name: &str) -> Ledger {
        let ledger = self.outputs.figures().get(name).unwrap().ledger(Stream::Flows);
        assert!(ledger.is_closed(), "{ledger:?}");
        ledger
    }

    async fn finish(self) {
        self.outputs.finish().await;
        for supervisor in &self.supervisors {
            supervisor.send(Finish).await.unwrap();
        }
    }
}

/// The counters of a name do not go back while the agent runs: not when its output is changed, nor
/// when it is removed, nor when it is there again.
#[actix::test]
async fn figures_outlive_outputs() {
    let spool = tempfile::tempdir().unwrap();
    let output = |timeout: u8, directory: &str| {
        let spool = spool.path().join(directory);
        let spool =
            if directory.is_empty() { String::new() } else { format!("spool: {{directory: {}}}", spool.display()) };
        format!("{{name: a, endpoint: 'http://127.0.0.1:9', timeout: {timeout}s, {spool}}}")
    };
    let set = set();
    set.change(&output(1, "")).await;
    set.offer("a", 5);
    set.change(&output(2, "")).await;
    let ledger = set.ledger("a");
    assert_eq!((ledger.offered, ledger.waiting), (5, 5), "another output of the name goes on");
    assert!(set.outputs.figures()["a"].queue_bytes() > 0, "and shows what it holds");
    set.change("").await;
    let ledger = set.ledger("a");
    assert_eq!((ledger.offered, ledger.dropped(webb_otlp::Loss::Shutdown), ledger.waiting), (5, 5, 0));
    assert!(set.outputs.held().is_empty());
    set.change(&output(1, "one")).await;
    set.offer("a", 3);
    assert_eq!(set.ledger("a").offered, 8);
    // It is written by the end of the thread at the latest.
    set.change(&output(1, "other")).await;
    let ledger = set.ledger("a");
    assert_eq!((ledger.offered, ledger.dropped(webb_otlp::Loss::Orphaned), ledger.waiting), (8, 3, 0));
    assert_eq!(set.outputs.figures().len(), 1);
    set.finish().await;
}

/// The figures of so many names are kept: then those of the one that left first go.
#[actix::test]
async fn figures_of_few_are_kept() {
    let set = set();
    for number in 0..=MAX_GONE {
        set.change(&format!("{{name: o{number}, endpoint: 'http://127.0.0.1:9'}}")).await;
    }
    set.change("").await;
    let kept = set.outputs.figures();
    assert_eq!((kept.len(), kept.contains_key("o0"), kept.contains_key("o1")), (MAX_GONE, false, true));
    set.finish().await;
}
