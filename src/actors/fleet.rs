//! The aggregators that run, one for each metric, and how one set of metrics becomes another while
//! flows are in the pipeline.
//!
//! A new aggregator is started before it gets its lane, an old one finishes after it has lost it;
//! between the two the reader changes all lanes at one point of the stream. So nothing waits, and
//! no flow is counted twice or missed by a metric that stays.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use actix::Addr;
use tokio::sync::oneshot;
use webb_flow::fault::{Component, Components};
use webb_metrics::dynamic::MetricChange;
use webb_metrics::{Aggregator, Layer7Wishes, Limits, MetricConfig, Share, captures};

use super::listing::Listings;
use super::restart::{Escalations, Intensity, SharedRestartPolicy};
use super::thread_supervisor::ThreadSupervisor;
use super::{Directory, Finish, aggregator};
use crate::pipeline::{self, AggregatorState, Command, Commands, Item, Lane, Lanes, Looks};

/// Shared parts that each aggregator is built with.
#[derive(Debug, Clone)]
pub struct AggregatorFactory {
    /// List that the aggregators' components are registered in.
    pub components: Components,
    /// Receives requests for restarts.
    pub directory: Directory,
    /// Restart limits of the aggregators.
    pub policy: SharedRestartPolicy,
    /// Channel that reports aggregators beyond their restart limit.
    pub escalations: Escalations,
    /// This node, as `cluster/node`.
    pub home: String,
    /// Maximal number of series.
    pub limits: Limits,
    /// Requests of listings of all open connections.
    pub listings: Arc<Listings>,
    /// Intervals of the search for unchanged series; [`Limits::idle_looks`] in a row, or
    /// [`Limits::room_looks`], remove one.
    pub looks: Looks,
}

/// One metric's aggregator.
#[derive(Debug, Clone)]
pub struct Member {
    /// Its counters.
    pub state: Arc<AggregatorState>,
    /// Its lane.
    pub lane: Arc<Lane>,
    share: Arc<Share>,
    supervisor: Addr<ThreadSupervisor>,
}

/// All aggregators by metric.
#[derive(Debug)]
pub struct Fleet {
    factory: AggregatorFactory,
    lanes: Arc<Lanes>,
    commands: Commands,
    members: Mutex<BTreeMap<&'static str, Member>>,
    others: OtherLanes,
}

/// Lanes beside those of metrics.
#[derive(Debug, Clone, Default)]
pub struct OtherLanes {
    /// That of the history, if there is one.
    pub history: Option<Arc<Lane>>,
    /// That of the rollups, if there are any.
    pub rollups: Option<Arc<Lane>>,
}

impl AggregatorFactory {
    fn start(&self, config: &MetricConfig) -> Member {
        let name = component_name(config.name());
        let component = self.components.renew(&name);
        let mut config = config.clone();
        config.set_local_node(&self.home);
        let (lane, items) = Lane::new(Arc::clone(&component));
        let aggregator = Aggregator::new(&config).with_limits(&self.limits);
        let share = Arc::clone(aggregator.share());
        let state = Arc::new(AggregatorState::new(aggregator));
        let intensity = Intensity::new(component, Arc::clone(&self.policy), self.escalations.clone());
        let supervisor = aggregator::start(items, lane.waker(), Arc::clone(&state), self.looks, intensity);
        self.directory.add(&name, supervisor.clone().recipient());
        Member { state, lane: Arc::new(lane), share, supervisor }
    }
}

/// The metric that policy verdicts are worked out for.
const VERDICTS: &str = "policy";

fn component_name(metric: &str) -> String {
    format!("aggregator/{metric}")
}

