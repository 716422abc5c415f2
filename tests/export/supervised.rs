//! Exporters as the agent runs them: supervised threads, which are changed, fail and end alone.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use tokio::sync::mpsc::{self, UnboundedReceiver};
use webb::actors::Directory;
use webb::actors::exporters::{ExporterFactory, Exporters, SetChanges};
use webb::actors::restart::RestartPolicy;
use webb_flow::fault::{Components, State};
use webb_observer::History;
use webb_observer::export::{ExportConfig, Loss};

use crate::common::{config, flows, load, node, written};

/// Exporters and what they are made with.
pub(crate) struct Set {
    pub(crate) exporters: Arc<Exporters>,
    pub(crate) history: Arc<History>,
    pub(crate) components: Components,
    pub(crate) policy: webb::actors::restart::SharedRestartPolicy,
    pub(crate) escalations: webb::actors::restart::Escalations,
    _escalated: UnboundedReceiver<String>,
}

pub(crate) fn set() -> Set {
    let (escalations, escalated) = mpsc::unbounded_channel();
    let policy = Arc::new(ArcSwap::from_pointee(RestartPolicy {
        max_restarts: 100,
        window: Duration::from_mins(1),
        backoff_min: Duration::from_millis(1),
        backoff_max: Duration::from_millis(10),
        stall_after: Duration::from_mins(1),
    }));
    let (history, components) = (Arc::new(History::new(1 << 20)), Components::default());
    let factory = ExporterFactory {
        components: components.clone(),
        directory: Directory::default(),
        policy: Arc::clone(&policy),
        escalations: escalations.clone(),
        history: Arc::clone(&history),
        node: node(),
    };
    let exporters = Arc::new(Exporters::new(factory));
    Set { exporters, history, components, policy, escalations, _escalated: escalated }
}

