//! [`Health`]: the state of every address, and the counters of the probes.
//!
//! It outlives the prober's thread: after a restart the states of before are still there, and grow
//! old if nothing renews them.

use std::collections::BTreeMap;
#[cfg(test)]
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::address::{AddressState, NodeState, Outcome};
use super::echo::Received;
use super::latencies::{Latencies, Observed};
use super::peers::{Selection, Unprobed};
use super::report::{NodeReport, Report};
use super::schedule::{TIMEOUT, Target, timeout};
use super::{Connectivity, ProbeError, Protocol, Rank};

/// Intervals without a result after which a state is unknown.
const MAX_AGE_INTERVALS: u32 = 3;

/// State of the other nodes, shared by the prober and those that read it.
#[derive(Debug, Default)]
pub struct Health {
    state: Mutex<State>,
    /// By protocol and rank.
    latencies: [[Latencies; Rank::ALL.len()]; Protocol::ALL.len()],
    /// By protocol and outcome.
    probes: [[AtomicU64; ProbeError::OUTCOMES.len()]; Protocol::ALL.len()],
    /// Received ICMP messages that are no reply to a request that waits: malformed, unmatched.
    ignored: [AtomicU64; 2],
}

#[derive(Debug, Default)]
struct State {
    nodes: BTreeMap<Arc<str>, NodeState>,
    unprobed: [u64; Unprobed::ALL.len()],
    interval: Duration,
    icmp_error: Option<String>,
}

/// Numbers of nodes and addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Nodes with an address that is unreachable.
    pub unreachable_nodes: u64,
    /// Addresses by [`Connectivity`]; a node without one counts as one that is unknown.
    pub addresses: [u64; Connectivity::ALL.len()],
}

impl State {
    fn max_age(&self) -> Duration {
        self.interval * MAX_AGE_INTERVALS + timeout(self.interval)
    }
}

impl Health {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes the selected nodes all there are. Addresses that stay keep their states.
    pub(super) fn set_peers(&self, selection: Selection, interval: Duration) -> Vec<Target> {
        let mut state = self.state();
        let mut before = std::mem::take(&mut state.nodes);
        let mut targets = Vec::new();
        for peer in selection.peers {
            let known = before.remove(&peer.name).unwrap_or_default();
            let of_address = |(address, rank)| {
                targets.push(Target { node: Arc::clone(&peer.name), address });
                let known = known.addresses.iter().find(|known| known.address == address).cloned();
                known.unwrap_or_else(|| AddressState::new(address, rank)).ranked(rank)
            };
            let addresses = peer.addresses.into_iter().map(of_address).collect();
            state.nodes.insert(peer.name, NodeState { addresses, unprobed: peer.unprobed });
        }
        state.unprobed = selection.unprobed;
        state.interval = interval;
        targets
    }

    /// Records a probe. Returns the wait before the next one of that address; `None` if it is gone.
    pub(super) fn record(&self, target: &Target, outcome: &Outcome, now: Instant) -> Option<Duration> {
        let mut state = self.state();
        let interval = state.interval;
        let node = state.nodes.get_mut(&target.node)?;
        let known = node.addresses.iter_mut().find(|known| known.address == target.address)?;
        known.record(outcome, now);
        let (rank, wait) = (known.rank, known.tracks().map(|(_, track)| track.wait(interval)).min());
        drop(state);
        for (protocol, outcome) in [(Protocol::Http, Some(&outcome.http)), (Protocol::Icmp, outcome.icmp.as_ref())] {
            if let Some(outcome) = outcome {
                self.count(protocol, rank, outcome);
            }
        }
        wait
    }

    fn count(&self, protocol: Protocol, rank: Rank, outcome: &Result<Duration, ProbeError>) {
        let number = outcome.as_ref().err().map_or(0, ProbeError::outcome);
        if let Some(count) = self.probes.get(protocol as usize).and_then(|of| of.get(number)) {
            count.fetch_add(1, Relaxed);
        }
        // As in Cilium: a failure is the longest time that a probe may take.
        let latency = match outcome {
            Ok(latency) => *latency,
            Err(error) if error.is_local() => return,
            Err(_) => TIMEOUT,
        };
        if let Some(latencies) = self.latencies.get(protocol as usize).and_then(|of| of.get(rank as usize)) {
            latencies.observe(latency);
        }
    }

    /// Counts an ICMP message.
    pub(super) fn count_received(&self, received: Received) {
        let [malformed, unmatched] = &self.ignored;
        match received {
            Received::Matched => return,
            Received::Malformed => malformed,
            Received::Unmatched => unmatched,
        }
        .fetch_add(1, Relaxed);
    }

    /// Sets the reason for which there is no ICMP echo. True if it is a new one.
    pub(super) fn set_icmp_error(&self, error: Option<String>) -> bool {
        let mut state = self.state();
        let is_new = error.is_some() && state.icmp_error != error;
        state.icmp_error = error;
        is_new
    }

