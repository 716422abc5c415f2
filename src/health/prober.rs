//! The prober: probes what is due, at most so many addresses at once.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::join;
use futures::stream::{FuturesUnordered, StreamExt};
use tokio::sync::Notify;
use tokio::time::{MissedTickBehavior, interval, sleep_until};
use webb_cluster::Cache;

use super::ProbeError;
use super::address::Outcome;
use super::board::Health;
use super::echo::{self, Echo};
use super::hello::hello;
use super::peers::{Selection, Unprobed, select};
use super::schedule::{Schedule, Target, auto_interval, timeout};

/// Addresses that are probed at once. While all of 5,000 nodes are silent it takes one interval to
/// probe them.
const MAX_PROBES: usize = 512;

/// Interval of the heartbeat, and of the check whether nodes have changed.
const TURN: Duration = Duration::from_secs(1);

/// Probes the other nodes of a cluster.
#[derive(Debug)]
pub struct Prober {
    /// State that is kept.
    pub health: Arc<Health>,
    /// Source of the nodes.
    pub cache: Arc<Cache>,
    /// The port that all agents answer at.
    pub port: u16,
    /// Interval between two probes of an address; by the cluster's size if there is none.
    pub interval: Option<Duration>,
    /// Whether ICMP echo is wanted.
    pub icmp: bool,
}

/// Checks whether this process may send ICMP echo requests.
///
/// # Errors
/// The reason for which it may not.
pub fn probe_echo() -> Result<(), String> {
    echo::check()
}

impl Prober {
    /// Probes until `turn` returns false; it is called once a second, and when `wake` is notified.
    pub async fn run(&self, turn: &dyn Fn() -> bool, wake: &Notify) {
        let (echo, complaint) = Echo::open(self.icmp);
        if let Some(why) = &complaint
            && self.health.set_icmp_error(complaint.clone())
        {
            tracing::warn!("{why}");
        } else if complaint.is_none() {
            self.health.set_icmp_error(None);
        }
        let mut schedule = Schedule::default();
        let mut version = None;
        let mut running = FuturesUnordered::new();
        let mut turns = interval(TURN);
        turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let next = schedule.next().filter(|_| running.len() < MAX_PROBES);
            tokio::select! {
                _ = turns.tick() => {
                    if !turn() {
                        return;
                    }
                    self.follow(&mut schedule, &mut version);
                }
                () = wake.notified() => {
                    if !turn() {
                        return;
                    }
                }
                Some((target, outcome)) = running.next() => {
                    let now = Instant::now();
                    if let Some(wait) = self.health.record(&target, &outcome, now) {
                        schedule.again(target, wait, now);
                    }
                }
                received = echo.receive() => match received {
                    Ok(received) => self.health.count_received(received),
                    // Such as a message of ICMP about an earlier request.
                    Err(error) => tracing::debug!("ICMP echo: {error}"),
                },
                () = at(next) => {
                    let limit = timeout(self.health.interval());
                    while running.len() < MAX_PROBES && let Some(target) = schedule.take(Instant::now()) {
                        running.push(self.probe(&echo, target, limit));
                    }
                }
            }
        }
    }

    /// Takes over the nodes, if they have changed.
    fn follow(&self, schedule: &mut Schedule, version: &mut Option<u64>) {
        // Read first: a change meanwhile is seen at the next turn.
        let now = self.cache.nodes_version();
        if version.replace(now) == Some(now) {
            return;
        }
        let selection: Selection = select(self.cache.nodes(), self.cache.node_name());
        self.log_unprobed(&selection);
        let interval = self.interval.unwrap_or_else(|| auto_interval(selection.peers.len()));
        let targets = self.health.set_peers(selection, interval);
        schedule.replace(&targets, interval, Instant::now());
    }

    /// Logs one address for each reason for which addresses are not probed, if there was none of it
    /// before. `/health` has all of them.
    fn log_unprobed(&self, selection: &Selection) {
        for (reason, before) in Unprobed::ALL.into_iter().zip(self.health.unprobed()) {
            if let (0, Some(why)) = (before.1, reason.complaint())
                && let Some((node, address)) = selection.example(reason)
            {
                tracing::warn!(node, %address, "an internal address of a node is not probed: {why}");
            }
        }
    }

    async fn probe(&self, echo: &Echo, target: Target, limit: Duration) -> (Target, Outcome) {
        let http = hello(SocketAddr::new(target.address, self.port), limit);
        if !echo.serves(target.address) {
            let http = http.await;
            return (target, Outcome { http, icmp: None });
        }
        let icmp = tokio::time::timeout(limit, echo.ping(target.address));
        let (http, icmp) = join(http, icmp).await;
        let icmp = icmp.unwrap_or(Err(ProbeError::Timeout(limit)));
        (target, Outcome { http, icmp: Some(icmp) })
    }
}

/// Waits until that time; for ever without one.
async fn at(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time.into()).await,
        None => std::future::pending().await,
    }
}