pub(crate) async fn until(what: &str, mut true_yet: impl FnMut() -> bool) {
    let began = Instant::now();
    while !true_yet() {
        assert!(began.elapsed() < Duration::from_mins(1), "never came true: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Lines of a file; none if there is no file.
pub(crate) fn lines_of(path: &Path) -> usize {
    fs::read_to_string(path).map_or(0, |text| text.lines().count())
}

fn named(name: &str, directory: &Path, settings: &str) -> ExportConfig {
    ExportConfig { name: name.to_owned(), ..config(&directory.join(name), settings) }
}

/// Several at once each write all that they are to, as it comes; at the end all is there.
#[actix::test]
async fn several_at_once() {
    let (set, scratch, lines) = (set(), tempfile::tempdir().unwrap(), flows("flows-a"));
    let settings = ["", "field_mask: [uuid, verdict]", "allow_list: ['{\"verdict\":[\"DROPPED\"]}']"];
    for (name, settings) in ["a", "b", "c"].into_iter().zip(settings) {
        set.exporters.start(named(name, scratch.path(), settings), 0).unwrap();
    }
    let file = |name: &str| scratch.path().join(name).join("out.log");
    load(&set.history, &lines);
    until("the first flows are written, before any end", || lines_of(&file("a")) == 900).await;
    for _ in 0..4 {
        load(&set.history, &lines);
    }
    set.exporters.finish().await;
    for (name, settings) in ["a", "b", "c"].into_iter().zip(settings) {
        let text = fs::read_to_string(file(name)).unwrap();
        assert_eq!(text, written(&lines, settings).repeat(5), "{name}");
    }
    assert!(set.components.all().iter().all(|component| component.state() == State::Stopped));
}

/// Groups are written when their interval is over, without a flow that would come later.
#[actix::test]
async fn groups_are_written_in_time() {
    let (set, scratch) = (set(), tempfile::tempdir().unwrap());
    let settings = "field_aggregate: [verdict]\naggregation_interval: 200ms";
    set.exporters.start(named("a", scratch.path(), settings), 0).unwrap();
    load(&set.history, &flows("flows-a"));
    let file = scratch.path().join("a/out.log");
    until("the groups are written", || lines_of(&file) > 3).await;
    set.exporters.finish().await;
    let text = fs::read_to_string(file).unwrap();
    let counts = text.split("_flow_count\":").skip(1).map(|rest| {
        let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
        digits.parse::<u64>().unwrap()
    });
    assert_eq!(counts.sum::<u64>(), 900);
}

/// An exporter that changes goes on at its place: with two configurations in turn every event is
/// written once, by one or the other, and its counters go on. Others are not touched.
#[actix::test]
async fn a_change_loses_nothing() {
    let (set, scratch, lines) = (set(), tempfile::tempdir().unwrap(), flows("flows-a"));
    let one = named("changing", scratch.path(), "field_mask: [uuid]");
    let other = named("changing", &scratch.path().join("other"), "field_mask: [uuid]");
    let steady = named("steady", scratch.path(), "field_mask: [uuid]");
    let wanted = |changing: &ExportConfig| vec![changing.clone(), steady.clone()];
    let changes = set.exporters.change(&wanted(&one), |_| true).await;
    assert_eq!(changes, SetChanges { added: 2, ..SetChanges::default() });
    for round in 0..10 {
        load(&set.history, &lines);
        let next = if round % 2 == 0 { &other } else { &one };
        let changes = set.exporters.change(&wanted(next), |_| true).await;
        assert_eq!(changes, SetChanges { updated: 1, ..SetChanges::default() });
    }
    let counters = Arc::clone(&set.exporters.status()[0].counters);
    set.exporters.finish().await;
    assert_eq!(counters.lines(), 9000);
    let (a, b) = (scratch.path().join("changing/out.log"), scratch.path().join("other/changing/out.log"));
    assert!(lines_of(&a) > 0 && lines_of(&b) > 0);
    assert_eq!(lines_of(&a) + lines_of(&b), 9000);
    assert_eq!(lines_of(&scratch.path().join("steady/out.log")), 9000);
    let restarts: u64 = set.components.all().iter().map(|component| component.restarts()).sum();
    assert_eq!(restarts, 0);
    let changes = set.exporters.change(&[], |name| name != "steady").await;
    assert_eq!(changes, SetChanges { removed: 1, ..SetChanges::default() });
    assert_eq!(set.exporters.status().len(), 1);
}

/// An exporter that panics over an event loses that one, is restarted, and writes on; another
/// notices nothing.
#[cfg(feature = "fault-injection")]
#[actix::test]
async fn a_panic_stays_in_one_exporter() {
    use webb_flow::fault::{FaultType, inject};

    let (set, scratch, lines) = (set(), tempfile::tempdir().unwrap(), flows("flows-a"));
    for name in ["panicking", "other"] {
        set.exporters.start(named(name, scratch.path(), "field_mask: [uuid]"), 0).unwrap();
    }
    inject::arm("panicking", 5, 0);
    load(&set.history, &lines);
    let file = |name: &str| scratch.path().join(name).join("out.log");
    until("what is left is written", || lines_of(&file("panicking")) == 895).await;
    until("the other has all", || lines_of(&file("other")) == 900).await;
    let status = set.exporters.status();
    let panicking = status.iter().find(|one| one.name == "panicking").unwrap();
    // A line is in the file before it is counted.
    until("the lines are counted", || panicking.counters.lines() == 895).await;
    assert_eq!(panicking.counters.lost(Loss::Panicked), 5);
    let faults = |name: &str| set.components.component(name).faults(FaultType::Panicked);
    assert_eq!((faults("export/panicking"), faults("export/other")), (5, 0));
    set.exporters.finish().await;
}

/// One whose disk does not answer is not waited for: the change is put off for it, others are made,
/// and no two ever write to one file.
#[cfg(feature = "fault-injection")]
#[actix::test]
async fn a_change_does_not_wait_for_a_disk() {
    use webb_flow::fault::inject;

    let (set, scratch, lines) = (set(), tempfile::tempdir().unwrap(), flows("flows-a"));
    let (stuck, other) = (named("stuck", scratch.path(), ""), named("apart", scratch.path(), ""));
    inject::hold("stuck/write");
    set.exporters.start(stuck.clone(), 0).unwrap();
    load(&set.history, &lines);
    until("it stands still", || inject::is_held("stuck/write")).await;
    let changed = ExportConfig { fields: vec!["uuid".to_owned()], ..stuck };
    let wanted = [changed.clone(), other.clone()];
    let changes = set.exporters.change(&wanted, |_| true).await;
    assert_eq!(changes, SetChanges { added: 1, failed: 1, ..SetChanges::default() });
    assert_eq!(set.exporters.status().len(), 1);
    inject::release("stuck/write");
    let changes = set.exporters.change(&wanted, |_| true).await;
    assert_eq!(changes, SetChanges { updated: 1, ..SetChanges::default() });
    load(&set.history, &lines);
    set.exporters.finish().await;
    let text = fs::read_to_string(scratch.path().join("stuck/out.log")).unwrap();
    assert_eq!(text, written(&lines, "") + &written(&lines, "field_mask: [uuid]"));
}
