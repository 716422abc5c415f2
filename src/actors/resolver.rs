//! Keeps the label-context resolver: cluster source → pod cache → published index.
//!
//! A manifest is looked at every second and taken whole. The API server is watched: its changes go
//! into the cache one by one, and an index of what has come together is published at most five
//! times a second, so a change is seen within 300 ms. The reader picks an index up between two
//! batches. With the source gone or broken, the last one keeps serving.

mod api;

use std::cell::Cell;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use actix::Addr;
use arc_swap::ArcSwap;
use tokio::sync::Notify;
use webb_cluster::kubernetes::Status;
use webb_cluster::{Cache, Counts, Coverage, ManifestSource, Object, Progress, Report};
use webb_flow::fault::{Component, State, inject};
use webb_index::Index;
use webb_names::Asks;

use super::cluster_source::{ChosenSource, Sources};
use super::deleted_pods::DeletedPods;
use super::manifest_progress::{self, LoadTimer};
use super::network::Network;
use super::relay::RelayClient;
use super::restart::Intensity;
use super::thread_supervisor::{Failure, ThreadSupervisor};
use crate::pipeline::{Command, Commands, Lifecycle};
use crate::startup::{Stage, Startup};

/// Poll interval of a manifest.
const MANIFEST_POLL_INTERVAL: Duration = Duration::from_secs(1);

/// A large manifest is polled less often: at most one part in so many of the time is spent on that.
const POLL_SHARE: u32 = 50;

/// Interval of the thread's heartbeat and of its check for a stop.
const HEALTH_INTERVAL: Duration = Duration::from_secs(1);

/// State text until the names are complete for the first time.
const NOT_READ_YET: &str = "names not read yet";

/// Time after which incomplete names are reported as a fault.
pub const INITIAL_SYNC_TIMEOUT: Duration = Duration::from_secs(10);

/// Interval of the search for a configured source that is missing.
const SOURCE_RETRY_INTERVAL: Duration = Duration::from_secs(5);

/// Interval of the check that every pod of this node is watched. A fault seen twice in a row is
/// reported.
const COVERAGE_INTERVAL: Duration = Duration::from_secs(10);

/// Problems of a manifest that are logged one by one; the rest as a number.
const MAX_PROBLEMS_LOGGED: usize = 20;

/// State of the resolver; shared by all runs of its thread.
#[derive(Debug)]
pub struct Resolver {
    cache: Arc<Cache>,
    sources: Mutex<Sources>,
    /// Counts the changes of `sources`.
    turn: AtomicU64,
    index: Arc<ArcSwap<Index>>,
    component: Arc<Component>,
    deleted_pods: Mutex<DeletedPods>,
    network: Arc<Network>,
    /// Version of the network state that the names are built from.
    network_seen: AtomicU64,
    /// Time of the next coverage check, and the last outcome.
    covered: Mutex<(Option<Instant>, Coverage)>,
    /// Commands to the reader, which forwards deleted pods to the aggregators.
    reader: Commands,
    /// True if the API server is the source; `watches` is then in use.
    watching: AtomicBool,
    watches: Status,
    /// The names relay, if one names the pods of other nodes.
    relay: Option<Arc<RelayClient>>,
    /// Last message about undecided verdicts.
    undecided: Mutex<String>,
    changed: Arc<Notify>,
    /// The names have been complete once: of every kind that each server has, or of the manifest.
    read: AtomicBool,
    /// True once the kinds of policy that the server has, or lacks, are known too.
    complete: AtomicBool,
    startup: Arc<Startup>,
    problems: AtomicU64,
    published: AtomicU64,
    departed: AtomicU64,
}

impl Resolver {
    /// Names in `cache`, read from one of `sources`, published to `index`, also when `changed` says
    /// so. Deleted pods are sent to `reader`.
    pub fn new(
        cache: Arc<Cache>,
        sources: Sources,
        network: Arc<Network>,
        index: Arc<ArcSwap<Index>>,
        component: Arc<Component>,
        (reader, startup, changed): (Commands, Arc<Startup>, Arc<Notify>),
    ) -> Self {
        let relay = sources.relay.clone().map(|settings| Arc::new(RelayClient::new(settings)));
        Self {
            cache,
            relay,
            sources: Mutex::new(sources),
            turn: AtomicU64::new(0),
            index,
            component,
            deleted_pods: Mutex::default(),
            network,
            network_seen: AtomicU64::new(0),
            covered: Mutex::default(),
            reader,
            watching: AtomicBool::new(false),
            watches: Status::default(),
            undecided: Mutex::default(),
            changed,
            read: AtomicBool::new(false),
            complete: AtomicBool::new(false),
            startup,
            problems: AtomicU64::new(0),
            published: AtomicU64::new(0),
            departed: AtomicU64::new(0),
        }
    }

