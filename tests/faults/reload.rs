//! Metrics that change while flows are on the pipeline: whatever comes and goes, no flow is lost or
//! counted twice, and every cut shows all metrics on the same side of a change.

use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use webb::actors::Finish;
use webb::actors::configurator::{Configurator, FleetFile};
use webb::actors::file_follower::PollFile;
use webb::actors::metrics_file::{FileRules, MetricsFile};
use webb::pipeline::Command;
use webb_flow::fault::State;
#[cfg(feature = "fault-injection")]
use webb_flow::fault::inject;
use webb_index::ObjectKey;
use webb_metrics::RemovedPods;
use webb_metrics::expose::Snapshot;
#[cfg(feature = "fault-injection")]
use webb_metrics::{Budget, Limits};
use webb_settings::{Capture, Layer7};

#[cfg(feature = "fault-injection")]
use crate::in_memory::limited;
use crate::in_memory::{pipeline, until};

/// The sum of a family's series; none if there is no such family.
fn sum<'a>(mut snapshots: impl Iterator<Item = &'a Snapshot>, family: &str) -> Option<u64> {
    let of = |snapshot: &Snapshot| {
        let column = snapshot.families.iter().position(|spec| spec.name == family)?;
        Some(snapshot.rows(column).map(|(_, value)| value).sum::<u64>())
    };
    snapshots.find_map(of)
}

const FLOWS: &str = "hubble_flows_processed_total";
const FLAGS: &str = "hubble_tcp_flags_total";
const PORTS: &str = "hubble_port_distribution_total";
const PACKETS: &str = "webb_traffic_packets_total";

/// `tcp` and `port-distribution` with filters of which each record passes exactly one; `traffic` in
/// one of four states.
fn mixed(random: u64) -> String {
    let (tcp, ports) = if random.is_multiple_of(2) { (80, 81) } else { (81, 80) };
    let traffic = match random / 2 % 4 {
        0 => "",
        1 => "- name: traffic\n",
        2 => "- name: traffic\n  contextOptions: [{name: sourceContext, values: [pod]}]\n",
        _ => "- name: traffic\n  contextOptions: [{name: sourceContext, values: [ip]}]\n",
    };
    format!(
        "metrics:\n- name: flow\n{traffic}\
         - name: tcp\n  includeFilters: [{{destination_port: [\"{tcp}\"]}}]\n\
         - name: port-distribution\n  includeFilters: [{{destination_port: [\"{ports}\"]}}]\n"
    )
}

/// Random changes while records flow and scrapes never pause: at every cut the two
/// metrics whose filters share the records have counted each of them once, and the metric that
/// never changed has counted all.
#[actix::test]
async fn random_reloads_lose_and_double_nothing() {
    let _turn = crate::turn();
    let mut pipeline = pipeline(&mixed(0));
    let mut collector = pipeline.collector.take().unwrap();
    let done = Arc::new(AtomicBool::new(false));
    let stop = Arc::clone(&done);
    let scraper = std::thread::Builder::new()
        .spawn(move || {
            let (mut cuts, mut last) = (0_u64, 0);
            while !stop.load(Relaxed) {
                if collector.collect(Duration::from_secs(10)) > 0 {
                    continue;
                }
                let of = |family| sum(collector.snapshots(), family).unwrap_or(0);
                let flows = of(FLOWS);
                assert_eq!(flows, of(FLAGS) + of(PORTS), "all metrics are cut on the same side of a change");
                assert!(of(PACKETS) <= flows && flows >= last, "counters only grow");
                (last, cuts) = (flows, cuts + 1);
            }
            (collector, cuts)
        })
        .unwrap();
    let (mut random, mut sent) = (0x9e37_79b9_7f4a_7c15_u64, 0_u64);
    for _ in 0..120 {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let records = random >> 53;
        pipeline.ring.push(usize::try_from(records).unwrap());
        sent += records;
        pipeline.becomes(&mixed(random >> 40)).await;
    }
    pipeline.at_rest(sent).await;
    done.store(true, Relaxed);
    let (mut collector, cuts) = scraper.join().unwrap();
    assert!(cuts > 10, "{cuts} cuts are too few to have met a change");
    assert_eq!(collector.collect(Duration::from_secs(5)), 0);
    assert_eq!(sum(collector.snapshots(), FLOWS), Some(sent));
    assert_eq!(sum(collector.snapshots(), FLAGS).unwrap() + sum(collector.snapshots(), PORTS).unwrap(), sent);
    pipeline.finish().await;
}

