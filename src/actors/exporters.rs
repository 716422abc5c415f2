//! The exporters that run, one thread each, and how one set of them becomes another.
//!
//! An exporter that gets another configuration ends first, and the new one goes on at its place in
//! the history: no event is written twice or missed for it. One whose end takes long, because its
//! disk does not answer, is left alone, and the new one waits: no two ever write to one file.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use actix::Addr;
use tokio::task::JoinHandle;
use webb_flow::fault::{Component, Components};
use webb_observer::History;
use webb_observer::export::{Counters, ExportConfig, Exporter, Node, Target};

use super::restart::{Escalations, Intensity, SharedRestartPolicy};
use super::thread_supervisor::ThreadSupervisor;
use super::{Directory, Finish, exporter};

/// Time for exporters to end until those that wait for them are put off.
const END_LIMIT: Duration = Duration::from_secs(5);

/// Shared parts that each exporter is built with.
#[derive(Debug, Clone)]
pub struct ExporterFactory {
    /// List that the exporters' components are registered in.
    pub components: Components,
    /// Receives requests for restarts.
    pub directory: Directory,
    /// Restart limits of the exporters.
    pub policy: SharedRestartPolicy,
    /// Channel that reports exporters beyond their restart limit.
    pub escalations: Escalations,
    /// The events.
    pub history: Arc<History>,
    /// This node.
    pub node: Node,
}

/// An exporter that runs.
#[derive(Debug, Clone)]
struct Member {
    config: ExportConfig,
    exporter: Arc<Exporter>,
    supervisor: Addr<ThreadSupervisor>,
    component: Arc<Component>,
}

/// All exporters by name.
#[derive(Debug)]
pub struct Exporters {
    factory: ExporterFactory,
    members: Mutex<BTreeMap<String, Member>>,
    turn: tokio::sync::Mutex<Turn>,
}

/// State of changes, one at a time.
#[derive(Debug, Default)]
struct Turn {
    /// Exporters that were to end and have not yet.
    leaving: Vec<Leaving>,
    /// Exporters whose places are taken by others that could not be started yet.
    replaced: BTreeMap<String, Arc<Exporter>>,
}

#[derive(Debug)]
struct Leaving {
    config: ExportConfig,
    component: Arc<Component>,
    end: JoinHandle<()>,
}

/// Changes of a set by what was done, as labels print it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[allow(missing_docs, reason = "the names say it")]
pub struct SetChanges {
    pub added: u64,
    pub updated: u64,
    pub removed: u64,
    /// Changes that could not be made.
    pub failed: u64,
}

/// One exporter as it is now.
#[derive(Debug)]
pub struct ExporterStatus {
    /// Its name.
    pub name: String,
    /// False once its end time has come.
    pub active: bool,
    /// What it has written and lost.
    pub counters: Arc<Counters>,
}

impl Exporters {
    /// A set without exporters.
    pub fn new(factory: ExporterFactory) -> Self {
        Self { factory, members: Mutex::default(), turn: tokio::sync::Mutex::default() }
    }

    /// The exporters as they are now.
    pub fn status(&self) -> Vec<ExporterStatus> {
        let of = |(name, member): (&String, &Member)| ExporterStatus {
            name: name.clone(),
            active: member.exporter.is_active(),
            counters: Arc::clone(member.exporter.counters()),
        };
        self.held().iter().map(of).collect()
    }

    /// Starts an exporter that reads the history from event `from` on.
    ///
    /// # Errors
    /// Why it cannot be built.
    pub fn start(&self, config: ExportConfig, from: u64) -> Result<(), String> {
        self.start_after(config, from, Arc::default())
    }

    fn start_after(&self, config: ExportConfig, from: u64, counters: Arc<Counters>) -> Result<(), String> {
        let ExporterFactory { components, directory, policy, escalations, history, node } = &self.factory;
        let name = config.name.clone();
        let exporter = Exporter::new(&config, Arc::clone(history), node, (from, counters));
        let exporter = Arc::new(exporter.map_err(|error| error.to_string())?);
        let component = components.renew(&component_name(&name));
        let intensity = Intensity::new(Arc::clone(&component), Arc::clone(policy), escalations.clone());
        let supervisor = exporter::start(Arc::clone(&exporter), intensity);
        directory.add(component.name(), supervisor.clone().recipient());
        self.held().insert(name, Member { config, exporter, supervisor, component });
        Ok(())
    }