    /// Reads from elsewhere from now on. Reading the same file anew is what happens anyway when it
    /// changes.
    pub fn read_from(&self, sources: Sources) {
        *self.sources.lock().unwrap_or_else(PoisonError::into_inner) = sources;
        self.turn.fetch_add(1, Relaxed);
    }

    /// Status of the watches; none if names come from elsewhere.
    pub fn watches(&self) -> Option<&Status> {
        self.watching.load(Relaxed).then_some(&self.watches)
    }

    /// The names relay, if one names the pods of other nodes.
    pub fn relay(&self) -> Option<&Arc<RelayClient>> {
        self.relay.as_ref()
    }

    /// Takes addresses that have no name yet, if a relay is asked for them.
    pub fn asks(&self) -> Option<Asks> {
        self.relay.as_ref().map(|relay| relay.asks().clone())
    }

    /// Cache of the cluster's objects.
    pub fn cache(&self) -> &Arc<Cache> {
        &self.cache
    }

    /// Numbers of cached objects, by kind.
    pub fn counts(&self) -> Counts {
        self.cache.counts()
    }

    /// Number of objects that could not be used.
    pub fn problems(&self) -> u64 {
        self.problems.load(Relaxed)
    }

    /// Number of published indexes.
    pub fn published(&self) -> u64 {
        self.published.load(Relaxed)
    }

    /// Number of deleted pods with removed series.
    pub fn departed(&self) -> u64 {
        self.departed.load(Relaxed)
    }