/// A metric that goes takes its series and its component along; added again it begins at nothing.
#[actix::test]
async fn a_metric_that_goes_leaves_nothing() {
    let _turn = crate::turn();
    let with = "metrics: [{name: flow}, {name: tcp}]";
    let mut pipeline = pipeline(with);
    let mut collector = pipeline.collector.take().unwrap();
    let mut cut = |family| {
        assert_eq!(collector.collect(Duration::from_secs(5)), 0);
        sum(collector.snapshots(), family)
    };
    pipeline.ring.push(1000);
    pipeline.at_rest(1000).await;
    assert_eq!((cut(FLOWS), cut(FLAGS)), (Some(1000), Some(1000)));
    pipeline.becomes("metrics: [{name: flow}]").await;
    assert_eq!((cut(FLOWS), cut(FLAGS)), (Some(1000), None));
    let names: Vec<_> = pipeline.components.all().iter().map(|component| component.name().to_owned()).collect();
    assert_eq!(names, ["aggregator/flow", "reader"]);
    pipeline.ring.push(1000);
    pipeline.at_rest(2000).await;
    pipeline.becomes(with).await;
    pipeline.ring.push(500);
    pipeline.at_rest(2500).await;
    assert_eq!((cut(FLOWS), cut(FLAGS)), (Some(2500), Some(500)));
    until("both up", || pipeline.components.all().iter().all(|component| component.state() == State::Up)).await;
    pipeline.finish().await;
}

/// A metric that begins anew takes the place of the one before it, also where that one fills the
/// budget for series and still reads what is in its lane: nothing of the new one is counted as
/// `~other`.
#[cfg(feature = "fault-injection")]
#[actix::test]
async fn a_metric_that_begins_anew_has_the_budget_of_the_old() {
    let _turn = crate::turn();
    let of = |context: &str| {
        format!("metrics: [{{name: flow, contextOptions: [{{name: sourceContext, values: [{context}]}}]}}]")
    };
    let mut pipeline = limited(&of("namespace"), Limits { budget: Arc::new(Budget::new(1)), ..Limits::default() });
    let mut collector = pipeline.collector.take().unwrap();
    pipeline.ring.push(10);
    pipeline.at_rest(10).await;
    inject::hold("aggregator/flow");
    pipeline.ring.push(10);
    until("the old one stands still in a batch", || inject::is_held("aggregator/flow")).await;
    let (ring, fleet, old) =
        (pipeline.ring.clone(), Arc::clone(&pipeline.fleet), pipeline.fleet.lanes().list()[0].id());
    let feed = move || {
        let counted = || fleet.members().iter().any(|(_, now)| now.lane.id() != old && now.state.counted() >= 10);
        let mut pushed = 0;
        while !counted() {
            ring.push(1);
            pushed += 1;
            std::thread::sleep(Duration::from_millis(1));
        }
        inject::release("aggregator/flow");
        pushed
    };
    let feed = std::thread::Builder::new().spawn(feed).unwrap();
    // Returns when the old one is gone.
    pipeline.becomes(&of("pod")).await;
    pipeline.at_rest(20 + feed.join().unwrap()).await;
    assert_eq!(collector.collect(Duration::from_secs(5)), 0);
    let rows: Vec<_> = collector.snapshots().flat_map(|snapshot| snapshot.rows(0).collect::<Vec<_>>()).collect();
    assert!(rows.len() == 1 && rows[0].0.contains("source=\"default/xwing\""), "{rows:?}");
    pipeline.finish().await;
}

/// Pods that are gone are told through the same pipeline: their series go, and begin anew should
/// they come back.
#[actix::test]
async fn series_go_with_their_pods() {
    let _turn = crate::turn();
    let labelled = "{name: labelsContext, values: [source_namespace, source_pod]}";
    let mut pipeline = pipeline(&format!("metrics: [{{name: flow}}, {{name: tcp, contextOptions: [{labelled}]}}]"));
    let mut collector = pipeline.collector.take().unwrap();
    let mut cut = |family| {
        assert_eq!(collector.collect(Duration::from_secs(5)), 0);
        sum(collector.snapshots(), family)
    };
    pipeline.ring.push(10);
    pipeline.at_rest(10).await;
    assert_eq!(cut(FLAGS), Some(10));
    let gone = RemovedPods::new([Arc::new(ObjectKey { namespace: "default".into(), name: "xwing".into() })]);
    pipeline.commands.post(Command::Forget(Arc::new(gone))).unwrap();
    until("series removed", || cut(FLAGS) == Some(0)).await;
    assert_eq!(cut(FLOWS), Some(10), "series that do not name the pod stay");
    pipeline.ring.push(3);
    pipeline.at_rest(13).await;
    assert_eq!((cut(FLAGS), cut(FLOWS)), (Some(3), Some(13)));
    pipeline.finish().await;
}

