//! Outputs: the rollups, what they are sent to, and the file that says so.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use actix::Addr;
use webb_flow::fault::{PASS_BOUNDS, PassCounts};
use webb_metrics::expose::Histogram;
use webb_observer::stream::{FlowCounts, FlowStream};
use webb_otlp::{Environment, Loss, Stream};
use webb_settings::{Problems, Resolved, Settings, read_file};

use super::ledger;
use super::metrics::Added;
use super::observer::Observing;
use super::parts::{Parts, finish};
use crate::actors::config_file::WatchedFile;
use crate::actors::file_follower::{FirstLook, PollFile};
use crate::actors::output_follower::{FollowedOutputs, OutputFollower};
use crate::actors::outputs::{OutputFactory, Outputs, Streams};
use crate::actors::thread_supervisor::ThreadSupervisor;
use crate::actors::{Finish, flows, rollups};
use crate::bpf_loader::{Ledger, TakenOver};
use crate::exports::{self, OutputsFile};
use crate::families::Rows;
use crate::pipeline::{Consumer, Counters, HistoryState, Lane, RollupSite, RollupState, resource};
use crate::selfmetrics::{self as own, SelfMetrics};

/// Longest wait for the first look at the file of outputs: beyond what is waited for within it.
const FIRST_LOOK_LIMIT: Duration = Duration::from_secs(5);

/// Checks the file of outputs where there is one.
///
/// # Errors
/// Everything that is wrong with it.
pub(super) fn check(resolved: &mut Resolved) -> Result<(), Problems> {
    let Some(path) = resolved.settings.outputs_config.clone() else { return Ok(()) };
    if path.try_exists().is_ok_and(|exists| !exists) {
        let message = format!("`outputs_config`: {} is not there; its outputs are not checked", path.display());
        resolved.warn("outputs_config", message);
        return Ok(());
    }
    let found = exports::read_outputs(read_file(&path)?, &Environment::of_process())?;
    let why = if found.has_no_list {
        Some("the file has no outputs: expected `otlp` or `kafka`; `otlp: []` says that there are none")
    } else if found.rollups.window.is_zero() && found.flows.is_none() && !found.outputs.is_empty() {
        Some("`rollups.window` is 0s, and there is no section `flows`")
    } else {
        None
    };
    if let Some(why) = why {
        resolved.warn("outputs_config", format!("`outputs_config`: nothing is sent: {why}"));
    }
    for orphan in webb_otlp::orphans(found.outputs.iter().map(|output| &output.config)) {
        resolved.warn("outputs_config", format!("`outputs_config`: {orphan}"));
    }
    Ok(())
}

/// The running rollups, flows and outputs.
pub(super) struct Sending {
    state: Arc<RollupState>,
    rollups: Addr<ThreadSupervisor>,
    stream: Arc<FlowStream>,
    history: Arc<HistoryState>,
    flows: Addr<ThreadSupervisor>,
    outputs: Arc<Outputs>,
    file: Arc<WatchedFile<OutputsFile>>,
    follower: Addr<OutputFollower>,
}

impl Sending {
    /// Starts them, if a file of outputs is configured; then there is a history.
    pub(super) fn start(parts: &Parts, settings: &Settings, observing: Option<&Observing>) -> Option<Self> {
        let (path, observing) = (settings.outputs_config.as_deref()?, observing?);
        let intensity = parts.intensity("rollups");
        let (lane, items) = Lane::to(Consumer::Rollups, Arc::clone(intensity.component()));
        let site = RollupSite { cluster: settings.cluster_name.clone(), node: settings.node_name.clone() };
        let state = Arc::new(RollupState::new(Arc::new(lane), site.clone()));
        let stream = start_flows(observing, site, state.instance());
        let flows = parts.register("flows", flows::start(Arc::clone(&stream), parts.intensity("flows")));
        let rollups = parts.register("rollups", rollups::start(items, Arc::clone(&state), intensity));
        let environment = Environment::of_process();
        let factory = OutputFactory {
            components: parts.components.clone(),
            directory: parts.directory.clone(),
            policy: Arc::clone(&parts.policy),
            escalations: parts.escalations(),
            environment: environment.clone(),
            instance: state.instance(),
            node: settings.node_name.clone(),
        };
        let streams = Streams {
            rollups: Arc::clone(&state),
            flows: Arc::clone(&stream),
            lane: Arc::clone(observing.state.lane()),
            is_for_outputs: observing.is_for_outputs,
        };
        let outputs = Arc::new(Outputs::new(factory, streams));
        let (file, follower) = follow(parts, path, environment, &outputs);
        let history = Arc::clone(&observing.state);
        Some(Self { state, rollups, stream, history, flows, outputs, file, follower })
    }