    /// The reason for which there is no ICMP echo; none if there is, or if it is not wanted.
    pub fn icmp_error(&self) -> Option<String> {
        self.state().icmp_error.clone()
    }

    /// Counts nodes and addresses by their state.
    pub fn counts(&self) -> Counts {
        self.counts_at(Instant::now())
    }

    fn counts_at(&self, now: Instant) -> Counts {
        let state = self.state();
        let max_age = state.max_age();
        let mut counts = Counts::default();
        let mut count = |connectivity: Connectivity| {
            if let Some(number) = counts.addresses.get_mut(connectivity as usize) {
                *number += 1;
            }
        };
        for node in state.nodes.values() {
            let mut is_unreachable = false;
            for address in &node.addresses {
                let connectivity = address.connectivity(now, max_age);
                is_unreachable |= connectivity == Connectivity::Unreachable;
                count(connectivity);
            }
            if node.addresses.is_empty() {
                count(Connectivity::Unknown);
            }
            counts.unreachable_nodes += u64::from(is_unreachable);
        }
        counts
    }

    /// Reports every node.
    pub fn report(&self) -> Report {
        self.report_at(Instant::now())
    }

    fn report_at(&self, now: Instant) -> Report {
        let state = self.state();
        let max_age = state.max_age();
        Report {
            interval_seconds: state.interval.as_secs_f64(),
            timeout_seconds: timeout(state.interval).as_secs_f64(),
            icmp_error: state.icmp_error.clone(),
            nodes: state.nodes.iter().map(|(name, node)| NodeReport::new(name, node, now, max_age)).collect(),
        }
    }

    /// Latencies by protocol and rank, as far as there are any.
    pub fn latencies(&self) -> impl Iterator<Item = (Protocol, Rank, Observed)> {
        Protocol::ALL.into_iter().zip(&self.latencies).flat_map(|(protocol, by_rank)| {
            Rank::ALL.into_iter().zip(by_rank).map(move |(rank, latencies)| (protocol, rank, latencies.read()))
        })
    }

    /// Number of probes by protocol and outcome.
    pub fn probes(&self) -> impl Iterator<Item = (Protocol, &'static str, u64)> {
        Protocol::ALL.into_iter().zip(&self.probes).flat_map(|(protocol, counts)| {
            ProbeError::OUTCOMES
                .into_iter()
                .zip(counts)
                .map(move |(outcome, count)| (protocol, outcome, count.load(Relaxed)))
        })
    }

    /// Number of received ICMP messages that were ignored, by reason.
    pub fn ignored(&self) -> [(&'static str, u64); 2] {
        let [malformed, unmatched] = &self.ignored;
        [("malformed", malformed.load(Relaxed)), ("unmatched", unmatched.load(Relaxed))]
    }

    /// Number of addresses that are not probed, by reason.
    pub fn unprobed(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let unprobed = self.state().unprobed;
        Unprobed::ALL.into_iter().map(Unprobed::label).zip(unprobed)
    }

    /// Interval between two probes of an address.
    pub fn interval(&self) -> Duration {
        self.state().interval
    }
}

#[cfg(test)]
impl Health {
    /// A state with a node that is reachable, one that is not, and one without an address.
    pub(crate) fn sample() -> Self {
        let (health, now) = (Self::default(), Instant::now());
        let address = |last: u8| IpAddr::from([10, 0, 0, last]);
        let nodes = [("good", vec![address(1)]), ("cut", vec![address(2)]), ("bare", vec![])];
        let nodes = nodes.into_iter().map(|(name, addresses)| (name.to_owned(), addresses)).collect();
        for target in health.set_peers(super::peers::select(nodes, "own"), Duration::from_secs(10)) {
            let outcomes = if &*target.node == "good" {
                vec![Ok(Duration::from_millis(2))]
            } else {
                vec![Err(ProbeError::Timeout(Duration::from_secs(4))); 2]
            };
            for http in outcomes {
                health.record(&target, &Outcome { http, icmp: None }, now);
            }
        }
        health
    }
}

#[cfg(test)]
mod tests {
    use super::super::peers::{Peer, select};
    use super::*;

    const INTERVAL: Duration = Duration::from_secs(10);

    fn peers(nodes: &[(&str, &[u8])]) -> Selection {
        let address = |last: &u8| IpAddr::from([10, 0, 0, *last]);
        select(
            nodes.iter().map(|(name, lasts)| ((*name).to_owned(), lasts.iter().map(address).collect())).collect(),
            "",
        )
    }

    fn answered() -> Outcome {
        Outcome { http: Ok(Duration::from_millis(2)), icmp: Some(Ok(Duration::from_millis(1))) }
    }

