//! The outputs that run, one thread each, and how one set of them becomes another.
//!
//! An output that does not change goes on. One that gets another configuration sends what it can
//! within the time for that, and ends; then the new one begins, with what still waits. What is
//! offered meanwhile waits in the new one's queue.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use actix::Addr;
use webb_flow::clock::unix_ns;
use webb_flow::fault::{Component, Components};
use webb_observer::stream::{FlowOutput, FlowStream, WantedFlows};
use webb_otlp::{Environment, Figures, Orphan, Output, OutputConfig, Stream, last_window, orphans};

use super::restart::{Escalations, Intensity, SharedRestartPolicy};
use super::thread_supervisor::ThreadSupervisor;
use super::{Directory, Finish, output};
use crate::exports::{self, OutputsFile};
use crate::pipeline::{Lane, RollupState, WantedRollups};

/// Interval in which the rollups are asked whether they have taken up a change, and the longest
/// wait for that.
const TAKEN_UP_EVERY: Duration = Duration::from_millis(10);
const TAKEN_UP_LIMIT: Duration = Duration::from_secs(5);

/// Longest wait for what processes before have left in spool directories.
const LOOK_BACK_LIMIT: Duration = Duration::from_secs(2);

/// Names of outputs that are gone whose figures are kept: a counter does not end while the agent
/// runs.
const MAX_GONE: usize = 32;

/// Shared parts that each output is built with.
#[derive(Debug, Clone)]
pub struct OutputFactory {
    /// List that the outputs' components are registered in.
    pub components: Components,
    /// Receives requests for restarts.
    pub directory: Directory,
    /// Restart limits of the outputs.
    pub policy: SharedRestartPolicy,
    /// Channel that reports outputs beyond their restart limit.
    pub escalations: Escalations,
    /// What applies where the configuration says nothing.
    pub environment: Environment,
    /// Name of this process in spool directories.
    pub instance: String,
    /// The name of this node.
    pub node: String,
}

/// What outputs are fed from.
#[derive(Debug, Clone)]
pub struct Streams {
    /// The rows.
    pub rollups: Arc<RollupState>,
    /// The flows.
    pub flows: Arc<FlowStream>,
    /// The history's lane.
    pub lane: Arc<Lane>,
    /// Nothing but the flows reads the history.
    pub is_for_outputs: bool,
}

impl Streams {
    fn have_taken_up(&self) -> bool {
        self.rollups.has_taken_up() && self.flows.has_taken_up()
    }
}

/// An output that runs.
#[derive(Debug, Clone)]
struct Member {
    output: Arc<Output>,
    supervisor: Addr<ThreadSupervisor>,
    component: Arc<Component>,
}

/// All outputs by name.
#[derive(Debug)]
pub struct Outputs {
    factory: OutputFactory,
    streams: Streams,
    members: Mutex<BTreeMap<String, Member>>,
    /// Figures of outputs that are gone, the last one at the end.
    gone: Mutex<Vec<(String, Arc<Figures>)>>,
    /// What processes before have left was looked at.
    has_looked_back: AtomicBool,
    /// Directories that no output uses, as last logged.
    orphans: Arc<Mutex<Vec<Orphan>>>,
}

impl Outputs {
    /// A set without outputs.
    pub fn new(factory: OutputFactory, streams: Streams) -> Self {
        let (members, gone, orphans) = (Mutex::default(), Mutex::default(), Arc::default());
        Self { factory, streams, members, gone, has_looked_back: AtomicBool::new(false), orphans }
    }

    /// The figures of all outputs by name, those that are gone included.
    pub fn figures(&self) -> BTreeMap<String, Arc<Figures>> {
        // Under both locks no output is between them.
        let (gone, held) = (lock(&self.gone), self.held());
        let running = held.iter().map(|(name, member)| (name.clone(), Arc::clone(member.output.figures())));
        gone.iter().cloned().chain(running).collect()
    }