    /// The lane that the rollups' flows come from.
    pub(super) fn lane(&self) -> &Arc<Lane> {
        self.state.lane()
    }

    /// Has rows say how many connections are open ([`RollupState::follows_connections`]).
    pub(super) fn follows_connections(&self, most: usize, list: Box<dyn Fn() + Send + Sync>) {
        self.state.follows_connections(most, list);
    }

    /// Reads the file of outputs again.
    pub(super) fn poll(&self) {
        self.follower.do_send(PollFile);
    }

    /// Sends the rows of the open window, the last flows, and what else waits. No flow comes any
    /// more.
    pub(super) async fn finish(&self) {
        if self.follower.send(Finish).await.is_err() {
            tracing::warn!("the follower of the file of outputs had ended before the stop request");
        }
        finish(&self.rollups).await;
        finish(&self.flows).await;
        self.outputs.finish().await;
    }
}

/// The flows of a history, of which none are wanted yet.
fn start_flows(observing: &Observing, site: RollupSite, instance: String) -> Arc<FlowStream> {
    let [history, failures] = [observing.state.history(), observing.state.failures()].map(Arc::clone);
    let resource = Box::new(move |place| resource(&site, &instance, place));
    Arc::new(FlowStream::new(history, failures, observing.node.clone(), resource))
}

fn follow(
    parts: &Parts,
    path: &Path,
    environment: Environment,
    outputs: &Arc<Outputs>,
) -> (Arc<WatchedFile<OutputsFile>>, Addr<OutputFollower>) {
    let read = move |file| exports::read_outputs(file, &environment);
    let file = Arc::new(WatchedFile::new(path.to_owned(), read));
    let followed = FollowedOutputs { file: Arc::clone(&file), outputs: Arc::clone(outputs) };
    let follower = OutputFollower::start(followed, parts.intensity("outputs"));
    parts.directory.add("outputs", follower.clone().recipient());
    (file, follower)
}

/// Has heartbeats say what the programs have seen, and waits for the first look at the file of
/// outputs, so that rows have what the reader reads first; not for a file system that hangs.
///
/// # Errors
/// If the kernel's counters cannot be read.
pub(super) async fn go_on(
    sending: Option<&Sending>,
    (ledger, taken_over): (&Ledger, Option<&TakenOver>),
    counters: &Arc<Counters>,
) -> io::Result<()> {
    let Some(sending) = sending else { return Ok(()) };
    let ledger = ledger::of_rollups(ledger.clone(), taken_over, Arc::clone(counters));
    sending.state.reads_seen(ledger.map_err(io::Error::other)?);
    let looked = sending.follower.send(FirstLook);
    if tokio::time::timeout(FIRST_LOOK_LIMIT, looked).await.is_err() {
        tracing::warn!("the outputs are not configured in time: flows until then are not sent");
    }
    Ok(())
}

