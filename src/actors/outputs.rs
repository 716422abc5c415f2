//! The outputs that run, one thread each, and how one set of them becomes another.
//!
//! An output that does not change goes on. One that gets another configuration sends what it can
//! within the time for that, and ends; then the new one begins, with what still waits. What is
//! offered meanwhile waits in the new one's queue.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use actix::Addr;
use webb_flow::fault::{Component, Components};
use webb_observer::stream::{FlowStream, WantedFlows};
use webb_otlp::{Environment, Loss, Output, OutputConfig, Stream};

use super::restart::{Escalations, Intensity, SharedRestartPolicy};
use super::thread_supervisor::ThreadSupervisor;
use super::{Directory, Finish, output};
use crate::exports::{self, OutputsFile};
use crate::pipeline::{Lane, RollupState, WantedRollups};

/// Interval in which the rollups are asked whether they have taken up a change, and the longest
/// wait for that.
const TAKEN_UP_EVERY: Duration = Duration::from_millis(10);
const TAKEN_UP_LIMIT: Duration = Duration::from_secs(5);

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
}

/// What outputs are fed from.
#[derive(Debug, Clone)]
pub struct Streams {
    /// The rows.
    pub rollups: Arc<RollupState>,
    /// The flows.
    pub flows: Arc<FlowStream>,
    /// The history's lane, if nothing but the flows reads the history.
    pub gate: Option<Arc<Lane>>,
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
}

impl Outputs {
    /// A set without outputs.
    pub fn new(factory: OutputFactory, streams: Streams) -> Self {
        Self { factory, streams, members: Mutex::default() }
    }

    /// The outputs as they are now.
    pub fn list(&self) -> Vec<Arc<Output>> {
        self.held().values().map(|member| Arc::clone(&member.output)).collect()
    }

    /// Makes the outputs those of a file; returns why some of them could not be started. Never two
    /// at a time.
    pub async fn change(&self, wanted: &OutputsFile) -> Option<String> {
        let is_same = |config: &OutputConfig| wanted.outputs.iter().any(|output| output.config == *config);
        let leaving: Vec<Member> = self
            .held()
            .extract_if(.., |_, member| !is_same(member.output.config()))
            .map(|(_, member)| member)
            .collect();
        let mut failed = None;
        let mut new = Vec::new();
        for wanted in wanted.outputs.iter().filter(|output| !self.held().contains_key(&output.config.name)) {
            let OutputFactory { environment, instance, .. } = &self.factory;
            match Output::new(wanted.config.clone(), environment, instance) {
                Ok(output) => new.push(Arc::new(output)),
                Err(why) => {
                    tracing::error!(output = %wanted.config.name, "not started: {why}");
                    failed = Some(format!("output {}: {why}", wanted.config.name));
                }
            }
        }
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
        for output in new {
            let name = &output.config().name;
            if let Some(before) = leaving.iter().find(|member| member.output.config().name == *name) {
                output.take_over(&before.output);
            }
            self.start(output);
        }
        for member in &leaving {
            close(&member.output, "the output is gone");
        }
        failed
    }

    /// Has every output send what it can, and end. Nothing is offered any more.
    pub async fn finish(&self) {
        let members: Vec<Member> = self.held().values().cloned().collect();
        futures::future::join_all(members.iter().map(finish)).await;
        for member in &members {
            close(&member.output, "the agent stops");
        }
    }

    fn start(&self, output: Arc<Output>) {
        let OutputFactory { components, directory, policy, escalations, .. } = &self.factory;
        let name = output.config().name.clone();
        let component = components.renew(&component_name(&name));
        let intensity = Intensity::new(Arc::clone(&component), Arc::clone(policy), escalations.clone());
        let supervisor = output::start(Arc::clone(&output), intensity);
        directory.add(component.name(), supervisor.clone().recipient());
        self.held().insert(name, Member { output, supervisor, component });
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
        self.streams.rollups.want(WantedRollups { settings: wanted.rollups, outputs });
        let outputs: Vec<_> = of(Stream::Flows).filter_map(running).collect();
        if let Some(gate) = &self.streams.gate {
            gate.want(wanted.flows.is_some() && !outputs.is_empty());
        }
        self.streams.flows.want(wanted.flows.clone().map(|settings| WantedFlows { settings, outputs }));
    }

    fn held(&self) -> MutexGuard<'_, BTreeMap<String, Member>> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Closes an output, and says how many records are lost by that.
fn close(output: &Output, why: &str) {
    output.close();
    let lost: u64 = Stream::ALL.into_iter().map(|stream| output.figures().ledger(stream).dropped(Loss::Shutdown)).sum();
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