    /// Makes the outputs those of a file; returns why some of them could not be started. Never two
    /// at a time.
    pub async fn change(&self, wanted: &OutputsFile) -> Option<String> {
        let is_same = |config: &OutputConfig| wanted.outputs.iter().any(|output| output.config == *config);
        let leaves = |member: &Member| !is_same(member.output.config());
        let leaving: Vec<Member> = self.held().values().filter(|member| leaves(member)).cloned().collect();
        for member in &leaving {
            self.keep(&member.output);
        }
        self.held().retain(|_, member| !leaves(member));
        let mut failed = None;
        let mut new = Vec::new();
        for wanted in wanted.outputs.iter().filter(|output| !self.held().contains_key(&output.config.name)) {
            let OutputFactory { environment, instance, node, .. } = &self.factory;
            match Output::new(wanted.config.clone(), environment, instance) {
                Ok(output) => new.push(Arc::new(self.go_on(output.on_node(node)))),
                Err(why) => {
                    tracing::error!(output = %wanted.config.name, "not started: {why}");
                    failed = Some(format!("output {}: {why}", wanted.config.name));
                }
            }
        }
        self.look_back(wanted).await;
        self.offer_to(wanted, &new);
        // What was written goes to the outputs that leave.
        let taken_up = async {
            while !self.streams.have_taken_up() {
                tokio::time::sleep(TAKEN_UP_EVERY).await;
            }
        };
        if tokio::time::timeout(TAKEN_UP_LIMIT, taken_up).await.is_err() {
            tracing::warn!("rollups or flows have not taken up the change of outputs in time");
        }
        futures::future::join_all(leaving.iter().map(|member| self.end(member))).await;
        let next_of = |before: &Output| new.iter().find(|next| next.config().name == before.config().name);
        for Member { output: before, .. } in &leaving {
            let next = next_of(before);
            next.inspect(|next| next.take_over(before));
            abandon(before);
            next.inspect(|next| next.show_queue());
        }
        for output in new {
            self.start(output);
        }
        self.look_for_orphans(wanted);
        failed
    }

    /// Before rows are made for the first time: finds the last window of a process before, where a
    /// spool directory says so. A file system that hangs is not waited for.
    async fn look_back(&self, wanted: &OutputsFile) {
        let of_rows = wanted.outputs.iter().filter(|output| output.streams.contains(&Stream::Rollups));
        let configs: Vec<OutputConfig> = of_rows.map(|output| output.config.clone()).collect();
        let are_made = !wanted.rollups.window.is_zero() && !configs.is_empty();
        if !are_made || self.has_looked_back.swap(true, Relaxed) {
            return;
        }
        let node = self.factory.node.clone();
        let read = move || configs.iter().map(|config| last_window(config, &node, unix_ns())).collect::<Vec<_>>();
        let reading = tokio::task::spawn_blocking(read);
        let Ok(Ok(found)) = tokio::time::timeout(LOOK_BACK_LIMIT, reading).await else {
            tracing::warn!("spool directories have not said in time when the last window ended");
            return;
        };
        for why in found.iter().filter_map(|found| found.as_ref().err()) {
            tracing::warn!("it is not known when the last window ended: {why}");
        }
        let found = found.into_iter().filter_map(|found| found.ok().flatten());
        if let Some(window) = found.max_by_key(|window| window.end_ns) {
            self.streams.rollups.go_on_from(window);
        }
    }

    /// Has directories with requests that no output sends be logged, those that are new. Nothing
    /// waits for it: a file system may hang.
    fn look_for_orphans(&self, wanted: &OutputsFile) {
        let configs: Vec<OutputConfig> = wanted.outputs.iter().map(|output| output.config.clone()).collect();
        let known = Arc::clone(&self.orphans);
        let _detached = tokio::task::spawn_blocking(move || {
            let found = orphans(&configs);
            let before = std::mem::replace(&mut *lock(&known), found.clone());
            for orphan in found.iter().filter(|orphan| !before.contains(orphan)) {
                tracing::warn!("{orphan}");
            }
        });
    }