/// Points the link at a new file, as the kubelet exchanges a ConfigMap.
fn exchange(link: &Path, name: &str, text: &str) {
    let directory = link.parent().unwrap();
    std::fs::write(directory.join(name), text).unwrap();
    let fresh = directory.join("fresh");
    symlink(directory.join(name), &fresh).unwrap();
    std::fs::rename(&fresh, link).unwrap();
}

/// The file is followed by content through a link that is exchanged; a file with a problem changes
/// nothing and is said once; other context options restart that metric alone, or are refused where
/// Hubble's rule is on.
#[actix::test]
async fn the_file_is_followed() {
    let _turn = crate::turn();
    let directory = tempfile::tempdir().unwrap();
    let link = directory.path().join("metrics.yaml");
    let first = "metrics: [{name: flow}, {name: tcp}]";
    exchange(&link, "1", first);
    let pipeline = pipeline(first);
    let file = Arc::new(MetricsFile::new(link.clone(), &pipeline.current, FileRules::default()));
    let actor = Configurator::start(
        FleetFile { file: Arc::clone(&file), fleet: Arc::clone(&pipeline.fleet) },
        (pipeline.intensity)("configurator"),
    );
    let component = pipeline.components.component("configurator");
    let names = || pipeline.fleet.members().iter().map(|(name, _)| *name).collect::<Vec<_>>();

    exchange(
        &link,
        "2",
        "metrics: [{name: flow, contextOptions: [{name: sourceContext, values: [pod]}]}, {name: icmp}]",
    );
    actor.do_send(PollFile);
    until("second file applied", || file.reloads().counts()[0].1 == 1).await;
    assert_eq!(names(), ["flow", "icmp"]);
    assert_eq!(file.changes(), [(("flow", "restarted"), 1), (("icmp", "added"), 1), (("tcp", "removed"), 1)]);

    exchange(&link, "3", "metrics: [{name: flow}, {name: flow}]");
    for _ in 0..3 {
        actor.do_send(PollFile);
    }
    until("third file refused", || component.state() == State::Degraded).await;
    assert_eq!(file.reloads().counts(), [("applied", 1), ("rejected", 1)], "one content is one refusal");
    assert_eq!(names(), ["flow", "icmp"]);
    assert!(component.reason().contains("duplicate metric specified: flow"), "{}", component.reason());

    std::fs::remove_file(&link).unwrap();
    actor.do_send(PollFile);
    until("missing file noticed", || component.reason().contains("cannot read")).await;
    assert_eq!(names(), ["flow", "icmp"]);

    exchange(
        &link,
        "2b",
        "metrics: [{name: flow, contextOptions: [{name: sourceContext, values: [pod]}]}, {name: icmp}]",
    );
    actor.do_send(PollFile);
    until("the accepted content is back", || component.state() == State::Up).await;
    assert_eq!(file.reloads().counts()[0], ("applied", 1), "it is in use already");

    file.set_rules(FileRules { strict: true, ..FileRules::default() });
    exchange(&link, "4", first);
    actor.do_send(PollFile);
    until("fourth file refused", || component.reason().contains("label set cannot be changed")).await;
    assert_eq!(names(), ["flow", "icmp"]);

    file.set_rules(FileRules::default());
    actor.do_send(PollFile);
    until("what the rule refused is applied without it", || component.state() == State::Up).await;
    assert_eq!(names(), ["flow", "tcp"]);

    let l7 = Layer7 { capture: Capture::Off, ..Layer7::default() };
    file.set_rules(FileRules { l7, ..FileRules::default() });
    exchange(&link, "5", "metrics: [{name: flow}, {name: dns}]");
    actor.do_send(PollFile);
    until("a metric of layer 7 is said to be blind", || component.state() == State::Degraded).await;
    assert_eq!(names(), ["dns", "flow"], "it is counted all the same: a replaced agent may see it");
    let reason = component.reason();
    assert_eq!(reason, "DNS and HTTP are not seen: `l7.capture` is off, and `metrics_config` has dns of them");
    assert!(file.reloads().succeeded());

    exchange(&link, "6", first);
    actor.do_send(PollFile);
    until("the metric is gone", || component.state() == State::Up).await;

    actor.send(Finish).await.unwrap();
    pipeline.finish().await;
}