impl Fleet {
    /// Starts an aggregator for each metric. Before the reader is started: its lanes must be there
    /// first. `commands` lead to that reader.
    pub fn start<'a>(
        factory: AggregatorFactory,
        metrics: impl IntoIterator<Item = &'a MetricConfig>,
        commands: Commands,
        others: OtherLanes,
    ) -> (Self, Arc<Lanes>) {
        let mut wishes = Layer7Wishes::default();
        let mut start = |config: &MetricConfig| {
            wishes = wishes.and(config.layer7());
            (config.name(), factory.start(config))
        };
        let members: BTreeMap<_, _> = metrics.into_iter().map(&mut start).collect();
        let lanes = Arc::new(Lanes::new(lanes_of(&members, &others)));
        let fleet = Self { factory, lanes: Arc::clone(&lanes), commands, members: Mutex::default(), others };
        fleet.want(&members, wishes);
        *fleet.held() = members;
        (fleet, lanes)
    }

    /// Has the reader make what these aggregators, the history and the rollups need.
    fn want(&self, members: &BTreeMap<&'static str, Member>, wishes: Layer7Wishes) {
        let (is_shown, is_summed) = (self.others.history.is_some(), self.others.rollups.is_some());
        self.lanes.want_verdicts(members.contains_key(VERDICTS) || is_shown || is_summed);
        self.lanes.want_connections(members.contains_key(captures::NAME) || is_summed);
        self.lanes.want_layer7(wishes);
    }

    /// The aggregators as they are now, by metric.
    pub fn members(&self) -> Vec<(&'static str, Member)> {
        self.held().iter().map(|(name, member)| (*name, member.clone())).collect()
    }

    /// Requests of listings, and their outcomes.
    pub fn listings(&self) -> &Listings {
        &self.factory.listings
    }

    /// The lanes of all aggregators.
    pub fn lanes(&self) -> &Arc<Lanes> {
        &self.lanes
    }

    /// Carries out the changes; `metrics` is the configuration that they lead to. Returns once the
    /// reader has changed the lanes and the aggregators that went have finished. Never two at a
    /// time.
    pub async fn change(&self, changes: &[MetricChange], metrics: &[&MetricConfig]) {
        let config = |name| metrics.iter().find(|config| config.name() == name);
        let mut members = self.held().clone();
        let (mut control, mut leaving) = (Vec::new(), Vec::new());
        for change in changes {
            match *change {
                MetricChange::Remove(name) => leaving.extend(members.remove(name).map(|member| (name, member))),
                MetricChange::Add(name) | MetricChange::Restart(name) => {
                    leaving.extend(members.remove(name).map(|member| (name, member)));
                    members.extend(config(name).map(|config| (name, self.factory.start(config))));
                }
                MetricChange::Filter(name) => {
                    if let (Some(member), Some(config)) = (members.get(name), config(name)) {
                        let mut filters = config.filters().clone();
                        filters.set_local_node(&self.factory.home);
                        control.push((Arc::clone(&member.lane), Item::Filters(Box::new(filters))));
                    }
                }
            }
        }
        let lanes = lanes_of(&members, &self.others);
        self.want(&members, metrics.iter().fold(Layer7Wishes::default(), |all, config| all.and(config.layer7())));
        *self.held() = members;
        let (done, is_done) = oneshot::channel();
        let shares: Vec<_> = leaving.iter().map(|(_, member)| Arc::clone(&member.share)).collect();
        let done = Box::new(move || {
            // Before the first flow of a new one, or it would find the budget taken and count as
            // `~other`.
            for share in &shares {
                share.give_up();
            }
            // The caller is gone if the agent is stopping.
            let _gone = done.send(());
        });
        self.post(Command::Change(pipeline::LaneChange { lanes, control, done })).await;
        // A dropped sender means that the reader is gone for good.
        let _changed = is_done.await;
        // What was open before is not known to an aggregator that is new, or has other filters.
        if changes.iter().any(|change| !matches!(change, MetricChange::Remove(_)) && change.label().0 == captures::NAME)
        {
            self.factory.listings.request();
        }
        for (name, member) in leaving {
            self.retire(name, member).await;
        }
    }

    /// Has every aggregator finish, once nothing writes to the lanes any more.
    pub async fn finish(&self) {
        let supervisors: Vec<_> = self.held().values().map(|member| member.supervisor.clone()).collect();
        futures::future::join_all(supervisors.iter().map(finish)).await;
    }

    /// A full channel means that the reader is restarting: it will be back, or the agent ends.
    async fn post(&self, mut command: Command) {
        while let Err(again) = self.commands.post(command) {
            command = again;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn retire(&self, name: &str, member: Member) {
        finish(&member.supervisor).await;
        let component: &Arc<Component> = member.lane.component();
        // A new one may have its name by now.
        if self.factory.components.remove(component) {
            self.factory.directory.remove(&component_name(name));
        }
    }

    fn held(&self) -> MutexGuard<'_, BTreeMap<&'static str, Member>> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The lanes of all, those of metrics first.
fn lanes_of(members: &BTreeMap<&'static str, Member>, others: &OtherLanes) -> Vec<Arc<Lane>> {
    let metrics = members.values().map(|member| &member.lane);
    metrics.chain(&others.history).chain(&others.rollups).cloned().collect()
}

async fn finish(supervisor: &Addr<ThreadSupervisor>) {
    if supervisor.send(Finish).await.is_err() {
        tracing::warn!("an aggregator's supervisor had ended before the stop request");
    }
}