    /// The output with the figures of one of its name that was there before.
    fn go_on(&self, output: Output) -> Output {
        let gone = lock(&self.gone);
        match gone.iter().find(|(name, _)| *name == output.config().name) {
            Some((_, figures)) => output.counting_in(Arc::clone(figures)),
            None => output,
        }
    }

    /// Keeps the figures of an output that leaves; of too many the first that left.
    fn keep(&self, output: &Output) {
        let (name, mut gone) = (&output.config().name, lock(&self.gone));
        gone.retain(|(other, _)| other != name);
        gone.push((name.clone(), Arc::clone(output.figures())));
        if gone.len() > MAX_GONE {
            gone.remove(0);
        }
    }

    /// Has every output send what it can, and end. Nothing is offered any more.
    pub async fn finish(&self) {
        let members: Vec<Member> = self.held().values().cloned().collect();
        futures::future::join_all(members.iter().map(finish)).await;
        for member in &members {
            say_lost(&member.output, member.output.close(), "the agent stops");
        }
    }

    fn start(&self, output: Arc<Output>) {
        let OutputFactory { components, directory, policy, escalations, .. } = &self.factory;
        let name = output.config().name.clone();
        let component = components.renew(&component_name(&name));
        let intensity = Intensity::new(Arc::clone(&component), Arc::clone(policy), escalations.clone());
        let supervisor = output::start(Arc::clone(&output), intensity);
        directory.add(component.name(), supervisor.clone().recipient());
        self.held().insert(name.clone(), Member { output, supervisor, component });
        lock(&self.gone).retain(|(other, _)| *other != name);
    }

    async fn end(&self, member: &Member) {
        finish(member).await;
        if self.factory.components.remove(&member.component) {
            self.factory.directory.remove(member.component.name());
        }
    }

    /// Has rows and flows be offered to the outputs that want them: those that run, and new ones.
    fn offer_to(&self, wanted: &OutputsFile, new: &[Arc<Output>]) {
        let held = self.held();
        let running = |wanted: &exports::Output| {
            let known = held.values().map(|member| &member.output).chain(new);
            known.filter(|output| *output.config() == wanted.config).map(Arc::clone).next()
        };
        let of = |stream| wanted.outputs.iter().filter(move |output| output.streams.contains(&stream));
        let outputs = of(Stream::Rollups).filter_map(running).collect();
        self.streams.rollups.want(WantedRollups { settings: wanted.rollups, spread: wanted.spread, outputs });
        let with_body = |wanted: &exports::Output| Some(FlowOutput { output: running(wanted)?, body: wanted.body });
        let outputs: Vec<_> = of(Stream::Flows).filter_map(with_body).collect();
        let are_sent = wanted.flows.is_some() && !outputs.is_empty();
        self.streams.lane.want_failures(are_sent);
        if self.streams.is_for_outputs {
            self.streams.lane.want(are_sent);
        }
        self.streams.flows.want(wanted.flows.clone().map(|settings| WantedFlows { settings, outputs }));
    }

    fn held(&self) -> MutexGuard<'_, BTreeMap<String, Member>> {
        lock(&self.members)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Closes an output whose requests no other one takes over, and says what becomes of their records.
fn abandon(output: &Output) {
    say_lost(output, output.close(), "the output is gone");
    let (orphans, name) = (output.abandon(), &output.config().name);
    if let Some(spool) = output.config().spool.as_ref().filter(|_| orphans > 0) {
        let directory = spool.directory.join(name);
        tracing::warn!(
            output = %name,
            "{orphans} records stay in {}, which is the directory of no output any more",
            directory.display()
        );
    }
}

fn say_lost(output: &Output, lost: u64, why: &str) {
    if lost > 0 {
        tracing::warn!(output = %output.config().name, "{lost} records that waited are lost: {why}");
    }
}

async fn finish(member: &Member) {
    if member.supervisor.send(Finish).await.is_err() {
        tracing::warn!("an output's supervisor had ended before the stop request");
    }
}

fn component_name(output: &str) -> String {
    format!("output/{output}")
}

#[cfg(test)]
#[path = "outputs_tests.rs"]
mod tests;