/// Rows about rollups and outputs; none without any.
pub(super) fn metrics(metrics: &SelfMetrics, sending: Option<&Sending>) -> Added {
    let Some(sending) = sending else { return Ok(()) };
    let state = Arc::clone(&sending.state);
    metrics.add(
        &[
            &own::ROLLUP_ROWS,
            &own::ROLLUP_FLOWS,
            &own::ROLLUP_FOLDED,
            &own::ROLLUP_HELD,
            &own::ROLLUP_WINDOWS,
            &own::ROLLUP_OPEN_CORRECTED,
        ],
        Box::new(move |rows| {
            let counts = state.counts();
            rows.add(&own::ROLLUP_ROWS, &[], counts.rows);
            rows.add(&own::ROLLUP_FOLDED, &[], counts.folded);
            rows.add(&own::ROLLUP_HELD, &[], counts.held);
            rows.add(&own::ROLLUP_WINDOWS, &[], counts.windows);
            for (outcome, count) in counts.corrected.rows() {
                rows.add(&own::ROLLUP_OPEN_CORRECTED, &[outcome], count);
            }
            for (outcome, count) in [
                ("added", counts.flows),
                ("passed_over", counts.passed_over),
                ("panicked", counts.panicked),
                ("skipped", state.lane().skipped()),
                ("not_wanted", counts.ignored),
            ] {
                rows.add(&own::ROLLUP_FLOWS, &[outcome], count);
            }
        }),
    )?;
    let (stream, history) = (Arc::clone(&sending.stream), Arc::clone(&sending.history));
    metrics.add(
        &[&own::OUTPUT_FLOWS, &own::OUTPUT_FAILED_CONNECTIONS],
        Box::new(move |rows| {
            let FlowCounts { included, sampled, passed_over, limited, overrun, panicked } = stream.counts();
            for (outcome, count) in [
                ("included", included),
                ("sampled", sampled),
                ("passed_over", passed_over),
                ("limited", limited),
                ("overrun", overrun),
                ("panicked", panicked),
            ] {
                rows.add(&own::OUTPUT_FLOWS, &[outcome], count);
            }
            for (outcome, count) in [
                ("recorded", history.recorded_failures()),
                ("skipped", history.lane().skipped_failures()),
                ("panicked", history.panicked_failures()),
            ] {
                rows.add(&own::OUTPUT_FAILED_CONNECTIONS, &[outcome], count);
            }
        }),
    )?;
    let (outputs, file) = (Arc::clone(&sending.outputs), Arc::clone(&sending.file));
    metrics.add(
        &[
            &own::OUTPUT_RECORDS,
            &own::OUTPUT_WAITING,
            &own::OUTPUT_BYTES,
            &own::OUTPUT_QUEUE,
            &own::OUTPUT_SPOOL,
            &own::OUTPUT_SPOOL_FILES,
            &own::OUTPUT_SPOOL_PROBLEMS,
            &own::OUTPUT_LAST_SUCCESS,
            &own::OUTPUT_REQUESTS,
            &own::OUTPUT_REQUEST_SECONDS,
            &own::OUTPUTS_CONFIG_RELOADS,
        ],
        Box::new(move |rows| {
            for (name, figures) in outputs.figures() {
                output_rows(rows, &name, &figures);
            }
            for (outcome, count) in file.reloads().counts() {
                rows.add(&own::OUTPUTS_CONFIG_RELOADS, &[outcome], count);
            }
        }),
    )
}

fn output_rows(rows: &mut Rows, name: &str, figures: &webb_otlp::Figures) {
    for stream in Stream::ALL {
        let ledger = figures.ledger(stream);
        let mut records =
            |outcome: &str, count| rows.add(&own::OUTPUT_RECORDS, &[name, stream.label(), outcome], count);
        records("offered", ledger.offered);
        records("delivered", ledger.delivered);
        records("rejected", ledger.rejected);
        for reason in Loss::ALL {
            records(reason.label(), ledger.dropped(reason));
        }
        rows.add(&own::OUTPUT_WAITING, &[name, stream.label()], ledger.waiting);
    }
    rows.add(&own::OUTPUT_BYTES, &[name], figures.sent_bytes());
    rows.add(&own::OUTPUT_QUEUE, &[name], figures.queue_bytes());
    rows.add(&own::OUTPUT_SPOOL, &[name], figures.spool_bytes());
    rows.add(&own::OUTPUT_SPOOL_FILES, &[name], figures.spool_files());
    for (problem, count) in [("corrupted", figures.bad_files()), ("unusable", figures.spool_errors())] {
        rows.add(&own::OUTPUT_SPOOL_PROBLEMS, &[name, problem], count);
    }
    #[allow(clippy::cast_precision_loss, reason = "a timestamp in Prometheus is a float")]
    rows.add_f64(&own::OUTPUT_LAST_SUCCESS, &[name], figures.last_success_ns() as f64 / 1e9);
    for (code, count) in figures.requests() {
        rows.add(&own::OUTPUT_REQUESTS, &[name, &code], count);
    }
    for (outcome, times) in ["success", "failure"].into_iter().zip(figures.request_times()) {
        rows.add_histogram(&own::OUTPUT_REQUEST_SECONDS, &[name, outcome], &histogram(&times));
    }
}

fn histogram(times: &PassCounts) -> Histogram {
    let buckets = PASS_BOUNDS.into_iter().zip(times.within).collect();
    Histogram { sum: times.seconds, count: times.count, buckets }
}