    fn silent() -> Outcome {
        let error = || Err(ProbeError::Timeout(Duration::from_secs(4)));
        Outcome { http: error(), icmp: Some(error()) }
    }

    /// A node is unreachable with any address that is; unknown is counted apart, also for a node
    /// without an address; and a node that goes takes its counts along.
    #[test]
    fn counts_follow_the_nodes() {
        let (health, now) = (Health::default(), Instant::now());
        let targets = health.set_peers(peers(&[("a", &[1, 2]), ("b", &[3]), ("c", &[])]), INTERVAL);
        assert_eq!(targets.len(), 3);
        assert_eq!(health.counts_at(now), Counts { unreachable_nodes: 0, addresses: [0, 0, 4] });
        assert_eq!(health.record(&targets[0], &answered(), now), Some(INTERVAL));
        assert_eq!(health.record(&targets[1], &silent(), now), Some(Duration::from_secs(1)));
        assert_eq!(health.counts_at(now), Counts { unreachable_nodes: 0, addresses: [1, 0, 3] });
        health.record(&targets[1], &silent(), now);
        assert_eq!(health.counts_at(now), Counts { unreachable_nodes: 1, addresses: [1, 1, 2] });
        let report = health.report_at(now);
        let of = |report: &Report| report.nodes.iter().map(|node| node.status).collect::<Vec<_>>();
        assert_eq!(of(&report), ["unreachable", "unknown", "unknown"]);
        let icmp = &report.nodes[0].addresses[1].protocols[1];
        assert_eq!((icmp.outcome, icmp.error.as_deref()), (Some("timeout"), Some("no answer within 4000 ms")));
        assert_eq!(report.nodes[0].addresses[0].protocols[1].outcome, Some("ok"));
        assert_eq!(report.nodes[1].addresses[0].protocols[0].outcome, None);
        // What was found out stays with the address, and goes with the node.
        health.set_peers(peers(&[("a", &[2]), ("b", &[3])]), INTERVAL);
        assert_eq!(health.counts_at(now), Counts { unreachable_nodes: 1, addresses: [0, 1, 1] });
        assert_eq!(health.report_at(now).nodes[0].addresses[0].rank, "primary");
        health.set_peers(peers(&[("b", &[3])]), INTERVAL);
        assert_eq!(health.counts_at(now), Counts { unreachable_nodes: 0, addresses: [0, 0, 1] });
        assert_eq!(health.record(&targets[1], &silent(), now), None, "a result for a node that is gone");
    }

    /// Without new results all is unknown after a while: nothing lies while no prober runs.
    #[test]
    fn states_grow_old() {
        let (health, now) = (Health::default(), Instant::now());
        let targets = health.set_peers(peers(&[("a", &[1]), ("b", &[2])]), INTERVAL);
        health.record(&targets[0], &answered(), now);
        health.record(&targets[1], &silent(), now);
        health.record(&targets[1], &silent(), now);
        assert_eq!(health.counts_at(now + INTERVAL * 3), Counts { unreachable_nodes: 1, addresses: [1, 1, 0] });
        assert_eq!(health.counts_at(now + INTERVAL * 4), Counts { unreachable_nodes: 0, addresses: [0, 0, 2] });
    }

    /// A failed probe is observed as the time-out, one that says nothing about the peer is not;
    /// both are counted by their outcome.
    #[test]
    fn probes_are_observed() {
        let (health, now) = (Health::default(), Instant::now());
        let targets = health.set_peers(peers(&[("a", &[1])]), INTERVAL);
        for outcome in [answered(), silent()] {
            health.record(&targets[0], &outcome, now);
        }
        let local = Outcome { http: Err(ProbeError::Local("too many open files".to_owned())), icmp: None };
        health.record(&targets[0], &local, now);
        let (_, _, observed) = health.latencies().next().unwrap();
        assert_eq!((observed.count, observed.sum), (2, 10.002));
        let counted: Vec<_> = health.probes().filter(|(_, _, count)| *count > 0).collect();
        let (http, icmp) = (Protocol::Http, Protocol::Icmp);
        let expected =
            [(http, "ok", 1), (http, "timeout", 1), (http, "local", 1), (icmp, "ok", 1), (icmp, "timeout", 1)];
        assert_eq!(counted, expected);
        assert_eq!(health.report_at(now).nodes[0].addresses[0].protocols.len(), 1, "no ICMP any more");
    }

    /// A peer's name of any length is reported whole.
    #[test]
    fn long_names_are_reported() {
        let health = Health::default();
        let name: Arc<str> = "n".repeat(253).into();
        let peer = Peer { name: Arc::clone(&name), addresses: Vec::new(), unprobed: Vec::new() };
        health.set_peers(Selection { peers: vec![peer], ..Selection::default() }, INTERVAL);
        assert_eq!(health.report().nodes[0].name, *name);
    }
}