    /// Polls the manifest once. Its first names are used as they are read; later ones all at once.
    fn poll_manifest(&self, source: &mut ManifestSource, lifecycle: &Lifecycle, turn: u64) {
        inject::point("resolver");
        let (is_first, mut objects) = (!self.read.load(Relaxed), Vec::new());
        let mut reading = LoadTimer::begin(Instant::now());
        let read = Cell::new(0);
        let outcome = source.poll(
            &mut |object| {
                read.set(read.get() + 1);
                if is_first {
                    self.cache.upsert(object);
                } else {
                    objects.push(object);
                }
            },
            &mut |at| {
                self.component.beat();
                if is_first && at.of > 0 {
                    self.show_progress(&mut reading, at, read.get());
                }
                if self.goes_on(lifecycle, turn) { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
            },
        );
        match outcome {
            Ok(None) => {}
            Ok(Some(report)) => self.take(objects, report),
            Err(_) if !self.goes_on(lifecycle, turn) => {}
            Err(error) => {
                tracing::error!("{error}; what was known before stays");
                self.component.set_state(State::Degraded, &error.to_string());
            }
        }
    }

    /// Shows how far the first reading is, and publishes the names so far.
    fn show_progress(&self, reading: &mut LoadTimer, at: Progress, objects: usize) {
        let now = Instant::now();
        let due = reading.due(now);
        if due.show {
            let text = format!("{NOT_READ_YET}: {}", manifest_progress::text(at, objects));
            let is_late = reading.time(now) >= INITIAL_SYNC_TIMEOUT;
            self.component.set_state(if is_late { State::Degraded } else { State::Starting }, &text);
            if due.log {
                tracing::info!("{text}");
            }
        }
        if due.publish {
            self.publish();
        }
        self.apply_network_changes();
    }

    /// Takes over a manifest that was read to its end: `objects` are those that are not in the
    /// cache yet.
    fn take(&self, objects: Vec<Object>, report: Report) {
        let Report { problems, further_problems, strange, listed } = report;
        for problem in problems.iter().take(MAX_PROBLEMS_LOGGED) {
            tracing::warn!("{problem}");
        }
        let count = problems.len() + further_problems;
        if count > MAX_PROBLEMS_LOGGED {
            tracing::warn!(more = count - MAX_PROBLEMS_LOGGED, "there are further problems in the manifest");
        }
        self.problems.store(count as u64, Relaxed);
        for object in objects {
            self.cache.upsert(object);
        }
        self.cache.keep_all(listed);
        self.cache.set_strange(strange);
        self.names_are_read();
        self.publish();
        let unusable = manifest_progress::unusable(count);
        let name = self.name_complaint();
        if let Some(complaint) = &name {
            tracing::warn!("{complaint}");
        }
        let why: Vec<String> = name.into_iter().chain(unusable).collect();
        self.report_state(if why.is_empty() { State::Up } else { State::Degraded }, why.join("; "));
        tracing::info!(pods = self.cache.counts().pods, addresses = self.index.load().addresses(), "names published");
    }

    /// Publishes the state. Why verdicts are undecided is said beside it, and logged when it
    /// changes after the start.
    fn report_state(&self, state: State, mut why: String) {
        let undecided = self.cache.undecided_because();
        let mut reported = self.undecided.lock().unwrap_or_else(PoisonError::into_inner);
        // While the first lists come, something always is undecided.
        if *reported != undecided && state != State::Starting {
            match undecided.as_str() {
                "" => tracing::info!("nothing beside policies themselves leaves verdicts undecided any more"),
                text => tracing::warn!("{text}"),
            }
            reported.clone_from(&undecided);
        }
        if !undecided.is_empty() {
            let separator = if why.is_empty() { "" } else { "; " };
            why = format!("{why}{separator}{undecided}");
        }
        self.component.set_state(state, &why);
    }

    /// Notes that the names are complete, if they are so for the first time.
    fn names_are_read(&self) {
        if !self.read.swap(true, Relaxed) {
            self.startup.reach(Stage::Named);
        }
    }

    fn publish(&self) {
        if self.watches().is_some_and(Status::synced) && self.relay_is_known() {
            self.names_are_read();
        }
        self.cache.set_ready(self.read.load(Relaxed));
        let index = Arc::new(self.cache.index());
        self.deleted_pods().observe(&index, Instant::now());
        self.index.store(index);
        self.published.fetch_add(1, Relaxed);
    }

    /// True without a relay, or once it has said which networks are pods': an address elsewhere is
    /// of the world.
    fn relay_is_known(&self) -> bool {
        self.relay.as_ref().is_none_or(|relay| relay.knows_networks())
    }

    fn network_changed(&self) -> bool {
        self.network_seen.load(Relaxed) != self.network.version()
    }

    /// Takes over changes of this node's network: its own addresses, and what is behind which
    /// interface. Publishes, also if verdicts wait for changed policies or names have to go.
    fn apply_network_changes(&self) {
        if self.network_changed() {
            self.network_seen.store(self.network.version(), Relaxed);
            self.cache.set_own_addresses(self.network.addresses());
            self.cache.set_interfaces(self.network.interfaces());
            self.publish();
        } else if self.read.load(Relaxed) && (self.index.load().has_newer_policies() || self.cache.is_outdated()) {
            self.publish();
        }
    }

    /// Checks whether every pod of this node is watched, where interfaces are.
    fn check_coverage(&self) {
        let Some(watched) = self.network.watched() else { return };
        let mut covered = self.covered.lock().unwrap_or_else(PoisonError::into_inner);
        let (next, before) = &mut *covered;
        let now = Instant::now();
        if !self.complete.load(Relaxed) || next.is_some_and(|next| now < next) {
            return;
        }
        *next = Some(now + COVERAGE_INTERVAL);
        let found = self.cache.coverage(&self.index.load(), &watched);
        self.network.set_coverage(found.and(before));
        *before = found;
    }

    /// Error in this node's name; none if there is none.
    fn name_complaint(&self) -> Option<String> {
        let name = self.cache.node_name();
        self.cache.is_on_unknown_node().then(|| {
            format!(
                "no Node is called `{name}`, so every pod is taken for one of another node: set node_name, or in a pod \
                 NODE_NAME from spec.nodeName"
            )
        })
    }

    /// Has the series of pods removed that were deleted a minute ago; frees what they left here.
    fn expire_deleted_pods(&self) {
        self.cache.trim();
        let (mut deleted_pods, now) = (self.deleted_pods(), Instant::now());
        let Some(gone) = deleted_pods.due(now) else { return };
        let pods = gone.len();
        // A reader that is too busy gets the command at the next poll.
        if self.reader.post(Command::Forget(Arc::new(gone))).is_ok() {
            deleted_pods.forget(now);
            self.departed.fetch_add(pods as u64, Relaxed);
            tracing::debug!(pods, "pods are gone for a minute: their series are removed");
        }
    }

    fn deleted_pods(&self) -> std::sync::MutexGuard<'_, DeletedPods> {
        self.deleted_pods.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Follows the source that is configured, and the next one when that changes.
    fn run(&self, lifecycle: &Lifecycle) -> Result<(), Failure> {
        let mut reported = String::new();
        if !self.read.load(Relaxed) {
            lifecycle.beat_starting(NOT_READ_YET);
        }
        while !lifecycle.stopping() {
            let turn = self.turn.load(Relaxed);
            let sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner).clone();
            let (chosen, why) = sources.choose();
            let line = format!("names come from {chosen}: {why}");
            if line != reported {
                tracing::info!("{line}");
                reported = line;
            }
            self.watching.store(matches!(chosen, ChosenSource::Kubernetes(_)), Relaxed);
            self.cache.set_sourced(!matches!(chosen, ChosenSource::Nothing));
            match chosen {
                ChosenSource::Kubernetes(access) => {
                    self.use_relay(true);
                    self.follow_api(lifecycle, turn, &access, &sources)?;
                }
                ChosenSource::Manifest(path) => {
                    self.use_relay(false);
                    self.follow_manifest(lifecycle, turn, &path);
                }
                ChosenSource::Nothing => {
                    self.use_relay(false);
                    self.follow_nothing(lifecycle, turn);
                }
                ChosenSource::Missing(what) => {
                    lifecycle.beat();
                    self.component.set_state(State::Degraded, what);
                    self.apply_network_changes();
                    self.idle(lifecycle, turn, SOURCE_RETRY_INTERVAL, || false);
                }
            }
        }
        Ok(())
    }