    /// Makes the exporters that `is_in_set` names those of `wanted`: others are left alone. Never
    /// two at a time.
    pub async fn change(&self, wanted: &[ExportConfig], is_in_set: impl Fn(&str) -> bool) -> SetChanges {
        let mut changes = SetChanges::default();
        let Turn { leaving, replaced } = &mut *self.turn.lock().await;
        let current: Vec<_> = self.held().iter().filter(|(name, _)| is_in_set(name)).map(clone).collect();
        replaced.retain(|name, _| wanted.iter().any(|config| config.name == *name));
        for (name, member) in current {
            match wanted.iter().find(|config| config.name == name) {
                Some(config) if config.is_same(&member.config) => continue,
                Some(_) => {}
                None => changes.removed += 1,
            }
            self.held().remove(&name);
            if wanted.iter().any(|config| config.name == name) {
                replaced.insert(name, Arc::clone(&member.exporter));
            }
            leaving.push(leave(member));
        }
        self.wait_for(leaving).await;
        for config in wanted {
            if self.held().contains_key(&config.name) {
                continue;
            }
            if leaving.iter().any(|old| is_same_place(&old.config, config)) {
                tracing::error!(exporter = %config.name, "not started yet: the one before it is still writing");
                changes.failed += 1;
                continue;
            }
            let before = replaced.remove(&config.name);
            let newest = || self.factory.history.read(u64::MAX).next;
            let from = before.as_ref().map_or_else(newest, |old| old.next());
            let counters = before.as_ref().map_or_else(Arc::default, |old| Arc::clone(old.counters()));
            match self.start_after(config.clone(), from, counters) {
                Ok(()) if before.is_some() => changes.updated += 1,
                Ok(()) => changes.added += 1,
                Err(why) => {
                    tracing::error!(exporter = %config.name, "not started: {why}");
                    changes.failed += 1;
                }
            }
        }
        changes
    }

    /// Has every exporter write the events that there are, and end.
    pub async fn finish(&self) {
        let supervisors: Vec<_> = self.held().values().map(|member| member.supervisor.clone()).collect();
        futures::future::join_all(supervisors.iter().map(|supervisor| supervisor.send(Finish))).await;
    }

    /// Waits, for a while, for exporters that end.
    async fn wait_for(&self, leaving: &mut Vec<Leaving>) {
        let ends = futures::future::join_all(leaving.iter_mut().map(|one| &mut one.end));
        // Those that have not ended stay.
        let _in_time = tokio::time::timeout(END_LIMIT, ends).await;
        leaving.retain(|one| {
            if one.end.is_finished() && self.factory.components.remove(&one.component) {
                self.factory.directory.remove(one.component.name());
            }
            !one.end.is_finished()
        });
    }

    fn held(&self) -> MutexGuard<'_, BTreeMap<String, Member>> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn clone((name, member): (&String, &Member)) -> (String, Member) {
    (name.clone(), member.clone())
}

fn leave(member: Member) -> Leaving {
    let Member { config, supervisor, component, .. } = member;
    let end = actix::spawn(async move {
        if supervisor.send(Finish).await.is_err() {
            tracing::warn!("an exporter's supervisor had ended before the stop request");
        }
    });
    Leaving { config, component, end }
}

/// True if both write to one place, or have one name.
fn is_same_place(a: &ExportConfig, b: &ExportConfig) -> bool {
    a.name == b.name
        || match (&a.target, &b.target) {
            (Target::File { path: a, directory: of_a }, Target::File { path: b, directory: of_b }) => {
                of_a.join(a) == of_b.join(b)
            }
            (a, b) => a == b,
        }
}

fn component_name(exporter: &str) -> String {
    format!("export/{exporter}")
}