    /// Sets whether the source is one beside which a relay names the pods of other nodes, if there
    /// is a relay. Without it no block of addresses is a relay's, and no name is asked for.
    fn use_relay(&self, is_used: bool) {
        self.cache.set_relayed(is_used && self.relay.is_some());
        if !is_used {
            self.cache.set_relayed_blocks([]);
        }
        if let Some(relay) = &self.relay {
            relay.asks().set_open(is_used);
        }
    }

    /// False when this source is not to be followed any more.
    fn goes_on(&self, lifecycle: &Lifecycle, turn: u64) -> bool {
        !lifecycle.stopping() && self.turn.load(Relaxed) == turn
    }

    /// Waits for `time`, but not beyond the end of this turn, nor after a change.
    fn idle(&self, lifecycle: &Lifecycle, turn: u64, time: Duration, changed: impl Fn() -> bool) {
        let until = Instant::now() + time;
        while self.goes_on(lifecycle, turn) && Instant::now() < until && !changed() {
            lifecycle.wait(HEALTH_INTERVAL.min(time));
            lifecycle.beat();
        }
    }

    fn follow_manifest(&self, lifecycle: &Lifecycle, turn: u64, path: &Path) {
        let mut source = ManifestSource::with_kinds(path, self.cache.other_kinds().clone());
        self.cache.set_watched(false);
        self.network.wake_this_thread();
        while self.goes_on(lifecycle, turn) {
            self.poll_manifest(&mut source, lifecycle, turn);
            self.complete.store(self.read.load(Relaxed), Relaxed);
            self.apply_network_changes();
            self.check_coverage();
            self.expire_deleted_pods();
            let interval = MANIFEST_POLL_INTERVAL.max(source.took() * POLL_SHARE);
            self.idle(lifecycle, turn, interval, || self.network_changed());
        }
    }

    fn follow_nothing(&self, lifecycle: &Lifecycle, turn: u64) {
        lifecycle.beat();
        self.names_are_read();
        if self.index.load().is_sourced() || self.cache.counts() != Counts::default() {
            self.cache.replace(Vec::new());
            self.cache.set_strange([]);
            self.publish();
        }
        self.problems.store(0, Relaxed);
        self.component.set_state(State::Up, "no cluster source: addresses have no names");
        self.complete.store(true, Relaxed);
        self.network.wake_this_thread();
        while self.goes_on(lifecycle, turn) {
            inject::point("resolver");
            self.apply_network_changes();
            self.expire_deleted_pods();
            self.idle(lifecycle, turn, MANIFEST_POLL_INTERVAL, || self.network_changed());
        }
    }
}

/// Starts the resolver. Its longest wait is a second, while it follows an API server.
pub fn start(names: Arc<Resolver>, intensity: Intensity) -> Addr<ThreadSupervisor> {
    ThreadSupervisor::start(Arc::new(move |lifecycle: &Lifecycle| names.run(lifecycle)), Arc::new(|| {}), intensity)
}
